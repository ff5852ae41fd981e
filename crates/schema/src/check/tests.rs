//! Walks against what Go's round trip gives.

use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{check, strict_error, strict_findings, type_meta};
use crate::{Schema, parse};

fn schema(kind: &str) -> Schema {
    let group = match kind {
        "Deployment" | "ReplicaSet" => "apps",
        "Lease" => "coordination.k8s.io",
        "Ingress" => "networking.k8s.io",
        "Role" => "rbac.authorization.k8s.io",
        "CustomResourceDefinition" => "apiextensions.k8s.io",
        "ValidatingWebhookConfiguration" => "admissionregistration.k8s.io",
        _ => "",
    };
    Schema::builtin(group, "v1", kind).unwrap()
}

/// The cases of `cases.txt`: for each a body, and the error or the tree and strict findings that come of it.
#[test]
fn bodies_come_out_as_upstream_writes_them() {
    let mut lines = include_str!("cases.txt").lines().filter(|line| !line.starts_with('#')).peekable();
    let mut count = 0;
    while let Some(line) = lines.next() {
        let (kind, body) = line.split_once(' ').unwrap();
        let parsed = parse::json(body.as_bytes()).unwrap();
        let mut value = parsed.value.clone();
        let result = check(&schema(kind), &mut value);
        let expect = lines.next().unwrap();
        if let Some(error) = expect.strip_prefix("! ") {
            assert_eq!(result.map_err(|error| error.to_string()), Err(error.to_string()), "{body}");
        } else {
            let expect: Value = serde_json::from_str(expect.strip_prefix("= ").unwrap()).unwrap();
            assert_eq!(value, expect, "{body}");
            let mut strict = Vec::new();
            while let Some(line) = lines.next_if(|line| line.starts_with("? ")) {
                strict.push(line[2..].to_string());
            }
            assert_eq!(strict_findings(Some(body.as_bytes()), &parsed, &result.unwrap()), strict, "{body}");
            let mut again = value.clone();
            assert_eq!(check(&schema(kind), &mut again), Ok(super::Findings::default()), "{body}");
            assert_eq!(again, value, "a second walk changes nothing");
        }
        count += 1;
    }
    assert!(count > 90);
}

#[test]
fn strict_errors_and_type_meta() {
    assert_eq!(
        strict_error(&["unknown field \"a\"".into(), "duplicate field \"b\"".into()]),
        "strict decoding error: unknown field \"a\", duplicate field \"b\""
    );
    assert_eq!(type_meta(&json!({"apiVersion": "v1", "kind": "Pod"})), Ok(("v1", "Pod")));
    assert_eq!(type_meta(&json!({"kind": null})), Ok(("", "")));
    let error = |value: Value| type_meta(&value).unwrap_err().to_string();
    assert_eq!(
        error(json!({"kind": 1})),
        "couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of \
         type string"
    );
    assert!(error(json!([])).ends_with("Kind string \"json:\\\"kind,omitempty\\\"\" }"));
}

#[test]
fn null_values_of_data_stay_as_empty_ones() {
    let mut value = json!({"data": {"a": null}});
    check(&schema("Secret"), &mut value).unwrap();
    assert_eq!(value["data"], json!({"a": ""}));
    let budget = Schema::builtin("policy", "v1", "PodDisruptionBudget").unwrap();
    let mut value = json!({"status": {"disruptedPods": {"a": null, "b": "2026-01-02T03:04:05.5Z"}}});
    check(&budget, &mut value).unwrap();
    assert_eq!(value["status"]["disruptedPods"], json!({"a": null, "b": "2026-01-02T03:04:05Z"}));
}

#[test]
fn durations_print_as_gos() {
    for (text, expect) in [
        ("1h30m", "1h30m0s"),
        ("90s", "1m30s"),
        ("1.5s", "1.5s"),
        ("100ms", "100ms"),
        ("1500us", "1.5ms"),
        ("0", "0s"),
        ("3h", "3h0m0s"),
        ("1ns", "1ns"),
    ] {
        assert_eq!(super::print_duration(super::parse_duration(text).unwrap()), expect);
    }
    assert_eq!(super::duration::print_nanoseconds(-90_000_000_000), "-1m30s");
    assert_eq!(super::parse_duration("x").unwrap_err(), "time: invalid duration \"x\"");
    assert_eq!(super::parse_duration("1").unwrap_err(), "time: missing unit in duration \"1\"");
    assert_eq!(super::parse_duration("1y").unwrap_err(), "time: unknown unit \"y\" in duration \"1y\"");
}

/// Trees of names that Pods have, with values that mostly do not belong there.
fn trees() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9%]{0,5}".prop_map(Value::from),
        Just(json!("100m")),
        Just(json!("merge")),
    ];
    let names = "spec|metadata|status|containers|name|volumes|hostPath|resources|limits|cpu|env|ports|containerPort|\
                 finalizers|labels|creationTimestamp|items|\\$patch|\\$retainKeys|\\$setElementOrder/containers|\
                 \\$deleteFromPrimitiveList/finalizers";
    leaf.prop_recursive(7, 60, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            hash_map(names, inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn no_tree_panics(value in trees(), patch in trees()) {
        let pod = schema("Pod");
        let mut checked = value.clone();
        if check(&pod, &mut checked).is_ok() {
            let once = checked.clone();
            check(&pod, &mut checked).unwrap();
            prop_assert_eq!(&checked, &once);
        }
        let _ = crate::patch::strategic(&pod, value.clone(), patch.clone());
        let _ = crate::patch::merge(value.clone(), patch.clone());
        let _ = crate::patch::json(value, &patch);
    }

    #[test]
    fn times_and_durations_never_panic(text in "[0-9TZ:.,+hms-]{0,30}") {
        let _ = super::canonical_time(&text, false);
        let _ = super::canonical_time(&text, true);
        let _ = super::parse_duration(&text);
        let _ = super::base64::canonical(&text);
    }
}
