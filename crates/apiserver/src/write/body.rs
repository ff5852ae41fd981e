//! Bodies of writes as trees: parsed, checked against the schema, unknown fields pruned or reported.
//!
//! Answers to the decoding half of apiserver's create and update handlers, and to field validation.

use crate::body::Body;
use crate::negotiate::{Encoding, body_encoding};
use crate::request::Request;
use bytes::Bytes;
use gifee_base::field::{FieldError, Path};
use gifee_base::gvk::split_api_version;
use gifee_base::{Gvk, Reason, Status};
use gifee_schema::{Error, Schema, check, parse, protobuf};
use serde_json::{Map, Value};

/// How unknown and duplicate fields are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    /// Dropped silently.
    Ignore,
    /// Dropped, and the client is told.
    Warn,
    /// Refused.
    Strict,
}

impl FieldValidation {
    /// From the query; the default is to warn.
    ///
    /// # Errors
    /// 422 for anything but the three values.
    pub fn of(request: &Request<'_>) -> Result<Self, Status> {
        match request.query.get("fieldValidation") {
            None | Some("Warn") => Ok(Self::Warn),
            Some("Ignore") => Ok(Self::Ignore),
            Some("Strict") => Ok(Self::Strict),
            Some(other) => {
                let path = Path::root("fieldValidation");
                let supported = ["", "Ignore", "Strict", "Warn"];
                let error = FieldError::not_supported(&path, other, &supported);
                let options = match request.info.verb {
                    "create" => "CreateOptions",
                    "patch" => "PatchOptions",
                    _ => "UpdateOptions",
                };
                Err(Status::invalid("meta.k8s.io", options, "", &[error]))
            }
        }
    }
}

/// A decoded body.
pub struct Decoded {
    /// The tree.
    pub value: Value,
    /// What it was decoded from.
    pub source: Source,
}

/// The bytes of a body that has been decoded once.
pub struct Source {
    bytes: Bytes,
    encoding: Encoding,
}

impl Source {
    /// Decodes it again, without a word about unknown fields.
    ///
    /// # Errors
    /// None, if it could be decoded before.
    pub fn again(&self, gvk: &Gvk, schema: Option<&Schema>) -> Result<Value, Status> {
        let parsed =
            read(self.encoding, &self.bytes).map_err(|error| refuse(gvk, None, &error, &self.bytes))?;
        let mut value = identify(gvk, schema, parsed.value, &self.bytes)?;
        if let Some(schema) = schema {
            check::check(schema, &mut value)
                .map_err(|error| refuse(gvk, Some(&gvk.kind), &error, &self.bytes))?;
        }
        Ok(value)
    }
}

/// Reads and decodes the body of a request as an object of `gvk`.
///
/// # Errors
/// 400 in upstream's words, 413, 415.
pub async fn decode(
    request: &Request<'_>,
    body: Body,
    gvk: &Gvk,
    schema: Option<&Schema>,
) -> Result<Decoded, Status> {
    let validation = FieldValidation::of(request)?;
    let encoding = body_encoding(request.headers)?;
    let bytes = body.read(request.server.config.limits.body_bytes).await?;
    let parsed = read(encoding, &bytes).map_err(|error| refuse(gvk, None, &error, &bytes))?;
    let value = identify(gvk, schema, parsed.value, &bytes)?;
    let source = (encoding == Encoding::Json || parse::looks_like_json(&bytes)).then_some(&bytes[..]);
    let value = settle(request, gvk, schema, value, parsed.duplicates, source, validation)?;
    Ok(Decoded { value, source: Source { bytes, encoding } })
}

/// Checks a tree against the schema, and does with what is unknown as the client wants it.
///
/// # Errors
/// 400 in upstream's words.
pub fn settle(
    request: &Request<'_>,
    gvk: &Gvk,
    schema: Option<&Schema>,
    mut value: Value,
    duplicates: Vec<String>,
    source: Option<&[u8]>,
    validation: FieldValidation,
) -> Result<Value, Status> {
    let Some(schema) = schema else { return Ok(value) };
    let kind = value["kind"].as_str().unwrap_or_default().to_owned();
    let findings = check::check(schema, &mut value)
        .map_err(|error| refuse(gvk, Some(&kind), &error, source.unwrap_or_default()))?;
    if validation == FieldValidation::Ignore || (duplicates.is_empty() && findings.unknown.is_empty()) {
        return Ok(value);
    }
    let parsed = parse::Parsed { value: Value::Null, duplicates };
    // Of custom resources duplicates are told first, whatever the order of the body.
    let source = source.filter(|_| schema.structural().is_none());
    let texts = check::strict_findings(source, &parsed, &findings);
    if validation == FieldValidation::Warn {
        texts.iter().flat_map(|text| warnings(text)).for_each(|text| request.warn(text));
        return Ok(value);
    }
    let (version, own) = (&gvk.version, &gvk.kind);
    Err(Status::bad_request(format!(
        "{own} in version {version:?} cannot be handled as a {own}: {}",
        check::strict_error(&texts)
    )))
}

