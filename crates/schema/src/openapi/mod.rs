//! OpenAPI documents made on demand from schemas and a list of resources. The caller caches them, compressed.
//!
//! Documents are written piece by piece, so that making one takes little more memory than its bytes. Upstream's
//! parameters' descriptions and its deprecated `/watch/` paths are left out; no client reads them. Answers to
//! kube-openapi's builder, builder3 and handler, and to gnostic's protobuf form of version 2.

mod custom;
mod definitions;
mod descriptions;
mod others;
mod paths;
mod protobuf;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::Schema;
use definitions::Definitions;
pub use others::Other;

/// One resource as discovery knows it.
#[derive(Clone, Debug)]
pub struct Resource {
    /// API group; empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind of the objects.
    pub kind: String,
    /// Kind of their lists.
    pub list_kind: String,
    /// Plural name in paths.
    pub plural: String,
    /// Whether paths have `namespaces/{namespace}`.
    pub namespaced: bool,
    /// Verbs as in discovery.
    pub verbs: Vec<String>,
    /// Fields of custom resources that lists can be selected by.
    pub selectable: Vec<String>,
    /// Subresources.
    pub subresources: Vec<Subresource>,
    /// Schema of the objects.
    pub schema: Schema,
}

/// One subresource of a [`Resource`].
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Name in paths, such as `status`.
    pub name: String,
    /// Group, version and kind of what it takes and gives; the resource's own for `status`.
    pub gvk: (String, String, String),
    /// Verbs as in discovery.
    pub verbs: Vec<String>,
}

/// Which of the two forms is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    V2,
    V3,
}

impl Form {
    fn reference(self, model: &str) -> Value {
        match self {
            Form::V2 => json!({"$ref": format!("#/definitions/{model}")}),
            Form::V3 => json!({"$ref": format!("#/components/schemas/{model}")}),
        }
    }
}

/// `api/v1` or `apis/apps/v1`: the path of a group and version, which is its key in the index of version 3.
pub fn group_version_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The OpenAPI v3 document, as JSON, of one group and version: of `/openapi/v3/apis/apps/v1`.
pub fn v3(resources: &[Resource], group: &str, version: &str) -> Vec<u8> {
    let own: Vec<&Resource> =
        resources.iter().filter(|resource| resource.group == group && resource.version == version).collect();
    let definitions = Definitions::new(Form::V3, &own, resources);
    let mut out = Vec::with_capacity(256 << 10);
    out.extend_from_slice(b"{\"components\":{\"schemas\":");
    object(&mut out, definitions.each());
    out.extend_from_slice(
        b"},\"info\":{\"title\":\"Kubernetes\",\"version\":\"unversioned\"},\"openapi\":\"3.0.0\",\"paths\":",
    );
    object(&mut out, paths::all(Form::V3, &own).into_iter());
    out.push(b'}');
    out
}

/// The index at `/openapi/v3`: of each document its path, as [`group_version_path`] gives it, and a hash of its content,
/// which clients cache it by; of those of others their path and address.
pub fn v3_index(documents: &[(String, String)], others: &[(String, String)]) -> Value {
    let address = |(path, hash): &(String, String)| format!("/openapi/v3/{path}?hash={hash}");
    let own = documents.iter().map(|one| (one.0.clone(), address(one)));
    let all = own.chain(others.iter().cloned());
    let entry = |(path, address): (String, String)| (path, json!({ "serverRelativeURL": address }));
    json!({"paths": all.map(entry).collect::<serde_json::Map<_, _>>()})
}

/// The OpenAPI v2 document of all resources and of what others serve, as JSON.
pub fn v2(resources: &[Resource], others: &[Other]) -> Vec<u8> {
    let own: Vec<&Resource> = resources.iter().collect();
    let definitions = Definitions::new(Form::V2, &own, resources);
    let mut out = Vec::with_capacity(2 << 20);
    out.extend_from_slice(b"{\"definitions\":");
    object(&mut out, definitions.each().chain(foreign(&definitions, others)));
    out.extend_from_slice(b",\"info\":{\"title\":\"Kubernetes\",\"version\":\"unversioned\"},\"paths\":");
    let paths = paths::all(Form::V2, &own).into_iter();
    object(&mut out, paths.chain(others.iter().flat_map(Other::paths)));
    out.extend_from_slice(b",\"swagger\":\"2.0\"}");
    out
}

/// The same as protobuf, `gnostic.openapi.v2.Document`, which kubectl before 1.27 asks for.
pub fn v2_protobuf(resources: &[Resource], others: &[Other]) -> Vec<u8> {
    let own: Vec<&Resource> = resources.iter().collect();
    let definitions = Definitions::new(Form::V2, &own, resources);
    let paths = paths::all(Form::V2, &own).into_iter();
    let paths = paths.chain(others.iter().flat_map(Other::paths));
    protobuf::document(definitions.each().chain(foreign(&definitions, others)), paths)
}

/// Models of others that are not there yet.
fn foreign<'a>(definitions: &Definitions<'_>, others: &'a [Other]) -> impl Iterator<Item = (&'a str, Value)> {
    let known = if others.is_empty() { BTreeSet::new() } else { definitions.names() };
    others::models(others, &known).into_iter()
}

fn object<N: AsRef<str>>(out: &mut Vec<u8>, fields: impl Iterator<Item = (N, Value)>) {
    out.push(b'{');
    for (index, (name, value)) in fields.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        // Writing trees of text keys into memory cannot fail.
        let _ = serde_json::to_writer(&mut *out, name.as_ref());
        out.push(b':');
        let _ = serde_json::to_writer(&mut *out, &value);
    }
    out.push(b'}');
}

/// Every group and version that is served, and core's, for the kinds that belong to all.
fn group_versions(resources: &[Resource]) -> BTreeSet<(String, String)> {
    let core = (String::new(), "v1".to_string());
    resources
        .iter()
        .map(|resource| (resource.group.clone(), resource.version.clone()))
        .chain([core])
        .collect()
}

/// Kinds served under one model: several where a model belongs to more than one group.
type Kinds = BTreeMap<String, Vec<Value>>;
