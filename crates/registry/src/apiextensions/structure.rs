//! The rules of schemas in definitions: that they are structural, and that nothing in them is forbidden.
//!
//! Errors come in upstream's words, at the place in the schema. Invariant: recursion goes as deep as the schema, which
//! parsing bounds. Answers to apiextensions' `schema/validation` and `apis/apiextensions/validation`.

use super::costs::{self, Cardinality, Total};
use crate::rule::Errors;
use crate::rule::shown::{self, showing};
use crate::value::{is_empty, items, text};
use gifee_base::{FieldError, Path};
use gifee_schema::cel::Sizes;
use gifee_schema::structural::{Pattern, Structural, rules};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::rc::Rc;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// What may not stand at the root of a schema whose status is a subresource.
const NOT_AT_ROOT: [&str; 22] = [
    "$ref",
    "$schema",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "default",
    "definitions",
    "dependencies",
    "enum",
    "id",
    "maxProperties",
    "minProperties",
    "not",
    "oneOf",
    "patternProperties",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "nullable",
];
const AT_ROOT: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";
const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Where in a schema a node stands.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

fn is(schema: &Value, flag: &str) -> bool {
    schema[flag] == true
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// What is wrong with a schema at a path; `accepted`: it is as it was before.
pub(crate) fn validate(errors: &mut Errors, schema: &Value, path: &Path<'_>, status: bool, accepted: bool) {
    let before = errors.len();
    if status && schema["type"] != "object" && !is_empty(&schema["type"]) {
        let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(FieldError::invalid(&path.child("type"), text(&schema["type"]), why));
    } else if status && NOT_AT_ROOT.iter().any(|key| !is_empty(&schema[*key]) && schema[*key] != false) {
        let why = format!(
            "only {AT_ROOT} fields are allowed at the root of the schema if the status subresource is enabled"
        );
        errors.push(FieldError::invalid(path, schema.clone(), &why));
    }
    if is(schema, "nullable") {
        errors.push(FieldError::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let mut structural = Errors::new();
    invariants(&mut structural, schema, Level::Root, path);
    complete(&mut structural, schema, Some(schema), path, path);
    structural.sort_by_key(ToString::to_string);
    let sound = structural.is_empty();
    errors.extend(structural);
    if sound {
        defaults(errors, schema, path, true);
    }
    let sound = errors.len() == before;
    let total = Rc::new(RefCell::new(Total::new(accepted)));
    let inside = Inside { root: true, sound, count: Some(1), total: total.clone(), ..Inside::default() };
    open_api(errors, schema, path, &inside);
    total.take().settle(errors, path);
}

fn invariants(errors: &mut Errors, schema: &Value, level: Level, path: &Path<'_>) {
    let (kind, object) = (text(&schema["type"]), is(schema, "x-kubernetes-embedded-resource"));
    let (either, keeps) =
        (is(schema, "x-kubernetes-int-or-string"), is(schema, "x-kubernetes-preserve-unknown-fields"));
    if kind == "array" && schema["items"].is_null() {
        errors.push(FieldError::required(&path.child("items"), "must be specified"));
    }
    if schema["items"].is_object() {
        invariants(errors, &schema["items"], Level::Item, &path.child("items"));
    }
    let properties = path.child("properties");
    for (name, one) in fields(&schema["properties"]) {
        invariants(errors, one, Level::Field, &properties.key(name));
    }
    let additional = path.child("additionalProperties");
    if !schema["additionalProperties"].is_null() {
        if level == Level::Root {
            errors.push(FieldError::forbidden(&additional, "must not be used at the root"));
        }
        if schema["additionalProperties"].is_object() {
            invariants(errors, &schema["additionalProperties"], Level::Field, &additional);
        }
        if object {
            let why = "must not be used if x-kubernetes-embedded-resource is set";
            errors.push(FieldError::forbidden(&additional, why));
        }
    }
    for (wrong, flag) in
        [(keeps, "x-kubernetes-preserve-unknown-fields"), (object, "x-kubernetes-embedded-resource")]
    {
        if either && wrong {
            let why = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(&path.child(flag), true, why));
        }
    }
    let wanted = json!([{"type": "integer"}, {"type": "string"}]);
    let any = schema["anyOf"] == wanted;
    junctors(errors, schema, level, path, any, schema["allOf"][0]["anyOf"] == wanted);
    kinds(errors, schema, level, path, kind, (object, either, keeps));
    if level == Level::Root || object {
        for name in ["kind", "apiVersion"] {
            let one = &schema["properties"][name];
            if !one.is_null() && one["type"] != "string" {
                let at = properties.key(name);
                errors.push(FieldError::invalid(&at.child("type"), text(&one["type"]), "must be string"));
            }
        }
    }
    metadata(errors, &schema["properties"]["metadata"], level, object, &properties.key("metadata"));
    if object && !keeps && is_empty(&schema["properties"]) {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&properties, why));
    }
}

