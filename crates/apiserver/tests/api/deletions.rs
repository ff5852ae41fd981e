//! Deletions: at once, gracefully, held by finalizers, by the collection.

use crate::world::World;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn config(name: &str, finalizers: &[&str]) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "finalizers": finalizers } })
}

fn pod(name: &str, node: &str) -> Value {
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "containers": [{ "name": "c", "image": "i" }], "terminationGracePeriodSeconds": 20 } });
    if !node.is_empty() {
        pod["spec"]["nodeName"] = node.into();
    }
    pod
}

async fn delete_with(world: &World, path: &str, options: Value) -> crate::world::Answer {
    world.call(&format!("DELETE {path}"), &options, &[]).await
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let world = World::new().await;
    let path = format!("{MAPS}/held");
    world.post(MAPS, &config("held", &["example.com/a"])).await.expect(201);
    let marked = world.delete(&path).await.expect(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(world.delete(&path).await.expect(200), marked, "twice changes nothing");
    let more = json!({ "metadata": { "finalizers": ["example.com/a", "example.com/b"] } });
    assert!(world.patch(&path, "merge-patch", &more).await.failure().contains(
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.com/b\"}"
    ));
    let mut watch = world.watch(&format!("{MAPS}?watch=1")).await;
    watch.take(1).await;
    world.patch(&path, "merge-patch", &json!({ "metadata": { "finalizers": null } })).await.expect(200);
    assert_eq!(world.get(&path).await.code, 404);
    assert_eq!(watch.take(1).await, ["DELETED held"]);
}

#[tokio::test]
async fn propagation_becomes_finalizers() {
    let world = World::new().await;
    for (index, (options, expect)) in [
        (json!({ "propagationPolicy": "Foreground" }), json!(["foregroundDeletion"])),
        (json!({ "propagationPolicy": "Orphan" }), json!(["orphan"])),
        (json!({ "orphanDependents": true }), json!(["orphan"])),
        (json!({ "propagationPolicy": "Background" }), Value::Null),
        (json!({}), Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        world.post(MAPS, &config(&format!("m{index}"), &[])).await.expect(201);
        let body = delete_with(&world, &format!("{MAPS}/m{index}"), options.clone()).await.expect(200);
        assert_eq!(body["metadata"]["finalizers"], expect, "{options}");
    }
    world.post(MAPS, &config("x", &[])).await.expect(201);
    for (options, expect) in [
        (
            json!({ "propagationPolicy": "Never" }),
            "422 Invalid: DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value",
        ),
        (
            json!({ "preconditions": { "uid": "other" } }),
            "409 Conflict: Operation cannot be fulfilled on configmaps \"x\": the UID in the precondition (other) does not match the UID in record (",
        ),
        (
            json!({ "preconditions": { "resourceVersion": "1" } }),
            "409 Conflict: Operation cannot be fulfilled on configmaps \"x\": the ResourceVersion in the precondition (1) does not match",
        ),
    ] {
        let failure = delete_with(&world, &format!("{MAPS}/x"), options).await.failure();
        assert!(failure.starts_with(expect), "{failure}");
    }
}

#[tokio::test]
async fn pods_on_a_node_go_gracefully() {
    let world = World::new().await;
    world.post(PODS, &pod("free", "")).await.expect(201);
    let gone = world.delete(&format!("{PODS}/free")).await.expect(200);
    assert_eq!(gone["kind"], "Pod", "a Pod's deletion answers the Pod");
    assert_eq!(world.get(&format!("{PODS}/free")).await.code, 404);

    world.post(PODS, &pod("placed", "n")).await.expect(201);
    let path = format!("{PODS}/placed");
    let marked = world.delete(&path).await.expect(200);
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 20);
    let longer = delete_with(&world, &path, json!({ "gracePeriodSeconds": 30 })).await.expect(200);
    assert_eq!(longer["metadata"], marked["metadata"], "only sooner is heard");
    let sooner = delete_with(&world, &path, json!({ "gracePeriodSeconds": 5 })).await.expect(200);
    assert_eq!(sooner["metadata"]["deletionGracePeriodSeconds"], 5);
    assert!(
        sooner["metadata"]["deletionTimestamp"].as_str() < marked["metadata"]["deletionTimestamp"].as_str()
    );
    assert_eq!(world.get(&path).await.code, 200);
    delete_with(&world, &path, json!({ "gracePeriodSeconds": 0 })).await.expect(200);
    assert_eq!(world.get(&path).await.code, 404);
}

#[tokio::test]
async fn a_collection_goes_by_selection() {
    let world = World::new().await;
    for index in 0..30 {
        let mut map = config(&format!("m{index:02}"), if index == 4 { &["example.com/a"] } else { &[] });
        map["metadata"]["labels"] = json!({ "third": (index % 3).to_string() });
        world.post(MAPS, &map).await.expect(201);
    }
    let list = world.delete(&format!("{MAPS}?labelSelector=third%3D1")).await.expect(200);
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("ConfigMapList"), 10));
    let rest = world.get(MAPS).await.expect(200);
    assert_eq!(rest["items"].as_array().unwrap().len(), 21, "one is held by its finalizer");
    assert_eq!(world.delete("/api/v1/namespaces").await.code, 405);
    assert_eq!(world.delete("/api/v1/configmaps").await.code, 405);
}

#[tokio::test]
async fn namespaces_wait_for_their_finalizer() {
    let world = World::new().await;
    let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "team" } });
    let made = world.post("/api/v1/namespaces", &body).await.expect(201);
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(made["status"]["phase"], "Active");
    let marked = world.delete("/api/v1/namespaces/team").await.expect(200);
    assert_eq!(marked["status"]["phase"], "Terminating");
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    let mut finalized = marked.clone();
    finalized["spec"]["finalizers"] = json!([]);
    world.put("/api/v1/namespaces/team/finalize", &finalized).await.expect(200);
    assert_eq!(world.get("/api/v1/namespaces/team").await.code, 404);
}
