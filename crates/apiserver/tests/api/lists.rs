//! Lists: pages, selectors, revisions.

use crate::world::World;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn filled() -> World {
    let world = World::new().await;
    for index in 0..10 {
        let parity = if index % 2 == 0 { "even" } else { "odd" };
        let namespace = if index < 7 { "default" } else { "other" };
        let body = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": format!("map-{index}"), "labels": { "parity": parity } },
        });
        world.post(&format!("/api/v1/namespaces/{namespace}/configmaps"), &body).await.expect(201);
    }
    world
}

fn names(list: &Value) -> String {
    let items = list["items"].as_array().unwrap().iter();
    let names: Vec<_> =
        items.map(|item| item["metadata"]["name"].as_str().unwrap().replace("map-", "")).collect();
    names.join(" ")
}

#[tokio::test]
async fn selections_and_places() {
    let world = filled().await;
    let check = async |query: &str, expect: &str| {
        let list = world.get(query).await.expect(200);
        assert_eq!(names(&list), expect, "{query}");
    };
    check("/api/v1/configmaps", "0 1 2 3 4 5 6 7 8 9").await;
    check(MAPS, "0 1 2 3 4 5 6").await;
    check(&format!("{MAPS}?labelSelector=parity%3Dodd"), "1 3 5").await;
    check(&format!("{MAPS}?labelSelector=parity%21%3Dodd"), "0 2 4 6").await;
    check(&format!("{MAPS}?fieldSelector=metadata.name%3Dmap-3"), "3").await;
    check(&format!("{MAPS}?fieldSelector=metadata.name%21%3Dmap-3"), "0 1 2 4 5 6").await;
    check("/api/v1/configmaps?fieldSelector=metadata.namespace%3Dother", "7 8 9").await;
    check("/api/v1/namespaces/none/configmaps", "").await;
    for (query, expect) in [
        ("labelSelector=a%20b", "400 BadRequest"),
        ("fieldSelector=spec.x%3D1", "400 BadRequest: \"spec.x\" is not a known field selector"),
        ("resourceVersion=x", "400 BadRequest: resourceVersion: Invalid value: \"x\""),
        (
            "resourceVersionMatch=Exact",
            "422 Invalid: ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden",
        ),
        ("continue=nonsense", "400 BadRequest: invalid continue token: continue key is not valid"),
        ("limit=x", "400 BadRequest"),
    ] {
        let failure = world.get(&format!("{MAPS}?{query}")).await.failure();
        assert!(failure.starts_with(expect), "{query}: {failure}");
    }
}

#[tokio::test]
async fn pages_show_one_state() {
    let world = filled().await;
    let first = world.get("/api/v1/configmaps?limit=4").await.expect(200);
    assert_eq!(names(&first), "0 1 2 3");
    assert_eq!(first["metadata"]["remainingItemCount"], 6);
    world.delete(&format!("{MAPS}/map-5")).await.expect(200);
    world
        .put(
            &format!("{MAPS}/map-6"),
            &json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "map-6" }, "data": { "new": "1" } }),
        )
        .await
        .expect(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = world.get(&format!("/api/v1/configmaps?limit=4&continue={token}")).await.expect(200);
    assert_eq!(names(&second), "4 5 6 7", "the deleted one is still there in this state");
    assert!(second["items"][2]["data"].is_null());
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = world.get(&format!("/api/v1/configmaps?limit=4&continue={token}")).await.expect(200);
    assert_eq!(names(&third), "8 9");
    assert!(third["metadata"]["continue"].is_null() && third["metadata"]["remainingItemCount"].is_null());
    let selected = world.get("/api/v1/configmaps?limit=2&labelSelector=parity%3Deven").await.expect(200);
    assert_eq!(names(&selected), "0 2");
    assert!(selected["metadata"]["remainingItemCount"].is_null());

    let revision = first["metadata"]["resourceVersion"].as_str().unwrap();
    let exact =
        world.get(&format!("{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact")).await.expect(200);
    assert_eq!(names(&exact), "0 1 2 3 4 5 6");
    let newest = world.get(&format!("{MAPS}?resourceVersion={revision}")).await.expect(200);
    assert_eq!(names(&newest), "0 1 2 3 4 6");
}

#[tokio::test]
async fn the_past_ends() {
    let world = World::with(|config| config.limits.history_events = 5).await;
    let map = |index: usize| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("map-{index}") } });
    for index in 0..4 {
        world.post(MAPS, &map(index)).await.expect(201);
    }
    let first = world.get(&format!("{MAPS}?limit=1")).await.expect(200);
    let revision = first["metadata"]["resourceVersion"].as_str().unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap();
    // Enough lists of other states to push the pinned one out, and enough events to forget it.
    for index in 4..60 {
        world.post(MAPS, &map(index)).await.expect(201);
        world.get(&format!("{MAPS}?limit=1")).await.expect(200);
    }
    let answer = world.get(&format!("{MAPS}?limit=1&continue={token}")).await;
    assert!(answer.failure().starts_with("410 Expired: The provided continue parameter is too old"));
    let again = answer.json()["metadata"]["continue"].as_str().unwrap().to_owned();
    let rest = world.get(&format!("{MAPS}?limit=2&continue={again}")).await.expect(200);
    assert_eq!(names(&rest), "1 10");
    let failure =
        world.get(&format!("{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact")).await.failure();
    assert!(
        failure.starts_with("410 Expired: The resourceVersion for the provided list is too old."),
        "{failure}"
    );
    let mut watch = world.watch(&format!("{MAPS}?watch=1&resourceVersion={revision}")).await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_revision_that_is_yet_to_come_is_waited_for_and_then_refused() {
    let world = World::new().await;
    let answer = world.get(&format!("{MAPS}?resourceVersion=999999")).await;
    assert!(
        answer.failure().starts_with("504 Timeout: Timeout: Too large resource version: 999999, current: ")
    );
    let details = &answer.json()["details"];
    assert_eq!(
        (&details["retryAfterSeconds"], &details["causes"][0]["reason"]),
        (&json!(1), &json!("ResourceVersionTooLarge"))
    );
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn a_long_list_comes_in_pieces() {
    let world = World::new().await;
    let filler = "x".repeat(5_000);
    for index in 0..60 {
        let body = json!({ "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": format!("m{index:03}") }, "data": { "filler": filler } });
        world.post(MAPS, &body).await.expect(201);
    }
    let answer = world.get(MAPS).await;
    let list = answer.json();
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 60);
    assert!(
        items
            .windows(2)
            .all(|pair| pair[0]["metadata"]["name"].as_str() < pair[1]["metadata"]["name"].as_str())
    );
    assert!(items.iter().all(|item| item["metadata"]["resourceVersion"].is_string()));
    let watched = world.watch(&format!("{MAPS}?watch=1")).await.take(60).await;
    assert_eq!((watched[0].as_str(), watched[59].as_str()), ("ADDED m000", "ADDED m059"));
}
