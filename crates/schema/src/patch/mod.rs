//! The patch functions: pure, a tree and a patch to a tree. Server-side apply joins them later in the same form.
//!
//! Invariant: what comes out is not deeper than what parsing lets in, and no patch makes work or memory out of
//! proportion to its size. None looks at types but strategic merge; the caller runs
//! [`check`](crate::check::check) on what comes out. Answers to apimachinery's `strategicpatch` and to evanphx/json-patch v4 as the
//! API server uses it, which is laxer than RFC 6902 and 7396; hence no library of ours.

mod json;
mod list;
mod merge;
mod strategic;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::{Error, Result, Schema, go};

/// The most operations a JSON patch may have, as upstream.
pub const MAXIMUM_JSON_PATCH_OPERATIONS: usize = 10_000;

/// The most bytes of JSON that a JSON patch's copies may add together, as upstream.
pub const MAXIMUM_JSON_PATCH_COPY_BYTES: usize = 3 << 20;

/// A JSON patch (`application/json-patch+json`). `patch` is the parsed body.
///
/// # Errors
/// 400 for a malformed patch, 413 for too many operations, 422 for one that does not apply.
pub fn json(current: Value, patch: &Value) -> Result<Value> {
    json::apply(current, patch)
}

/// What strict validation says about a JSON patch: fields that operations do not have.
pub fn json_findings(patch: &Value) -> Vec<String> {
    json::findings(patch)
}

/// A JSON merge patch (`application/merge-patch+json`). `patch` is the parsed body.
///
/// # Errors
/// 400 for a patch that is no object.
pub fn merge(current: Value, patch: Value) -> Result<Value> {
    object(&patch, "error decoding patch: ")?;
    Ok(merge::apply(current, patch))
}

/// A strategic merge patch (`application/strategic-merge-patch+json`), by the schema's merge keys and strategies:
/// `$patch` replace and delete, `$deleteFromPrimitiveList/FIELD`, `$setElementOrder/FIELD`, `$retainKeys`.
/// Custom resources have no strategies: for them a server answers 415.
///
/// # Errors
/// 400 for a malformed patch, 422 for one that does not fit, 500 where upstream has no status for its error.
pub fn strategic(schema: &Schema, current: Value, patch: Value) -> Result<Value> {
    object(&patch, "")?;
    let (Value::Object(current), Value::Object(patch)) = (current, patch) else {
        return Err(Error::Internal("the current object is no object".to_string()));
    };
    strategic::merge_map(schema.types(), schema.root(), current, patch).map(Value::Object)
}

fn object(patch: &Value, prefix: &str) -> Result<()> {
    if patch.is_object() {
        return Ok(());
    }
    let word = match patch {
        // Read into a map, null is an empty one; nothing upstream is left of such a patch.
        Value::Null => "null",
        Value::Array(_) => "array",
        other => go::json_word(other),
    };
    Err(Error::Patch(format!(
        "{prefix}json: cannot unmarshal {word} into Go value of type map[string]interface {{}}"
    )))
}
