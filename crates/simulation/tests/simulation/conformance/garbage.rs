//! What goes with what is deleted, and what stays: dependents in the background, in the foreground, orphaned, shared;
//! and namespaces with all that is in them.

use super::Step;
use super::place::{Place, condition, live, ready, template};
use serde_json::{Value, json};

/// What is done.
pub const STEPS: &[Step] = &[
    ("garbage-rc", |place| Box::pin(pods_go_after_their_owner(place))),
    ("garbage-orphans", |place| Box::pin(pods_stay_if_they_are_orphaned(place))),
    ("garbage-sets", |place| Box::pin(sets_go_with_their_deployment_or_stay(place))),
    ("garbage-waits", |place| Box::pin(an_owner_waits_for_its_pods(place))),
    ("garbage-shared", |place| Box::pin(what_two_own_stays_for_the_other(place))),
    ("garbage-circle", |place| Box::pin(a_circle_goes(place))),
    ("garbage-namespace", |place| Box::pin(pods_go_with_their_namespace_and_before_all_else(place))),
];

const CONTROLLERS: &str = "v1/replicationcontrollers";

async fn replicate(place: &Place, name: &str, replicas: usize) -> Value {
    let labels = json!({ "gc": name });
    let spec = json!({ "replicas": replicas, "selector": labels, "template": template(&labels, "httpd") });
    let made = place.post(CONTROLLERS, &json!({ "metadata": { "name": name }, "spec": spec })).await;
    let label = format!("gc={name}");
    place.until_all("v1/pods", &label, |pods| pods.len() == replicas && pods.iter().all(ready)).await;
    made
}

fn options(policy: &str, owner: &Value) -> Value {
    json!({ "propagationPolicy": policy, "preconditions": { "uid": owner["metadata"]["uid"] } })
}

async fn pods_go_after_their_owner(place: Place) {
    let owner = replicate(&place, "simpletest", 2).await;
    place.delete("v1/replicationcontrollers/simpletest", &options("Background", &owner)).await;
    place.until_all("v1/pods", "", <[Value]>::is_empty).await;
}

async fn pods_stay_if_they_are_orphaned(place: Place) {
    let owner = replicate(&place, "simpletest", 20).await;
    place.delete("v1/replicationcontrollers/simpletest", &options("Orphan", &owner)).await;
    place.until(CONTROLLERS, "simpletest", Value::is_null).await;
    let free = |pods: &[Value]| {
        assert_eq!(pods.len(), 20);
        pods.iter().all(|pod| live(pod) && pod["metadata"]["ownerReferences"].is_null())
    };
    place.until_all("v1/pods", "", free).await;
}

async fn sets_go_with_their_deployment_or_stay(place: Place) {
    let labels = json!({ "app": "gc" });
    let spec = json!({ "replicas": 2, "selector": { "matchLabels": labels }, "template": template(&labels, "httpd") });
    let body = json!({ "metadata": { "name": "deployment" }, "spec": spec });
    for (policy, left) in [("Background", 0), ("Orphan", 1)] {
        place.post("apps/v1/deployments", &body).await;
        place.until_all("apps/v1/replicasets", "", |sets| sets.len() == 1).await;
        place.delete("apps/v1/deployments/deployment", &json!({ "propagationPolicy": policy })).await;
        place.until("apps/v1/deployments", "deployment", Value::is_null).await;
        let free = |sets: &[Value]| {
            sets.len() == left
                && sets.iter().all(|set| live(set) && set["metadata"]["ownerReferences"].is_null())
        };
        place.until_all("apps/v1/replicasets", "", free).await;
    }
}