fn kinds(
    errors: &mut Errors,
    schema: &Value,
    level: Level,
    path: &Path<'_>,
    kind: &str,
    (object, either, keeps): (bool, bool, bool),
) {
    let at = path.child("type");
    if object && kind != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match kind {
            "" => FieldError::required(&at, why),
            kind => FieldError::invalid(&at, kind, why),
        });
    } else if kind.is_empty() && !either && !keeps {
        let whose = match level {
            Level::Root => "at the root",
            Level::Item => "for specified array items",
            Level::Field => "for specified object fields",
        };
        errors.push(FieldError::required(&at, &format!("must not be empty {whose}")));
    }
    if level == Level::Root && !is_empty(&schema["type"]) && kind != "object" {
        errors.push(FieldError::invalid(&at, kind, "must be object at the root"));
    }
}

fn metadata(errors: &mut Errors, schema: &Value, level: Level, embedded: bool, path: &Path<'_>) {
    if schema.is_null() {
        return;
    }
    if (level == Level::Root || embedded) && schema["type"] != "object" {
        errors.push(FieldError::invalid(&path.child("type"), text(&schema["type"]), "must be object"));
    }
    let allowed = |name: &str| matches!(name, "name" | "generateName");
    let other = fields(schema).any(|(key, value)| match key.as_str() {
        "type" | "default" => false,
        "properties" => fields(value).any(|(name, _)| !allowed(name)),
        _ => !is_empty(value) && *value != false,
    });
    if level == Level::Root && other {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(path, why));
    }
}

fn junctors(
    errors: &mut Errors,
    schema: &Value,
    level: Level,
    path: &Path<'_>,
    skip_any: bool,
    skip_first: bool,
) {
    for key in ["anyOf", "allOf", "oneOf"] {
        let at = path.child(key);
        for (index, one) in items(&schema[key]).iter().enumerate() {
            if !(key == "anyOf" && skip_any) {
                nested(errors, one, level, &at.index(index), key == "allOf" && index == 0 && skip_first);
            }
        }
    }
    if schema["not"].is_object() {
        nested(errors, &schema["not"], level, &path.child("not"), false);
    }
    let pattern = text(&schema["pattern"]);
    if !pattern.is_empty()
        && let Some(error) = Pattern::new(pattern).error()
    {
        let why = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid(&path.child("pattern"), pattern, &why));
    }
}

/// A schema within an alternative: nothing but value validation.
fn nested(errors: &mut Errors, schema: &Value, level: Level, path: &Path<'_>, skip_any: bool) {
    junctors(errors, schema, level, path, skip_any, false);
    if schema["items"].is_object() {
        nested(errors, &schema["items"], level, &path.child("items"), false);
    }
    let properties = path.child("properties");
    for (name, one) in fields(&schema["properties"]) {
        nested(errors, one, Level::Field, &properties.key(name), false);
    }
    for (key, why) in [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ] {
        let value = &schema[key];
        let present = if key == "default" { !value.is_null() } else { !is_empty(value) && *value != false };
        if present || key == "additionalProperties" && !value.is_null() {
            errors.push(FieldError::forbidden(&path.child(key), why));
        }
    }
    if !schema["properties"]["metadata"].is_null() {
        let why = "must not be specified in a nested context";
        errors.push(FieldError::forbidden(&properties.key("metadata"), why));
    }
}

