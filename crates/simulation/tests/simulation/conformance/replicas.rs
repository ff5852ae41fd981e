//! ReplicaSets and ReplicationControllers: scale, status, adoption and release, lifecycle.

use super::Step;
use super::deployments::statuses_are_written;
use super::place::{Place, condition, controller, names, observed, ready, template};
use serde_json::{Value, json};

/// What is done.
pub const STEPS: &[Step] = &[
    ("rs-patch", |place| Box::pin(a_replica_set_is_replaced_and_patched(place))),
    ("rs-scale", |place| Box::pin(the_scale_of_a_replica_set(place))),
    ("rs-adopt", |place| Box::pin(a_replica_set_adopts_and_releases(place))),
    ("rs-many", |place| Box::pin(replica_sets_are_deleted_together(place))),
    ("rs-status", |place| Box::pin(the_status_of_a_replica_set(place))),
    ("rs-serves", |place| Box::pin(every_replica_runs(place))),
    ("rc-adopt", |place| Box::pin(a_replication_controller_adopts(place))),
    ("rc-release", |place| Box::pin(a_replication_controller_releases(place))),
    ("rc-scale", |place| Box::pin(the_scale_of_a_replication_controller(place))),
    ("rc-life", |place| Box::pin(a_replication_controller_lives(place))),
    ("rc-failure", |place| Box::pin(a_quota_is_a_condition_that_goes(place))),
];

const SETS: &str = "apps/v1/replicasets";
const CONTROLLERS: &str = "v1/replicationcontrollers";

fn set(name: &str, replicas: i32) -> Value {
    let labels = json!({ "name": name });
    json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": { "name": name, "labels": labels },
        "spec": { "replicas": replicas, "selector": { "matchLabels": labels }, "template": template(&labels, "httpd") } })
}

fn replication(name: &str, replicas: i32) -> Value {
    let labels = json!({ "name": name });
    json!({ "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": name, "labels": labels },
        "spec": { "replicas": replicas, "selector": labels, "template": template(&labels, "httpd") } })
}

fn pod(name: &str) -> Value {
    let mut pod = template(&json!({ "name": name }), "httpd");
    pod["metadata"]["name"] = name.into();
    pod
}

fn available(count: i32) -> impl Fn(&Value) -> bool {
    move |one| {
        observed(one) && one["status"]["availableReplicas"] == count && one["status"]["replicas"] == count
    }
}

async fn a_replica_set_is_replaced_and_patched(place: Place) {
    let path = "apps/v1/replicasets/test-rs";
    place.post(SETS, &set("test-rs", 1)).await;
    place.until(SETS, "test-rs", available(1)).await;
    place.patch("apps/v1/replicasets/test-rs/scale", &json!({ "spec": { "replicas": 3 } })).await;
    place.until(SETS, "test-rs", available(3)).await;
    let mut patch = json!({ "metadata": { "labels": { "test-rs": "patched" } }, "spec": { "replicas": 3 } });
    patch["spec"]["template"]["spec"]["containers"] = json!([{ "name": "main", "image": "pause" }]);
    place.strategic(path, &patch).await;
    let patched = place.until(SETS, "test-rs", available(3)).await;
    assert_eq!(patched["metadata"]["labels"]["test-rs"], "patched");
    assert_eq!(patched["spec"]["template"]["spec"]["containers"][0]["image"], "pause");
    // A set that has its pods makes no new ones for another template.
    let pods = place.list("v1/pods").await;
    assert!(pods.iter().all(|pod| pod["spec"]["containers"][0]["image"] == "httpd"));
}

/// `autoscaling/v1` Scale is read, replaced and patched, and refused to whoever read it before.
async fn scaled(place: &Place, resource: &str, name: &str) {
    let (path, object) = (format!("{resource}/{name}/scale"), format!("{resource}/{name}"));
    let scale = place.get(&path).await;
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(1), &json!(1)));
    assert_eq!(scale["status"]["selector"], format!("name={name}"));
    let mut wanted = scale.clone();
    wanted["metadata"]["resourceVersion"] = "".into();
    wanted["spec"]["replicas"] = 2.into();
    let updated = place.try_call(http::Method::PUT, &path, "application/json", &wanted).await.unwrap();
    assert_eq!(updated["spec"]["replicas"], 2);
    assert_eq!(place.get(&object).await["spec"]["replicas"], 2);
    place.until(resource, name, available(2)).await;
    let patched = place.patch(&path, &json!({ "spec": { "replicas": 4 } })).await;
    assert_eq!(patched["spec"]["replicas"], 4);
    assert_eq!(place.get(&object).await["spec"]["replicas"], 4);
    place.until(resource, name, available(4)).await;
    let stale = place.try_call(http::Method::PUT, &path, "application/json", &scale).await.unwrap_err();
    assert_eq!(stale.code, 409);
    wanted["spec"]["replicas"] = json!(-1);
    let wrong = place.try_call(http::Method::PUT, &path, "application/json", &wanted).await.unwrap_err();
    assert_eq!(wrong.code, 422, "{wrong:?}");
    assert!(wrong.message.contains("must be greater than or equal to 0"), "{wrong:?}");
}

async fn the_scale_of_a_replica_set(place: Place) {
    place.post(SETS, &set("test-rs", 1)).await;
    place.until(SETS, "test-rs", available(1)).await;
    scaled(&place, SETS, "test-rs").await;
}

