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

proptest! {
    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut body = b"k8s\0\n\x09\n\x02v1\x12\x03Pod\x12".to_vec();
        super::wire::put_varint(&mut body, bytes.len() as u64);
        body.extend_from_slice(&bytes);
        let _ = decode(&body, &builtin);
        let _ = decode(&bytes, &builtin);
    }
}
