//! An apply configuration laid over an object: what it names is set, by list and map kinds; what it does not stays.
//!
//! Answers to structured-merge-diff's merge without owners.

use gifee_schema::{ListKind, NodeId, Schema, Shape, Types};
use serde_json::{Map, Value};

/// The object with the configuration in it.
pub fn merged(schema: Option<&Schema>, live: &Value, configuration: Value) -> Value {
    match schema {
        Some(schema) => one(Some((schema.types(), schema.root())), live, configuration),
        None => one(None, live, configuration),
    }
}

type At<'a> = Option<(&'a Types, NodeId)>;

fn one(at: At<'_>, live: &Value, new: Value) -> Value {
    match (live, new) {
        (Value::Object(live), Value::Object(new)) => {
            let mut all: Map<String, Value> = live.clone();
            for (name, value) in new {
                let below = at.and_then(|(types, node)| match types.shape(node) {
                    Shape::Struct(id) => types.structure(id).field(&name).map(|field| (types, field.node())),
                    Shape::Map { value, .. } => Some((types, value)),
                    _ => None,
                });
                let merged = one(below, all.get(&name).unwrap_or(&Value::Null), value);
                all.insert(name, merged);
            }
            Value::Object(all)
        }
        (Value::Array(live), Value::Array(new)) => {
            let Some((types, node)) = at else { return Value::Array(new) };
            match types.shape(node) {
                Shape::List { kind: Some(ListKind::Set), .. } => {
                    let mut all = live.clone();
                    for value in new {
                        if !all.contains(&value) {
                            all.push(value);
                        }
                    }
                    Value::Array(all)
                }
                Shape::List { item, kind: Some(ListKind::Map), keys } => {
                    let keys: Vec<&str> = types.text(keys).split(',').collect();
                    keyed((types, item), live, new, &keys)
                }
                _ => Value::Array(new),
            }
        }
        (_, new) => new,
    }
}

fn keyed(at: (&Types, NodeId), live: &[Value], new: Vec<Value>, keys: &[&str]) -> Value {
    let mut all = live.to_vec();
    for value in new {
        let same = |other: &&mut Value| keys.iter().all(|key| other[*key] == value[*key]);
        match all.iter_mut().find(same) {
            Some(known) => *known = one(Some(at), known, value),
            None => all.push(value),
        }
    }
    Value::Array(all)
}
