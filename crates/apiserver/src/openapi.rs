//! OpenAPI, as made by `gifee_schema` from the index of kinds.
//!
//! Answers to kube-openapi's handlers: v2 as one document in JSON and protobuf, v3 as an index of documents
//! whose addresses name their content.

use crate::body::Body;
use crate::discovery::verb_word;
use crate::documents::{Caching, Document};
use crate::info::Query;
use crate::kinds::Kinds;
use crate::negotiate;
use crate::request::Request;
use gifee_base::{Gvk, Status};
use gifee_schema::openapi::{self, group_version_path as path};
use http::header::{HeaderValue, LOCATION, VARY};
use http::{Response, StatusCode};
use serde_json::{Map, Value};

/// What clients are told they get: the name they ask for is no media type that Go's parser takes.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Kinds of data that v2 comes as; whether each is protobuf.
const V2: [(&str, bool); 4] = [
    ("json", false),
    ("com.github.googleapis.gnostic.OpenAPIv2@68f4ded+protobuf", true),
    ("com.github.proto-openapi.spec.v2@v1.0+protobuf", true),
    ("com.github.proto-openapi.spec.v2.v1.0+protobuf", true),
];

/// An answer that says nothing.
fn bare(code: u16) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn resources(kinds: &Kinds) -> Vec<openapi::Resource> {
    let words = |verbs: &[_]| verbs.iter().map(|verb| verb_word(*verb).to_owned()).collect();
    let all = kinds.all().iter().filter_map(|one| {
        let kind = &one.kind;
        let subresources = kind.subresources.iter().map(|part| {
            let gvk = part.gvk.as_ref().unwrap_or(&kind.gvk);
            openapi::Subresource {
                name: part.name.to_string(),
                gvk: (gvk.group.to_string(), gvk.version.to_string(), gvk.kind.to_string()),
                verbs: words(part.verbs),
            }
        });
        Some(openapi::Resource {
            group: one.group().to_owned(),
            version: one.version().to_owned(),
            kind: kind.gvk.kind.to_string(),
            list_kind: kind.list_kind.to_string(),
            plural: one.name().to_owned(),
            namespaced: one.namespaced(),
            verbs: words(kind.verbs),
            subresources: subresources.collect(),
            selectable: match &kind.custom {
                Some(_) => kind.fields.iter().map(|field| field.name.to_string()).collect(),
                None => Vec::new(),
            },
            schema: one.schema.clone()?,
        })
    });
    all.collect()
}

/// How deep a schema is followed through what it refers to.
const DEPTH: usize = 24;

/// The published schema of a kind, with what it refers to in it.
pub fn schema(kinds: &Kinds, gvk: &Gvk) -> Option<Value> {
    let document = openapi::v3(&resources(kinds), &gvk.group, &gvk.version);
    let document: Value = serde_json::from_slice(&document).ok()?;
    let models = document["components"]["schemas"].as_object()?;
    let is = |model: &&Value| {
        let own = model["x-kubernetes-group-version-kind"].as_array().into_iter().flatten();
        own.into_iter().any(|one| {
            one["group"] == *gvk.group && one["version"] == *gvk.version && one["kind"] == *gvk.kind
        })
    };
    let mut found = models.values().find(is)?.clone();
    follow(&mut found, models, &mut Vec::new());
    Some(found)
}

/// Puts what a schema refers to in its place; what refers to itself is left out there.
fn follow(schema: &mut Value, models: &Map<String, Value>, within: &mut Vec<String>) {
    let reference = match schema["allOf"].as_array().map(Vec::as_slice) {
        Some([one]) => &one["$ref"],
        _ => &schema["$ref"],
    };
    let name = reference.as_str().and_then(|text| text.rsplit('/').next()).map(str::to_owned);
    let before = within.len();
    if let Some(name) = name {
        if within.contains(&name) || within.len() >= DEPTH {
            *schema = Value::Null;
            return;
        }
        *schema = models.get(&name).cloned().unwrap_or_default();
        within.push(name);
    }
    if schema["format"] == "int-or-string" {
        schema["x-kubernetes-int-or-string"] = true.into();
    }
    for (_, property) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        follow(property, models, within);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(inner).filter(|inner| inner.is_object()) {
            follow(inner, models, within);
        }
    }
    within.truncate(before);
}

