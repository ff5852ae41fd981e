//! Round trips through the wire, bytes as Go's clients write them, and input that is no protobuf.

use super::*;
use crate::Schema;
use proptest::prelude::*;
use serde_json::{Value, json};

fn builtin(group: &str, version: &str, kind: &str) -> Option<Schema> {
    Schema::builtin(group, version, kind)
}

fn check(object: Value) {
    let (group, version) =
        object["apiVersion"].as_str().map(|text| text.split_once('/').unwrap_or(("", text))).unwrap();
    let schema = builtin(group, version, object["kind"].as_str().unwrap()).unwrap();
    let bytes = encode(&schema, &object).unwrap();
    assert_eq!(decode(&bytes, &builtin).unwrap(), object);
    let json = object.to_string();
    assert_eq!(decode(&transcoded(&schema, &json, &object), &builtin).unwrap(), object);
}

/// The envelope around what comes straight from the JSON.
fn transcoded(schema: &Schema, json: &str, object: &Value) -> Vec<u8> {
    let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let mut bytes = Vec::new();
    envelope::object(&mut bytes, version, kind, |out| {
        transcode(schema, json.as_bytes(), out).unwrap_or_else(|| panic!("{json}"));
    });
    bytes
}

#[test]
fn objects_come_back_as_they_went() {
    check(json!({ "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "labels": { "a": "b", "c": "" }, "creationTimestamp": "2026-01-02T03:04:05Z" },
        "spec": { "replicas": 0, "minReadySeconds": 5, "selector": { "matchLabels": { "a": "b" } },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": 0 } },
            "template": { "metadata": { "labels": { "a": "b" } }, "spec": {
                "containers": [{ "name": "c", "image": "i", "resources": { "limits": { "cpu": "100m" } },
                    "ports": [{ "containerPort": 80, "protocol": "TCP" }],
                    "env": [{ "name": "E", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k", "optional": false } } }],
                    "livenessProbe": { "httpGet": { "path": "/", "port": "http" }, "periodSeconds": 3 },
                    "securityContext": { "runAsUser": 0, "privileged": false } }],
                "volumes": [{ "name": "v", "configMap": { "name": "m", "defaultMode": 420 } }, { "name": "e", "emptyDir": {} }] } } },
        "status": {} }));
    check(
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "data": { "a": "aGVsbG8=", "b": "" } }),
    );
    check(json!({ "apiVersion": "metrics.k8s.io/v1beta1", "kind": "NodeMetrics", "metadata": {},
        "timestamp": "2026-01-02T03:04:05Z", "window": "1m30s", "usage": { "cpu": "1" } }));
    check(json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {}, "spec": {},
        "status": { "disruptedPods": { "a": null } } }));
    check(json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {},
        "spec": { "renewTime": "2026-01-02T03:04:05.123456Z", "leaseDurationSeconds": 40 } }));
    check(
        json!({ "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {},
        "spec": { "request": "AAEC", "signerName": "x/y", "extra": { "k": ["a", "b"], "empty": [] } }, "status": {} }),
    );
    check(
        json!({ "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {}, "data": { "any": [1, null, "x"] }, "revision": 3 }),
    );
    check(
        json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {}, "spec": {
        "group": "g", "names": { "kind": "K", "plural": "ks" }, "scope": "Namespaced", "versions": [{ "name": "v1", "served": true, "storage": true,
            "schema": { "openAPIV3Schema": { "type": "object", "additionalProperties": false, "default": { "x": 1 }, "maximum": 1.5,
                "items": { "type": "string" }, "properties": { "p": { "additionalProperties": { "type": "integer" }, "items": [{ "type": "string" }] } } } } }] } }),
    );
}

/// `Namespace` "a" as client-go writes it: empty messages for spec and status, an empty time, empty strings.
#[test]
fn what_go_writes_for_nothing_is_left_out() {
    let metadata = b"\n\x01a\x12\0\x1a\0\"\0*\x002\08\0B\0";
    let mut message = vec![10, metadata.len() as u8];
    message.extend_from_slice(metadata);
    message.extend_from_slice(&[0x12, 0, 0x1a, 2, 10, 0]);
    let mut unknown = b"k8s\0\n\x0f\n\x02v1\x12\tNamespace\x12".to_vec();
    unknown.push(message.len() as u8);
    unknown.extend_from_slice(&message);
    unknown.extend_from_slice(b"\x1a\0\"\0");
    assert_eq!(
        decode(&unknown, &builtin).unwrap(),
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "a" }, "spec": {}, "status": {} })
    );
}

