//! Events, in both of their groups.

use crate::world::World;
use serde_json::{Value, json};

const CORE: &str = "/api/v1/namespaces/default/events";
const NEW: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

fn core(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Event", "metadata": { "name": name, "labels": { "testevent-set": "true" } },
        "message": "This is a test event", "reason": "Test", "type": "Normal", "count": 1,
        "involvedObject": { "namespace": "default" } })
}

fn new(name: &str, label: &str) -> Value {
    json!({ "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": name, "labels": { label: "true" } },
        "eventTime": "2017-09-19T13:49:16.000000Z", "note": "This is the test event", "reason": "Test", "action": "Do",
        "type": "Normal", "reportingController": "test-controller", "reportingInstance": "test-node",
        "regarding": { "namespace": "default" } })
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|one| one["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_event_of_the_core_group_lives() {
    let world = World::new().await;
    let mut event = core("event-test");
    event["metadata"]["labels"] = json!({ "testevent-constant": "true" });
    world.post(CORE, &event).await.expect(201);
    let selected = "/api/v1/events?labelSelector=testevent-constant%3Dtrue";
    assert_eq!(names(&world.get(selected).await.expect(200)), ["event-test"]);
    let path = format!("{CORE}/event-test");
    let patch = json!({ "message": "This is a test event - patched" });
    world.patch(&path, "strategic-merge-patch", &patch).await.expect(200);
    let mut read = world.get(&path).await.expect(200);
    assert_eq!(read["message"], "This is a test event - patched");
    read["series"] = json!({ "count": 100, "lastObservedTime": "2017-09-19T13:49:16.000000Z" });
    world.put(&path, &read).await.expect(200);
    assert_eq!(world.get(&path).await.expect(200)["series"], read["series"]);
    world.delete(&path).await.expect(200);
    assert_eq!(names(&world.get(selected).await.expect(200)), Vec::<&str>::new());
}

#[tokio::test]
async fn events_of_the_core_group_go_together() {
    let world = World::new().await;
    let names_of = ["test-event-1", "test-event-2", "test-event-3"];
    for name in names_of {
        world.post(CORE, &core(name)).await.expect(201);
    }
    world
        .post(
            CORE,
            &json!({ "apiVersion": "v1", "kind": "Event", "metadata": { "name": "other" },
        "involvedObject": { "namespace": "default" } }),
        )
        .await
        .expect(201);
    let selected = format!("{CORE}?labelSelector=testevent-set%3Dtrue");
    assert_eq!(names(&world.get(&selected).await.expect(200)), names_of);
    world.delete(&selected).await.expect(200);
    assert_eq!(names(&world.get(CORE).await.expect(200)), ["other"]);
}

#[tokio::test]
async fn an_event_of_the_new_group_lives_and_is_seen_in_both() {
    let world = World::new().await;
    let made = world.post(NEW, &new("event-test", "testevent-constant")).await.expect(201);
    for path in [NEW, "/apis/events.k8s.io/v1/events"] {
        assert!(names(&world.get(path).await.expect(200)).contains(&"event-test"), "{path}");
    }
    let by_source = world.get(&format!("{CORE}?fieldSelector=source%3Dtest-controller")).await.expect(200);
    assert_eq!(names(&by_source), ["event-test"]);
    assert_eq!(by_source["items"][0]["message"], "This is the test event");
    let by_controller = format!("{NEW}?fieldSelector=reportingController%3Dtest-controller");
    assert_eq!(names(&world.get(&by_controller).await.expect(200)), ["event-test"]);
    let none = format!("{NEW}?fieldSelector=reportingController%3Dother");
    assert_eq!(names(&world.get(&none).await.expect(200)), Vec::<&str>::new());
    let regarding = format!("{NEW}?fieldSelector=regarding.namespace%3Ddefault%2Cmetadata.name%3Devent-test");
    assert_eq!(names(&world.get(&regarding).await.expect(200)), ["event-test"]);
    assert_eq!(world.get(&format!("{NEW}?fieldSelector=involvedObject.namespace%3Ddefault")).await.code, 400);
    let path = format!("{NEW}/event-test");
    assert_eq!(world.get(&path).await.expect(200), made);
    let patch = json!({ "series": { "count": 2, "lastObservedTime": "2017-09-19T13:49:11.000000Z" } });
    world.patch(&path, "strategic-merge-patch", &patch).await.expect(200);
    let mut read = world.get(&path).await.expect(200);
    assert_eq!(read["series"], patch["series"]);
    read["series"] = json!({ "count": 100, "lastObservedTime": "2017-09-19T13:49:16.000000Z" });
    world.put(&path, &read).await.expect(200);
    let mut after = world.get(&path).await.expect(200);
    for one in [&mut after, &mut read] {
        let metadata = one["metadata"].as_object_mut().unwrap();
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
    }
    assert_eq!(after, read);
    world.delete(&path).await.expect(200);
    assert_eq!(names(&world.get(NEW).await.expect(200)), Vec::<&str>::new());
}

#[tokio::test]
async fn events_of_the_new_group_go_together() {
    let world = World::new().await;
    for index in 0..3 {
        world.post(NEW, &new(&format!("test-event-{index}"), "testevent-set")).await.expect(201);
    }
    world.post(NEW, &new("other", "other")).await.expect(201);
    let selected = format!("{NEW}?labelSelector=testevent-set%3Dtrue");
    assert_eq!(names(&world.get(&selected).await.expect(200)).len(), 3);
    world.delete(&selected).await.expect(200);
    assert_eq!(names(&world.get(NEW).await.expect(200)), ["other"]);
}
