//! From the JSON of a schema to the tree.

use super::{Additional, Limits, Pattern, Rule, Structural, Type, format};
use crate::shape::ListKind;
use serde_json::Value;

pub(super) fn node(schema: &Value) -> Structural {
    let flag = |name: &str| schema[name] == true;
    let mut kind = kind(&schema["type"]);
    let int_or_string = flag("x-kubernetes-int-or-string");
    if int_or_string {
        kind = None;
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    let additional = match &schema["additionalProperties"] {
        Value::Bool(allowed) => Some(Additional::Allowed(*allowed)),
        one @ Value::Object(_) => Some(Additional::Schema(Box::new(node(one)))),
        _ => None,
    };
    Structural {
        kind,
        nullable: flag("nullable"),
        preserve: flag("x-kubernetes-preserve-unknown-fields"),
        embedded: flag("x-kubernetes-embedded-resource"),
        int_or_string,
        properties: properties.map(|(name, one)| (name.as_str().into(), node(one))).collect(),
        additional,
        items: schema["items"].is_object().then(|| Box::new(node(&schema["items"]))),
        default: Some(&schema["default"]).filter(|value| !value.is_null()).cloned(),
        list: match schema["x-kubernetes-list-type"].as_str() {
            Some("atomic") => Some(ListKind::Atomic),
            Some("set") => Some(ListKind::Set),
            Some("map") => Some(ListKind::Map),
            _ => None,
        },
        keys: words(&schema["x-kubernetes-list-map-keys"]),
        atomic: schema["x-kubernetes-map-type"] == "atomic",
        limits: limits(schema, kind, int_or_string),
        rules: list(&schema["x-kubernetes-validations"]).iter().map(rule).collect(),
    }
}

fn kind(word: &Value) -> Option<Type> {
    Some(match word.as_str()? {
        "array" => Type::Array,
        "boolean" => Type::Boolean,
        "integer" => Type::Integer,
        "number" => Type::Number,
        "object" => Type::Object,
        "string" => Type::String,
        _ => return None,
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn words(value: &Value) -> Vec<Box<str>> {
    list(value).iter().filter_map(Value::as_str).map(Box::from).collect()
}

fn rule(value: &Value) -> Rule {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    Rule {
        rule: text("rule"),
        message: text("message"),
        message_expression: text("messageExpression"),
        reason: text("reason"),
        field_path: text("fieldPath"),
        optional_old_self: value["optionalOldSelf"].as_bool(),
    }
}

/// None if nothing is restricted.
fn limits(schema: &Value, kind: Option<Type>, int_or_string: bool) -> Option<Box<Limits>> {
    let float = |name: &str| schema[name].as_f64();
    let whole = |name: &str| schema[name].as_i64();
    let nodes = |name: &str| list(&schema[name]).iter().map(node).collect();
    let given = schema["format"].as_str().unwrap_or_default();
    let limits = Limits {
        format: if format::supported(given, kind, int_or_string) { given.into() } else { "".into() },
        maximum: float("maximum"),
        exclusive_maximum: schema["exclusiveMaximum"] == true,
        minimum: float("minimum"),
        exclusive_minimum: schema["exclusiveMinimum"] == true,
        multiple_of: float("multipleOf"),
        max_length: whole("maxLength"),
        min_length: whole("minLength"),
        pattern: schema["pattern"].as_str().filter(|text| !text.is_empty()).map(Pattern::new),
        max_items: whole("maxItems"),
        min_items: whole("minItems"),
        unique_items: schema["uniqueItems"] == true,
        max_properties: whole("maxProperties"),
        min_properties: whole("minProperties"),
        required: words(&schema["required"]),
        values: list(&schema["enum"]).to_vec(),
        all_of: nodes("allOf"),
        any_of: nodes("anyOf"),
        one_of: nodes("oneOf"),
        not: schema["not"].is_object().then(|| Box::new(node(&schema["not"]))),
    };
    (limits != Limits::default()).then(|| Box::new(limits))
}