/// Reports what alternatives speak of and the structure does not.
fn complete(errors: &mut Errors, schema: &Value, of: Option<&Value>, at: &Path<'_>, path: &Path<'_>) {
    for key in ["allOf", "anyOf", "oneOf"] {
        let list = path.child(key);
        for (index, one) in items(&schema[key]).iter().enumerate() {
            complete_nested(errors, one, of, at, &list.index(index));
        }
    }
    if schema["not"].is_object() {
        complete_nested(errors, &schema["not"], of, at, &path.child("not"));
    }
}

fn complete_nested(errors: &mut Errors, schema: &Value, of: Option<&Value>, at: &Path<'_>, path: &Path<'_>) {
    let Some(own) = of else {
        errors.push(FieldError::required(at, &format!("because it is defined in {path}")));
        return;
    };
    complete(errors, schema, of, at, path);
    if schema["items"].is_object() {
        let of = Some(&own["items"]).filter(|items| items.is_object());
        complete_nested(errors, &schema["items"], of, &at.child("items"), &path.child("items"));
    }
    let (own_properties, properties) = (at.child("properties"), path.child("properties"));
    for (name, one) in fields(&schema["properties"]) {
        let of = own["properties"].get(name.as_str());
        complete_nested(errors, one, of, &own_properties.key(name), &properties.key(name));
    }
}

/// Reports defaults that their own schema does not hold good.
fn defaults(errors: &mut Errors, schema: &Value, path: &Path<'_>, root: bool) {
    if !schema["default"].is_null() && !root {
        let at = path.child("default");
        let structural = Structural::read(schema);
        let given = &schema["default"];
        let unknown = structural.unknown(given);
        if !unknown.is_empty() {
            errors.push(FieldError::invalid(&at, given.clone(), "must not have unknown fields"));
        }
        let prefix = at.to_string();
        let wrong = structural.violations(given, None, &prefix);
        errors.extend(wrong);
        let embedded = is(schema, "x-kubernetes-embedded-resource");
        errors.extend(structural.embedded_violations(given, &at, embedded));
    }
    if schema["items"].is_object() {
        defaults(errors, &schema["items"], &path.child("items"), false);
    }
    let properties = path.child("properties");
    for (name, one) in fields(&schema["properties"]) {
        if !(root && matches!(name.as_str(), "metadata" | "apiVersion" | "kind")) {
            defaults(errors, one, &properties.key(name), false);
        }
    }
}

/// What surrounds a node.
#[derive(Clone, Default)]
struct Inside {
    root: bool,
    metadata: bool,
    /// Why defaults are forbidden.
    no_default: String,
    /// The list or map within which old values cannot be told apart.
    uncorrelated: String,
    /// Whether the schema is sound otherwise, so that rules can be compiled.
    sound: bool,
    /// How many values of the node an object can have.
    count: Cardinality,
    /// What all rules cost.
    total: Rc<RefCell<Total>>,
}

impl Inside {
    /// What surrounds what is directly below a node.
    fn below(&self, schema: &Value) -> Self {
        Self { root: false, count: costs::below(schema, self.count), ..self.clone() }
    }
}

