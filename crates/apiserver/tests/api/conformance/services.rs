//! Services: found, deleted together, and the status that load balancers write.

use crate::world::World;
use serde_json::{Value, json};

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, label: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "labels": { "e2e-test-service": label } },
        "spec": { "selector": { "a": "b" }, "ports": [{ "name": "http", "protocol": "TCP", "port": 80, "targetPort": 80 }] } })
}

#[tokio::test]
async fn the_status_of_a_service_lives_as_it_is_watched() {
    let world = World::new().await;
    let selector = "labelSelector=test-service-static%3Dtrue";
    let mut body = service("test-service", "x");
    body["metadata"]["labels"] = json!({ "test-service-static": "true" });
    body["spec"]["type"] = "LoadBalancer".into();
    body["spec"]["loadBalancerClass"] = "example.com/internal-vip".into();
    let mut watch = world.watch(&format!("{SERVICES}?watch=1&{selector}")).await;
    let made = world.post(SERVICES, &body).await.expect(201);
    assert_eq!(watch.take(1).await, ["ADDED test-service"]);
    let path = format!("{SERVICES}/test-service");
    let status = world.get(&format!("{path}/status")).await.expect(200);
    assert_eq!(status["status"], json!({ "loadBalancer": {} }));
    let patch = json!({ "metadata": { "annotations": { "patchedstatus": "true" } },
        "status": { "loadBalancer": { "ingress": [{ "ip": "203.0.113.1" }] } } });
    let patched = world.patch(&format!("{path}/status"), "merge-patch", &patch).await.expect(200);
    assert_eq!(patched["metadata"]["annotations"]["patchedstatus"], "true");
    assert_eq!(patched["spec"], made["spec"]);
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["status"]["loadBalancer"]),
        (&json!("MODIFIED"), &json!({ "ingress": [{ "ip": "203.0.113.1", "ipMode": "VIP" }] }))
    );
    let mut update = world.get(&path).await.expect(200);
    update["status"]["conditions"] = json!([{ "type": "StatusUpdate", "status": "True", "reason": "E2E",
        "message": "Set from e2e test", "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
    let updated = world.put(&format!("{path}/status"), &update).await.expect(200);
    assert_eq!(updated["status"]["conditions"], update["status"]["conditions"]);
    assert_eq!(watch.take(1).await, ["MODIFIED test-service"]);
    let patch = json!({ "metadata": { "labels": { "test-service": "patched" } } });
    world.patch(&path, "strategic-merge-patch", &patch).await.expect(200);
    let event = watch.next().await.unwrap();
    assert_eq!(event["object"]["metadata"]["labels"]["test-service"], "patched");
    assert!(event["object"]["status"]["loadBalancer"]["ingress"].is_array());
    world.delete(&path).await.expect(200);
    assert_eq!(watch.take(1).await, ["DELETED test-service"]);
}

#[tokio::test]
async fn services_go_together() {
    let world = World::new().await;
    for name in ["e2e-svc-a", "e2e-svc-b", "e2e-svc-c"] {
        let label = if name == "e2e-svc-b" { "keep" } else { "delete" };
        world.post(SERVICES, &service(name, label)).await.expect(201);
    }
    let mut watch = world.watch(&format!("{SERVICES}?watch=1&labelSelector=e2e-test-service%3Ddelete")).await;
    watch.take(2).await;
    world.delete(&format!("{SERVICES}?labelSelector=e2e-test-service%3Ddelete")).await.expect(200);
    let mut gone = watch.take(2).await;
    gone.sort();
    assert_eq!(gone, ["DELETED e2e-svc-a", "DELETED e2e-svc-c"]);
    let left = world.get(SERVICES).await.expect(200);
    assert_eq!(left["items"][0]["metadata"]["name"], "e2e-svc-b");
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
    // The addresses of those that went are free.
    let address = left["items"][0]["spec"]["clusterIP"].as_str().unwrap();
    assert!(address.parse::<std::net::Ipv4Addr>().is_ok(), "{address}");
}

#[tokio::test]
async fn a_service_is_found_in_all_namespaces() {
    let world = World::new().await;
    world.post(SERVICES, &service("kubernetes", "x")).await.expect(201);
    world.post("/api/v1/namespaces/other/services", &service("elsewhere", "x")).await.expect(201);
    let list = world.get("/api/v1/services").await.expect(200);
    let found = |service: &&Value| {
        service["metadata"]["name"] == "kubernetes" && service["metadata"]["namespace"] == "default"
    };
    assert!(list["items"].as_array().unwrap().iter().any(|one| found(&one)), "{list}");
}

/// Addresses outside of any range, of both families.
#[tokio::test]
async fn addresses_are_objects_of_their_own() {
    let world = World::new().await;
    let addresses = "/apis/networking.k8s.io/v1/ipaddresses";
    for (name, kind) in [("255.255.255.255", "broadcast"), ("fe80::42:1dff:fe84:f9e2", "link-local")] {
        let address = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
            "metadata": { "name": name, "labels": { "type": kind } },
            "spec": { "parentRef": { "group": "mygroup", "resource": "myresources", "namespace": "foo", "name": "bar" } } });
        world.post(addresses, &address).await.expect(201);
    }
    let path = format!("{addresses}/255.255.255.255");
    let patch = json!({ "metadata": { "annotations": { "patched": "true" } } });
    let mut patched = world.patch(&path, "merge-patch", &patch).await.expect(200);
    patched["metadata"]["annotations"]["updated"] = "true".into();
    assert_eq!(world.put(&path, &patched).await.expect(200)["metadata"]["annotations"]["updated"], "true");
    let list = world.get(&format!("{addresses}?labelSelector=type%3Dbroadcast")).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let mut watch = world.watch(&format!("{addresses}?watch=1&labelSelector=type%3Dbroadcast")).await;
    assert_eq!(watch.take(1).await, ["ADDED 255.255.255.255"]);
    world.delete(&path).await.expect(200);
    world.delete(&format!("{addresses}?labelSelector=type%3Dlink-local")).await.expect(200);
    let list = world.get(&format!("{addresses}?labelSelector=type%3Dlink-local")).await.expect(200);
    assert_eq!(list["items"], json!([]));
}
