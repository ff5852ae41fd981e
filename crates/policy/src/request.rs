//! The user and the attributes of a request, as authorizers and admission see them.
//!
//! Answers to upstream's `user.Info` and `authorizer.Attributes`.

use std::collections::BTreeMap;
use std::sync::Arc;

/// An authenticated identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name, such as `system:node:a` or `system:serviceaccount:default:default`.
    pub name: String,
    /// UID; empty for certificates.
    pub uid: String,
    /// Groups, `system:authenticated` among them.
    pub groups: Vec<String>,
    /// Extra attributes.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What is asked, of what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Who asks.
    pub user: Arc<User>,
    /// `get`, `list`, `watch`, `create`, …; the lower-case method for a path that is no resource.
    pub verb: String,
    /// Whether a resource is asked for, else only `path` counts.
    pub is_resource: bool,
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural resource.
    pub resource: String,
    /// Subresource or empty.
    pub subresource: String,
    /// Namespace or empty.
    pub namespace: String,
    /// Name or empty.
    pub name: String,
    /// URL path.
    pub path: String,
    /// Field selector of a list, watch or deletecollection, as sent.
    pub field_selector: String,
    /// Label selector of a list, watch or deletecollection, as sent.
    pub label_selector: String,
}
