//! ResourceQuotas and LimitRanges as objects; what they do is tried where rules and controllers are.

use crate::world::World;
use serde_json::{Value, json};

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const RANGES: &str = "/api/v1/namespaces/default/limitranges";

fn quota(name: &str, hard: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": name }, "spec": { "hard": hard } })
}

#[tokio::test]
async fn a_quota_is_updated_and_deleted() {
    let world = World::new().await;
    let hard = json!({ "cpu": "1", "memory": "500Mi" });
    let mut made = world.post(QUOTAS, &quota("test-quota", &hard)).await.expect(201);
    assert_eq!(made["spec"]["hard"], hard);
    let more = json!({ "cpu": "2", "memory": "1Gi" });
    made["spec"]["hard"] = more.clone();
    assert_eq!(world.put(&format!("{QUOTAS}/test-quota"), &made).await.expect(200)["spec"]["hard"], more);
    assert_eq!(world.get(&format!("{QUOTAS}/test-quota")).await.expect(200)["spec"]["hard"], more);
    world.delete(&format!("{QUOTAS}/test-quota")).await.expect(200);
    assert_eq!(world.get(&format!("{QUOTAS}/test-quota")).await.code, 404);
}

#[tokio::test]
async fn a_quota_lives_by_its_label() {
    let world = World::new().await;
    world.post(QUOTAS, &quota("e2e-quota", &json!({ "pods": "1", "secrets": "100" }))).await.expect(201);
    let path = format!("{QUOTAS}/e2e-quota");
    assert_eq!(world.get(&path).await.expect(200)["spec"]["hard"]["pods"], "1");
    let patch = json!({ "metadata": { "labels": { "e2e-quota": "patched" } },
        "spec": { "hard": { "memory": "750Mi" } } });
    let patched = world.patch(&path, "strategic-merge-patch", &patch).await.expect(200);
    assert_eq!(patched["metadata"]["labels"]["e2e-quota"], "patched");
    assert_eq!(patched["spec"]["hard"], json!({ "pods": "1", "secrets": "100", "memory": "750Mi" }));
    let selector = "labelSelector=e2e-quota%3Dpatched";
    let list = world.get(&format!("/api/v1/resourcequotas?{selector}")).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    world.delete(&format!("{QUOTAS}?{selector}")).await.expect(200);
    let list = world.get(&format!("/api/v1/resourcequotas?{selector}")).await.expect(200);
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn limit_ranges_are_listed_patched_and_deleted_together() {
    let world = World::new().await;
    let list = |cpu: &str, memory: &str| json!({ "cpu": cpu, "memory": memory });
    let range = json!({ "apiVersion": "v1", "kind": "LimitRange",
        "metadata": { "name": "e2e-limitrange", "labels": { "e2e-limitrange": "created" } },
        "spec": { "limits": [{ "type": "Container", "min": list("50m", "100Mi"), "max": list("500m", "500Mi"),
            "default": list("500m", "500Mi"), "defaultRequest": list("100m", "200Mi") }] } });
    world.post(RANGES, &range).await.expect(201);
    world.post("/api/v1/namespaces/other/limitranges", &range).await.expect(201);
    let everywhere = "/api/v1/limitranges?labelSelector=e2e-limitrange%3Dcreated";
    assert_eq!(world.get(everywhere).await.expect(200)["items"].as_array().unwrap().len(), 2);
    let patch = json!({ "metadata": { "labels": { "e2e-limitrange": "patched" } },
        "spec": { "limits": [{ "type": "Container", "min": list("50m", "100Mi"), "max": list("600m", "500Mi") }] } });
    let patched =
        world.patch(&format!("{RANGES}/e2e-limitrange"), "strategic-merge-patch", &patch).await.expect(200);
    assert_eq!(patched["spec"]["limits"][0]["max"]["cpu"], "600m");
    world.delete(&format!("{RANGES}?labelSelector=e2e-limitrange%3Dpatched")).await.expect(200);
    let left = world.get("/api/v1/limitranges").await.expect(200);
    let left: Vec<_> =
        left["items"].as_array().unwrap().iter().map(|one| &one["metadata"]["namespace"]).collect();
    assert_eq!(left, ["other"]);
}
