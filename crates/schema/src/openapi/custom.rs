//! The schemas of custom resources as documents show them: what the definition says, and what every object has.
//!
//! Invariant: version 2 shows no more than its readers can bear: no alternatives, no types where null is allowed or
//! unknown fields are kept. Answers to apiextensions' `controller/openapi/builder` and its conversion to version 2.

use super::Form;
use serde_json::{Map, Value, json};

/// Keywords that a schema is shown with.
const SHOWN: &[&str] = &[
    "default",
    "description",
    "enum",
    "example",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "externalDocs",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "required",
    "title",
    "type",
    "uniqueItems",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

const API_VERSION: &str = "The version and group that this representation of the object is of.";
const KIND: &str = "The kind of thing that this object represents.";
const METADATA: &str = "What every object has: name, labels, owners and the like.";

/// A custom resource's model, without its group, version and kind.
pub(super) fn model(published: &Value, form: Form, metadata: &str) -> Map<String, Value> {
    let bare = Map::from_iter([("type".to_owned(), json!("object"))]);
    let keeps = published["x-kubernetes-preserve-unknown-fields"] == true;
    if !published.is_object() || form == Form::V2 && keeps {
        // Readers would take what is listed for all that is allowed.
        return bare;
    }
    let mut out = node(published, form, metadata);
    own_fields(&mut out, form, metadata);
    out
}

/// Adds what every object has.
fn own_fields(out: &mut Map<String, Value>, form: Form, metadata: &str) {
    let properties = out.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        let text = |what: &str| json!({"type": "string", "description": what});
        properties.insert("apiVersion".to_owned(), text(API_VERSION));
        properties.insert("kind".to_owned(), text(KIND));
        let reference = form.reference(metadata);
        let value = match form {
            Form::V2 => json!({"description": METADATA, "$ref": reference["$ref"]}),
            Form::V3 => json!({"description": METADATA, "allOf": [reference], "default": {}}),
        };
        properties.insert("metadata".to_owned(), value);
    }
}

fn node(schema: &Value, form: Form, metadata: &str) -> Map<String, Value> {
    let mut out = Map::new();
    let Value::Object(given) = schema else { return out };
    let shown = given.iter().filter(|(key, value)| SHOWN.contains(&key.as_str()) && !is_nothing(value));
    out.extend(shown.map(|(key, value)| (key.clone(), value.clone())));
    if let Value::Object(properties) = &schema["properties"] {
        let each =
            properties.iter().map(|(name, one)| (name.clone(), Value::Object(node(one, form, metadata))));
        out.insert("properties".to_owned(), each.collect::<Map<_, _>>().into());
    }
    if schema["items"].is_object() {
        out.insert("items".to_owned(), node(&schema["items"], form, metadata).into());
    }
    match &schema["additionalProperties"] {
        Value::Bool(allowed) => drop(out.insert("additionalProperties".to_owned(), json!(allowed))),
        one @ Value::Object(_) => {
            out.insert("additionalProperties".to_owned(), node(one, form, metadata).into());
        }
        _ => {}
    }
    match form {
        Form::V3 => alternatives(schema, &mut out),
        Form::V2 => lessen(schema, &mut out),
    }
    let keeps = schema["x-kubernetes-preserve-unknown-fields"] == true;
    if schema["x-kubernetes-embedded-resource"] == true && !(keeps && form == Form::V2) {
        own_fields(&mut out, form, metadata);
        let required = out.entry("required").or_insert_with(|| json!([]));
        if let Some(required) = required.as_array_mut() {
            for name in ["kind", "apiVersion"] {
                if !required.iter().any(|one| one == name) {
                    required.push(name.into());
                }
            }
        }
    }
    out
}

/// What is as good as absent.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Alternatives, of version 3 alone; that an integer or a text is wanted is one of them.
fn alternatives(schema: &Value, out: &mut Map<String, Value>) {
    for key in ["allOf", "anyOf", "not", "oneOf", "nullable"] {
        if !is_nothing(&schema[key]) {
            out.insert(key.to_owned(), schema[key].clone());
        }
    }
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    if schema["x-kubernetes-int-or-string"] != true
        || schema["anyOf"] == either
        || schema["allOf"][0]["anyOf"] == either
    {
        return;
    }
    if is_nothing(&schema["anyOf"]) {
        out.insert("anyOf".to_owned(), either);
    } else {
        let all = out.entry("allOf").or_insert_with(|| json!([]));
        if let Some(all) = all.as_array_mut() {
            all.insert(0, json!({"anyOf": either}));
        }
    }
}

/// Takes away what readers of version 2 stumble over.
fn lessen(schema: &Value, out: &mut Map<String, Value>) {
    let keeps = schema["x-kubernetes-preserve-unknown-fields"] == true;
    let nullable = schema["nullable"] == true;
    if nullable || keeps {
        out.remove("items");
        out.remove("properties");
    }
    let untyped = nullable
        || out.get("type").is_some_and(|kind| kind == "array") && !out.contains_key("items")
        || keeps && out.get("type").is_some_and(|kind| kind == "object");
    if untyped {
        out.remove("type");
    }
    if schema["additionalProperties"]["nullable"] == true {
        out.remove("required");
    }
    if let Some(Value::Array(required)) = out.get_mut("required") {
        required
            .retain(|name| name.as_str().is_none_or(|name| schema["properties"][name]["nullable"] != true));
        if required.is_empty() {
            out.remove("required");
        }
    }
}
