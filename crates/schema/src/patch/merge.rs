//! JSON merge patch: nulls delete, objects merge, all else replaces. Nulls inside new values vanish too, mostly also
//! those in objects in lists.

use serde_json::Value;

pub(super) fn apply(current: Value, patch: Value) -> Value {
    match (current, patch) {
        (Value::Object(mut current), Value::Object(patch)) => {
            for (name, value) in patch {
                match (value, current.remove(&name)) {
                    (Value::Null, _) => {}
                    (mut value, None | Some(Value::Null)) => {
                        prune(&mut value);
                        current.insert(name, value);
                    }
                    (value, Some(present)) => {
                        current.insert(name, apply(present, value));
                    }
                }
            }
            Value::Object(current)
        }
        // Upstream leaves nulls in a list that takes an object's place.
        (Value::Object(_), patch) => patch,
        (_, mut patch) => {
            prune(&mut patch);
            patch
        }
    }
}

/// Removes null members of objects, however deep.
pub(super) fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}
