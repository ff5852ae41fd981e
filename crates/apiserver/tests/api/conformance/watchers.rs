//! Watchers see every change once, in order, from where they want; what leaves a selection is deleted for it.

use crate::world::World;
use serde_json::{Value, json};
use std::sync::Arc;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LABEL: &str = "watch-this-configmap";

fn map(name: &str, label: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "labels": { LABEL: label } } })
}

impl World {
    async fn mutate(&self, name: &str, count: usize) -> Value {
        let patch = json!({ "data": { "mutation": count.to_string() } });
        self.patch(&format!("{MAPS}/{name}"), "merge-patch", &patch).await.expect(200)
    }

    async fn label(&self, name: &str, label: &str) -> Value {
        let patch = json!({ "metadata": { "labels": { LABEL: label } } });
        self.patch(&format!("{MAPS}/{name}"), "merge-patch", &patch).await.expect(200)
    }
}

fn version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap()
}

#[tokio::test]
async fn notifications_of_adds_updates_and_deletions() {
    let world = World::new().await;
    let [mut a, mut b, mut both] = [
        world.watch(&format!("{MAPS}?watch=true&labelSelector={LABEL}%3DA")).await,
        world.watch(&format!("{MAPS}?watch=true&labelSelector={LABEL}%3DB")).await,
        world.watch(&format!("{MAPS}?watch=true&labelSelector={LABEL}%20in%20%28A%2CB%29")).await,
    ];
    let made = world.post(MAPS, &map("a", "A")).await.expect(201);
    let mut expect = vec![("ADDED", made)];
    for count in 1..3 {
        expect.push(("MODIFIED", world.mutate("a", count).await));
    }
    world.delete(&format!("{MAPS}/a")).await.expect(200);
    for (kind, object) in &expect {
        for watch in [&mut a, &mut both] {
            let event = watch.next().await.unwrap();
            assert_eq!((event["type"].as_str().unwrap(), &event["object"]), (*kind, object));
        }
    }
    assert_eq!(a.take(1).await, ["DELETED a"]);
    assert_eq!(both.take(1).await, ["DELETED a"]);
    world.post(MAPS, &map("b", "B")).await.expect(201);
    world.delete(&format!("{MAPS}/b")).await.expect(200);
    assert_eq!(b.take(2).await, ["ADDED b", "DELETED b"]);
    assert_eq!(both.take(2).await, ["ADDED b", "DELETED b"]);
}

#[tokio::test]
async fn a_watch_starts_at_a_version() {
    let world = World::new().await;
    world.post(MAPS, &map("a", "from-version")).await.expect(201);
    let first = world.mutate("a", 1).await;
    world.mutate("a", 2).await;
    world.delete(&format!("{MAPS}/a")).await.expect(200);
    let query =
        format!("watch=true&labelSelector={LABEL}%3Dfrom-version&resourceVersion={}", version(&first));
    let mut watch = world.watch(&format!("{MAPS}?{query}")).await;
    let second = watch.next().await.unwrap();
    assert_eq!((&second["type"], &second["object"]["data"]["mutation"]), (&json!("MODIFIED"), &json!("2")));
    assert_eq!(watch.take(1).await, ["DELETED a"]);
}

#[tokio::test]
async fn a_watch_goes_on_where_another_was() {
    let world = World::new().await;
    let path = format!("{MAPS}?watch=true&labelSelector={LABEL}%3Dclosed");
    let mut broken = world.watch(&path).await;
    world.post(MAPS, &map("a", "closed")).await.expect(201);
    world.mutate("a", 1).await;
    assert_eq!(broken.take(1).await, ["ADDED a"]);
    let last = broken.next().await.unwrap();
    assert_eq!(last["type"], "MODIFIED");
    drop(broken);
    world.mutate("a", 2).await;
    let mut watch = world.watch(&format!("{path}&resourceVersion={}", version(&last["object"]))).await;
    world.delete(&format!("{MAPS}/a")).await.expect(200);
    let second = watch.next().await.unwrap();
    assert_eq!((&second["type"], &second["object"]["data"]["mutation"]), (&json!("MODIFIED"), &json!("2")));
    assert_eq!(watch.take(1).await, ["DELETED a"]);
}

#[tokio::test]
async fn what_leaves_a_selection_is_deleted_and_what_comes_back_is_added() {
    let world = World::new().await;
    let mut watch = world.watch(&format!("{MAPS}?watch=true&labelSelector={LABEL}%3Dmine")).await;
    world.post(MAPS, &map("a", "mine")).await.expect(201);
    world.mutate("a", 1).await;
    world.label("a", "wrong").await;
    assert_eq!(watch.take(3).await, ["ADDED a", "MODIFIED a", "DELETED a"]);
    world.mutate("a", 2).await;
    world.label("a", "mine").await;
    world.mutate("a", 3).await;
    world.delete(&format!("{MAPS}/a")).await.expect(200);
    for (kind, mutation) in [("ADDED", "2"), ("MODIFIED", "3"), ("DELETED", "3")] {
        let event = watch.next().await.unwrap();
        assert_eq!((&event["type"], &event["object"]["data"]["mutation"]), (&json!(kind), &json!(mutation)));
    }
}

/// Watches that start at each version in turn see the same versions in the same order from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_watches_have_one_order() {
    const COUNT: usize = 50;
    let world = Arc::new(World::new().await);
    let mut all = world.watch(&format!("{MAPS}?watch=true")).await;
    let producer = tokio::spawn({
        let world = world.clone();
        async move {
            let mut names: Vec<String> = Vec::new();
            for index in 0..COUNT {
                match (index * 7 % 5, names.pop()) {
                    (3, Some(name)) => {
                        world.mutate(&name, index).await;
                        names.insert(0, name);
                    }
                    (4, Some(name)) => drop(world.delete(&format!("{MAPS}/{name}")).await.expect(200)),
                    (_, popped) => {
                        names.extend(popped);
                        names.push(format!("m{index}"));
                        world.post(MAPS, &map(names.last().unwrap(), "x")).await.expect(201);
                    }
                }
            }
        }
    });
    let mut watches = Vec::new();
    let mut order: Vec<String> = Vec::new();
    while order.len() < COUNT {
        let event = all.next().await.unwrap();
        let version = version(&event["object"]).to_owned();
        watches.push(world.watch(&format!("{MAPS}?watch=true&resourceVersion={version}")).await);
        order.push(version);
        for (start, watch) in watches.iter_mut().enumerate().rev().skip(1) {
            let event = watch.next().await.unwrap();
            assert_eq!(version_of(&event), order.last().unwrap(), "the watch from {}", order[start]);
        }
    }
    producer.await.unwrap();
}

fn version_of(event: &Value) -> &str {
    version(&event["object"])
}
