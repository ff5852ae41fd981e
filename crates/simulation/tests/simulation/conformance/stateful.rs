//! StatefulSets: order, halting, bursts, rollouts forward and back, canaries, eviction, scale, status.

use super::Step;
use super::deployments::statuses_are_written;
use super::place::{Place, live, names, observed, ready, template};
use gifee_simulation::fleet::Conduct;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is done.
pub const STEPS: &[Step] = &[
    ("set-rolls", |place| Box::pin(a_set_is_rolled_out_and_back(place))),
    ("set-canary", |place| Box::pin(a_set_is_rolled_out_by_parts(place))),
    ("set-order", |place| Box::pin(pods_come_and_go_in_order(place))),
    ("set-burst", |place| Box::pin(a_burst_does_not_wait(place))),
    ("set-evicted", |place| Box::pin(an_evicted_pod_is_made_again(place))),
    ("set-scale", |place| Box::pin(the_scale_of_a_set(place))),
    ("set-many", |place| Box::pin(sets_are_listed_patched_and_deleted(place))),
    ("set-status", |place| Box::pin(the_status_of_a_set(place))),
];

const SETS: &str = "apps/v1/statefulsets";
const PATH: &str = "apps/v1/statefulsets/ss";

fn set(replicas: i32, more: &Value) -> Value {
    let labels = json!({ "foo": "bar" });
    let mut set = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "ss", "labels": labels },
        "spec": { "replicas": replicas, "serviceName": "test", "selector": { "matchLabels": labels },
            "template": template(&labels, "httpd:1") } });
    set["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    set
}

fn image(image: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } } })
}

/// The images of all pods by ordinal, if all are ready.
fn images(pods: &[Value]) -> Option<Vec<&str>> {
    let mut pods: Vec<&Value> = pods.iter().collect();
    pods.sort_by_key(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned());
    let ready = pods.iter().all(|pod| ready(pod));
    ready.then(|| pods.iter().filter_map(|pod| pod["spec"]["containers"][0]["image"].as_str()).collect())
}

async fn all_have(place: &Place, expected: &[&str]) -> Vec<Value> {
    place.until_all("v1/pods", "foo=bar", |pods| images(pods).is_some_and(|all| all == expected)).await
}

fn at_rest(set: &Value) -> bool {
    let status = &set["status"];
    observed(set)
        && status["currentRevision"] == status["updateRevision"]
        && status["readyReplicas"] == set["spec"]["replicas"]
}

/// Rolls out while the middle pod is broken: nothing is replaced until it is ready again, then the highest goes first.
async fn roll(place: &Place, from: &str, to: &str) -> Value {
    place.turn("ss-1", false).await;
    place.until(SETS, "ss", |set| set["status"]["readyReplicas"] == 2).await;
    place.strategic(PATH, &image(to)).await;
    let told =
        |set: &Value| observed(set) && set["status"]["currentRevision"] != set["status"]["updateRevision"];
    place.until(SETS, "ss", told).await;
    let pods = place.list("v1/pods").await;
    assert!(
        pods.iter().all(|pod| live(pod) && pod["spec"]["containers"][0]["image"] == from),
        "it does not wait"
    );
    place.turn("ss-1", true).await;
    place
        .until_all("v1/pods", "foo=bar", |pods| {
            let has = |name: &str| {
                let is = |pod: &Value| {
                    pod["metadata"]["name"] == name && pod["spec"]["containers"][0]["image"] == to
                };
                pods.iter().any(is)
            };
            assert!(!has("ss-1") || has("ss-2"), "the highest goes first");
            assert!(!has("ss-0") || (has("ss-1") && has("ss-2")), "the lowest goes last");
            images(pods).is_some_and(|all| all == [to, to, to])
        })
        .await;
    place.until(SETS, "ss", at_rest).await
}

async fn a_set_is_rolled_out_and_back(place: Place) {
    place.post(SETS, &set(3, &json!({}))).await;
    let first = place.until(SETS, "ss", at_rest).await["status"]["currentRevision"].clone();
    let second = roll(&place, "httpd:1", "httpd:2").await["status"]["currentRevision"].clone();
    assert_ne!(first, second);
    let back = roll(&place, "httpd:2", "httpd:1").await;
    assert_eq!(back["status"]["currentRevision"], first, "the same content is the same revision");
    let label = format!("controller-revision-hash={}", first.as_str().unwrap());
    assert_eq!(place.until_all("v1/pods", &label, |pods| pods.len() == 3).await.len(), 3);
}

