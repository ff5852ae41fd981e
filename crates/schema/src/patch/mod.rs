//! The patch functions: pure, tree and patch to tree. Server-side apply joins them later in the same form.
//!
//! Answers to apimachinery's `strategicpatch` and to RFC 6902 and 7396 as the API server applies them.

use serde_json::Value;

use crate::{Result, Schema};

/// The most operations a JSON patch may have, as upstream.
pub const MAXIMUM_JSON_PATCH_OPERATIONS: usize = 10_000;

/// RFC 6902. `patch` is the parsed body.
pub fn json(current: Value, patch: &Value) -> Result<Value> {
    let _ = (current, patch);
    unimplemented!()
}

/// RFC 7396.
pub fn merge(current: Value, patch: &Value) -> Result<Value> {
    let _ = (current, patch);
    unimplemented!()
}

/// Kubernetes' strategic merge, by the schema's merge keys and strategies.
pub fn strategic(schema: &Schema, current: Value, patch: Value) -> Result<Value> {
    let _ = (schema, current, patch);
    unimplemented!()
}
