//! Watches: every change, once and in order.

use crate::world::World;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config(name: &str, label: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "labels": { "app": label } } })
}

#[tokio::test]
async fn a_watch_shows_what_was_and_what_comes() {
    let world = World::new().await;
    world.post(MAPS, &config("one", "a")).await.expect(201);
    let mut all = world.watch(&format!("{MAPS}?watch=1")).await;
    let mut selected = world.watch(&format!("{MAPS}?watch=1&labelSelector=app%3Da")).await;
    assert_eq!(all.take(1).await, ["ADDED one"]);
    assert_eq!(selected.take(1).await, ["ADDED one"]);
    world.post(MAPS, &config("two", "b")).await.expect(201);
    world.put(&format!("{MAPS}/two"), &config("two", "a")).await.expect(200);
    world.put(&format!("{MAPS}/one"), &config("one", "b")).await.expect(200);
    world.delete(&format!("{MAPS}/two")).await.expect(200);
    assert_eq!(all.take(4).await, ["ADDED two", "MODIFIED two", "MODIFIED one", "DELETED two"]);
    assert_eq!(selected.take(3).await, ["ADDED two", "DELETED one", "DELETED two"]);
}