fn open_api(errors: &mut Errors, schema: &Value, path: &Path<'_>, inside: &Inside) {
    standard(errors, schema, path, inside);
    if is(schema, "uniqueItems") {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(&path.child("uniqueItems"), why));
    }
    let additional = &schema["additionalProperties"];
    if !additional.is_null() {
        let at = path.child("additionalProperties");
        if !is_empty(&schema["properties"]) && *additional != true {
            let why = "additionalProperties and properties are mutual exclusive";
            errors.push(FieldError::forbidden(&at, why));
        }
        let mut deeper = inside.below(schema);
        if inside.metadata {
            deeper.no_default = "inside additionalProperties applying to object metadata".into();
        }
        if additional.is_object() {
            open_api(errors, additional, &at, &deeper);
        }
    }
    let properties = path.child("properties");
    for (name, one) in fields(&schema["properties"]) {
        let mut deeper = inside.below(schema);
        if schema["x-kubernetes-map-type"] == "atomic" && deeper.uncorrelated.is_empty() {
            deeper.uncorrelated = path.to_string();
        }
        let own = matches!(name.as_str(), "metadata" | "kind" | "apiVersion");
        if own && (inside.root || is(schema, "x-kubernetes-embedded-resource")) {
            deeper.metadata = true;
            if inside.root {
                deeper.no_default = format!("in top-level {name}");
            }
        }
        open_api(errors, one, &properties.key(name), &deeper);
    }
    let nested = Inside { root: false, sound: false, ..inside.clone() };
    if schema["not"].is_object() {
        open_api(errors, &schema["not"], &path.child("not"), &nested);
    }
    for key in ["allOf", "oneOf", "anyOf"] {
        let at = path.child(key);
        for (index, one) in items(&schema[key]).iter().enumerate() {
            open_api(errors, one, &at.index(index), &nested);
        }
    }
    if schema["items"].is_object() {
        let mut deeper = inside.below(schema);
        if schema["x-kubernetes-list-type"] != "map" && deeper.uncorrelated.is_empty() {
            deeper.uncorrelated = path.to_string();
        }
        open_api(errors, &schema["items"], &path.child("items"), &deeper);
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let at = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(&at, false, "must be true or undefined"));
    }
    lists(errors, schema, path);
    written_rules(errors, schema, path, inside);
}

fn standard(errors: &mut Errors, schema: &Value, path: &Path<'_>, inside: &Inside) {
    let kind = text(&schema["type"]);
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("type"), kind, &TYPES));
    }
    if !schema["default"].is_null() && !inside.no_default.is_empty() {
        let why = format!("must not be set {}", inside.no_default);
        errors.push(FieldError::forbidden(&path.child("default"), &why));
    }
    for key in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        if !is_empty(&schema[key]) {
            errors.push(FieldError::forbidden(&path.child(key), &format!("{key} is not supported")));
        }
    }
    if kind == "null" {
        let why = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(&path.child("type"), why));
    }
    if schema["items"].is_array() {
        let why = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(&path.child("items"), why));
    }
    if inside.metadata && is(schema, "x-kubernetes-embedded-resource") {
        let why = "must not be used inside of resource meta";
        errors.push(FieldError::forbidden(&path.child("x-kubernetes-embedded-resource"), why));
    }
}

fn lists(errors: &mut Errors, schema: &Value, path: &Path<'_>) {
    let (kind, at) = (text(&schema["type"]), path.child("type"));
    for (flag, wanted) in [("x-kubernetes-map-type", "object"), ("x-kubernetes-list-type", "array")] {
        if !schema[flag].is_null() && kind != wanted {
            let why = format!("must be {wanted} if {flag} is specified");
            errors.push(match kind {
                "" => FieldError::required(&at, &why),
                kind => FieldError::invalid(&at, kind, &why),
            });
        }
    }
    for (flag, known) in [
        ("x-kubernetes-map-type", &["atomic", "granular"][..]),
        ("x-kubernetes-list-type", &["atomic", "set", "map"]),
    ] {
        if !schema[flag].is_null() && !known.contains(&text(&schema[flag])) {
            errors.push(FieldError::not_supported(&path.child(flag), text(&schema[flag]), known));
        }
    }
    let (list, one, item) = (text(&schema["x-kubernetes-list-type"]), &schema["items"], path.child("items"));
    let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let inner = &one["x-kubernetes-list-type"];
    if list == "set" && one["type"] == "array" && !inner.is_null() && *inner != "atomic" {
        errors.push(FieldError::invalid(&item.child("x-kubernetes-list-type"), inner.clone(), why));
    }
    if list == "set" && one["type"] == "object" && one["x-kubernetes-map-type"] != "atomic" {
        errors.push(FieldError::invalid(&item.child("x-kubernetes-map-type"), inner.clone(), why));
    }
    if matches!(list, "set" | "map") && is(one, "nullable") {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list}");
        errors.push(FieldError::forbidden(&item.child("nullable"), &why));
    }
    keys(errors, schema, path, list);
}

