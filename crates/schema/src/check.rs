//! One walk of a tree beside its schema: prunes unknown fields, refuses wrong types, makes values canonical.
//!
//! Invariant: what it returns without error re-encodes as upstream's typed round trip would. Answers to
//! decoding into and encoding from Go structs.

use serde_json::Value;

use crate::{Result, Schema};

/// What a walk found besides errors.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Paths of unknown fields (now removed), such as `spec.containers[0].foo`, at most 100.
    pub unknown: Vec<String>,
}

/// Walks `value` in place: removes unknown fields and nulls, canonicalises quantities, times, durations and
/// base64, drops zero values that Go omits and adds those it always writes. The error is `Error::Decode` in
/// Go's words, `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`.
pub fn check(schema: &Schema, value: &mut Value) -> Result<Findings> {
    let _ = (schema, value);
    unimplemented!()
}

/// The text of a strict decoding error for what parsing and checking found, in document order:
/// `strict decoding error: unknown field "spec.foo", duplicate field "metadata.name"`; and each finding by
/// itself, for warnings: `unknown field "spec.foo"`. None if nothing was found.
pub fn strict_findings(source: &[u8], duplicates: &[String], findings: &Findings) -> Vec<String> {
    let _ = (source, duplicates, findings);
    unimplemented!()
}
