//! Pruning, defaults, validation and ratcheting of custom resources, as tables.

use super::{Old, Pattern, Structural};
use crate::Schema;
use crate::check::check;
use serde_json::{Value, json};
use std::sync::Arc;

fn schema(root: &Value) -> Schema {
    Arc::new(Structural::read(root)).schema("stable.example.com", "v1", "CronTab", root.clone()).unwrap()
}

fn object(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

fn pruned(root: Value, mut value: Value, expect: Value, unknown: &[&str]) {
    let schema = schema(&root);
    let findings = check(&schema, &mut value).unwrap();
    assert_eq!(value, expect);
    assert_eq!(findings.unknown, unknown);
    assert_eq!(check(&schema, &mut value).unwrap().unknown, Vec::<String>::new());
    assert_eq!(value, expect, "a settled body is left alone");
}

#[test]
fn unknown_fields_go_but_where_they_are_preserved() {
    let preserve = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"known": {"type": "object", "properties": {"a": {"type": "string"}}}}});
    let embedded = json!({"type": "object", "x-kubernetes-embedded-resource": true,
        "properties": {"spec": {"type": "object"}}});
    let root = object(json!({"spec": object(json!({
        "a": {"type": "string"}, "list": {"type": "array", "items": object(json!({"x": {"type": "integer"}}))},
        "map": {"type": "object", "additionalProperties": object(json!({"y": {"type": "string"}}))},
        "open": preserve, "inner": embedded,
    }))}));
    let metadata = json!({"name": "n", "unknownRoot": 1});
    pruned(
        root,
        json!({"apiVersion": "v", "kind": "k", "metadata": metadata, "top": 1, "spec": {
            "a": {"b": 1}, "z": 1, "list": [{"x": 1, "q": 2}], "map": {"m": {"y": "", "n": null}},
            "open": {"other": {"deep": 1}, "known": {"a": "", "no": 1}},
            "inner": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "unknownInner": true}, "no": 1},
        }}),
        json!({"apiVersion": "v", "kind": "k", "metadata": {"name": "n"}, "spec": {
            "a": {}, "list": [{"x": 1}], "map": {"m": {"y": ""}},
            "open": {"other": {"deep": 1}, "known": {"a": ""}},
            "inner": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}},
        }}),
        &[
            "metadata.unknownRoot",
            "spec.a.b",
            "spec.inner.no",
            "spec.list[0].q",
            "spec.map.m.n",
            "spec.open.known.no",
            "spec.z",
            "top",
            "spec.inner.metadata.unknownInner",
        ],
    );
}

#[test]
fn metadata_is_typed() {
    let schema = schema(&object(json!({})));
    let mut value = json!({"metadata": {"name": 1}});
    assert_eq!(
        check(&schema, &mut value).unwrap_err().to_string(),
        "json: cannot unmarshal number into Go struct field ObjectMeta.name of type string"
    );
    let mut stored = json!({"metadata": {"name": "a", "labels": 7, "annotations": {"b": "c"}}, "gone": 1});
    schema.mend(&mut stored);
    assert_eq!(stored, json!({"metadata": {"name": "a", "labels": 7, "annotations": {"b": "c"}}}));
}

#[test]
fn defaults_stand_in_for_what_is_absent_or_null() {
    let root = object(json!({
        "a": {"type": "string", "default": "x"}, "n": {"type": "string", "nullable": true, "default": "y"},
        "o": {"type": "object", "default": {}, "properties": {"p": {"type": "integer", "default": 3}}},
        "l": {"type": "array", "items": {"type": "object", "properties": {"q": {"type": "integer", "default": 1}}}},
        "plain": {"type": "string"},
    }));
    let structural = Structural::read(&root);
    for (given, expect) in [
        (json!({}), json!({"a": "x", "n": "y", "o": {"p": 3}})),
        (json!({"a": null, "n": null, "plain": null}), json!({"a": "x", "n": null, "o": {"p": 3}})),
        (
            json!({"l": [{}, {"q": 5}], "o": {"p": 0}}),
            json!({"a": "x", "n": "y", "o": {"p": 0}, "l": [{"q": 1}, {"q": 5}]}),
        ),
    ] {
        let mut value = given;
        structural.apply_defaults(&mut value);
        assert_eq!(value, expect);
    }
}

