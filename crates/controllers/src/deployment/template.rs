//! When two pod templates are the same, and a short name for one.
//!
//! Upstream hashes Go's own rendering of the struct, which nothing else can compute; here it is the
//! canonical JSON. Only new replica sets are named by it: existing ones are found by their template.

use super::view::TEMPLATE_HASH;
use gifee_base::name;
use serde_json::Value;

const OFFSET: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

/// Without what does not count: the hash label, and fields that are empty or null.
fn normal(template: &Value) -> Value {
    fn strip(value: &Value) -> Option<Value> {
        match value {
            Value::Null => None,
            Value::Object(map) => {
                let kept: serde_json::Map<_, _> =
                    map.iter().filter_map(|(key, value)| Some((key.clone(), strip(value)?))).collect();
                (!kept.is_empty()).then_some(Value::Object(kept))
            }
            Value::Array(list) if list.is_empty() => None,
            // An element keeps its place even if it is empty.
            Value::Array(list) => {
                Some(Value::Array(list.iter().map(|one| strip(one).unwrap_or(Value::Null)).collect()))
            }
            other => Some(other.clone()),
        }
    }
    let mut template = template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(TEMPLATE_HASH);
    }
    strip(&template).unwrap_or(Value::Null)
}

/// Whether two templates make the same pods.
pub fn same(a: &Value, b: &Value) -> bool {
    normal(a) == normal(b)
}

/// A short name of a template, stable for ever: FNV-1a of the canonical JSON and, once a name was found
/// taken, of how often that happened.
pub fn hash(template: &Value, collisions: Option<i64>) -> String {
    let mut text = normal(template).to_string();
    if let Some(count) = collisions {
        text.push_str(&count.to_string());
    }
    let hash = text.bytes().fold(OFFSET, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME));
    name::safe_encode(&hash.to_string())
}
