//! Patches of objects and their parts, applied configurations among them.
//!
//! Invariant: the patch functions are pure, tree and patch to tree; what they give is decoded as strictly as a
//! PUT's body. Answers to apiserver's `endpoints/handlers/patch.go`.

use super::body::{FieldValidation, refuse, warnings};
use super::update::{named, update_object};
use super::{Write, managed, metadata};
use crate::body::Body;
use crate::kinds::Resource;
use crate::negotiate::{Offer, content_type, unsupported_media};
use crate::read::respond_object;
use crate::request::Request;
use gifee_base::field::{FieldError, Path};
use gifee_base::{Gvk, Status, object};
use gifee_schema::{Error, Schema, check, parse, patch as engine};
use http::Response;
use serde_json::Value;
use std::sync::Arc;

/// How a patch is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// RFC 6902.
    Json,
    /// RFC 7396.
    Merge,
    /// By the schema's merge keys.
    Strategic,
    /// A configuration, of which every field is its manager's.
    Apply,
}

/// A patch as it was sent.
pub struct Patch {
    strategy: Strategy,
    value: Value,
    /// What strict reading finds in the patch itself.
    findings: Vec<String>,
    source: bytes::Bytes,
    validation: FieldValidation,
    force: bool,
}

impl Patch {
    /// Reads the patch of a request.
    ///
    /// # Errors
    /// 400, 413, 415, 422.
    pub async fn read(request: &Request<'_>, body: Body, strategic: bool) -> Result<Self, Status> {
        let strategy = match content_type(request.headers) {
            "application/json-patch+json" => Strategy::Json,
            "application/merge-patch+json" => Strategy::Merge,
            "application/strategic-merge-patch+json" if strategic => Strategy::Strategic,
            "application/apply-patch+yaml" => Strategy::Apply,
            _ => {
                let mut accepted = vec!["application/json-patch+json", "application/merge-patch+json"];
                if strategic {
                    accepted.push("application/strategic-merge-patch+json");
                }
                accepted.push("application/apply-patch+yaml");
                return Err(unsupported_media(&accepted));
            }
        };
        allowed(request, strategy)?;
        let validation = FieldValidation::of(request)?;
        let limit = request.server.config.limits.body_bytes;
        let force = request.query.flag("force");
        if strategy == Strategy::Apply {
            let source = body.read(limit).await?;
            let (value, findings) = configuration(&source)?;
            return Ok(Self { strategy, value, findings, source, validation, force });
        }
        let source = body.read(limit).await?;
        let parsed = parse::json(&source).map_err(|error| Status::bad_request(error.to_string()))?;
        let mut findings = parsed.duplicates;
        if strategy == Strategy::Json {
            findings.iter_mut().for_each(|finding| *finding = format!("json patch {finding}"));
            findings.extend(engine::json_findings(&parsed.value));
        }
        Ok(Self { strategy, value: parsed.value, findings, source, validation, force })
    }

    /// Whether it is a configuration.
    pub fn applies(&self) -> bool {
        self.strategy == Strategy::Apply
    }

    /// Applies it to an object as it is; `first` is false when that is done again, to a newer one. A configuration
    /// also applies to null: an object that is not there yet.
    ///
    /// # Errors
    /// 400, 409, 422 and 500 in upstream's words.
    pub fn apply(
        &self,
        write: &Write<'_>,
        gvk: &Gvk,
        schema: Option<&Schema>,
        current: &Value,
        first: bool,
    ) -> Result<Value, Status> {
        if self.applies() {
            let applied = write.apply(current, &self.value, self.force)?;
            return self.settle_applied(write, gvk, schema, applied, first);
        }
        let mut current = current.clone();
        // Only who writes about it pays for it.
        if mentions(&self.source, b"managedFields") {
            object::unfold(&mut current);
        }
        let (kind, api_version) = (current["kind"].clone(), current["apiVersion"].clone());
        let patched = match (self.strategy, schema) {
            (Strategy::Json, _) => engine::json(current, &self.value),
            (Strategy::Merge, _) => engine::merge(current, self.value.clone()),
            (_, Some(schema)) => engine::strategic(schema, current, self.value.clone()),
            (_, None) => return Err(unsupported_media(&["application/merge-patch+json"])),
        };
        let mut patched = patched.map_err(|error| refuse(gvk, Some(&gvk.kind), &error, &self.source))?;
        for (field, expected) in [("apiVersion", api_version), ("kind", kind)] {
            let own = &patched[field];
            if *own != expected {
                return Err(Status::bad_request(format!(
                    "the patch changes {field} from {expected} to {own}"
                )));
            }
        }
        metadata::of(&mut patched);
        self.settle(write, gvk, schema, patched, first)
    }

