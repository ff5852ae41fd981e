//! OpenAPI documents made on demand from schemas and a list of resources. The caller caches them.
//!
//! Answers to kube-openapi's builder, builder3 and handler.

use serde_json::Value;

use crate::Schema;

/// One resource as discovery knows it.
#[derive(Clone, Debug)]
pub struct Resource {
    /// API group; empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind of the objects.
    pub kind: String,
    /// Plural name in paths.
    pub plural: String,
    /// Whether paths have `namespaces/{namespace}`.
    pub namespaced: bool,
    /// Verbs as in discovery.
    pub verbs: Vec<String>,
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
    /// Group, version and kind of what it takes and gives.
    pub gvk: (String, String, String),
    /// Verbs as in discovery.
    pub verbs: Vec<String>,
}

/// The OpenAPI v3 document of one group and version: of `/openapi/v3/apis/apps/v1`.
pub fn v3(resources: &[Resource], group: &str, version: &str) -> Value {
    let _ = (resources, group, version);
    unimplemented!()
}

/// The index at `/openapi/v3`. `hash` gives the hash of a path's document (`apis/apps/v1`), which goes into its URL.
pub fn v3_index(paths: &[(String, String)]) -> Value {
    let _ = paths;
    unimplemented!()
}

/// The OpenAPI v2 document of all resources, as JSON.
pub fn v2(resources: &[Resource]) -> Value {
    let _ = resources;
    unimplemented!()
}

/// The same as protobuf (`gnostic.openapi.v2.Document`).
pub fn v2_protobuf(document: &Value) -> Vec<u8> {
    let _ = document;
    unimplemented!()
}
