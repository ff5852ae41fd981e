//! What a version of a custom resource shows where another one is stored: what is selected by, who owns what, defaults.

use crate::backend::{Authority, Backend, json};
use crate::conversions::{convert, first, path, second};
use crate::custom::{DEFINITIONS, definition, version};
use crate::world::World;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

const APPLIES: (&str, &str) = ("content-type", "application/apply-patch+yaml");

/// Versions with fields to select by, and a webhook that labels objects with the version that they are in. It fails as
/// long as the switch says so.
async fn world() -> (World, Arc<Mutex<bool>>) {
    let authority = Authority::new();
    let fails = Arc::new(Mutex::new(false));
    let switch = fails.clone();
    let answer = move |review: &Value| {
        let (request, fails) = (&review["request"], *switch.lock());
        let wanted = request["desiredAPIVersion"].as_str().unwrap();
        let objects = request["objects"].as_array().unwrap().iter();
        let converted: Vec<Value> = objects
            .map(|object| {
                let mut object = convert(object.clone(), wanted);
                object["metadata"]["annotations"] = json!({});
                object["metadata"]["labels"]["in"] = wanted.rsplit('/').next().unwrap().into();
                object
            })
            .collect();
        let result = json!({ "status": if fails { "Failed" } else { "Success" }, "message": "not today" });
        json!({ "kind": "ConversionReview", "apiVersion": review["apiVersion"],
            "response": { "uid": request["uid"], "result": result, "convertedObjects": converted } })
    };
    let backend = Backend::tls(&authority, &["localhost"], json(move |review| answer(&review))).await;
    let world = World::new().await;
    world.post("/api/v1/namespaces", &json!({ "metadata": { "name": "default" } })).await.expect(201);
    let client = json!({ "url": backend.url("/convert"), "caBundle": authority.bundle() });
    let mut definition = crate::conversions::definition(&client, "v1");
    let versions = &mut definition["spec"]["versions"];
    versions[0]["selectableFields"] = json!([{ "jsonPath": ".hostPort" }]);
    versions[1]["selectableFields"] = json!([{ "jsonPath": ".host" }, { "jsonPath": ".port" }]);
    world.define(&definition).await;
    (world, fails)
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|one| one["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn selectors_ask_the_version_that_was_asked_for() {
    let (world, _) = world().await;
    for (name, host_port) in [("a", "x:1"), ("b", "x:2"), ("c", "y:1"), ("d", "x:3")] {
        world.post(&path("v1"), &first(name, host_port)).await.expect(201);
    }
    for (version, query, expect) in [
        ("v2", "fieldSelector=host%3Dx", &["a", "b", "d"][..]),
        ("v2", "fieldSelector=host%3Dx,port!%3D2", &["a", "d"]),
        ("v2", "fieldSelector=metadata.name%3Db", &["b"]),
        ("v2", "labelSelector=in%3Dv2", &["a", "b", "c", "d"]),
        ("v2", "labelSelector=in!%3Dv2", &[]),
        ("v2", "labelSelector=in%3Dv2&fieldSelector=port%3D1", &["a", "c"]),
        ("v1", "fieldSelector=hostPort%3Dx:2", &["b"]),
        ("v1", "labelSelector=in", &[]),
    ] {
        let list = world.get(&format!("{}?{query}", path(version))).await.expect(200);
        assert_eq!(names(&list), expect, "{version} {query}");
    }
    let unknown = world.get(&format!("{}?fieldSelector=hostPort%3Dx:2", path("v2"))).await;
    assert_eq!(unknown.failure(), "400 BadRequest: field label not supported: hostPort");
    // Pages end where the last that was wanted ends, and go on behind it.
    let page = world.get(&format!("{}?fieldSelector=host%3Dx&limit=2", path("v2"))).await.expect(200);
    assert_eq!(names(&page), ["a", "b"]);
    let token = page["metadata"]["continue"].as_str().unwrap();
    let rest = format!("{}?fieldSelector=host%3Dx&limit=2&continue={token}", path("v2"));
    let rest = world.get(&rest).await.expect(200);
    assert_eq!(names(&rest), ["d"]);
    assert!(rest["metadata"]["continue"].as_str().is_none_or(str::is_empty));

    let query = "fieldSelector=host%3Dx&labelSelector=in%3Dv2";
    let gone = world.delete(&format!("{}?{query}", path("v2"))).await.expect(200);
    assert_eq!(names(&gone), ["a", "b", "d"]);
    assert_eq!(names(&world.get(&path("v1")).await.expect(200)), ["c"]);
}

#[tokio::test]
async fn watches_see_what_enters_and_leaves_their_selection_in_their_version() {
    let (world, fails) = world().await;
    world.post(&path("v1"), &first("a", "x:1")).await.expect(201);
    let wanted = format!("{}?watch=true&fieldSelector=host%3Dx&labelSelector=in%3Dv2", path("v2"));
    let mut events = world.watch(&wanted).await;
    world.post(&path("v1"), &first("b", "y:1")).await.expect(201);
    let host_port = |text: &str| json!({ "hostPort": text });
    for (name, text) in [("b", "y:2"), ("b", "x:2"), ("b", "x:3"), ("a", "y:1")] {
        let one = format!("{}/{name}", path("v1"));
        world.patch(&one, "merge-patch", &host_port(text)).await.expect(200);
    }
    world.delete(&format!("{}/a", path("v1"))).await.expect(200);
    world.delete(&format!("{}/b", path("v1"))).await.expect(200);
    let mut seen = Vec::new();
    for _ in 0..5 {
        let event = events.next().await.unwrap();
        let object = &event["object"];
        assert_eq!(object["apiVersion"], "stable.example.com/v2");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (kind, name) = (text(&event["type"]), text(&object["metadata"]["name"]));
        seen.push(format!("{kind} {name} {}:{}", text(&object["host"]), text(&object["port"])));
    }
    assert_eq!(seen, ["ADDED a x:1", "ADDED b x:2", "MODIFIED b x:3", "DELETED a x:1", "DELETED b x:3"]);
    // Whom a failure keeps from knowing is let go, and told why when it asks again.
    *fails.lock() = true;
    world.post(&path("v1"), &first("c", "z:1")).await.expect(201);
    assert_eq!(events.next().await, None);
    let why = "conversion webhook for stable.example.com/v1, Kind=E failed: not today";
    let unready = format!(
        "429 TooManyRequests: storage is (re)initializing: failed to list stable.example.com/v2, Kind=E: {why}"
    );
    let all = format!("500 : {why}");
    assert_eq!(world.get(&format!("{}?limit=1", path("v2"))).await.failure(), all);
    assert_eq!(world.get(&format!("{}?fieldSelector=host%3Dq", path("v2"))).await.failure(), unready);
    assert_eq!(world.delete(&path("v2")).await.failure(), all);
}

/// Manager, operation, version and fields of all entries.
fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value| {
        let word = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let fields = entry["fieldsV1"].as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
        let version = word("apiVersion").rsplit('/').next().unwrap().to_owned();
        format!("{} {} {version} {fields}", word("manager"), word("operation"))
    };
    entries.iter().map(text).collect()
}

