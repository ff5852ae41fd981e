//! Values against tables of upstream's behaviour.

use crate::*;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn quantities_are_canonical() {
    for (text, canonical) in [
        ("0", "0"),
        ("0m", "0"),
        ("0Ki", "0"),
        ("1", "1"),
        ("+1", "1"),
        ("-1", "-1"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("0.5", "500m"),
        ("1.5", "1500m"),
        (".5", "500m"),
        ("1.", "1"),
        ("1Ki", "1Ki"),
        ("1024Ki", "1Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1000Ki", "1000Ki"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("1000e3", "1e6"),
        ("1.5e3", "1500"),
        ("12e-3", "12e-3"),
        ("1E", "1E"),
        ("100u", "100u"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("100M", "100M"),
        ("1000M", "1G"),
        ("128974848", "128974848"),
        ("9223372036854775807", "9223372036854775807"),
        ("1.1Ki", "1126400m"),
    ] {
        assert_eq!(quantity::canonical(text).as_deref(), Ok(canonical), "{text}");
    }
    for bad in [
        "", "-", "a", "1x", "1 ", " 1", "1.2.3", "1ki", "1KI", "e3", "1e", "1ee3", "--1", "1,5", "0x10", "１",
    ] {
        assert!(quantity::canonical(bad).is_err(), "{bad:?}");
    }
    for (bad, error) in [
        ("12 cats", quantity::Error::Format),
        ("1x", quantity::Error::Format),
        ("1ki", quantity::Error::Suffix),
        ("1e", quantity::Error::Suffix),
    ] {
        assert_eq!(quantity::canonical(bad), Err(error), "{bad:?}");
    }
}

#[test]
fn quantities_round_up_and_are_capped() {
    let value = |text: &str| text.parse::<Quantity>().unwrap().value();
    let milli = |text: &str| text.parse::<Quantity>().unwrap().milli();
    assert_eq!((value("1500m"), value("1m"), value("-1500m")), (2, 1, -1));
    assert_eq!((milli("1"), milli("0.0001"), milli("100m")), (1000, 1, 100));
    assert_eq!(value("1Ki"), 1024);
    assert_eq!(value("100E"), i64::MAX);
    assert_eq!(value("99999999999999999999999999999999999999999999"), i64::MAX);
    assert_eq!(value("-8Ei"), -i64::MAX);
    assert_eq!(milli("9223372036854775807"), i64::MAX);
}

proptest! {
    #[test]
    fn a_canonical_quantity_is_itself_and_the_same_amount(
        number in -999_999_i64..999_999, decimals in 0_usize..6, suffix in "(n|u|m||k|M|G|T|Ki|Mi|Gi|e3|e-3)",
    ) {
        let scale = 10_i64.pow(u32::try_from(decimals).unwrap());
        let sign = if number < 0 { "-" } else { "" };
        let text = format!("{sign}{}.{:0decimals$}{suffix}", number.abs() / scale, number.abs() % scale);
        let text = if decimals == 0 { format!("{number}{suffix}") } else { text };
        let canonical = quantity::canonical(&text).unwrap();
        prop_assert_eq!(quantity::canonical(&canonical).unwrap(), canonical.clone());
        prop_assert_eq!(text.parse::<Quantity>().unwrap(), canonical.parse::<Quantity>().unwrap());
    }

    #[test]
    fn parsers_never_panic(text in "\\PC{0,40}") {
        let _ = text.parse::<Quantity>();
        let _ = LabelSelector::parse(&text);
        let _ = FieldSelector::parse(&text);
        let _ = name::qualified(&text);
        let _ = name::dns1035_label(&text);
        let _ = name::generate(&text, &mut || 7);
        let _ = Object::received(Bytes::from(text.into_bytes()));
    }

    #[test]
    fn an_object_reads_back_what_was_stored(name in "[a-z\\PC]{1,20}", label in "\\PC{0,20}", revision in 1_u64..) {
        let mut value = json!({ "apiVersion": "v1", "kind": "X", "metadata": { "name": name, "labels": { "k": label },
            "resourceVersion": "old" }, "spec": [1, 2] });
        let object = Object::stored(Object::encode(&mut value), revision).unwrap();
        prop_assert_eq!(object.name(), name.as_str());
        prop_assert_eq!(object.label("k"), Some(label.as_str()));
        let written: Value = serde_json::from_slice(&object.to_json()).unwrap();
        prop_assert_eq!(&written, &object.to_value().unwrap());
        prop_assert_eq!(&written["metadata"]["resourceVersion"], &Value::from(revision.to_string()));
        let received = Object::received(Bytes::from(object.to_json())).unwrap();
        prop_assert_eq!(received.revision(), revision);
        prop_assert_eq!(received.name(), name.as_str());
    }
}

#[test]
fn objects_index_owners_and_deletion_and_survive_odd_metadata() {
    // What is read in one pass of stored bytes is what a parser finds.
    let object = |value: &Value| {
        let bytes = Bytes::from(value.to_string());
        let (stored, received) = (Object::stored(bytes.clone(), 7), Object::received(bytes));
        let index = |object: &Object| {
            let texts = [object.namespace(), object.name(), object.uid()].map(str::to_owned);
            let owners = object.owners().map(|owner| format!("{owner:?}")).collect::<Vec<_>>();
            let labels = object.labels().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
            let numbers = (object.generation(), object.finalizers(), object.metadata_end());
            (texts, owners, labels, numbers, object.deleting())
        };
        assert_eq!(stored.as_ref().ok().map(index), received.as_ref().ok().map(index));
        received
    };
    let full = object(&json!({ "metadata": { "namespace": "a", "name": "b", "uid": "u", "generation": 3,
        "resourceVersion": "7", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x", "y"],
        "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "o", "controller": true }] } }))
    .unwrap();
    assert_eq!((full.namespace(), full.uid(), full.revision(), full.generation()), ("a", "u", 7, 3));
    assert!(full.deleting());
    assert_eq!(full.finalizers(), 2);
    let owner = full.controller().unwrap();
    assert_eq!((owner.kind, owner.uid, owner.block_owner_deletion), ("ReplicaSet", "o", false));
    let bare = object(&json!({})).unwrap();
    assert_eq!((bare.name(), bare.revision(), bare.labels().count()), ("", 0, 0));
    let nulls = object(
        &json!({ "metadata": { "labels": null, "ownerReferences": null, "deletionTimestamp": null } }),
    )
    .unwrap();
    assert!(!nulls.deleting());
    for odd in [
        json!({ "metadata": { "name": 7 } }),
        json!({ "metadata": { "labels": { "a": 1 } } }),
        json!({ "metadata": { "generation": "x" } }),
        json!({ "metadata": "x" }),
    ] {
        assert!(object(&odd).is_err(), "{odd}");
    }
    let escaped = json!({ "metadata": { "labels": { "a\"": "\u{1}" }, "managedFields": [{ "x": "}" }], "name": "a\\",
        "namespace": null, "finalizers": null }, "spec": { "metadata": 1 } });
    assert_eq!(object(&escaped).unwrap().label("a\""), Some("\u{1}"));
    let mut sorted = json!({ "data": { "a": "b" }, "metadata": { "name": "n", "x": { "spec": 1 } }, "spec": { "a": "c" } });
    let stored = Object::stored(Object::encode(&mut sorted), 1).unwrap();
    let received = Object::received(Bytes::from(sorted.to_string())).unwrap();
    for (path, expect) in [
        (&["spec", "a"][..], Some("c")),
        (&["data", "a"], Some("b")),
        (&["metadata", "name"], Some("n")),
        (&["status", "a"], None),
        (&[], None),
    ] {
        assert_eq!(stored.text_at(path).as_deref(), expect, "{path:?}");
        assert_eq!(received.text_at(path).as_deref(), expect, "{path:?}");
    }
    let upstreams =
        Object::received(Bytes::from_static(br#"{"spec":{"a":"d"},"metadata":{"name":"n"},"x":1}"#));
    let upstreams = upstreams.unwrap();
    assert_eq!(upstreams.text_at(&["spec", "a"]).as_deref(), Some("d"));
    assert_eq!(upstreams.value_at(&["spec"]), Some(&br#"{"a":"d"}"#[..]));
    let empty = Object::stored(Bytes::from_static(b"{\"metadata\":{}}"), 5).unwrap();
    assert_eq!(empty.to_json(), b"{\"metadata\":{\"resourceVersion\":\"5\"}}");
}

#[test]
fn label_selectors_select() {
    let labels = |key: &str| match key {
        "app" => Some("web"),
        "tier" => Some("2"),
        _ => None,
    };
    for (text, selected) in [
        ("", true),
        ("app=web", true),
        ("app==web", true),
        ("app = web", true),
        ("app!=web", false),
        ("other!=x", true),
        ("app in (web,db)", true),
        ("app in (db)", false),
        ("app notin (db, cache)", true),
        ("none notin (x)", true),
        ("app", true),
        ("!app", false),
        ("!none", true),
        ("tier>1", true),
        ("tier<2", false),
        ("app=web,tier=3", false),
        ("app in (web),tier", true),
        ("app=", false),
    ] {
        let selector = LabelSelector::parse(text).unwrap();
        assert_eq!(selector.matches(labels), selected, "{text}");
        let again = LabelSelector::parse(&selector.to_string()).unwrap();
        assert_eq!(again, selector, "{text}");
    }
    for bad in ["a b", "a in", "a in (b", "=x", "a,,b", "-a=b", "a=b c", "a>x", "a/b/c=d", "in (a)"] {
        assert!(LabelSelector::parse(bad).is_err(), "{bad}");
    }
    assert!(!LabelSelector::from_value(&Value::Null).unwrap().matches(labels));
    assert!(LabelSelector::from_value(&json!({})).unwrap().matches(labels));
    let spec = json!({ "matchLabels": { "app": "web" },
        "matchExpressions": [{ "key": "tier", "operator": "NotIn", "values": ["3"] }] });
    assert!(LabelSelector::from_value(&spec).unwrap().matches(labels));
    assert!(
        LabelSelector::from_value(&json!({ "matchExpressions": [{ "key": "a", "operator": "Like" }] }))
            .is_err()
    );
}

#[test]
fn field_selectors_select_and_escape() {
    let fields = |key: &str| match key {
        "metadata.name" => "a",
        "x" => "1,2=3",
        _ => "",
    };
    for (text, selected) in [
        ("", true),
        ("metadata.name=a", true),
        ("metadata.name==a", true),
        ("metadata.name!=a", false),
        ("metadata.name=a,none=", true),
        ("x=1\\,2\\=3", true),
        (",", true),
    ] {
        assert_eq!(FieldSelector::parse(text).unwrap().matches(fields), selected, "{text}");
    }
    assert!(FieldSelector::parse("a").is_err());
    assert!(FieldSelector::parse("a=\\x").is_err());
    let selector = FieldSelector::parse("x=1\\,2\\=3").unwrap();
    assert_eq!(FieldSelector::parse(&selector.to_string()).unwrap(), selector);
    assert_eq!(selector.pinned("x"), Some("1,2=3"));
}

#[test]
fn names_follow_their_rules() {
    let long = "a".repeat(64);
    for (name, label, subdomain, service) in [
        ("a", true, true, true),
        ("a-b", true, true, true),
        ("1a", true, true, false),
        ("a.b", false, true, false),
        ("A", false, false, false),
        ("-a", false, false, false),
        ("a-", false, false, false),
        ("", false, false, false),
        ("a..b", false, false, false),
        ("a_b", false, false, false),
        ("ä", false, false, false),
        (&long, false, true, false),
    ] {
        assert_eq!(name::dns_label(name).is_empty(), label, "{name}");
        assert_eq!(name::dns_subdomain(name).is_empty(), subdomain, "{name}");
        assert_eq!(name::dns1035_label(name).is_empty(), service, "{name}");
    }
    for (key, good) in [
        ("a", true),
        ("x.io/a", true),
        ("/a", false),
        ("x.io/", false),
        ("a/b/c", false),
        ("A_b.c", true),
        ("X.io/a", false),
    ] {
        assert_eq!(name::qualified(key).is_empty(), good, "{key}");
    }
    let generated = name::generate_random(&"x".repeat(80));
    assert_eq!(generated.len(), 63);
    assert!(name::dns_label(&generated).is_empty());
    assert_ne!(name::generate_random("a-"), name::generate_random("a-"));
}

#[test]
fn statuses_are_as_upstream_writes_them() {
    let path = Path::root("spec");
    let (containers, replicas) = (path.child("containers"), path.child("replicas"));
    let first = containers.index(0);
    let errors = [
        FieldError::required(&first.child("name"), ""),
        FieldError::invalid(&replicas, -1, "must be greater than or equal to 0"),
    ];
    let status = Status::invalid("apps", "Deployment", "web", &errors);
    assert_eq!(
        status.message,
        "Deployment.apps \"web\" is invalid: [spec.containers[0].name: Required value, spec.replicas: Invalid value: -1: must be greater than or equal to 0]"
    );
    let body = status.to_value();
    assert_eq!(body["details"]["causes"][1]["reason"], "FieldValueInvalid");
    assert_eq!((body["code"].as_u64(), body["reason"].as_str()), (Some(422), Some("Invalid")));
    assert_eq!(Status::from_body(422, body.to_string().as_bytes()), status);
    assert_eq!(Status::from_body(503, b"no server\n").reason, Reason::ServiceUnavailable);
    assert_eq!(Status::not_found("apps", "deployments", "x").message, "deployments.apps \"x\" not found");
}

#[test]
fn times_have_kubernetes_formats() {
    let at = clock::parse_time("2026-11-21T12:00:00.123456789+02:00").unwrap();
    assert_eq!(clock::format_time(at), "2026-11-21T10:00:00Z");
    assert_eq!(clock::format_micro_time(at), "2026-11-21T10:00:00.123456Z");
    assert!(clock::parse_time("2026-11-21").is_none());
}