#[test]
fn what_is_no_object_is_refused() {
    for (bytes, why) in [
        (&b""[..], "expected prefix"),
        (b"{\"kind\":\"Pod\"}", "expected prefix"),
        (b"k8s\0", "no kind"),
        (b"k8s\0\n\x05\n\x02v1\x12", "unexpected EOF"),
        (b"k8s\0\n\xff\xff\xff\xff\x0f", "unexpected EOF"),
        (b"k8s\0\n\x09\n\x02v1\x12\x03Pod\x12\x01\x07", "illegal"),
    ] {
        let error = decode(bytes, &builtin).unwrap_err().to_string();
        assert!(error.contains(why), "{bytes:?}: {error}");
    }
    let mut deep = b"".to_vec();
    for _ in 0..400 {
        // JSONSchemaProps.not is field 26.
        let mut outer = Vec::new();
        super::wire::put_bytes(&mut outer, 26, &deep);
        deep = outer;
    }
    let mut version = Vec::new();
    let mut schema = Vec::new();
    super::wire::put_bytes(&mut schema, 1, &deep);
    super::wire::put_bytes(&mut version, 4, &schema);
    let mut spec = Vec::new();
    super::wire::put_bytes(&mut spec, 7, &version);
    let mut definition = Vec::new();
    super::wire::put_bytes(&mut definition, 2, &spec);
    let mut meta = Vec::new();
    super::wire::put_bytes(&mut meta, 1, b"apiextensions.k8s.io/v1");
    super::wire::put_bytes(&mut meta, 2, b"CustomResourceDefinition");
    let mut body = MAGIC.to_vec();
    super::wire::put_bytes(&mut body, 1, &meta);
    super::wire::put_bytes(&mut body, 2, &definition);
    assert!(decode(&body, &builtin).unwrap_err().to_string().contains("depth"));
}

#[test]
fn lists_and_frames_are_those_that_a_whole_encoding_makes() {
    let schema = builtin("", "v1", "ConfigMap").unwrap();
    let item = |name: &str| json!({ "metadata": { "name": name }, "data": { "k": "v".repeat(300) } });
    for count in [0, 1, 3] {
        let items: Vec<Value> = (0..count).map(|index| item(&format!("m{index}"))).collect();
        let mut encoded = Vec::new();
        for one in &items {
            envelope::item(&mut encoded, |out| {
                transcode(&schema, one.to_string().as_bytes(), out).unwrap();
            });
        }
        let meta = envelope::ListMeta {
            resource_version: "7".into(),
            continuation: "abc".into(),
            remaining: Some(200),
        };
        let mut list = Vec::new();
        envelope::open_list(&mut list, "v1", "ConfigMapList", &meta, encoded.len());
        list.extend_from_slice(&encoded);
        envelope::end(&mut list);
        let mut expect = json!({ "apiVersion": "v1", "kind": "ConfigMapList",
            "metadata": { "resourceVersion": "7", "continue": "abc", "remainingItemCount": 200 } });
        if count > 0 {
            expect["items"] = items.into();
        }
        assert_eq!(decode(&list, &builtin).unwrap(), expect);
        let mut frame = Vec::new();
        envelope::frame(&mut frame, "ADDED", |out| out.extend_from_slice(&list));
        let (length, event) = frame.split_at(4);
        assert_eq!(u32::from_be_bytes(length.try_into().unwrap()) as usize, event.len());
        assert_eq!(&event[..7], b"\n\x05ADDED");
        assert!(event.ends_with(&list));
    }
}

#[test]
fn what_cannot_be_followed_leaves_nothing_behind() {
    let schema = builtin("", "v1", "Pod").unwrap();
    for json in [
        "",
        "[]",
        "{",
        r#"{"spec":[]}"#,
        r#"{"spec":{"containers":{}}}"#,
        r#"{"metadata":{"generation":"x"}}"#,
        r#"{"metadata":{"name":7}}"#,
        r#"{"metadata":{"name":"a"}"#,
        r#"{"metadata":{"creationTimestamp":"x"}}"#,
    ] {
        let mut out = vec![1, 2, 3];
        assert_eq!(transcode(&schema, json.as_bytes(), &mut out), None, "{json}");
        assert_eq!(out, [1, 2, 3]);
    }
    for json in ["{}", r#"{"unknown":[{"x":1}],"spec":null}"#, "{\"metadata\":{\"name\":\"a\\n\\u00e4\"}}"] {
        assert_eq!(transcode(&schema, json.as_bytes(), &mut Vec::new()), Some(()), "{json}");
    }
}

#[test]
fn every_kind_comes_back_as_generated() {
    let mut kinds = 0;
    for ([group, version, kind], _) in crate::facts::builtin().kinds() {
        let schema = builtin(group, version, kind).unwrap();
        if !schema.has_wire() {
            continue;
        }
        kinds += 1;
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        for seed in 0..6 {
            let object = generate::object(&schema, &api_version, kind, seed * 7919 + kinds);
            check(object);
        }
    }
    assert!(kinds > 150, "{kinds}");
}

proptest! {
    #[test]
    fn generated_pods_come_back(seed: u64) {
        let schema = builtin("", "v1", "Pod").unwrap();
        check(generate::object(&schema, "v1", "Pod", seed));
    }

    #[test]
    fn no_json_makes_transcoding_panic(bytes: Vec<u8>, text in "[{}\\[\\]\",:a-e1n ]*") {
        let schema = builtin("", "v1", "Pod").unwrap();
        let _ = transcode(&schema, &bytes, &mut Vec::new());
        let _ = transcode(&schema, format!("{{\"spec\":{text}").as_bytes(), &mut Vec::new());
    }

    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut body = b"k8s\0\n\x09\n\x02v1\x12\x03Pod\x12".to_vec();
        super::wire::put_varint(&mut body, bytes.len() as u64);
        body.extend_from_slice(&bytes);
        let _ = decode(&body, &builtin);
        let _ = decode(&bytes, &builtin);
    }
}