/// The warnings in what strict reading found: one, but for YAML, whose findings are lines.
pub fn warnings(finding: &str) -> impl Iterator<Item = &str> {
    const HEADS: [&str; 2] =
        ["error converting YAML to JSON: yaml: unmarshal errors:\n", "yaml: unmarshal errors:\n"];
    let lines = HEADS.iter().find_map(|head| finding.strip_prefix(head));
    let (text, apart) = lines.map_or((finding, false), |lines| (lines, true));
    text.split(move |letter| apart && letter == '\n').map(move |line| if apart { line.trim() } else { line })
}

/// Fills in what the path says, and refuses what contradicts it.
fn identify(gvk: &Gvk, schema: Option<&Schema>, mut value: Value, source: &[u8]) -> Result<Value, Status> {
    let custom_resource = schema.is_some_and(|schema| schema.structural().is_some());
    let refused = |error: &Error| refuse(gvk, None, error, source);
    let (api_version, kind) = check::type_meta(&value).map_err(|error| refused(&error))?;
    if api_version.matches('/').count() > 1 {
        return Err(refused(&Error::Syntax(format!("unexpected GroupVersion string: {api_version}"))));
    }
    let (kind, api_version) = (kind.to_owned(), api_version.to_owned());
    if value.is_null() && !custom_resource {
        value = Value::Object(Map::new());
    }
    let Some(map) = value.as_object_mut() else {
        let text = format!("Object 'Kind' is missing in '{}'", String::from_utf8_lossy(source));
        return Err(refused(&Error::Syntax(text)));
    };
    let expected = gvk.api_version();
    if custom_resource {
        custom(gvk, (&kind, &api_version), map, source)?;
    } else {
        built_in(gvk, &kind, &api_version)?;
    }
    map.insert("kind".into(), (&*gvk.kind).into());
    map.insert("apiVersion".into(), expected.into());
    if !map.get("metadata").is_some_and(Value::is_object) {
        match map.get("metadata") {
            None | Some(Value::Null) => {
                map.insert("metadata".into(), Value::Object(serde_json::Map::new()));
            }
            Some(other) => {
                let error = Error::Decode(format!(
                    "json: cannot unmarshal {} into Go struct field {}.metadata of type v1.ObjectMeta",
                    json_word(other),
                    gvk.kind
                ));
                return Err(refuse(gvk, Some(&gvk.kind), &error, source));
            }
        }
    }
    Ok(value)
}

