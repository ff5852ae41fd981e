//! The objects that are written, and the requests that write and read them.

use serde_json::{Value, json};

/// Where Pods are created.
pub const PODS: &str = "/api/v1/namespaces/default/pods";
/// Where Leases are kept.
pub const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
/// Where custom resources are kept.
pub const WIDGETS: &str = "/apis/bench.example.com/v1/namespaces/default/widgets";
/// Where Deployments are created.
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
/// The image that the node's Pods run.
pub const IMAGE: &str = "bench.local/busybox:1";

/// Puts a request into `out`, in place of what is there.
pub fn request(out: &mut Vec<u8>, method: &str, path: &str, body: &[u8]) {
    let kind = match method {
        "PATCH" if path.contains("fieldManager=") => "application/apply-patch+yaml",
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    head(out, method, path, "application/json");
    if method != "GET" {
        let head = format!("content-type: {kind}\r\ncontent-length: {}\r\n", body.len());
        out.extend_from_slice(head.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

fn head(out: &mut Vec<u8>, method: &str, path: &str, accept: &str) {
    out.clear();
    for part in [method, " ", path, " HTTP/1.1\r\nhost: bench\r\naccept: ", accept, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// A read in a form.
pub fn accepting(path: &str, accept: &str) -> Vec<u8> {
    let mut out = Vec::new();
    head(&mut out, "GET", path, accept);
    out.extend_from_slice(b"\r\n");
    out
}

/// A request without a body.
pub fn bare(method: &str, path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    request(&mut out, method, path, b"");
    out
}

/// A request with a body.
pub fn full(method: &str, path: &str, body: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    request(&mut out, method, path, body.to_string().as_bytes());
    out
}

/// A Pod as a Deployment's of a web application looks, about 2.4 KB. No scheduler of this cluster is asked for
/// it, so that only the API is measured.
pub fn pod(name: &str) -> Value {
    let probe = |path: &str, period: u32| {
        json!({
            "httpGet": {"path": path, "port": "http", "scheme": "HTTP"},
            "initialDelaySeconds": 3, "periodSeconds": period, "timeoutSeconds": 2,
            "successThreshold": 1, "failureThreshold": 3,
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "default",
            "labels": {
                "app.kubernetes.io/name": "storefront", "app.kubernetes.io/instance": "storefront-production",
                "app.kubernetes.io/component": "web", "pod-template-hash": "7d4b9c6f58", "tier": "frontend",
            },
            "annotations": {
                "prometheus.io/scrape": "true", "prometheus.io/port": "9102",
                "checksum/config": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            },
        },
        "spec": {
            "schedulerName": "bench", "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "terminationGracePeriodSeconds": 30, "priority": 0, "enableServiceLinks": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 1000},
            "containers": [
                {
                    "name": "web", "image": "registry.example.com/shop/storefront:2026.11.3",
                    "imagePullPolicy": "IfNotPresent", "args": ["serve", "--port=8080", "--workers=4"],
                    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                    "env": [
                        {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "storefront-database", "key": "url"}}},
                        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        {"name": "LOG_LEVEL", "value": "info"}, {"name": "REGION", "value": "eu-central"},
                    ],
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "512Mi"},
                    },
                    "readinessProbe": probe("/healthz/ready", 5), "livenessProbe": probe("/healthz/live", 10),
                    "volumeMounts": [
                        {"name": "config", "mountPath": "/etc/storefront", "readOnly": true},
                        {"name": "cache", "mountPath": "/var/cache/storefront"},
                    ],
                },
                {
                    "name": "metrics", "image": "registry.example.com/shop/exporter:1.9.0",
                    "ports": [{"name": "metrics", "containerPort": 9102, "protocol": "TCP"}],
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                },
            ],
            "volumes": [
                {"name": "config", "configMap": {"name": "storefront-config", "defaultMode": 420}},
                {"name": "cache", "emptyDir": {"sizeLimit": "256Mi"}},
            ],
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            ],
            "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                "weight": 100, "podAffinityTerm": {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "storefront"}},
                },
            }]}},
        },
    })
}

/// The definition of Widgets: a schema of everyday kind, with a status.
pub fn definition() -> Value {
    let text = json!({ "type": "string" });
    let pair = json!({ "type": "object", "required": ["name"],
        "properties": { "name": text, "value": { "type": "string", "maxLength": 256 } } });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.bench.example.com" },
        "spec": {
            "group": "bench.example.com", "scope": "Namespaced",
            "names": { "plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList" },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                    "spec": { "type": "object", "required": ["image"], "properties": {
                        "replicas": { "type": "integer", "minimum": 0, "default": 1 },
                        "image": { "type": "string", "pattern": "^[a-z0-9./:-]+$" },
                        "paused": { "type": "boolean", "default": false },
                        "settings": { "type": "array", "items": pair, "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["name"] },
                        "selector": { "type": "object", "additionalProperties": text },
                    } },
                    "status": { "type": "object", "properties": { "message": text, "observed": { "type": "integer" } } },
                } } },
            }],
        },
    })
}

/// A Widget, about 1 KB.
pub fn widget(name: &str) -> Value {
    let settings: Vec<Value> = (0..12)
        .map(|number| json!({ "name": format!("SETTING_{number}"), "value": format!("the value of setting {number}") }))
        .collect();
    json!({
        "apiVersion": "bench.example.com/v1", "kind": "Widget",
        "metadata": {
            "name": name, "namespace": "default",
            "labels": { "app.kubernetes.io/name": "storefront", "app.kubernetes.io/component": "web", "tier": "frontend" },
            "annotations": { "checksum/config": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" },
        },
        "spec": {
            "replicas": 3, "image": "registry.example.com/shop/storefront:2026.11.3", "settings": settings,
            "selector": { "app.kubernetes.io/name": "storefront", "tier": "frontend" },
        },
    })
}

/// A policy that accepts what is written here, of both kinds.
pub fn policy() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": "bench" },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [
                { "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"] },
                { "apiGroups": ["bench.example.com"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                  "resources": ["widgets"] },
            ] },
            "validations": [
                { "expression": "object.kind != 'Pod' || object.spec.containers.all(one, one.image.startsWith('registry.example.com/'))" },
                { "expression": "object.kind != 'Widget' || object.spec.replicas <= 100", "message": "too many replicas" },
            ],
        },
    })
}

/// What puts the policy in force.
pub fn binding() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": "bench" }, "spec": { "policyName": "bench", "validationActions": ["Deny"] },
    })
}

/// A Pod that the scheduler places at once.
pub fn first_pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "first", "namespace": "default"},
        "spec": {
            "containers": [{"name": "main", "image": IMAGE}],
            "tolerations": [{"operator": "Exists"}],
        },
    })
}

/// A node that nobody runs, with room.
pub fn node() -> Value {
    let room = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "bench"},
        "status": {
            "capacity": room, "allocatable": room,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "bench"}],
        },
    })
}

/// A node's Lease, as its agent renews it.
pub fn lease(name: &str, version: &str) -> Value {
    let metadata = if version.is_empty() {
        json!({"name": name, "namespace": "default"})
    } else {
        json!({"name": name, "namespace": "default", "resourceVersion": version})
    };
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": "2026-11-21T12:00:00.000000Z"},
    })
}

/// A Deployment of one Pod that sleeps.
pub fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
                        "command": ["/bin/busybox", "sleep", "1000000"],
                    }],
                },
            },
        },
    })
}
