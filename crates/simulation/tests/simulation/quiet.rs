//! A cluster with a bit of everything, run by the real control plane, comes to rest: nothing is written but Leases.

use crate::autoscaling::{by_queue, scaled};
use crate::conformance::place::{Place, condition, template};
use crate::conformance::{Cluster, NODES, store};
use crate::measured::{Net, Told, register, waiting};
use bytes::Bytes;
use futures_util::FutureExt;
use gifee_simulation::fleet::Conduct;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Longer than anything that was begun takes.
const SETTLING: Duration = Duration::from_secs(400);
/// Over which nothing may be written but Leases.
const QUIET: Duration = Duration::from_secs(120);

fn named(name: &str, spec: Value) -> Value {
    json!({ "metadata": { "name": name }, "spec": spec })
}

/// Labels of a workload's pods and a template of them.
fn pods(name: &str) -> (Value, Value) {
    let labels = json!({ "app": name });
    let made = template(&labels, "pause");
    (json!({ "matchLabels": labels }), made)
}

/// A pod that ends by itself.
fn task(name: &str) -> Value {
    let mut task = template(&json!({ "app": name }), "pause");
    task["spec"]["restartPolicy"] = "Never".into();
    task
}

async fn workloads(place: &Place) {
    let (selector, made) = pods("set");
    let spec = json!({ "replicas": 2, "serviceName": "set", "selector": selector, "template": made,
        "volumeClaimTemplates": [] });
    place.post("apps/v1/statefulsets", &named("set", spec)).await;
    let (selector, made) = pods("daemon");
    let spec = json!({ "selector": selector, "template": made });
    place.post("apps/v1/daemonsets", &named("daemon", spec)).await;
    let (selector, mut made) = pods("late");
    made["spec"]["nodeSelector"] = json!({ "nobody": "has" });
    let spec =
        json!({ "replicas": 1, "selector": selector, "template": made, "progressDeadlineSeconds": 60 });
    place.post("apps/v1/deployments", &named("late", spec)).await;
    let (selector, made) = pods("paused");
    let spec = json!({ "replicas": 1, "selector": selector, "template": made, "paused": true });
    place.post("apps/v1/deployments", &named("paused", spec)).await;
    let spec = json!({ "replicas": 1, "selector": { "app": "old" }, "template": pods("old").1 });
    place.post("v1/replicationcontrollers", &named("old", spec)).await;
    let (selector, made) = pods("plain");
    let spec = json!({ "replicas": 1, "selector": selector, "template": made });
    place.post("apps/v1/replicasets", &named("plain", spec)).await;
    place.post("batch/v1/jobs", &named("done", json!({ "template": task("done") }))).await;
    let spec = json!({ "template": task("failed"), "backoffLimit": 0 });
    place.post("batch/v1/jobs", &named("failed", spec)).await;
    let spec = json!({ "template": task("waits"), "suspend": true });
    place.post("batch/v1/jobs", &named("waits", spec)).await;
    let spec = json!({ "schedule": "* * * * *", "suspend": true, "jobTemplate": {
        "spec": { "template": task("cron") } } });
    place.post("batch/v1/cronjobs", &named("cron", spec)).await;
    let spec = json!({ "schedule": "0 0 1 1 *", "jobTemplate": { "spec": { "template": task("yearly") } } });
    place.post("batch/v1/cronjobs", &named("yearly", spec)).await;
}