/// `field: body` of what is wrong with a value of the field `v`.
fn wrong(schema: Value, value: Value, expect: &[&str]) {
    let structural = Structural::read(&object(json!({"v": schema})));
    let errors = structural.violations(&json!({"v": value}), None, "");
    assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect, "{schema} of {value}");
}

#[test]
fn values_are_validated_in_upstreams_words() {
    wrong(
        json!({"type": "integer"}),
        json!("x"),
        &["v: Invalid value: \"string\": v in body must be of type integer: \"string\""],
    );
    wrong(json!({"type": "integer"}), json!(1.0), &[]);
    wrong(
        json!({"type": "string"}),
        json!(null),
        &["v: Invalid value: \"null\": v in body must be of type string: \"null\""],
    );
    wrong(json!({"type": "string", "nullable": true}), json!(null), &[]);
    wrong(
        json!({"x-kubernetes-int-or-string": true}),
        json!(true),
        &["v: Invalid value: \"boolean\": v in body must be of type integer,string: \"boolean\""],
    );
    wrong(
        json!({"type": "string", "enum": ["a", "b"]}),
        json!("c"),
        &["v: Unsupported value: \"c\": supported values: \"a\", \"b\""],
    );
    wrong(
        json!({"type": "integer", "enum": [1, 2]}),
        json!(3),
        &["v: Unsupported value: 3: supported values: \"1\", \"2\""],
    );
    wrong(
        json!({"type": "string", "maxLength": 2}),
        json!("abc"),
        &["v: Too long: may not be more than 2 bytes"],
    );
    wrong(
        json!({"type": "string", "minLength": 2}),
        json!("a"),
        &["v: Invalid value: \"a\": v in body should be at least 2 chars long"],
    );
    wrong(
        json!({"type": "string", "format": "ipv4"}),
        json!("x"),
        &["v: Invalid value: \"x\": v in body must be of type ipv4: \"x\""],
    );
    wrong(
        json!({"type": "number", "multipleOf": 0.1}),
        json!(0.25),
        &["v: Invalid value: 0.25: v in body should be a multiple of 0.1"],
    );
    wrong(
        json!({"type": "integer", "minimum": 1, "exclusiveMinimum": true}),
        json!(1),
        &["v: Invalid value: 1: v in body should be greater than 1"],
    );
    wrong(
        json!({"type": "array", "maxItems": 1, "items": {"type": "string"}}),
        json!(["a", 1]),
        &[
            "v[1]: Invalid value: \"integer\": v[1] in body must be of type string: \"integer\"",
            "v: Too many: 2: must have at most 1 item",
        ],
    );
    wrong(
        json!({"type": "object", "required": ["a"], "maxProperties": 0, "additionalProperties": {"type": "string"}}),
        json!({"b": 1}),
        &[
            "v: Too many: 1: must have at most 0 items",
            "v.b: Invalid value: \"integer\": v.b in body must be of type string: \"integer\"",
            "v.a: Required value",
        ],
    );
    wrong(
        json!({"type": "integer", "anyOf": [{"minimum": 5}, {"maximum": 1}]}),
        json!(3),
        &[
            "<nil>: Invalid value: \"\": \"v\" must validate at least one schema (anyOf)",
            "v: Invalid value: 3: v in body should be greater than or equal to 5",
        ],
    );
    wrong(
        json!({"type": "integer", "oneOf": [{"minimum": 1}, {"minimum": 2}]}),
        json!(3),
        &[
            "<nil>: Invalid value: \"\": \"v\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ],
    );
    wrong(
        json!({"type": "integer", "not": {"minimum": 1}}),
        json!(3),
        &["<nil>: Invalid value: \"\": \"v\" must not validate the schema (not)"],
    );
}

#[test]
fn what_did_not_change_is_not_reported() {
    let root = object(json!({
        "old": {"type": "string", "maxLength": 1}, "new": {"type": "string", "maxLength": 1},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": object(json!({"k": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}))},
    }));
    let structural = Structural::read(&root);
    let old = json!({"old": "long", "new": "long", "list": [{"k": "a", "v": "long"}]});
    let new =
        json!({"old": "long", "new": "longer", "list": [{"k": "b", "v": "long"}, {"k": "a", "v": "long"}]});
    let errors = structural.violations(&new, Some(Old::new(&old, &structural)), "");
    assert_eq!(errors.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(), ["list[0].v", "new"]);
}

#[test]
fn sets_and_map_lists_are_unique() {
    let item = object(json!({"a": {"type": "string"}, "b": {"type": "integer"}}));
    let structural = Structural::read(&object(json!({
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
            "items": item},
    })));
    let value = json!({"set": ["x", "y", "x", "x"], "map": [{"a": "q"}, {"a": "q", "b": 1}, {"a": "q"}]});
    let errors = structural.duplicates(&value);
    assert_eq!(
        errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["map[2]: Duplicate value: {\"a\":\"q\"}", "set[2]: Duplicate value: \"x\"",]
    );
}

