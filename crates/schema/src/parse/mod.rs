//! Bytes to a tree: JSON and YAML as Kubernetes' own decoders read them.
//!
//! Invariant: no input can overflow the stack, expand without bound or panic. Answers to `sigs.k8s.io/json`
//! and `sigs.k8s.io/yaml`.

mod json;
mod path;
mod scalar;
#[cfg(test)]
mod tests;
mod yaml;

use serde_json::Value;

pub(crate) use json::{Found, in_order};
pub use yaml::Documents;

use crate::Result;

/// A decoded document.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The tree. Of a field given twice, the last one stands.
    pub value: Value,
    /// What is wrong with fields given more than once, as upstream words it: of JSON, one text
    /// `duplicate field "spec.containers[0].name"` each, in document order; of YAML, one text for all. At most 100.
    pub duplicates: Vec<String>,
}

/// The deepest nesting of objects and arrays that is read; deeper is the error `exceeded max depth`. Upstream
/// reads 10,000; every walk over a tree is recursive, so what is let in here is what a thread's stack can hold.
pub const MAXIMUM_DEPTH: usize = 500;

/// The most findings about one document that are kept, as upstream.
pub(crate) const MAXIMUM_FINDINGS: usize = 100;

/// The most nodes the aliases of one YAML document may stand for together.
pub const MAXIMUM_ALIAS_NODES: usize = 100_000;

/// Reads one JSON document; anything but white space after it is an error. Whole numbers within int64 are kept
/// exact, others become floats; bytes that are no UTF-8 become U+FFFD.
///
/// # Errors
/// `Error::Syntax` in the words of Go's scanner.
pub fn json(bytes: &[u8]) -> Result<Parsed> {
    json::parse(bytes)
}

/// Reads the first document of a YAML (or JSON) text; further documents are ignored, as upstream does. An empty
/// text is null.
///
/// # Errors
/// `Error::Syntax`, starting with `yaml: `.
pub fn yaml(bytes: &[u8]) -> Result<Parsed> {
    if looks_like_json(bytes)
        && let Ok(parsed) = json(bytes)
    {
        return Ok(parsed);
    }
    Documents::new(bytes)?.first()
}

/// The documents of a YAML text one after the other, empty ones left out.
///
/// # Errors
/// `Error::Syntax` if the text is not UTF-8.
pub fn yaml_documents(bytes: &[u8]) -> Result<Documents<'_>> {
    Documents::new(bytes)
}

/// Whether a body looks like JSON, as upstream tells the two apart.
pub fn looks_like_json(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}