/// Refuses what is of another kind, which is looked for in all that there are, or of another version.
fn built_in(gvk: &Gvk, kind: &str, api_version: &str) -> Result<(), Status> {
    let (own, expected) = (&*gvk.kind, gvk.api_version());
    let kind = if kind.is_empty() { own } else { kind };
    let api_version = if api_version.is_empty() { &expected } else { api_version };
    if kind == own && api_version == expected {
        return Ok(());
    }
    let (group, version) = split_api_version(api_version);
    let why = if Schema::builtin(group, version, kind).is_none() {
        // Where upstream makes the one for all groups.
        let scheme = "pkg/api/legacyscheme/scheme.go:30";
        format!("no kind {kind:?} is registered for version {api_version:?} in scheme {scheme:?}")
    } else if kind != own {
        // Upstream's package of the group; events are those of the core in every version.
        let package = match gvk.group.split('.').next() {
            Some("" | "events") | None => "core",
            Some(package) => package,
        };
        format!("converting ({version}.{kind}) to ({package}.{own}): unknown conversion")
    } else {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    };
    Err(Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {own}: {why}")))
}

/// The same of a custom resource, which has to say itself what it is.
fn custom(
    gvk: &Gvk,
    (kind, api_version): (&str, &str),
    object: &Map<String, Value>,
    source: &[u8],
) -> Result<(), Status> {
    if kind.is_empty() {
        let text = format!("Object 'Kind' is missing in '{}'", String::from_utf8_lossy(source));
        return Err(refuse(gvk, None, &Error::Syntax(text), source));
    }
    let expected = gvk.api_version();
    if api_version == expected && *kind != *gvk.kind {
        let name = object.get("metadata").and_then(|metadata| metadata["name"].as_str());
        let error = FieldError::invalid(&Path::root("kind"), kind, &format!("must be {}", gvk.kind));
        return Err(Status::invalid(&gvk.group, kind, name.unwrap_or_default(), &[error]));
    }
    if api_version.is_empty() {
        return Err(Status::bad_request(format!(
            "the API version in the data () does not match the expected API version ({expected})"
        )));
    }
    Ok(())
}

/// What a value is, in the words of Go's decoder.
pub fn json_word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The failure of an engine of the schema, as the API says it.
pub fn refuse(gvk: &Gvk, kind: Option<&str>, error: &Error, source: &[u8]) -> Status {
    let own = &gvk.kind;
    match error {
        Error::TooLarge(text) => Status::new(Reason::RequestEntityTooLarge, text.clone()),
        Error::Unprocessable(text) => {
            let mut status = Status::new(
                Reason::Invalid,
                "the server rejected our request due to an error in our request",
            );
            status.details.get_or_insert_default().causes.push(gifee_base::Cause {
                reason: "UnexpectedServerResponse".into(),
                message: text.clone(),
                field: String::new(),
            });
            status
        }
        Error::Internal(text) | Error::Table(text) => Status::internal(text),
        Error::Patch(text) => Status::bad_request(text.clone()),
        Error::Syntax(text) | Error::Decode(text) => match kind {
            Some(kind) => Status::bad_request(format!(
                "{kind} in version {:?} cannot be handled as a {own}: {text}",
                &*gvk.version
            )),
            None => Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {own}): {text} ({})",
                summary(source)
            )),
        },
    }
}

/// The beginning of a body, as upstream shows it.
fn summary(source: &[u8]) -> String {
    const SHOWN: usize = 30;
    let more = if source.len() > SHOWN { " ..." } else { "" };
    let head = &source[..source.len().min(SHOWN)];
    match source.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => {
            let hex: String = head.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}{more}")
        }
    }
}

/// Decodes the body of a call, whose kind is not that of the resource.
///
/// # Errors
/// As [`decode`].
pub async fn decode_call(request: &Request<'_>, body: Body, gvk: &Gvk) -> Result<Value, Status> {
    let schema = (request.server.config.schemas)(gvk);
    Ok(decode(request, body, gvk, schema.as_ref()).await?.value)
}

fn read(encoding: Encoding, bytes: &[u8]) -> Result<parse::Parsed, Error> {
    match encoding {
        Encoding::Json => parse::json(bytes).map_err(|error| match error {
            // Upstream meets it when it looks for what the text is about.
            Error::Syntax(text) => {
                Error::Syntax(format!("couldn't get version/kind; json parse error: {text}"))
            }
            other => other,
        }),
        Encoding::Yaml => parse::yaml(bytes),
        Encoding::Protobuf => {
            let value = protobuf::decode(bytes, &Schema::builtin)?;
            Ok(parse::Parsed { value, duplicates: Vec::new() })
        }
    }
}

/// Reads a body as the options of a deletion.
///
/// # Errors
/// 400 in upstream's words.
pub fn options(encoding: Encoding, bytes: &[u8]) -> Result<Value, Status> {
    const KIND: &str = "DeleteOptions";
    let refused = |error: Error| Status::bad_request(error.to_string());
    let mut value = read(encoding, bytes).map_err(refused)?.value;
    let (api_version, kind) = check::type_meta(&value).map_err(refused)?;
    if api_version.matches('/').count() > 1 {
        return Err(Status::bad_request(format!("unexpected GroupVersion string: {api_version}")));
    }
    if !matches!(kind, "" | KIND) {
        let version = if api_version.is_empty() { "meta.k8s.io/v1" } else { api_version };
        // Where upstream makes the one for the kinds of all groups.
        let scheme = "pkg/apis/meta/internalversion/scheme/register.go:27";
        return Err(Status::bad_request(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme {scheme:?}"
        )));
    }
    if let Some(schema) = Schema::builtin("meta.k8s.io", "v1", KIND).filter(|_| value.is_object()) {
        check::check(&schema, &mut value).map_err(refused)?;
    }
    Ok(value)
}