async fn an_owner_waits_for_its_pods(place: Place) {
    let owner = replicate(&place, "simpletest", 10).await;
    let path = "v1/replicationcontrollers/simpletest";
    // A pod that somebody holds holds its owner.
    let held = place.list("v1/pods").await[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let held = format!("v1/pods/{held}");
    place.patch(&held, &json!({ "metadata": { "finalizers": ["example.com/held"] } })).await;
    place.delete(path, &options("Foreground", &owner)).await;
    place.until_all("v1/pods", "", |pods| pods.len() == 1).await;
    let waiting = place.get(path).await;
    assert_eq!(waiting["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert!(!live(&waiting));
    place.patch(&held, &json!({ "metadata": { "finalizers": null } })).await;
    place.until(CONTROLLERS, "simpletest", Value::is_null).await;
    // Its controller may have made one more before it learned that its owner goes.
    place.until_all("v1/pods", "", <[Value]>::is_empty).await;
}

async fn what_two_own_stays_for_the_other(place: Place) {
    let goes = replicate(&place, "to-be-deleted", 10).await;
    let stays = replicate(&place, "to-stay", 0).await;
    let pods = place.list("v1/pods").await;
    for pod in &pods[..5] {
        let path = format!("v1/pods/{}", pod["metadata"]["name"].as_str().unwrap());
        let owner = json!({ "apiVersion": "v1", "kind": "ReplicationController", "name": "to-stay",
            "uid": stays["metadata"]["uid"] });
        place
            .update(&path, |pod| {
                pod["metadata"]["ownerReferences"].as_array_mut().unwrap().push(owner.clone());
            })
            .await;
    }
    place.delete("v1/replicationcontrollers/to-be-deleted", &options("Foreground", &goes)).await;
    place.until(CONTROLLERS, "to-be-deleted", Value::is_null).await;
    let kept = |pod: &Value| {
        let owners = pod["metadata"]["ownerReferences"].as_array().unwrap();
        live(pod) && owners.len() == 1 && owners[0]["uid"] == stays["metadata"]["uid"]
    };
    // The controller of the other may have made one more before it learned that its owner goes.
    place.until_all("v1/pods", "", |left| left.len() == 5 && left.iter().all(kept)).await;
}

async fn a_circle_goes(place: Place) {
    let mut pods = Vec::new();
    for name in ["pod1", "pod2", "pod3"] {
        let mut pod = template(&json!({}), "httpd");
        pod["metadata"]["name"] = name.into();
        pods.push(place.post("v1/pods", &pod).await);
    }
    for (pod, owner) in [(0, 2), (1, 0), (2, 1)] {
        let owner = json!({ "apiVersion": "v1", "kind": "Pod", "name": pods[owner]["metadata"]["name"],
            "uid": pods[owner]["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true });
        let path = format!("v1/pods/{}", pods[pod]["metadata"]["name"].as_str().unwrap());
        place.patch(&path, &json!({ "metadata": { "ownerReferences": [owner] } })).await;
    }
    place.delete("v1/pods/pod1", &json!({ "propagationPolicy": "Foreground" })).await;
    place.until_all("v1/pods", "", <[Value]>::is_empty).await;
}

async fn pods_go_with_their_namespace_and_before_all_else(place: Place) {
    let mut pod = template(&json!({}), "httpd");
    pod["metadata"]["name"] = "test-pod".into();
    pod["metadata"]["finalizers"] = json!(["example.com/held"]);
    place.post("v1/pods", &pod).await;
    place.until("v1/pods", "test-pod", ready).await;
    place.post("v1/configmaps", &json!({ "metadata": { "name": "test-configmap" } })).await;
    let path = format!("/api/v1/namespaces/{}", place.namespace);
    place.delete(&path, &Value::Null).await;
    // While the pod is held, what is not a pod is there.
    let remaining =
        |namespace: &Value| condition(namespace, "NamespaceFinalizersRemaining")["status"] == "True";
    let cluster = Place { namespace: String::new(), ..place.clone() };
    cluster.until("v1/namespaces", &place.namespace, remaining).await;
    assert!(!live(&place.get("v1/pods/test-pod").await));
    assert!(live(&place.get("v1/configmaps/test-configmap").await), "it went before the pod");
    place.patch("v1/pods/test-pod", &json!({ "metadata": { "finalizers": null } })).await;
    cluster.until("v1/namespaces", &place.namespace, Value::is_null).await;
    let again = place.open().await;
    assert_eq!(again.list("v1/pods").await, Vec::<Value>::new());
}