#[test]
fn patterns_read_gos_syntax() {
    for (pattern, text, expect) in [
        (r"^\d+$", "12", true),
        (r"^\d+$", "١", false),
        (r"^[\w-]+$", "a-b_1", true),
        (r"^[[]x$", "[x", true),
        (r"^a{,3}$", "a{,3}", true),
        (r"^a{2}$", "aa", true),
        (r"^[]a]$", "]", true),
        (r"\Qa.b\E", "axb", false),
        (r"^[[:alpha:]&]+$", "a&", true),
        (r"^(foo|bar)\b", "foo bar", true),
        (r"^\$[a-z]{1,3}\/$", "$ab/", true),
    ] {
        let compiled = Pattern::new(pattern);
        assert_eq!(compiled.error(), None, "{pattern}");
        assert_eq!(compiled.matches(text), expect, "{pattern} in {text}");
    }
    assert!(Pattern::new("(").error().is_some());
}

#[test]
fn formats_tell_right_from_wrong() {
    for (format, right, wrong) in [
        ("date", "2024-02-29", "2023-02-29"),
        ("date-time", "2014-12-15T19:30:20.000Z", "2014-12-15"),
        ("duration", "22 ns", "x"),
        ("email", "a@b.example", "a"),
        ("hostname", "a.example", "-"),
        ("ipv6", "::1", "1.2.3.4"),
        ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
        ("mac", "00:00:5e:00:53:01", "00:00"),
        ("uri", "http://example.com/x", "no uri"),
        ("uuid", "A8098C1A-F86E-11DA-BD1A-00112444BE1E", "x"),
        ("isbn10", "0321751043", "0321751044"),
        ("isbn13", "978-0321751041", "978-0321751042"),
        ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
        ("byte", "Zm9v", "Zm9"),
        ("hexcolor", "#FFFFFF", "#GG"),
        ("rgbcolor", "rgb(255, 0, 1)", "rgb(256,0,1)"),
        ("ssn", "123-45-6789", "1"),
        ("bsonobjectid", "507f1f77bcf86cd799439011", "507f"),
        ("k8s-short-name", "a-b", "A"),
        ("k8s-long-name", "a.b-c", "a..b"),
    ] {
        assert_eq!(super::format::holds(format, right), Some(true), "{format}: {right}");
        assert_eq!(super::format::holds(format, wrong), Some(false), "{format}: {wrong}");
    }
}