fn keys(errors: &mut Errors, schema: &Value, path: &Path<'_>, list: &str) {
    let (keys, at) = (items(&schema["x-kubernetes-list-map-keys"]), path.child("x-kubernetes-list-map-keys"));
    let (one, item, list_path) =
        (&schema["items"], path.child("items"), path.child("x-kubernetes-list-type"));
    if !keys.is_empty() && list != "map" {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(match list {
            "" => FieldError::required(&list_path, why),
            list => FieldError::invalid(&list_path, list, why),
        });
    }
    if list != "map" {
        return;
    }
    if keys.is_empty() {
        errors.push(FieldError::required(&at, "must not be empty if x-kubernetes-list-type is map"));
    }
    if one.is_null() {
        errors.push(FieldError::required(&item, "must have a schema if x-kubernetes-list-type is map"));
        return;
    }
    if one["type"] != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(&item.child("type"), text(&one["type"]), why));
        return;
    }
    let properties = item.child("properties");
    for (index, key) in keys.iter().enumerate() {
        let (name, given) = (text(key), &schema["x-kubernetes-list-map-keys"]);
        let (property, place) = (&one["properties"][name], properties.key(name));
        if property.is_null() {
            errors.push(FieldError::invalid(
                &at,
                given.clone(),
                "entries must all be names of item properties",
            ));
        } else if matches!(text(&property["type"]), "array" | "object") {
            let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(&place.child("type"), "object", why));
        }
        if keys[..index].contains(key) {
            errors.push(FieldError::invalid(&at, given.clone(), "must not contain duplicate entries"));
        }
        if !property.is_null() && !items(&one["required"]).contains(key) && property["default"].is_null() {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(&place.child("default"), why));
        }
        if is(property, "nullable") {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(&place.child("nullable"), why));
        }
    }
}

fn written_rules(errors: &mut Errors, schema: &Value, path: &Path<'_>, inside: &Inside) {
    let list = items(&schema["x-kubernetes-validations"]);
    if list.is_empty() {
        return;
    }
    let (at, before) = (path.child("x-kubernetes-validations"), errors.len());
    let breaks = |text: &str| text.contains(['\n', '\r']);
    for (index, one) in list.iter().enumerate() {
        let at = at.index(index);
        let (rule, message) = (text(&one["rule"]).trim(), text(&one["message"]));
        if rule.is_empty() {
            errors.push(FieldError::required(&at.child("rule"), "rule is not specified"));
        } else if !message.is_empty() && message.trim().is_empty() {
            errors.push(FieldError::invalid(&at.child("message"), message, "must be non-empty if specified"));
        } else if breaks(message.trim()) {
            errors.push(FieldError::invalid(&at.child("message"), message, "must not contain line breaks"));
        } else if breaks(rule) && message.trim().is_empty() {
            let why = "message must be specified if rule contains line breaks";
            errors.push(FieldError::required(&at.child("message"), why));
        }
        let made = text(&one["messageExpression"]);
        if !made.is_empty() && made.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            errors.push(FieldError::required(&at.child("messageExpression"), why));
        }
        if let Value::String(reason) = &one["reason"]
            && !REASONS.contains(&reason.as_str())
        {
            errors.push(FieldError::not_supported(&at.child("reason"), reason.as_str(), &REASONS));
        }
        let field = text(&one["fieldPath"]);
        if !field.is_empty() && field.trim().is_empty() {
            errors.push(FieldError::invalid(&at.child("fieldPath"), field, "must be non-empty if specified"));
        }
        if breaks(field) {
            errors.push(FieldError::invalid(&at.child("fieldPath"), field, "must not contain line breaks"));
        }
        if !field.is_empty() && super::path::resolve(field, schema, true).is_err() {
            errors.push(FieldError::invalid(&at.child("fieldPath"), field, "must be a valid path"));
        }
    }
    if errors.len() == before && inside.sound {
        compiled_rules(errors, schema, &at, inside);
    }
}

