//! What strict field validation says: unknown and duplicate fields in one order and one text.

use super::Findings;
use crate::go::quote;
use crate::parse::{Found, MAXIMUM_FINDINGS, Parsed, in_order};

/// One text for each unknown or duplicate field, `unknown field "spec.foo"`: what a server warns of, or refuses with
/// [`strict_error`]. `source` is the JSON body, whose order they take; None for a body that was YAML, whose order
/// is that of names.
pub fn strict_findings(source: Option<&[u8]>, parsed: &Parsed, findings: &Findings) -> Vec<String> {
    let unknown = |path: &String| format!("unknown field {}", quote(path));
    if findings.unknown.is_empty() {
        return parsed.duplicates.clone();
    }
    let ordered = source.and_then(|bytes| in_order(bytes, &findings.unknown));
    let Some(ordered) = ordered else {
        return parsed.duplicates.iter().cloned().chain(findings.unknown.iter().map(unknown)).collect();
    };
    ordered
        .iter()
        .take(MAXIMUM_FINDINGS)
        .map(|found| match found {
            Found::Unknown(path) => unknown(path),
            Found::Duplicate(path) => format!("duplicate field {}", quote(path)),
        })
        .collect()
}

/// The text of the error a server refuses them with; it answers 400 with
/// [`cannot_be_handled`](super::cannot_be_handled) around it for JSON.
pub fn strict_error(findings: &[String]) -> String {
    format!("strict decoding error: {}", findings.join(", "))
}
