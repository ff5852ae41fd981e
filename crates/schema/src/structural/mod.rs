//! Structural schemas of custom resources: what an OpenAPI v3 schema of a CustomResourceDefinition says, as a tree.
//!
//! Every engine that custom resources need besides those that work from the arena alone walks a JSON tree and this
//! one side by side: [`prune`], defaults, value validation, list uniqueness, embedded resources, rules in CEL.
//! [`Structural::types`] makes of it the arena that merge, patches and apply work from. Invariant: a tree is as deep as
//! the definition it was read from, which the parser bounds; walks stop at the value's depth. Answers to
//! apiextensions-apiserver's `pkg/apiserver/schema` and to kube-openapi's `validation/validate`.

mod arena;
mod default;
mod embedded;
mod format;
mod lists;
mod number;
pub(crate) mod pattern;
pub(crate) mod prune;
mod read;
pub mod rules;
#[cfg(test)]
mod tests;
mod validate;

use crate::shape::ListKind;
use serde_json::Value;
use std::collections::BTreeMap;

pub use format::unrecognized;
pub use pattern::Pattern;
pub use rules::Rules;
pub use validate::{Old, unsettled};

/// A JSON type that a schema may demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Type {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

impl Type {
    /// The word of OpenAPI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }
}

/// What an object may hold besides its properties.
#[derive(Clone, Debug, PartialEq)]
pub enum Additional {
    /// `additionalProperties: true` or `false`.
    Allowed(bool),
    /// Values of one schema.
    Schema(Box<Structural>),
}

/// One node of a schema. Within `allOf`, `anyOf`, `oneOf` and `not` only its limits are used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Structural {
    /// The demanded type; None where none is said, or where integers and strings are both allowed.
    pub kind: Option<Type>,
    /// Null is allowed.
    pub nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`
    pub preserve: bool,
    /// `x-kubernetes-embedded-resource`
    pub embedded: bool,
    /// `x-kubernetes-int-or-string`
    pub int_or_string: bool,
    /// Known fields.
    pub properties: BTreeMap<Box<str>, Structural>,
    /// Other fields.
    pub additional: Option<Additional>,
    /// Items of a list.
    pub items: Option<Box<Structural>>,
    /// What stands in for an absent value.
    pub default: Option<Value>,
    /// `x-kubernetes-list-type`
    pub list: Option<ListKind>,
    /// `x-kubernetes-list-map-keys`
    pub keys: Vec<Box<str>>,
    /// `x-kubernetes-map-type: atomic`
    pub atomic: bool,
    /// Value validation.
    pub limits: Option<Box<Limits>>,
    /// `x-kubernetes-validations`
    pub rules: Vec<Rule>,
}

/// The keywords that restrict values without saying anything about structure.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Limits {
    /// Empty if there is none or it is not a supported one for the type.
    pub format: Box<str>,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
    pub max_length: Option<i64>,
    pub min_length: Option<i64>,
    pub pattern: Option<Pattern>,
    pub max_items: Option<i64>,
    pub min_items: Option<i64>,
    pub unique_items: bool,
    pub max_properties: Option<i64>,
    pub min_properties: Option<i64>,
    pub required: Vec<Box<str>>,
    pub values: Vec<Value>,
    pub all_of: Vec<Structural>,
    pub any_of: Vec<Structural>,
    pub one_of: Vec<Structural>,
    pub not: Option<Box<Structural>>,
}

/// One rule of `x-kubernetes-validations`, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The expression that must be true.
    pub rule: String,
    /// What is said if it is not.
    pub message: String,
    /// An expression that gives what is said.
    pub message_expression: String,
    /// Reason of the error; empty: `FieldValueInvalid`.
    pub reason: String,
    /// Path, below the node, at which it is reported.
    pub field_path: String,
    /// Whether `oldSelf` is optional and the rule holds on creation, too.
    pub optional_old_self: Option<bool>,
}

impl Structural {
    /// Reads an `openAPIV3Schema`. What is malformed counts as absent: the definition's own validation speaks of it.
    pub fn read(schema: &Value) -> Self {
        read::node(schema)
    }

    /// The schema of a field: a property, or what all other fields have in common.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match (self.properties.get(name), &self.additional) {
            (Some(property), _) => Some(property),
            (None, Some(Additional::Schema(schema))) => Some(schema),
            _ => None,
        }
    }

    /// Whether a node or anything below it satisfies a predicate; nested value validations are not looked at.
    pub fn any(&self, test: &mut dyn FnMut(&Self) -> bool) -> bool {
        test(self)
            || self.properties.values().any(|one| one.any(test))
            || matches!(&self.additional, Some(Additional::Schema(one)) if one.any(test))
            || self.items.as_ref().is_some_and(|one| one.any(test))
    }
}