fn compiled_rules(errors: &mut Errors, schema: &Value, at: &Path<'_>, inside: &Inside) {
    let list = items(&schema["x-kubernetes-validations"]);
    let structural = Structural::read(&json!({ "x-kubernetes-validations": list }));
    let root = inside.root || is(schema, "x-kubernetes-embedded-resource");
    let requestful = Sizes::of(schema, root).map_or(1, |sizes| sizes.count());
    for (index, compiled) in rules::compile(&structural.rules, schema, root).iter().enumerate() {
        let at = at.index(index);
        let wrong = |field: &str, why: &str| {
            showing(FieldError::invalid(&at.child(field), "", why), &list[index], shown::SCHEMA_RULE)
        };
        let times = inside.count.unwrap_or(requestful);
        let cost = compiled.most.0.saturating_mul(times);
        inside.total.borrow_mut().add(errors, "rule", cost, &at.child("rule"));
        if let Err(why) = &compiled.program {
            errors.push(wrong("rule", why));
        }
        match &compiled.message {
            Some(Err(why)) => errors.push(wrong("messageExpression", why)),
            Some(Ok(_)) => {
                let (mut total, at) = (inside.total.borrow_mut(), at.child("messageExpression"));
                total.add(errors, "messageExpression", compiled.most.1, &at);
            }
            None => {}
        }
        if compiled.is_transition() && !inside.uncorrelated.is_empty() {
            let why = format!(
                "oldSelf cannot be used on the uncorrelatable portion of the schema within {}",
                inside.uncorrelated
            );
            errors.push(FieldError::invalid(&at.child("rule"), text(&list[index]["rule"]), &why));
        } else if !compiled.is_transition()
            && compiled.program.is_ok()
            && !list[index]["optionalOldSelf"].is_null()
        {
            let why = "may not be set if oldSelf is not used in rule";
            errors.push(FieldError::invalid(
                &at.child("optionalOldSelf"),
                list[index]["optionalOldSelf"].clone(),
                why,
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: Value, expect: &[&str]) {
        let mut errors = Errors::new();
        validate(&mut errors, &schema, &Path::root("s"), false, false);
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), expect.len(), "{texts:#?}");
        for (text, expect) in texts.iter().zip(expect) {
            assert!(text.starts_with(expect), "{text}\n{expect}");
        }
    }

    fn object(properties: Value) -> Value {
        json!({"type": "object", "properties": properties})
    }

    #[test]
    fn a_rule_that_was_accepted_may_cost_what_it_does_but_all_together_no_more_than_all_may() {
        let pairs = json!([{"rule": "self.all(x, self.all(y, x != y))"}]);
        let numbers = |count: u32, rules: &Value| {
            object(json!({"a": {"type": "array", "maxItems": count, "items": {"type": "integer"},
                "x-kubernetes-validations": rules}}))
        };
        let check = |schema: &Value, accepted: bool| -> Vec<String> {
            let mut errors = Errors::new();
            validate(&mut errors, schema, &Path::root("s"), false, accepted);
            errors
                .iter()
                .map(|error| error.to_string().split(" (try").next().unwrap_or_default().to_owned())
                .collect()
        };
        let dear = numbers(2_000, &pairs);
        let alone = "s.properties[a].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of ";
        let found = check(&dear, false);
        assert!(found.len() == 1 && found[0].starts_with(alone), "{found:#?}");
        assert_eq!(check(&dear, true), [""; 0]);
        let several: Value = std::iter::repeat_n(pairs[0].clone(), 40).collect();
        let all = "s: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget";
        let found = check(&numbers(2_000, &several), true);
        assert!(found.last().is_some_and(|last| last.starts_with(all)), "{found:#?}");
        assert!(!found.iter().any(|one| one.starts_with(alone)), "{found:#?}");
    }

    #[test]
    fn schemas_are_held_to_upstreams_rules() {
        let keyed = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}});
        let either =
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]});
        check(
            object(json!({
                "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}},
                "spec": object(json!({"a": {"type": "string", "default": "x", "pattern": "^x"}, "b": either,
                    "open": {"x-kubernetes-preserve-unknown-fields": true}, "l": keyed,
                    "o": {"type": "object", "default": {}, "properties": {"n": {"type": "integer", "default": 1}}}})),
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            })),
            &[],
        );
        check(
            json!({"properties": {"a": {}}}),
            &[
                "s.properties[a].type: Required value: must not be empty for specified object fields",
                "s.type: Required value: must not be empty at the root",
            ],
        );
        check(
            object(json!({"a": {"type": "array"}})),
            &["s.properties[a].items: Required value: must be specified"],
        );
        check(
            object(json!({"a": {"type": "string", "default": 1}})),
            &["s.properties[a].default: Invalid value: \"integer\": "],
        );
        check(
            object(json!({"a": {"type": "string", "anyOf": [{"type": "string"}]}})),
            &["s.properties[a].anyOf[0].type: Forbidden: must be empty to be structural"],
        );
        check(
            object(json!({"a": {"type": "string", "x-kubernetes-validations": [{"rule": "self.b"}]}})),
            &[
                "s.properties[a].x-kubernetes-validations[0].rule: Invalid value: {\"Rule\":\"self.b\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: ",
            ],
        );
        let dear = json!([{"rule": "self.all(x, self.all(y, x != y))"}]);
        let texts = json!({"type": "string"});
        check(
            object(json!({"a": {"type": "array", "items": texts, "x-kubernetes-validations": dear}})),
            &[
                "s.properties[a].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)",
                "s.properties[a].x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
                "s: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x",
            ],
        );
        check(
            object(
                json!({"a": {"type": "array", "maxItems": 20, "items": {"type": "string", "maxLength": 20},
                "x-kubernetes-validations": dear}}),
            ),
            &[],
        );
        // A rule counts as often as what it is about can be there.
        let rule = json!([{"rule": "self.startsWith('a')"}]);
        let texts = json!({"type": "string", "maxLength": 5, "x-kubernetes-validations": rule});
        let list = |more: Value| {
            let mut list = json!({"type": "array", "items": texts});
            list.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            list
        };
        check(object(json!({"a": list(json!({"maxItems": 1_000_000}))})), &[]);
        check(
            object(json!({"a": list(json!({"maxItems": 6_000_000}))})),
            &[
                "s.properties[a].items.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of 1.200000x",
            ],
        );
        check(object(json!({"a": list(json!({}))})), &[]);
        let rule = json!([{"rule": "true", "fieldPath": ".b"}, {"rule": "true", "fieldPath": ".c"}]);
        check(
            object(json!({"a": {"type": "object", "x-kubernetes-validations": rule,
                "properties": {"b": {"type": "string"}}}})),
            &[
                "s.properties[a].x-kubernetes-validations[1].fieldPath: Invalid value: \".c\": must be a valid path",
            ],
        );
        let rule = json!([{"rule": "self == oldSelf"}]);
        check(
            object(json!({"a": {"type": "array", "maxItems": 5,
                "items": {"type": "string", "maxLength": 5, "x-kubernetes-validations": rule}}})),
            &[
                "s.properties[a].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[a]",
            ],
        );
    }
}