    /// Checks what a patch gave against the schema, and does with what is unknown as the client wants it.
    fn settle(
        &self,
        write: &Write<'_>,
        gvk: &Gvk,
        schema: Option<&Schema>,
        mut value: Value,
        first: bool,
    ) -> Result<Value, Status> {
        let strict = self.validation == FieldValidation::Strict;
        let shown = |value: &Value| {
            let mut value = value.clone();
            object::unfold(&mut value);
            if self.strategy == Strategy::Strategic { self.value.to_string() } else { value.to_string() }
        };
        let text = strict.then(|| shown(&value));
        let managed = fold(&mut value);
        let mut findings =
            if self.validation == FieldValidation::Ignore { &[] } else { &self.findings[..] }.to_vec();
        if let Some(schema) = schema {
            let found = match check::check(schema, &mut value) {
                Ok(found) => found,
                Err(Error::Decode(why)) => return Err(unfit(text.unwrap_or_else(|| shown(&value)), &why)),
                Err(error) => return Err(refuse(gvk, Some(&gvk.kind), &error, &self.source)),
            };
            if self.validation != FieldValidation::Ignore {
                let unknown = parse::Parsed { value: Value::Null, duplicates: Vec::new() };
                findings.extend(check::strict_findings(None, &unknown, &found));
            }
        }
        managed::put(&mut value, managed);
        match text {
            Some(text) if !findings.is_empty() => Err(unfit(text, &check::strict_error(&findings))),
            _ => {
                if first {
                    write.warn(findings);
                }
                Ok(value)
            }
        }
    }

    /// The same for an applied configuration, whose fields have been found to be known.
    fn settle_applied(
        &self,
        write: &Write<'_>,
        gvk: &Gvk,
        schema: Option<&Schema>,
        mut value: Value,
        first: bool,
    ) -> Result<Value, Status> {
        if let [finding, ..] = self.findings.as_slice() {
            match self.validation {
                FieldValidation::Strict => {
                    return Err(Status::bad_request(format!("error strict decoding patch: {finding}")));
                }
                FieldValidation::Warn if first => write.warn(warnings(finding).map(str::to_owned).collect()),
                _ => {}
            }
        }
        let managed = fold(&mut value);
        if let Some(schema) = schema {
            check::check(schema, &mut value)
                .map_err(|error| refuse(gvk, Some(&gvk.kind), &error, &self.source))?;
        }
        managed::put(&mut value, managed);
        Ok(value)
    }
}

/// Takes a text of `managedFields` out of a tree that is to be checked; a list stays, to be checked too.
fn fold(value: &mut Value) -> Option<Value> {
    match managed::take(value) {
        Some(list @ Value::Array(_)) => {
            managed::put(value, Some(list));
            None
        }
        other => other,
    }
}

fn mentions(source: &[u8], word: &[u8]) -> bool {
    source.windows(word.len()).any(|window| window == word)
}

/// 422 for what a patch made of an object.
fn unfit(shown: String, why: &str) -> Status {
    let error = FieldError::invalid(&Path::root("patch"), shown, why);
    Status::invalid("", "", "", &[error])
}

/// Refuses options that do not go with the kind of patch.
fn allowed(request: &Request<'_>, strategy: Strategy) -> Result<(), Status> {
    let error = if strategy != Strategy::Apply {
        if !request.query.has("force") {
            return Ok(());
        }
        FieldError::forbidden(&Path::root("force"), "may not be specified for non-apply patch")
    } else if request.query.get("fieldManager").is_none_or(str::is_empty) {
        FieldError::required(&Path::root("fieldManager"), "is required for apply patch")
    } else {
        return Ok(());
    };
    Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &[error]))
}

/// Reads an applied configuration, and what strict reading finds in it.
fn configuration(source: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let refuse = |error: Error| Status::bad_request(format!("error encoding patch: {error}"));
    let mut parsed = parse::yaml(source).map_err(refuse)?;
    if !parsed.duplicates.is_empty() && parse::looks_like_json(source) {
        // JSON is YAML, and read as such here; so are its findings.
        let mut documents = parse::yaml_documents(source).map_err(refuse)?;
        parsed = documents.next().transpose().map_err(refuse)?.unwrap_or(parsed);
    }
    let findings =
        parsed.duplicates.iter().map(|text| format!("error converting YAML to JSON: {text}")).collect();
    let word = match &parsed.value {
        Value::Object(_) => return Ok((parsed.value, findings)),
        Value::Null => return Ok((Value::Object(serde_json::Map::new()), findings)),
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
    };
    Err(Status::bad_request(format!(
        "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {word} into Go value of type map[string]interface {{}}"
    )))
}

/// Answers a PATCH of an object or a part of it.
pub async fn patch(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    subresource: &str,
    body: Body,
) -> Result<Response<Body>, Status> {
    let accept = request.accept(Offer::Shapes)?;
    let mut write = Write::new(request, resource, subresource)?;
    write.options = super::options_of(request, &super::PATCH_OPTIONS);
    let strategic = resource.schema.is_some() && resource.kind.custom.is_none();
    let patch = Patch::read(request, body, strategic).await?;
    write.applies = patch.applies();
    let namespace = request.info.namespace_of(resource);
    let name = &*request.info.name;
    let (mut first, applying) = (true, &write);
    let mut edit = |old: &Value| {
        let schema = resource.schema.as_ref();
        let new = patch.apply(applying, &resource.kind.gvk, schema, old, std::mem::take(&mut first))?;
        named(&new, name, namespace)?;
        Ok(new)
    };
    let create = patch.applies() && subresource.is_empty();
    let updated = update_object(&write, namespace, name, &mut edit, create).await?;
    let code = if updated.created { 201 } else { 200 };
    respond_object(request, resource, &accept, code, &updated.object)
}
