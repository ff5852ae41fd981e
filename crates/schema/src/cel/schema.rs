//! Types out of OpenAPI schemas, as CustomResourceDefinitions hold them and as kinds are published.
//!
//! Invariant: what upstream does not let expressions see is not in the type. Answers to the apiserver's
//! `cel/common/schemas.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::escape;
use super::kind::{Field, List, Object, Order, Type};

/// How deep schemas may nest.
const DEPTH: usize = 100;

/// The type of values of an OpenAPI v3 schema; None if expressions may not see them. `root` for the root of a
/// resource, which always has `apiVersion`, `kind` and `metadata`.
pub fn from_schema(schema: &Json, root: bool) -> Option<Type> {
    read(schema, root, DEPTH)
}

fn flag(schema: &Json, name: &str) -> bool {
    schema.get(name).and_then(Json::as_bool).unwrap_or(false)
}

fn read(schema: &Json, root: bool, depth: usize) -> Option<Type> {
    let depth = depth.checked_sub(1)?;
    if flag(schema, "x-kubernetes-int-or-string") {
        return Some(Type::IntOrString);
    }
    let nested = |schema: &Json| read(schema, flag(schema, "x-kubernetes-embedded-resource"), depth);
    Some(match schema.get("type").and_then(Json::as_str)? {
        "array" => {
            let item = nested(schema.get("items")?)?;
            let keys = || {
                let keys = schema.get("x-kubernetes-list-map-keys").and_then(Json::as_array)?;
                Some(keys.iter().filter_map(Json::as_str).filter_map(escape).collect())
            };
            let order = match schema.get("x-kubernetes-list-type").and_then(Json::as_str) {
                Some("set") => Order::Set,
                Some("map") => Order::Map(keys().unwrap_or_default()),
                _ => Order::Atomic,
            };
            Type::List(Arc::new(List { item, order }))
        }
        "object" => match schema.get("additionalProperties").filter(|values| values.is_object()) {
            Some(values) => Type::map(Type::String, nested(values)?),
            None => {
                let mut fields = BTreeMap::new();
                let properties = schema.get("properties").and_then(Json::as_object);
                for (name, property) in properties.into_iter().flatten() {
                    if let Some(kind) = nested(property)
                        && let Some(escaped) = escape(name)
                    {
                        fields.insert(escaped, Field { name: name.clone(), kind });
                    }
                }
                if root {
                    complete(&mut fields);
                }
                Type::Object(Arc::new(Object { name: "object".into(), fields, open: false }))
            }
        },
        "string" => match schema.get("format").and_then(Json::as_str) {
            Some("byte") => Type::Bytes,
            Some("duration") => Type::Duration,
            Some("date" | "date-time") => Type::Timestamp,
            _ => Type::String,
        },
        "boolean" => Type::Bool,
        "number" => Type::Double,
        "integer" => Type::Int,
        _ => return None,
    })
}

/// Adds what every resource has.
fn complete(fields: &mut BTreeMap<String, Field>) {
    let field = |name: &str, kind| Field { name: name.to_owned(), kind };
    let metadata = ["name", "generateName"];
    let whole = fields.get("metadata").is_some_and(|own| match &own.kind {
        Type::Object(object) => metadata.iter().all(|name| object.fields.contains_key(*name)),
        _ => false,
    });
    fields.entry("apiVersion".into()).or_insert_with(|| field("apiVersion", Type::String));
    fields.entry("kind".into()).or_insert_with(|| field("kind", Type::String));
    if !whole {
        let object = Type::object("object", [("name", Type::String), ("generateName", Type::String)]);
        fields.insert("metadata".into(), field("metadata", object));
    }
}
