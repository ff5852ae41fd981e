//! Patches of objects and their parts.
//!
//! Invariant: the patch functions are pure, tree and patch to tree; what they give is decoded as strictly as a
//! PUT's body.

use super::body::{FieldValidation, refuse, settle, tree};
use super::update::{named, update_object};
use super::{Write, metadata};
use crate::body::Body;
use crate::kinds::Resource;
use crate::negotiate::{Encoding, Offer, content_type, unsupported_media};
use crate::read::respond_object;
use crate::request::Request;
use gifee_base::{Gvk, Reason, Status};
use gifee_schema::{Schema, patch as engine};
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
}

/// A patch as it was sent.
pub struct Patch {
    strategy: Strategy,
    value: Value,
    source: bytes::Bytes,
    validation: FieldValidation,
}

impl Patch {
    /// Reads the patch of a request.
    ///
    /// # Errors
    /// 400, 413, 415.
    pub async fn read(request: &Request<'_>, body: Body, strategic: bool) -> Result<Self, Status> {
        let validation = FieldValidation::of(request)?;
        let strategy = match content_type(request.headers) {
            "application/json-patch+json" => Strategy::Json,
            "application/merge-patch+json" => Strategy::Merge,
            "application/strategic-merge-patch+json" if strategic => Strategy::Strategic,
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => {
                return Err(Status::new(
                    Reason::UnsupportedMediaType,
                    "server-side apply is not served by this version; use client-side apply",
                ));
            }
            _ => {
                let mut accepted = vec!["application/json-patch+json", "application/merge-patch+json"];
                if strategic {
                    accepted.push("application/strategic-merge-patch+json");
                }
                return Err(unsupported_media(&accepted));
            }
        };
        let (value, source) = tree(body, request.server.config.limits.body_bytes, Encoding::Json).await?;
        Ok(Self { strategy, value, source, validation })
    }

    /// Applies it.
    ///
    /// # Errors
    /// 400 and 422 in upstream's words.
    pub fn apply(
        &self,
        request: &Request<'_>,
        gvk: &Gvk,
        schema: Option<&Schema>,
        current: &Value,
    ) -> Result<Value, Status> {
        let patched = match (self.strategy, schema) {
            (Strategy::Json, _) => engine::json(current.clone(), &self.value),
            (Strategy::Merge, _) => engine::merge(current.clone(), self.value.clone()),
            (Strategy::Strategic, Some(schema)) => {
                engine::strategic(schema, current.clone(), self.value.clone())
            }
            (Strategy::Strategic, None) => return Err(unsupported_media(&["application/merge-patch+json"])),
        };
        let mut patched = patched.map_err(|error| refuse(gvk, Some(&gvk.kind), &error, &self.source))?;
        for field in ["apiVersion", "kind"] {
            let (own, expected) = (&patched[field], &current[field]);
            if own != expected {
                return Err(Status::bad_request(format!(
                    "the patch changes {field} from {expected} to {own}"
                )));
            }
        }
        if !patched["metadata"].is_object() {
            metadata::of(&mut patched);
        }
        settle(request, gvk, schema, patched, Vec::new(), Some(&self.source), self.validation)
    }
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
    let namespace = request.info.namespace_of(resource);
    let name = &*request.info.name;
    let mut edit = |old: &Value| {
        let new = patch.apply(request, &resource.kind.gvk, resource.schema.as_ref(), old)?;
        named(&new, name, namespace)?;
        Ok(new)
    };
    let updated = update_object(&write, namespace, name, &mut edit, false).await?;
    respond_object(request, resource, &accept, 200, &updated.object)
}
