//! The JSON merge patch between two trees: what a controller writes, and whether it must write at all.

use gifee_base::Object;
use serde_json::{Map, Value, json};

/// The merge patch that turns `old` into `new`; none if they are equal. Lists are replaced whole.
pub fn difference(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Some(new.clone()) };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        // A null in the new tree means absence, as it does in a patch.
        let change = match old.get(key) {
            None if value.is_null() => None,
            None => Some(value.clone()),
            Some(present) => difference(present, value),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// The merge patch that gives an object another status; none if it has it. It carries the resource
/// version, so that a status planned on a stale view meets a conflict.
pub fn status(object: &Object, old: &Value, new: &Value) -> Option<Value> {
    difference(old, new).map(|change| pinned(object, json!({ "status": change })))
}

/// Adds the object's resource version to a merge patch of it.
pub fn pinned(object: &Object, mut patch: Value) -> Value {
    patch["metadata"]["resourceVersion"] = object.revision().to_string().into();
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_merging_needs() {
        let check =
            |old: Value, new: Value, expected: Option<Value>| assert_eq!(difference(&old, &new), expected);
        check(json!({ "a": 1, "b": { "c": [1] } }), json!({ "a": 1, "b": { "c": [1] } }), None);
        check(json!({ "a": 1, "b": 2 }), json!({ "b": 3, "c": null }), Some(json!({ "a": null, "b": 3 })));
        check(
            json!({ "a": { "b": 1, "c": 1 } }),
            json!({ "a": { "b": 1 } }),
            Some(json!({ "a": { "c": null } })),
        );
        check(json!(null), json!({ "a": 1 }), Some(json!({ "a": 1 })));
    }
}
