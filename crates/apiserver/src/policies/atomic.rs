//! Parts of an apply configuration that could only be replaced whole, which a policy may not do by accident.
//!
//! Answers to the search in apiserver's `policy/mutating/patch/smd.go`.

use gifee_schema::{FieldFlags, ListKind, NodeId, Schema, Shape, Types};
use serde_json::Value;

/// Paths of atomic lists, maps and structs in a configuration.
pub fn found(schema: Option<&Schema>, configuration: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    if let Some(schema) = schema {
        walk(schema.types(), schema.root(), configuration, "", &mut paths);
    }
    paths
}

fn walk(types: &Types, node: NodeId, value: &Value, path: &str, paths: &mut Vec<String>) {
    match (types.shape(node), value) {
        (Shape::Struct(id), Value::Object(entries)) => {
            let structure = types.structure(id);
            if structure.atomic() {
                paths.push(path.to_owned());
            }
            for (name, value) in entries {
                let Some(field) = structure.field(name) else { continue };
                let path = format!("{path}.{name}");
                if value.is_object() && field.flags().has(FieldFlags::ATOMIC) {
                    paths.push(path.clone());
                }
                walk(types, field.node(), value, &path, paths);
            }
        }
        (Shape::Map { value: inner, atomic }, Value::Object(entries)) => {
            if atomic {
                paths.push(path.to_owned());
            }
            for (name, value) in entries {
                walk(types, inner, value, &format!("{path}.{name}"), paths);
            }
        }
        (Shape::List { item, kind, keys }, Value::Array(items)) => {
            if matches!(kind, None | Some(ListKind::Atomic)) {
                paths.push(path.to_owned());
            }
            let keys: Vec<&str> = types.text(keys).split(',').filter(|key| !key.is_empty()).collect();
            for (index, value) in items.iter().enumerate() {
                let own: Vec<String> = keys
                    .iter()
                    .filter(|key| !value[**key].is_null())
                    .map(|key| format!("{key}={}", value[*key]))
                    .collect();
                let own = if own.is_empty() { format!("[{index}]") } else { format!("[{}]", own.join(",")) };
                walk(types, item, value, &format!("{path}{own}"), paths);
            }
        }
        _ => {}
    }
}