async fn around(place: &Place) {
    let port = json!([{ "port": 80, "targetPort": 80, "protocol": "TCP" }]);
    place.post("v1/services", &named("set", json!({ "selector": { "app": "set" }, "ports": port }))).await;
    let headless = json!({ "clusterIP": "None", "selector": { "app": "daemon" } });
    place.post("v1/services", &named("headless", headless)).await;
    place.post("v1/services", &named("mirrored", json!({ "ports": port }))).await;
    let endpoints = json!({ "metadata": { "name": "mirrored" }, "subsets": [{
        "addresses": [{ "ip": "192.0.2.7" }], "ports": [{ "port": 80, "protocol": "TCP" }] }] });
    place.post("v1/endpoints", &endpoints).await;
    for (name, bound) in [("some", json!(1)), ("half", json!("50%")), ("other", json!(9))] {
        let app = if name == "half" { "daemon" } else { "set" };
        let spec = json!({ "minAvailable": bound, "selector": { "matchLabels": { "app": app } } });
        place.post("policy/v1/poddisruptionbudgets", &named(name, spec)).await;
    }
    let hard = json!({ "pods": "50", "count/configmaps": "9", "requests.storage": "10Gi", "services": "9" });
    place.post("v1/resourcequotas", &named("all", json!({ "hard": hard }))).await;
    let spec = json!({ "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"],
        "storageClassName": "by-hand", "hostPath": { "path": "/data" } });
    place.post("/api/v1/persistentvolumes", &named("volume", spec.clone())).await;
    place.post("/api/v1/persistentvolumes", &named("spare", spec)).await;
    for (name, class) in [("bound", "by-hand"), ("pending", "nobody")] {
        let spec = json!({ "accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "resources": { "requests": { "storage": "1Gi" } } });
        place.post("v1/persistentvolumeclaims", &named(name, spec)).await;
    }
    let rules = json!({ "podSelector": {}, "policyTypes": ["Ingress"] });
    place.post("networking.k8s.io/v1/networkpolicies", &named("none", rules)).await;
    let role = json!({ "metadata": { "name": "sum" }, "rules": [], "aggregationRule": {
        "clusterRoleSelectors": [{ "matchLabels": { "part": "of" } }] } });
    place.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await;
    let device =
        json!({ "devices": { "requests": [{ "name": "gpu", "exactly": { "deviceClassName": "gpu" } }] } });
    let template = named("gpu", json!({ "spec": device }));
    place.post("resource.k8s.io/v1/resourceclaimtemplates", &template).await;
    let mut pod = task("devices");
    pod["metadata"]["name"] = "devices".into();
    pod["spec"]["resourceClaims"] = json!([{ "name": "gpu", "resourceClaimTemplateName": "gpu" }]);
    place.post("v1/pods", &pod).await;
}

async fn settled(place: &Place) {
    let is = |kind: &'static str| move |one: &Value| condition(one, kind)["status"] == "True";
    place.until("batch/v1/jobs", "done", is("Complete")).await;
    place.until("batch/v1/jobs", "failed", is("Failed")).await;
    place.until("batch/v1/jobs", "waits", is("Suspended")).await;
    let late = |one: &Value| condition(one, "Progressing")["reason"] == "ProgressDeadlineExceeded";
    place.until("apps/v1/deployments", "late", late).await;
    place.until("apps/v1/statefulsets", "set", |one| one["status"]["availableReplicas"] == 2).await;
    place.until("apps/v1/daemonsets", "daemon", |one| one["status"]["numberAvailable"] == NODES).await;
    place.until("v1/persistentvolumeclaims", "bound", |one| one["status"]["phase"] == "Bound").await;
    place
        .until("policy/v1/poddisruptionbudgets", "some", |one| one["status"]["disruptionsAllowed"] == 1)
        .await;
    let scaled = |one: &Value| one["status"]["desiredReplicas"] == 3;
    place.until("autoscaling/v2/horizontalpodautoscalers", "scaled", scaled).await;
    place.until_all("resource.k8s.io/v1/resourceclaims", "", |all| all.len() == 1).await;
    place.until("v1/resourcequotas", "all", |one| one["status"]["used"]["pods"].is_string()).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_with_everything_in_it_comes_to_rest() {
    let (told, store) = (Arc::new(Told::default()), store());
    let net = Net::new(told.clone());
    let cluster = Cluster::start(store.clone(), |config| net.configure(config)).await;
    let place = cluster.place("rest").open().await;
    place.direct(|pod| Conduct {
        codes: vec![i64::from(pod["metadata"]["labels"]["app"] == "failed")],
        ..Conduct::default()
    });
    register(&place).await;
    told.set("queue", &[waiting("30")]);
    workloads(&place).await;
    around(&place).await;
    scaled(&place, "scaled", 1, 1, &by_queue()).await;
    settled(&place).await;
    tokio::time::sleep(SETTLING).await;
    let before = store.revision().await.unwrap();
    tokio::time::sleep(QUIET).await;
    let now = store.revision().await.unwrap();
    let mut watch = store.watch(Bytes::from_static(b"/"), Bytes::from_static(b"0"), before).await.unwrap();
    let (mut seen, mut written, mut leases) = (before, Vec::new(), 0);
    while seen < now {
        let batch = watch.next().now_or_never().expect("it is all there").unwrap().unwrap();
        seen = batch.revision.max(batch.events.last().map_or(seen, |event| event.revision));
        for event in batch.events {
            match String::from_utf8_lossy(&event.key) {
                key if key.contains("/leases/") => leases += 1,
                key => written.push(format!("{key} {:?}", event.change)),
            }
        }
    }
    assert!(leases > 0, "nothing was looked at");
    assert!(written.is_empty(), "these were written at rest:\n{}", written.join("\n"));
}