async fn a_set_is_rolled_out_by_parts(place: Place) {
    let partition =
        |to: i32| json!({ "spec": { "updateStrategy": { "rollingUpdate": { "partition": to } } } });
    let strategy =
        json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 3 } } });
    place.post(SETS, &set(3, &strategy)).await;
    let first = place.until(SETS, "ss", at_rest).await;
    // Nothing is above the partition.
    place.strategic(PATH, &image("httpd:2")).await;
    let told = place.until(SETS, "ss", |set| {
        observed(set) && set["status"]["updateRevision"] != first["status"]["updateRevision"]
    });
    assert_eq!(told.await["status"]["currentRevision"], first["status"]["currentRevision"]);
    all_have(&place, &["httpd:1"; 3]).await;
    // A canary.
    place.strategic(PATH, &partition(2)).await;
    all_have(&place, &["httpd:1", "httpd:1", "httpd:2"]).await;
    // Pods that are lost come back as what they were.
    for name in ["ss-0", "ss-2"] {
        let path = format!("v1/pods/{name}");
        let uid = place.get(&path).await["metadata"]["uid"].clone();
        place.delete(&path, &Value::Null).await;
        place.until("v1/pods", name, |pod| ready(pod) && pod["metadata"]["uid"] != uid).await;
    }
    all_have(&place, &["httpd:1", "httpd:1", "httpd:2"]).await;
    place.strategic(PATH, &partition(1)).await;
    all_have(&place, &["httpd:1", "httpd:2", "httpd:2"]).await;
    place.strategic(PATH, &partition(0)).await;
    all_have(&place, &["httpd:2"; 3]).await;
    let last = place.until(SETS, "ss", at_rest).await;
    assert_eq!(last["status"]["updatedReplicas"], 3);
}

async fn scale(place: &Place, replicas: i32) {
    let path = format!("{PATH}/scale");
    place.patch(&path, &json!({ "spec": { "replicas": replicas } })).await;
}

async fn pods_come_and_go_in_order(place: Place) {
    place.post(SETS, &set(1, &json!({}))).await;
    place.until(SETS, "ss", |set| set["status"]["readyReplicas"] == 1).await;
    place.turn("ss-0", false).await;
    let unready = |set: &Value| set["status"]["readyReplicas"].as_i64().unwrap_or_default() == 0;
    place.until(SETS, "ss", unready).await;
    scale(&place, 3).await;
    // It has been seen, and nothing follows.
    place.until(SETS, "ss", |set| observed(set) && unready(set)).await;
    assert_eq!(names(&place.list("v1/pods").await), ["ss-0"]);
    let order = Mutex::new(Vec::new());
    let mut seen = place.sight_all("v1/pods", "foo=bar").await;
    place.turn("ss-0", true).await;
    seen.until(|pods| {
        let all = names(pods).join(" ");
        assert!(["ss-0", "ss-0 ss-1", "ss-0 ss-1 ss-2"].contains(&&*all), "out of order: {all}");
        let next = pods.iter().filter(|pod| !ready(pod)).count();
        assert!(next <= 1, "two at once");
        order.lock().push(all);
        pods.len() == 3 && pods.iter().all(ready)
    })
    .await;
    assert!(order.into_inner().iter().any(|all| all == "ss-0 ss-1"));
    for pod in ["ss-0", "ss-1", "ss-2"] {
        place.turn(pod, false).await;
    }
    // The controller is to have seen it.
    place.until(SETS, "ss", unready).await;
    scale(&place, 0).await;
    place.until(SETS, "ss", observed).await;
    assert_eq!(place.list("v1/pods").await.iter().filter(|pod| live(pod)).count(), 3, "it halts");
    let mut seen = place.sight_all("v1/pods", "foo=bar").await;
    for pod in ["ss-0", "ss-1"] {
        place.turn(pod, true).await;
    }
    seen.until(|pods| {
        let all = names(pods).join(" ");
        assert!(["", "ss-0", "ss-0 ss-1", "ss-0 ss-1 ss-2"].contains(&&*all), "out of order: {all}");
        all.is_empty()
    })
    .await;
}

