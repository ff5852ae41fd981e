//! Objects: the life of one, and the words of every failure that clients depend on.

use crate::world::World;
use serde_json::{Value, json};

fn config(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "a": "1" } })
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_lives_from_create_to_delete() {
    let world = World::new().await;
    let made = world.post(MAPS, &config("one")).await.expect(201);
    let metadata = &made["metadata"];
    assert_eq!(metadata["namespace"], "default");
    assert!(metadata["uid"].as_str().unwrap().len() == 36 && metadata["creationTimestamp"].is_string(), "{made}");
    let path = format!("{MAPS}/one");
    assert_eq!(world.get(&path).await.expect(200), made);
    assert_eq!(
        world.post(MAPS, &config("one")).await.failure(),
        "409 AlreadyExists: configmaps \"one\" already exists"
    );

    // A PUT that changes nothing writes nothing.
    assert_eq!(world.put(&path, &made).await.expect(200), made);
    let mut changed = made.clone();
    changed["data"]["a"] = "2".into();
    let put = world.put(&path, &changed).await.expect(200);
    assert_eq!(put["data"]["a"], "2");
    assert_ne!(put["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert_eq!(
        world.put(&path, &changed).await.failure(),
        "409 Conflict: Operation cannot be fulfilled on configmaps \"one\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let mut unconditional = config("one");
    unconditional["data"]["a"] = "3".into();
    assert_eq!(world.put(&path, &unconditional).await.expect(200)["data"]["a"], "3");

    let list = world.get(MAPS).await.expect(200);
    assert_eq!((list["kind"].as_str(), list["items"].as_array().unwrap().len()), (Some("ConfigMapList"), 1));
    let gone = world.delete(&path).await.expect(200);
    assert_eq!((&gone["status"], &gone["details"]["kind"]), (&json!("Success"), &json!("configmaps")));
    assert_eq!(gone["details"]["uid"], metadata["uid"]);
    assert_eq!(world.get(&path).await.failure(), "404 NotFound: configmaps \"one\" not found");
    assert_eq!(world.delete(&path).await.failure(), "404 NotFound: configmaps \"one\" not found");
}
