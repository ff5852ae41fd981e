//! Is what they ask acceptable, and what is added to it: the ordered admission RULES.
//!
//! Answers to upstream's admission chain. Mutating rules run in the order of the table, then, after validation of
//! the object itself, the validating ones. A rule is one file and one row.

mod namespace_lifecycle;
mod node_restriction;
mod priority;
mod service_account;
mod tolerations;

use crate::{Lookup, User};
use gifee_base::{Gvk, Object, Status};
use serde_json::Value;
use std::sync::Arc;

/// What is being done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A changed object, or a changed part of it.
    Update,
    /// An object goes.
    Delete,
    /// A stream or proxy is opened.
    Connect,
}

/// A write on its way to the store.
pub struct Request<'a> {
    /// What.
    pub operation: Operation,
    /// Kind of the object.
    pub gvk: &'a Gvk,
    /// Plural resource.
    pub resource: &'a str,
    /// Subresource or empty.
    pub subresource: &'a str,
    /// Namespace or empty.
    pub namespace: &'a str,
    /// Name; empty while it is still to be generated.
    pub name: &'a str,
    /// Who asks.
    pub user: &'a User,
    /// The object as it is in the store.
    pub old: Option<&'a Value>,
    /// Whether nothing will be written.
    pub dry_run: bool,
}

impl Request<'_> {
    /// Whether the request is for this resource itself, none of its subresources.
    pub fn is(&self, group: &str, resource: &str) -> bool {
        &*self.gvk.group == group && self.resource == resource && self.subresource.is_empty()
    }

    fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(&self.gvk.group, self.resource, self.name, why)
    }
}

/// One admission rule. Both functions do nothing by default.
pub trait Rule: Send + Sync {
    /// Name, as upstream's plugin has it.
    fn name(&self) -> &'static str;

    /// Changes the object or refuses the request.
    ///
    /// # Errors
    /// The refusal.
    fn mutate(
        &self,
        _request: &Request<'_>,
        _object: &mut Value,
        _lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses the request, or not; `object` is null for a deletion.
    ///
    /// # Errors
    /// The refusal.
    fn validate(&self, _request: &Request<'_>, _object: &Value, _lookup: &dyn Lookup) -> Result<(), Status> {
        Ok(())
    }
}

/// All built-in rules in upstream's order.
pub const RULES: &[&dyn Rule] = &[
    &namespace_lifecycle::NamespaceLifecycle,
    &service_account::ServiceAccount,
    &node_restriction::NodeRestriction,
    &tolerations::TaintNodesByCondition,
    &priority::Priority,
    &tolerations::DefaultTolerationSeconds,
];

/// Runs the mutating half of RULES.
///
/// # Errors
/// The first refusal.
pub fn mutate(request: &Request<'_>, object: &mut Value, lookup: &dyn Lookup) -> Result<(), Status> {
    RULES.iter().try_for_each(|rule| rule.mutate(request, object, lookup))
}

/// Runs the validating half of RULES.
///
/// # Errors
/// The first refusal.
pub fn validate(request: &Request<'_>, object: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
    RULES.iter().try_for_each(|rule| rule.validate(request, object, lookup))
}

fn decoded(object: Option<Arc<Object>>) -> Option<Value> {
    object.and_then(|object| object.to_value().ok())
}

#[cfg(test)]
mod tests;