async fn a_burst_does_not_wait(place: Place) {
    place.post(SETS, &set(1, &json!({ "podManagementPolicy": "Parallel" }))).await;
    place.until(SETS, "ss", |set| set["status"]["readyReplicas"] == 1).await;
    place.turn("ss-0", false).await;
    scale(&place, 3).await;
    place.until(SETS, "ss", |set| set["status"]["replicas"] == 3).await;
    place.turn("ss-0", true).await;
    place.until(SETS, "ss", |set| set["status"]["readyReplicas"] == 3).await;
    place.turn("ss-1", false).await;
    scale(&place, 0).await;
    place.until_all("v1/pods", "foo=bar", <[Value]>::is_empty).await;
    place.until(SETS, "ss", |set| set["status"]["replicas"] == 0).await;
}

/// A node refuses the pod since somebody has its port, until that one is gone.
async fn an_evicted_pod_is_made_again(place: Place) {
    let taken = Arc::new(AtomicBool::new(true));
    let port = taken.clone();
    place.direct(move |_| Conduct {
        refused: port.load(Ordering::Relaxed).then(|| "NodePorts".to_owned()),
        ..Conduct::default()
    });
    place.post(SETS, &set(1, &json!({}))).await;
    let first = place.until("v1/pods", "ss-0", |pod| pod["status"]["phase"] == "Failed").await;
    let other = |pod: &Value| pod.is_object() && pod["metadata"]["uid"] != first["metadata"]["uid"];
    place.until("v1/pods", "ss-0", other).await;
    taken.store(false, Ordering::Relaxed);
    place.until("v1/pods", "ss-0", |pod| ready(pod) && other(pod)).await;
}

async fn the_scale_of_a_set(place: Place) {
    place.post(SETS, &set(1, &json!({}))).await;
    place.until(SETS, "ss", at_rest).await;
    let path = "apps/v1/statefulsets/ss/scale";
    let mut scale = place.get(path).await;
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(1), &json!(1)));
    assert_eq!(scale["status"]["selector"], "foo=bar");
    scale["metadata"]["resourceVersion"] = "".into();
    scale["spec"]["replicas"] = 2.into();
    let updated = place.try_call(http::Method::PUT, path, "application/json", &scale).await.unwrap();
    assert_eq!(updated["spec"]["replicas"], 2);
    assert_eq!(place.get(PATH).await["spec"]["replicas"], 2);
    let patched = place.strategic(path, &json!({ "spec": { "replicas": 4 } })).await;
    assert_eq!(patched["spec"]["replicas"], 4);
    place.until(SETS, "ss", |set| at_rest(set) && set["status"]["replicas"] == 4).await;
}

async fn sets_are_listed_patched_and_deleted(place: Place) {
    place.post(SETS, &set(1, &json!({}))).await;
    place.until(SETS, "ss", at_rest).await;
    let mut patch = image("pause");
    patch["metadata"] = json!({ "labels": { "test-ss": "patched" } });
    patch["spec"]["replicas"] = 2.into();
    place.strategic(PATH, &patch).await;
    let patched = place.until(SETS, "ss", |set| at_rest(set) && set["status"]["updatedReplicas"] == 2).await;
    assert_eq!(patched["metadata"]["labels"]["test-ss"], "patched");
    all_have(&place, &["pause", "pause"]).await;
    assert_eq!(
        names(&place.list("/apis/apps/v1/statefulsets?labelSelector=test-ss%3Dpatched").await),
        ["ss"]
    );
    place
        .delete("apps/v1/statefulsets?labelSelector=test-ss%3Dpatched", &json!({ "gracePeriodSeconds": 0 }))
        .await;
    place.until(SETS, "ss", Value::is_null).await;
    place.until_all("v1/pods", "", <[Value]>::is_empty).await;
}

async fn the_status_of_a_set(place: Place) {
    place.post(SETS, &set(1, &json!({}))).await;
    place.until(SETS, "ss", at_rest).await;
    statuses_are_written(&place, SETS, "ss").await;
}
