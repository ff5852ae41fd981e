//! ResourceQuotas as upstream's conformance tests drive them: what is used is counted as it comes and goes.

use crate::api::Api;
use crate::conformance::{Step, template};
use serde_json::{Value, json};

/// The steps of [`crate::conformance`] that are about quotas.
pub const STEPS: &[Step] = &[
    ("quota-status", the_status_of_a_quota_is_repaired),
    ("quota-simple", simple_objects_are_counted),
    ("quota-pods", pods_are_counted),
    ("quota-services", services_are_counted),
    ("quota-effort", best_effort_is_a_scope),
    ("quota-ends", ends_are_scopes),
];

const QUOTAS: &str = "v1/resourcequotas";

fn quota(api: &Api<'_>, name: &str, hard: &Value, scopes: &[&str]) {
    let mut body = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": name },
        "spec": { "hard": hard } });
    if !scopes.is_empty() {
        body["spec"]["scopes"] = json!(scopes);
    }
    api.post(&api.path(QUOTAS), &body);
    // What is there already counts too, such as the root certificate.
    api.until(QUOTAS, name, |quota| quota["status"]["hard"] == *hard && quota["status"]["used"].is_object());
}

/// Waits until this much is used.
#[track_caller]
fn used(api: &Api<'_>, name: &str, expect: &[(&str, &str)]) {
    api.until(QUOTAS, name, |quota| {
        expect.iter().all(|(resource, amount)| quota["status"]["used"][*resource] == *amount)
    });
}

fn the_status_of_a_quota_is_repaired(api: &Api<'_>) {
    let hard = json!({ "cpu": "500m", "memory": "500Mi" });
    quota(api, "e2e-rq-status", &hard, &[]);
    let path = format!("{}/e2e-rq-status", api.path(QUOTAS));
    let mut read = api.get(&format!("{path}/status"));
    read["status"]["hard"] = json!({ "cpu": "1", "memory": "1Gi" });
    // What is written is not what is wanted; the controller says so again.
    assert_eq!(api.put(&format!("{path}/status"), &read)["spec"]["hard"], hard);
    api.until(QUOTAS, "e2e-rq-status", |quota| quota["status"]["hard"] == hard);
    api.patch(&format!("{path}/status"), &json!({ "status": { "hard": { "cpu": "2" } } }));
    api.until(QUOTAS, "e2e-rq-status", |quota| quota["status"]["hard"] == hard);
    let more = json!({ "cpu": "1", "memory": "1Gi" });
    api.patch(&path, &json!({ "spec": { "hard": more } }));
    api.until(QUOTAS, "e2e-rq-status", |quota| quota["status"]["hard"] == more);
}

fn simple_objects_are_counted(api: &Api<'_>) {
    let hard = json!({ "configmaps": "5", "secrets": "5", "replicationcontrollers": "5",
        "count/replicasets.apps": "5", "resourcequotas": "1" });
    quota(api, "test-quota", &hard, &[]);
    api.until("v1/configmaps", "kube-root-ca.crt", Value::is_object);
    used(api, "test-quota", &[("resourcequotas", "1"), ("configmaps", "1"), ("secrets", "0")]);
    let set = |kind: &str, version: &str, selector: Value| {
        json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "test" },
            "spec": { "replicas": 0, "selector": selector, "template": template() } })
    };
    for (resource, counted, before, after, body) in [
        (
            "v1/configmaps",
            "configmaps",
            "1",
            "2",
            json!({ "metadata": { "name": "test" }, "data": { "a": "b" } }),
        ),
        (
            "v1/secrets",
            "secrets",
            "0",
            "1",
            json!({ "metadata": { "name": "test" }, "stringData": { "a": "b" } }),
        ),
        (
            "v1/replicationcontrollers",
            "replicationcontrollers",
            "0",
            "1",
            set("ReplicationController", "v1", json!({ "app": "x" })),
        ),
        (
            "apps/v1/replicasets",
            "count/replicasets.apps",
            "0",
            "1",
            set("ReplicaSet", "apps/v1", json!({ "matchLabels": { "app": "x" } })),
        ),
    ] {
        let path = api.path(resource);
        api.post(&path, &body);
        used(api, "test-quota", &[(counted, after)]);
        api.delete(&format!("{path}/test"), &Value::Null);
        used(api, "test-quota", &[(counted, before)]);
    }
}

fn pod(name: &str, spec: &Value) -> Value {
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": template()["spec"] });
    for (field, value) in spec.as_object().unwrap() {
        match field.as_str() {
            "resources" => pod["spec"]["containers"][0]["resources"] = value.clone(),
            _ => pod["spec"][field] = value.clone(),
        }
    }
    pod
}

