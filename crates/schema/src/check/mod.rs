//! One walk of a tree beside its schema: prunes unknown fields, refuses wrong types, makes values canonical.
//!
//! Invariant: what it leaves is what upstream's JSON would be after a round trip through Go's types, but for
//! one thing: a field that Go would write as `null` is absent. Walking twice changes nothing more. Answers to
//! decoding into and encoding from Go structs.

mod base64;
pub mod duration;
mod strict;
#[cfg(test)]
mod tests;
mod time;
mod walk;

use serde_json::Value;

pub use duration::{parse as parse_duration, print as print_duration};
pub use strict::{strict_error, strict_findings};
pub use time::canonical as canonical_time;

use crate::shape::{NodeId, Types};
use crate::structural::prune;
use crate::{Error, Result, Schema, go};

/// What a walk found besides errors.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Paths of unknown fields (now removed), such as `spec.containers[0].foo`, at most 100.
    pub unknown: Vec<String>,
}

/// Walks `value` in place. Unknown fields are removed and reported, whatever the case of their letters differs
/// in; nulls are removed (in lists and maps they become zero values); quantities, times, durations and base64
/// take their canonical form; zero values that Go omits are removed, those that Go always writes are added, down
/// to `status: {}`. Code that adds to an object afterwards may call it again.
///
/// # Errors
/// `Error::Decode` in Go's words, `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas
/// of type int32`; a server answers 400 with [`cannot_be_handled`] around it.
pub fn check(schema: &Schema, value: &mut Value) -> Result<Findings> {
    match schema.structural() {
        Some(structural) => prune::settle(structural, schema.types(), schema.root(), value),
        None => walk::walk(schema.types(), schema.root(), value),
    }
}

/// The same, of a node of an arena.
pub(crate) fn at(types: &Types, node: NodeId, value: &mut Value) -> Result<Findings> {
    walk::walk(types, node, value)
}

/// The text a server answers with when a body does not decode.
pub fn cannot_be_handled(version: &str, kind: &str, error: &Error) -> String {
    format!("{kind} in version {version:?} cannot be handled as a {kind}: {error}")
}

/// `apiVersion` and `kind` of a body, empty where absent.
///
/// # Errors
/// `Error::Decode` if the body is no object or one of them is no text, in upstream's words.
pub fn type_meta(value: &Value) -> Result<(&str, &str)> {
    let refused =
        |message: String| Error::Decode(format!("couldn't get version/kind; json parse error: {message}"));
    let object = match value {
        Value::Object(object) => object,
        Value::Null => return Ok(("", "")),
        other => {
            return Err(refused(format!(
                "json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \
                 \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
                go::json_word(other)
            )));
        }
    };
    let read = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(refused(format!(
            "json: cannot unmarshal {} into Go struct field .{name} of type string",
            go::json_word(other)
        ))),
    };
    Ok((read("apiVersion")?, read("kind")?))
}