/// Answers `/openapi/v2`.
pub fn v2(request: &Request<'_>) -> Result<Response<Body>, Status> {
    let kinds = request.server.kinds.load();
    let Some(protobuf) = negotiate::wanted(request.headers, &V2) else { return Ok(bare(406)) };
    let documents = &request.server.documents;
    let aggregator = &request.server.aggregator;
    let others = aggregator.generation();
    let foreign = || crate::aggregate::documents(aggregator);
    let document = if protobuf {
        documents.get(&kinds, others, "openapi v2 protobuf", PROTOBUF, || {
            openapi::v2_protobuf(&resources(&kinds), &foreign())
        })
    } else {
        documents.get(&kinds, others, "openapi v2", "application/json", || {
            openapi::v2(&resources(&kinds), &foreign())
        })
    };
    document.respond(request.headers, Caching::Revalidate)
}

/// The groups and versions that have a document, as their paths name them.
fn paths(kinds: &Kinds) -> Vec<(String, &str, &str)> {
    let mut paths: Vec<(String, &str, &str)> = Vec::new();
    for one in kinds.all() {
        let path = path(one.group(), one.version());
        if !paths.iter().any(|(known, _, _)| *known == path) {
            paths.push((path, one.group(), one.version()));
        }
    }
    paths
}

fn document(request: &Request<'_>, kinds: &Kinds, group: &str, version: &str) -> Document {
    let name = format!("openapi v3 {}", path(group, version));
    request.server.documents.get(
        kinds,
        request.server.aggregator.generation(),
        &name,
        "application/json",
        || openapi::v3(&resources(kinds), group, version),
    )
}

/// Answers `/openapi/v3` and what is below it.
pub fn v3(request: &Request<'_>, parts: &[&str]) -> Result<Response<Body>, Status> {
    let kinds = request.server.kinds.load();
    if parts.is_empty() {
        let hash = |(path, group, version): (String, &str, &str)| {
            let hash = document(request, &kinds, group, version).hash;
            (path, hash)
        };
        let others = request.server.aggregator.generation();
        let name = "openapi v3";
        let index = request.server.documents.get(&kinds, others, name, "application/json", || {
            let all: Vec<_> = paths(&kinds).into_iter().map(hash).collect();
            let foreign = crate::aggregate::addresses(&request.server.aggregator);
            openapi::v3_index(&all, &foreign).to_string().into_bytes()
        });
        return index.respond(request.headers, Caching::Revalidate);
    }
    let (group, version) = match parts {
        ["api", version] => ("", *version),
        ["apis", group, version] if !group.is_empty() => (*group, *version),
        _ => return Ok(bare(404)),
    };
    if !kinds.serves(group, version) {
        return Ok(bare(404));
    }
    if negotiate::wanted(request.headers, &[("json", ())]).is_none() {
        return Ok(bare(406));
    }
    let document = document(request, &kinds, group, version);
    match Query::parse(request.query_text).get("hash") {
        None => document.respond(request.headers, Caching::Revalidate),
        Some(hash) if hash == document.hash => document.respond(request.headers, Caching::Immutable),
        Some(_) => {
            // The address is of a former content: the present one has another.
            let mut response = crate::respond::bytes(301, "text/plain", Body::empty());
            let address = format!("/openapi/v3/{}?hash={}", path(group, version), document.hash);
            if let Ok(address) = HeaderValue::from_str(&address) {
                response.headers_mut().insert(LOCATION, address);
            }
            Ok(response)
        }
    }
}