#[tokio::test]
async fn who_owns_what_is_asked_in_every_manager_s_version() {
    let (world, fails) = world().await;
    let apply = async |version: &str, manager: &str, object: Value| {
        let path = format!("{}/a?fieldManager={manager}", path(version));
        world.call(&format!("PATCH {path}"), &object, &[APPLIES]).await
    };
    let made = apply("v1", "one", first("a", "h:1")).await.expect(201);
    assert_eq!(owners(&made), ["one Apply v1 f:hostPort"]);
    // In its own version the other one's field is another; in the first one's it is the same.
    let conflict = apply(
        "v2",
        "two",
        json!({ "apiVersion": "stable.example.com/v2", "kind": "E",
        "metadata": { "name": "a" }, "port": "2" }),
    );
    let message = r#"Apply failed with 1 conflict: conflict with "one": .hostPort"#;
    assert_eq!(conflict.await.failure(), format!("409 Conflict: {message}"));
    // Whoever changes it through another version takes it.
    let update = json!({ "port": "3" });
    let taken = format!("{}/a?fieldManager=three", path("v2"));
    let taken = world.patch(&taken, "merge-patch", &update).await.expect(200);
    assert_eq!(owners(&taken), ["three Update v2 f:port"]);
    // A manager that goes on in another version leaves the old one.
    let again = apply("v1", "three", first("a", "h:3")).await.expect(200);
    assert_eq!(owners(&again), ["three Apply v1 f:hostPort", "three Update v2 f:port"]);
    let moved = apply("v2", "three", second("a", "h", "3")).await.expect(200);
    assert_eq!(owners(&moved), ["three Apply v2 f:host f:port", "three Update v2 f:port"]);
    let kept = json!({ "apiVersion": "stable.example.com/v2", "kind": "E",
        "metadata": { "name": "a" }, "host": "h" });
    let kept = apply("v2", "three", kept).await.expect(200);
    assert_eq!((&kept["host"], &kept["port"]), (&json!("h"), &json!("3")));
    assert_eq!(owners(&kept), ["three Apply v2 f:host", "three Update v2 f:port"]);
    // Nothing is said of owners that cannot be asked.
    world.post(&path("v1"), &first("b", "h:1")).await.expect(201);
    let applied = format!("{}/b?fieldManager=two&force=true", path("v2"));
    world.call(&format!("PATCH {applied}"), &second("b", "h", "2"), &[APPLIES]).await.expect(200);
    *fails.lock() = true;
    let update = format!("{}/b", path("v1"));
    let update = world.patch(&update, "merge-patch", &json!({ "hostPort": "h:5" })).await.expect(200);
    assert_eq!(owners(&update), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_stored_in_another_version_has_that_one_s_fields_and_defaults() {
    let world = World::new().await;
    world.post("/api/v1/namespaces", &json!({ "metadata": { "name": "default" } })).await.expect(201);
    let text = json!({ "type": "string" });
    let marked = |name: &str| {
        let flags = json!({ "type": "object", "properties": {
            "v1": { "type": "boolean" }, "v2": { "type": "boolean" } } });
        let mut properties = json!({ "flags": flags, "both": text, format!("only-{name}"): text });
        properties["flags"]["properties"][name]["default"] = true.into();
        let mut version = version(name, properties);
        version["storage"] = (name == "v1").into();
        version
    };
    world.define(&definition(json!([marked("v1"), marked("v2")]))).await;
    let path = |version: &str| format!("/apis/stable.example.com/{version}/namespaces/default/crontabs");
    let object = |version: &str, name: &str| {
        json!({ "apiVersion": format!("stable.example.com/{version}"), "kind": "CronTab",
            "metadata": { "name": name }, "flags": {}, "both": "b", format!("only-{version}"): "o" })
    };
    // What is created has the defaults of its version and, as all that is read, those of the stored one.
    let made = world.post(&path("v2"), &object("v2", "two")).await.expect(201);
    assert_eq!(made["flags"], json!({ "v1": true, "v2": true }));
    // The stored version does not know it.
    assert_eq!((&made["only-v2"], &made["both"]), (&Value::Null, &json!("b")));
    let made = world.post(&path("v1"), &object("v1", "one")).await.expect(201);
    assert_eq!(made["flags"], json!({ "v1": true }));
    let shown = world.get(&format!("{}/one", path("v2"))).await.expect(200);
    assert_eq!(shown["flags"], json!({ "v1": true }));
    assert_eq!((&shown["only-v1"], &shown["both"]), (&Value::Null, &json!("b")));
    assert_eq!(world.get(&format!("{}/one", path("v1"))).await.expect(200)["only-v1"], "o");

    // A version that nobody is served any more still owns what it owns.
    let apply =
        |version: &str, manager: &str| format!("{}/one?fieldManager={manager}&force=true", path(version));
    world.call(&format!("PATCH {}", apply("v2", "old")), &object("v2", "one"), &[APPLIES]).await.expect(200);
    let name = "crontabs.stable.example.com";
    let unserved = json!([{ "op": "replace", "path": "/spec/versions/1/served", "value": false }]);
    world.patch(&format!("{DEFINITIONS}/{name}"), "json-patch", &unserved).await.expect(200);
    let mut gone = false;
    while !gone {
        gone = world.get(&path("v2")).await.code == 404;
    }
    let changed = json!({ "metadata": { "labels": { "a": "b" } } });
    let changed = world.patch(&format!("{}/one", path("v1")), "merge-patch", &changed).await.expect(200);
    assert!(owners(&changed).iter().any(|one| one.starts_with("old Apply v2")), "{changed}");
}
