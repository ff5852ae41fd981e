//! Namespaces: labels, status and finalizers, each by its own road.

use crate::world::World;
use serde_json::{Value, json};

const NAMESPACES: &str = "/api/v1/namespaces";

async fn made(name: &str) -> (World, String, Value) {
    let world = World::new().await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    let made = world.post(NAMESPACES, &namespace).await.expect(201);
    (world, format!("{NAMESPACES}/{name}"), made)
}

#[tokio::test]
async fn a_namespace_is_patched_and_updated() {
    let (world, path, made) = made("nspatchtest").await;
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], "nspatchtest");
    let patch = json!({ "metadata": { "labels": { "testLabel": "testValue" } } });
    world.patch(&path, "strategic-merge-patch", &patch).await.expect(200);
    let mut read = world.get(&path).await.expect(200);
    assert_eq!(read["metadata"]["labels"]["testLabel"], "testValue");
    read["metadata"]["labels"]["nspatchtest"] = "updated".into();
    let updated = world.put(&path, &read).await.expect(200);
    assert_eq!(updated["metadata"]["labels"]["nspatchtest"], "updated");
}

#[tokio::test]
async fn the_status_of_a_namespace_is_read_patched_and_updated() {
    let (world, path, _) = made("status").await;
    let status = format!("{path}/status");
    let read = world.get(&status).await.expect(200);
    assert_eq!((&read["kind"], &read["status"]["phase"]), (&json!("Namespace"), &json!("Active")));
    let condition =
        |kind: &str| json!({ "type": kind, "status": "True", "reason": "E2E", "message": "by a test" });
    let patch = json!({ "metadata": { "annotations": { "e2e-patched-ns-status": "status" } },
        "status": { "conditions": [condition("StatusPatch")] } });
    let patched = world.patch(&status, "merge-patch", &patch).await.expect(200);
    assert_eq!(patched["metadata"]["annotations"]["e2e-patched-ns-status"], "status");
    assert_eq!(patched["status"]["conditions"][0]["type"], "StatusPatch");
    let mut read = world.get(&path).await.expect(200);
    read["status"]["conditions"].as_array_mut().unwrap().push(condition("StatusUpdate"));
    let updated = world.put(&status, &read).await.expect(200);
    assert_eq!(updated["status"]["conditions"].as_array().unwrap().len(), 2);
    assert_eq!(updated["status"]["phase"], "Active");
}

#[tokio::test]
async fn finalizers_of_a_namespace_are_its_own() {
    let (world, path, mut namespace) = made("finalized").await;
    let fake = "e2e.example.com/fakeFinalizer";
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    namespace["spec"]["finalizers"].as_array_mut().unwrap().push(fake.into());
    let mut added = world.put(&format!("{path}/finalize"), &namespace).await.expect(200);
    assert_eq!(added["spec"]["finalizers"], json!(["kubernetes", fake]));
    // An ordinary update does not take them away.
    let mut plain = added.clone();
    plain["spec"]["finalizers"] = json!([]);
    let kept = world.put(&path, &plain).await.expect(200);
    assert_eq!(kept["spec"], added["spec"]);
    added = kept;
    added["spec"]["finalizers"].as_array_mut().unwrap().retain(|one| *one != fake);
    let removed = world.put(&format!("{path}/finalize"), &added).await.expect(200);
    assert_eq!(removed["spec"]["finalizers"], json!(["kubernetes"]));
    let going = world.delete(&path).await.expect(200);
    assert_eq!(going["status"]["phase"], "Terminating");
}