async fn adopts(place: &Place, resource: &str, body: &Value) -> Value {
    place.post("v1/pods", &pod("pod-adoption")).await;
    place.until("v1/pods", "pod-adoption", ready).await;
    let owner = place.post(resource, body).await;
    let uid = owner["metadata"]["uid"].clone();
    place.until("v1/pods", "pod-adoption", |pod| controller(pod) == uid).await;
    place.until(resource, "pod-adoption", available(1)).await;
    // A set that is seen before its pod makes one more, and lets it go when it finds that one.
    place.until_all("v1/pods", "", |pods| names(pods) == ["pod-adoption"]).await;
    uid
}

async fn releases(place: &Place, name: &str) {
    place
        .patch(&format!("v1/pods/{name}"), &json!({ "metadata": { "labels": { "name": "not-matching" } } }))
        .await;
    place.until("v1/pods", name, |pod| controller(pod).is_null()).await;
    // Another one takes its place.
    place.until_all("v1/pods", "name!=not-matching", |pods| pods.len() == 1 && ready(&pods[0])).await;
}

async fn a_replica_set_adopts_and_releases(place: Place) {
    adopts(&place, SETS, &set("pod-adoption", 1)).await;
    releases(&place, "pod-adoption").await;
}

async fn replica_sets_are_deleted_together(place: Place) {
    place.post(SETS, &set("test-rs", 3)).await;
    place.until(SETS, "test-rs", available(3)).await;
    let selected = "apps/v1/replicasets?labelSelector=name%3Dtest-rs";
    assert_eq!(place.list(selected).await.len(), 1);
    place.delete(selected, &Value::Null).await;
    place.until(SETS, "test-rs", Value::is_null).await;
    place.until_all("v1/pods", "", <[Value]>::is_empty).await;
}

async fn the_status_of_a_replica_set(place: Place) {
    place.post(SETS, &set("test-rs", 1)).await;
    place.until(SETS, "test-rs", available(1)).await;
    statuses_are_written(&place, SETS, "test-rs").await;
}

async fn every_replica_runs(place: Place) {
    place.post(SETS, &set("basic-rs", 2)).await;
    place.post(CONTROLLERS, &replication("basic-rc", 2)).await;
    for name in ["name=basic-rs", "name=basic-rc"] {
        let all = |pods: &[Value]| pods.len() == 2 && pods.iter().all(ready);
        let pods = place.until_all("v1/pods", name, all).await;
        assert!(pods.iter().all(|pod| pod["status"]["podIP"].is_string()));
    }
}

async fn a_replication_controller_adopts(place: Place) {
    adopts(&place, CONTROLLERS, &replication("pod-adoption", 1)).await;
}

async fn a_replication_controller_releases(place: Place) {
    place.post(CONTROLLERS, &replication("pod-release", 1)).await;
    let pods =
        place.until_all("v1/pods", "name=pod-release", |pods| pods.len() == 1 && ready(&pods[0])).await;
    releases(&place, pods[0]["metadata"]["name"].as_str().unwrap()).await;
}

async fn the_scale_of_a_replication_controller(place: Place) {
    place.post(CONTROLLERS, &replication("e2e-rc", 1)).await;
    place.until(CONTROLLERS, "e2e-rc", available(1)).await;
    scaled(&place, CONTROLLERS, "e2e-rc").await;
}

async fn a_replication_controller_lives(place: Place) {
    let (name, path) = ("rc-test", "v1/replicationcontrollers/rc-test");
    let mut body = replication(name, 1);
    body["metadata"]["labels"]["test-rc-static"] = "true".into();
    place.post(CONTROLLERS, &body).await;
    place.until(CONTROLLERS, name, available(1)).await;
    place.strategic(path, &json!({ "metadata": { "labels": { "test-rc": "patched" } } })).await;
    place.until(CONTROLLERS, name, |one| one["metadata"]["labels"]["test-rc"] == "patched").await;
    let status = "v1/replicationcontrollers/rc-test/status";
    let patched =
        place.strategic(status, &json!({ "status": { "readyReplicas": 0, "availableReplicas": 0 } })).await;
    assert_eq!(patched["status"]["readyReplicas"].as_i64().unwrap_or_default(), 0);
    place.until(CONTROLLERS, name, available(1)).await;
    place.patch("v1/replicationcontrollers/rc-test/scale", &json!({ "spec": { "replicas": 2 } })).await;
    place.until(CONTROLLERS, name, available(2)).await;
    place.update(path, |one| one["spec"]["replicas"] = 1.into()).await;
    place.until(CONTROLLERS, name, available(1)).await;
    let list = place.list("/api/v1/replicationcontrollers?labelSelector=test-rc-static%3Dtrue").await;
    assert_eq!(names(&list), [name]);
    place.delete("v1/replicationcontrollers?labelSelector=test-rc-static%3Dtrue", &Value::Null).await;
    place.until(CONTROLLERS, name, Value::is_null).await;
}

async fn a_quota_is_a_condition_that_goes(place: Place) {
    let quota = json!({ "metadata": { "name": "condition-test" }, "spec": { "hard": { "pods": "2" } } });
    place.post("v1/resourcequotas", &quota).await;
    place.until("v1/resourcequotas", "condition-test", |one| one["status"]["hard"]["pods"] == "2").await;
    place.post(CONTROLLERS, &replication("condition-test", 3)).await;
    let failed = place
        .until(CONTROLLERS, "condition-test", |one| {
            observed(one) && condition(one, "ReplicaFailure")["status"] == "True"
        })
        .await;
    assert_eq!(condition(&failed, "ReplicaFailure")["reason"], "FailedCreate");
    place.patch("v1/replicationcontrollers/condition-test", &json!({ "spec": { "replicas": 2 } })).await;
    place
        .until(CONTROLLERS, "condition-test", |one| {
            observed(one) && condition(one, "ReplicaFailure").is_null()
        })
        .await;
}
