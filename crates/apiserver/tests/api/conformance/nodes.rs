//! Nodes and leases.

use crate::world::World;
use serde_json::json;

#[tokio::test]
async fn a_node_lives() {
    let world = World::new().await;
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "e2e-fake-node-x" },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True", "message": "Set from e2e test",
            "reason": "E2E", "lastTransitionTime": "2026-01-01T00:00:00Z" }] } });
    world.post("/api/v1/nodes", &node).await.expect(201);
    let path = "/api/v1/nodes/e2e-fake-node-x";
    assert_eq!(world.get(path).await.expect(200)["status"]["phase"], "Running");
    let mut watch = world.watch("/api/v1/nodes?watch=1&fieldSelector=metadata.name%3De2e-fake-node-x").await;
    let patch = json!({ "metadata": { "labels": { "e2e-fake-node-x": "patched" } } });
    let mut patched = world.patch(path, "strategic-merge-patch", &patch).await.expect(200);
    assert_eq!(patched["metadata"]["labels"]["e2e-fake-node-x"], "patched");
    let listed = world.get("/api/v1/nodes?labelSelector=e2e-fake-node-x%3Dpatched").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    patched["metadata"]["labels"]["e2e-fake-node-x"] = "updated".into();
    let updated = world.put(path, &patched).await.expect(200);
    assert_eq!(updated["metadata"]["labels"]["e2e-fake-node-x"], "updated");
    world.delete(path).await.expect(200);
    let names = ["ADDED", "MODIFIED", "MODIFIED", "DELETED"].map(|kind| format!("{kind} e2e-fake-node-x"));
    assert_eq!(watch.take(4).await, names);
    assert_eq!(world.get(path).await.code, 404);
}

#[tokio::test]
async fn a_lease_changes_hands() {
    let world = World::new().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let spec = |holder: &str, seconds: u32, transitions: u32| {
        json!({ "holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": transitions,
            "acquireTime": "2017-09-19T13:49:16.000000Z", "renewTime": "2017-09-19T13:49:21.000000Z" })
    };
    let lease = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "lease",
        "labels": { "deletecollection": "true" } }, "spec": spec("holder", 30, 0) });
    world.post(leases, &lease).await.expect(201);
    let path = format!("{leases}/lease");
    let mut read = world.get(&path).await.expect(200);
    assert_eq!(read["spec"], spec("holder", 30, 0));
    read["spec"] = spec("holder2", 30, 2);
    world.put(&path, &read).await.expect(200);
    assert_eq!(world.get(&path).await.expect(200)["spec"], spec("holder2", 30, 2));
    let patch =
        json!({ "spec": { "holderIdentity": "holder3", "leaseDurationSeconds": 60, "leaseTransitions": 3 } });
    world.patch(&path, "strategic-merge-patch", &patch).await.expect(200);
    assert_eq!(world.get(&path).await.expect(200)["spec"], spec("holder3", 60, 3));
    let mut other = lease;
    other["metadata"]["name"] = "lease2".into();
    world.post(leases, &other).await.expect(201);
    let selected = format!("{leases}?labelSelector=deletecollection%3Dtrue");
    assert_eq!(world.get(&selected).await.expect(200)["items"].as_array().unwrap().len(), 2);
    world.delete(&selected).await.expect(200);
    assert_eq!(world.get(leases).await.expect(200)["items"], json!([]));
    world.post(leases, &other).await.expect(201);
    world.delete(&format!("{leases}/lease2")).await.expect(200);
    assert_eq!(world.get(&format!("{leases}/lease2")).await.code, 404);
}
