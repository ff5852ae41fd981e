//! CustomResourceDefinitions: lives of many, status, defaults that come and go, discovery, watches of what they define.

use crate::custom::{DEFINITIONS, definition, version};
use crate::world::World;
use serde_json::{Value, json};

/// A definition of one open version, of a kind and in a group of its own.
pub fn simple(group: &str, singular: &str) -> Value {
    let plural = format!("{singular}s");
    let mut crd = definition(json!([{ "name": "v1", "served": true, "storage": true,
        "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }]));
    crd["metadata"] = json!({ "name": format!("{plural}.{group}") });
    crd["spec"]["group"] = group.into();
    crd["spec"]["names"] = json!({ "plural": plural, "singular": singular, "kind": format!("{singular}-kind"),
        "listKind": format!("{singular}-kind-list") });
    crd
}

/// Waits until an object is gone. The watch begins first, so that it sees the end of what is still there.
pub async fn gone(world: &World, path: &str, name: &str) {
    let mut events = world.watch(&format!("{path}?watch=true&fieldSelector=metadata.name%3D{name}")).await;
    if world.get(&format!("{path}/{name}")).await.code == 200 {
        while events.next().await.expect("the watch goes on")["type"] != "DELETED" {}
    }
    assert_eq!(world.get(&format!("{path}/{name}")).await.code, 404);
}

#[tokio::test]
async fn a_definition_comes_and_goes() {
    let world = World::new().await;
    let made = world.define(&simple("simple.example.com", "e2e-test-simple")).await;
    let name = made["metadata"]["name"].as_str().unwrap();
    world.delete(&format!("{DEFINITIONS}/{name}")).await.expect(200);
    gone(&world, DEFINITIONS, name).await;
}

#[tokio::test]
async fn definitions_are_listed_and_deleted_by_label() {
    let world = World::new().await;
    for index in 0..10 {
        let mut crd = simple(&format!("list{index}.example.com"), "e2e-test-list");
        crd["metadata"]["labels"] = json!({ "e2e-list-test-uuid": "one" });
        world.define(&crd).await;
    }
    world.define(&simple("other.example.com", "e2e-test-list")).await;
    let selected = format!("{DEFINITIONS}?labelSelector=e2e-list-test-uuid%3Done");
    let list = world.get(&selected).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 10);
    let names = list["items"].as_array().unwrap().iter().map(|one| one["metadata"]["name"].as_str().unwrap());
    world.delete(&selected).await.expect(200);
    for name in names {
        gone(&world, DEFINITIONS, name).await;
    }
    let left = world.get(DEFINITIONS).await.expect(200);
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_status_of_a_definition_is_read_updated_and_patched() {
    let world = World::new().await;
    let made = world.define(&simple("status.example.com", "e2e-test-status")).await;
    let path = format!("{DEFINITIONS}/{}/status", made["metadata"]["name"].as_str().unwrap());
    let condition = |kind: &str| {
        json!({ "type": kind, "status": "True", "reason": "E2E", "message": "Set from e2e test",
        "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    let mut status = world.get(&path).await.expect(200);
    assert_eq!((&status["kind"], &status["metadata"]["uid"]), (&made["kind"], &made["metadata"]["uid"]));
    status["status"]["conditions"].as_array_mut().unwrap().push(condition("StatusUpdate"));
    let updated = world.put(&path, &status).await.expect(200);
    assert!(updated["status"]["conditions"].as_array().unwrap().contains(&condition("StatusUpdate")));
    let patch = json!([{ "op": "add", "path": "/status/conditions/-", "value": condition("StatusPatch") }]);
    let patched = world.patch(&path, "json-patch", &patch).await.expect(200);
    let conditions = patched["status"]["conditions"].as_array().unwrap();
    for kind in ["Established", "NamesAccepted", "StatusUpdate", "StatusPatch"] {
        assert!(conditions.iter().any(|one| one["type"] == kind), "{kind} of {patched}");
    }
}

#[tokio::test]
async fn definitions_are_in_the_documents() {
    let world = World::new().await;
    let groups = world.get("/apis").await.expect(200);
    let named = |group: &&Value| group["name"] == "apiextensions.k8s.io";
    let group = groups["groups"].as_array().unwrap().iter().find(named).unwrap();
    let version = json!({ "groupVersion": "apiextensions.k8s.io/v1", "version": "v1" });
    assert!(group["versions"].as_array().unwrap().contains(&version));
    let own = world.get("/apis/apiextensions.k8s.io").await.expect(200);
    assert!(own["versions"].as_array().unwrap().contains(&version));
    let resources = world.get("/apis/apiextensions.k8s.io/v1").await.expect(200);
    let names = resources["resources"].as_array().unwrap().iter().map(|one| &one["name"]);
    assert_eq!(names.collect::<Vec<_>>(), ["customresourcedefinitions", "customresourcedefinitions/status"]);
}

/// What is defaulted on read is not kept; what was defaulted on a write is.
#[tokio::test]
async fn defaults_hold_for_requests_and_for_what_is_stored() {
    let world = World::new().await;
    let text = json!({ "type": "string" });
    let mut crd = simple("defaults.example.com", "e2e-test-default");
    crd["spec"]["versions"] = json!([version("v1", json!({ "a": text, "b": text }))]);
    let name = crd["metadata"]["name"].as_str().unwrap().to_owned();
    world.define(&crd).await;
    let base = "/apis/defaults.example.com/v1/namespaces/default/e2e-test-defaults";
    let object = |name: &str| json!({ "apiVersion": "defaults.example.com/v1", "kind": "e2e-test-default-kind", "metadata": { "name": name } });
    let first = world.post(base, &object("foo1")).await.expect(201);
    assert!(first["a"].is_null());
    let properties = "/spec/versions/0/schema/openAPIV3Schema/properties";
    let add = |field: &str, value: &str| json!({ "op": "add", "path": format!("{properties}/{field}/default"), "value": value });
    let change = async |operations: Value| {
        world.patch(&format!("{DEFINITIONS}/{name}"), "json-patch", &operations).await.expect(200);
    };
    change(json!([add("a", "A")])).await;
    assert_eq!(world.get(&format!("{base}/foo1")).await.expect(200)["a"], "A", "from storage");
    let second = world.post(base, &object("foo2")).await.expect(201);
    assert_eq!(second["a"], "A", "for requests");
    change(json!([{ "op": "remove", "path": format!("{properties}/a/default") }, add("b", "B")])).await;
    let third = world.post(base, &object("foo3")).await.expect(201);
    assert!(third["a"].is_null() && third["b"] == "B", "{third}");
    let first = world.get(&format!("{base}/foo1")).await.expect(200);
    assert!(first["a"].is_null() && first["b"] == "B", "never stored: {first}");
    let second = world.get(&format!("{base}/foo2")).await.expect(200);
    assert!(second["a"] == "A" && second["b"] == "B", "stored: {second}");
}

#[tokio::test]
async fn custom_resources_are_watched_by_name() {
    let world = World::new().await;
    let mut crd = simple("watch.example.com", "noxu");
    crd["spec"]["scope"] = "Cluster".into();
    world.define(&crd).await;
    let base = "/apis/watch.example.com/v1/noxus";
    let names = ["name1", "name2"];
    let mut watches = Vec::new();
    for name in names {
        watches.push(world.watch(&format!("{base}?watch=true&fieldSelector=metadata.name%3D{name}")).await);
    }
    for name in names {
        let noxu = json!({ "apiVersion": "watch.example.com/v1", "kind": "noxu-kind", "metadata": { "name": name },
            "content": { "key": "value" }, "num": { "num1": 9_223_372_036_854_775_807_i64, "num2": 1_000_000 } });
        world.post(base, &noxu).await.expect(201);
    }
    for name in names {
        let patch = json!({ "spec": { "template": 5 } });
        world.patch(&format!("{base}/{name}"), "merge-patch", &patch).await.expect(200);
    }
    for name in names {
        world.delete(&format!("{base}/{name}")).await.expect(200);
    }
    for (name, watch) in names.iter().zip(&mut watches) {
        let added = watch.next().await.unwrap();
        assert_eq!(added["type"], "ADDED");
        assert_eq!(added["object"]["num"]["num1"], 9_223_372_036_854_775_807_i64);
        assert_eq!(watch.take(2).await, [format!("MODIFIED {name}"), format!("DELETED {name}")]);
    }
}