fn pods_are_counted(api: &Api<'_>) {
    let hard = json!({ "pods": "5", "cpu": "1", "memory": "500Mi", "ephemeral-storage": "50Gi" });
    quota(api, "test-quota", &hard, &[]);
    let asks = |cpu: &str, memory: &str| {
        json!({ "resources": { "requests": { "cpu": cpu, "memory": memory, "ephemeral-storage": "30Gi" },
            "limits": { "cpu": cpu, "memory": memory, "ephemeral-storage": "30Gi" } },
            "nodeSelector": { "nowhere": "here" } })
    };
    let pods = api.path("v1/pods");
    api.post(&pods, &pod("test-pod", &asks("500m", "252Mi")));
    let half = [("pods", "1"), ("cpu", "500m"), ("memory", "252Mi"), ("ephemeral-storage", "30Gi")];
    used(api, "test-quota", &half);
    for (cpu, memory) in [("600m", "100Mi"), ("500m", "300Mi")] {
        let refused = api.refused(&pods, &pod("fail-pod", &asks(cpu, memory)));
        assert!(refused.message.contains("exceeded quota: test-quota"), "{refused:?}");
    }
    let path = format!("{pods}/test-pod");
    let more = json!({ "spec": { "containers": [{ "name": "c", "image": "busybox:1",
        "resources": asks("600m", "100Mi")["resources"] }] } });
    let refused = api.try_call(&format!("PATCH {path}"), "application/strategic-merge-patch+json", &more);
    assert!(refused.is_err(), "what a pod asks for does not change");
    used(api, "test-quota", &half);
    api.delete(&path, &json!({ "gracePeriodSeconds": 0 }));
    used(api, "test-quota", &[("pods", "0"), ("cpu", "0"), ("memory", "0"), ("ephemeral-storage", "0")]);
}

fn services_are_counted(api: &Api<'_>) {
    let hard = json!({ "services": "10", "services.nodeports": "1", "services.loadbalancers": "1" });
    quota(api, "test-quota", &hard, &[]);
    let services = api.path("v1/services");
    let service = |name: &str, kind: &str| {
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
            "spec": { "type": kind, "ports": [{ "port": 80 }] } })
    };
    api.post(&services, &service("test-cluster", "ClusterIP"));
    api.post(&services, &service("test-node", "NodePort"));
    let refused = api.refused(&services, &service("test-balancer", "LoadBalancer"));
    assert!(refused.message.contains("exceeded quota: test-quota"), "{refused:?}");
    used(
        api,
        "test-quota",
        &[("services", "2"), ("services.nodeports", "1"), ("services.loadbalancers", "0")],
    );
    api.delete(&format!("{services}/test-cluster"), &Value::Null);
    api.delete(&format!("{services}/test-node"), &Value::Null);
    used(api, "test-quota", &[("services", "0"), ("services.nodeports", "0")]);
}

fn best_effort_is_a_scope(api: &Api<'_>) {
    let hard = json!({ "pods": "5" });
    quota(api, "quota-besteffort", &hard, &["BestEffort"]);
    quota(api, "quota-not-besteffort", &hard, &["NotBestEffort"]);
    let some = json!({ "cpu": "100m", "memory": "50Mi" });
    let pods = api.path("v1/pods");
    for (resources, counted, other) in [
        (json!({}), "quota-besteffort", "quota-not-besteffort"),
        (json!({ "requests": some, "limits": some }), "quota-not-besteffort", "quota-besteffort"),
    ] {
        let spec = json!({ "resources": resources, "nodeSelector": { "nowhere": "here" } });
        api.post(&pods, &pod("pod", &spec));
        used(api, counted, &[("pods", "1")]);
        used(api, other, &[("pods", "0")]);
        api.delete(&format!("{pods}/pod"), &json!({ "gracePeriodSeconds": 0 }));
        used(api, counted, &[("pods", "0")]);
    }
}

fn ends_are_scopes(api: &Api<'_>) {
    let hard = json!({ "pods": "5", "requests.cpu": "1", "requests.memory": "1Gi", "limits.cpu": "2", "limits.memory": "2Gi" });
    quota(api, "quota-terminating", &hard, &["Terminating"]);
    quota(api, "quota-not-terminating", &hard, &["NotTerminating"]);
    let pods = api.path("v1/pods");
    let resources = json!({ "requests": { "cpu": "500m", "memory": "200Mi" }, "limits": { "cpu": "1", "memory": "400Mi" } });
    let asked = [
        ("pods", "1"),
        ("requests.cpu", "500m"),
        ("requests.memory", "200Mi"),
        ("limits.cpu", "1"),
        ("limits.memory", "400Mi"),
    ];
    let nothing = asked.map(|(resource, _)| (resource, "0"));
    for (deadline, counted, other) in [
        (Value::Null, "quota-not-terminating", "quota-terminating"),
        (json!(3600), "quota-terminating", "quota-not-terminating"),
    ] {
        let spec = json!({ "resources": resources, "activeDeadlineSeconds": deadline, "nodeSelector": { "nowhere": "here" } });
        api.post(&pods, &pod("test-pod", &spec));
        used(api, counted, &asked);
        used(api, other, &nothing);
        api.delete(&format!("{pods}/test-pod"), &json!({ "gracePeriodSeconds": 0 }));
        used(api, counted, &nothing);
    }
}
