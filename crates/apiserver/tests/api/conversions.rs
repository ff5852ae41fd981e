//! Custom resources whose versions a webhook makes of one another, as upstream's conformance tests drive them.

use crate::backend::{Authority, Backend, Net, json};
use crate::custom::DEFINITIONS;
use crate::world::World;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

const NAME: &str = "es.stable.example.com";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

pub fn path(version: &str) -> String {
    format!("/apis/stable.example.com/{version}/namespaces/default/es")
}

/// `v1` has `hostPort`, `v2` has `host` and `port`.
pub fn definition(client: &Value, stored: &str) -> Value {
    let text = json!({ "type": "string" });
    let version = |name: &str, fields: Value| {
        json!({ "name": name, "served": true, "storage": name == stored,
            "schema": { "openAPIV3Schema": { "type": "object", "properties": fields } } })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": NAME },
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced", "names": { "plural": "es", "kind": "E" },
            "versions": [
                version("v1", json!({ "hostPort": text, "kept": { "type": "string", "default": "yes" } })),
                version("v2", json!({ "host": text, "port": text })),
            ],
            "conversion": { "strategy": "Webhook",
                "webhook": { "clientConfig": client, "conversionReviewVersions": ["v1", "v1beta1"] } },
        },
    })
}

/// What the webhook does that it should not.
#[derive(Clone, Copy, Default, PartialEq)]
enum Mood {
    #[default]
    Well,
    Refuses,
    Renames,
    Forgets,
    WrongVersion,
    WrongKind,
    WrongUid,
    BadLabel,
}

#[derive(Default)]
struct Webhook {
    mood: Mutex<Mood>,
    asked: Mutex<Vec<Value>>,
}

impl Webhook {
    fn answer(&self, review: &Value) -> Value {
        self.asked.lock().push(review.clone());
        let (request, mood) = (&review["request"], *self.mood.lock());
        let wanted = request["desiredAPIVersion"].as_str().unwrap();
        let objects = request["objects"].as_array().unwrap().iter();
        let mut converted: Vec<Value> = objects.map(|object| convert(object.clone(), wanted)).collect();
        match mood {
            Mood::Renames => converted[0]["metadata"]["name"] = "other".into(),
            Mood::Forgets => drop(converted.pop()),
            Mood::WrongVersion => converted[0]["apiVersion"] = "stable.example.com/v3".into(),
            Mood::WrongKind => converted[0]["kind"] = "F".into(),
            Mood::BadLabel => converted[0]["metadata"]["labels"] = json!({ "a b": "c" }),
            _ => {}
        }
        let uid = if mood == Mood::WrongUid { json!("x") } else { request["uid"].clone() };
        let result = match mood {
            Mood::Refuses => json!({ "status": "Failed", "message": "not today" }),
            _ => json!({ "status": "Success" }),
        };
        json!({ "kind": "ConversionReview", "apiVersion": review["apiVersion"],
            "response": { "uid": uid, "result": result, "convertedObjects": converted } })
    }
}

pub fn convert(mut object: Value, wanted: &str) -> Value {
    let tree = object.as_object_mut().unwrap();
    tree.insert("apiVersion".into(), wanted.into());
    if wanted.ends_with("v2") {
        if let Some(both) = tree.remove("hostPort") {
            let (host, port) = both.as_str().unwrap().split_once(':').unwrap();
            tree.insert("host".into(), host.into());
            tree.insert("port".into(), port.into());
            tree.insert("unknown".into(), 1.into());
        }
    } else if let (Some(host), Some(port)) = (tree.remove("host"), tree.remove("port")) {
        let both = format!("{}:{}", host.as_str().unwrap(), port.as_str().unwrap());
        tree.insert("hostPort".into(), both.into());
    }
    object["metadata"]["annotations"] = json!({ "converted": "yes" });
    object["metadata"]["generation"] = 77.into();
    object
}

async fn world() -> (World, Arc<Webhook>, Value) {
    let authority = Authority::new();
    let webhook = Arc::new(Webhook::default());
    let answering = webhook.clone();
    let backend = Backend::tls(&authority, &["localhost"], json(move |review| answering.answer(&review)));
    let backend = backend.await;
    let world = World::new().await;
    world.post("/api/v1/namespaces", &json!({ "metadata": { "name": "default" } })).await.expect(201);
    let client = json!({ "url": backend.url("/convert"), "caBundle": authority.bundle() });
    world.define(&definition(&client, "v1")).await;
    (world, webhook, client)
}

pub fn first(name: &str, host_port: &str) -> Value {
    json!({ "apiVersion": "stable.example.com/v1", "kind": "E", "metadata": { "name": name }, "hostPort": host_port })
}

pub fn second(name: &str, host: &str, port: &str) -> Value {
    json!({ "apiVersion": "stable.example.com/v2", "kind": "E", "metadata": { "name": name }, "host": host, "port": port })
}

#[tokio::test]
async fn a_webhook_makes_versions_of_one_another() {
    let (world, webhook, _) = world().await;
    let mut events = world.watch(&format!("{}?watch=true&resourceVersion=0", path("v2"))).await;
    let made = world.post(&path("v1"), &first("a", "localhost:8080")).await.expect(201);
    assert_eq!(made["kept"], "yes");
    assert!(made["metadata"]["annotations"].is_null());
    let shown = world.get(&format!("{}/a", path("v2"))).await.expect(200);
    assert_eq!((&shown["host"], &shown["port"]), (&json!("localhost"), &json!("8080")));
    assert_eq!(shown["apiVersion"], "stable.example.com/v2");
    // What the other version does not know is dropped; metadata is the object's own but for labels and annotations.
    assert!(shown["unknown"].is_null() && shown["kept"].is_null() && shown["hostPort"].is_null(), "{shown}");
    assert_eq!(shown["metadata"]["annotations"], json!({ "converted": "yes" }));
    assert_eq!(shown["metadata"]["generation"], 1);
    assert_eq!(shown["metadata"]["managedFields"], made["metadata"]["managedFields"]);
    assert_eq!(shown["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let asked = webhook.asked.lock()[0].clone();
    assert_eq!(asked["apiVersion"], "apiextensions.k8s.io/v1");
    assert_eq!(asked["request"]["desiredAPIVersion"], "stable.example.com/v2");
    assert_eq!(asked["request"]["objects"][0]["kept"], "yes");
    let event = events.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["host"]), (&json!("ADDED"), &json!("localhost")));
    // What was converted once is remembered.
    assert_eq!(webhook.asked.lock().len(), 1);

    world.post(&path("v2"), &second("b", "h", "1")).await.expect(201);
    let shown = world.get(&format!("{}/b", path("v1"))).await.expect(200);
    assert_eq!((&shown["hostPort"], &shown["apiVersion"]), (&json!("h:1"), &json!("stable.example.com/v1")));
    let change = json!({ "port": "2" });
    let changed = world.patch(&format!("{}/b", path("v2")), "merge-patch", &change).await.expect(200);
    assert_eq!((&changed["host"], &changed["port"]), (&json!("h"), &json!("2")));
    assert_eq!(world.get(&format!("{}/b", path("v1"))).await.expect(200)["hostPort"], "h:2");
    let deleted = world.delete(&format!("{}/b", path("v2"))).await;
    assert_eq!(deleted.code, 200);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let event = events.next().await.unwrap();
        let kind = event["type"].as_str().unwrap().to_owned();
        seen.push(format!("{kind} {}", event["object"]["port"].as_str().unwrap_or("-")));
        assert_eq!(event["object"]["apiVersion"], "stable.example.com/v2");
    }
    assert_eq!(seen, ["ADDED 1", "MODIFIED 2", "DELETED 2"]);
}

#[tokio::test]
async fn many_are_converted_together() {
    let (world, webhook, client) = world().await;
    for number in 0..40 {
        world.post(&path("v1"), &first(&format!("e{number}"), &format!("h:{number}"))).await.expect(201);
    }
    assert!(webhook.asked.lock().is_empty());
    let list = world.get(&path("v2")).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 40);
    assert!(list["items"].as_array().unwrap().iter().all(|one| one["host"] == "h"));
    assert_eq!(webhook.asked.lock().len(), 1);
    let page = world.get(&format!("{}?limit=7", path("v2"))).await.expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 7);
    assert_eq!(page["metadata"]["remainingItemCount"], 33);
    let mut events = world.watch(&format!("{}?watch=true", path("v2"))).await;
    assert_eq!(events.next().await.unwrap()["object"]["host"], "h");
    assert_eq!(webhook.asked.lock().len(), 1);
    // Another stored version: what was stored before is converted for both, what is new for the other.
    let current = world.get(&format!("{DEFINITIONS}/{NAME}")).await.expect(200);
    let mut changed = definition(&client, "v2");
    changed["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
    world.put(&format!("{DEFINITIONS}/{NAME}"), &changed).await.expect(200);
    world.until(DEFINITIONS, NAME, |one| one["status"]["storedVersions"] == json!(["v1", "v2"])).await;
    world.post(&path("v1"), &first("new", "n:1")).await.expect(201);
    for version in ["v1", "v2"] {
        let list = world.get(&path(version)).await.expect(200);
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), 41);
        let api_version = format!("stable.example.com/{version}");
        assert!(items.iter().all(|one| one["apiVersion"] == *api_version));
        let new = items.iter().find(|one| one["metadata"]["name"] == "new").unwrap();
        let field = if version == "v1" { "hostPort" } else { "host" };
        assert_eq!(new[field], if version == "v1" { "n:1" } else { "n" });
    }
}

#[tokio::test]
async fn a_failed_conversion_is_told_to_who_needs_it() {
    let (world, webhook, client) = world().await;
    world.post(&path("v1"), &first("a", "h:1")).await.expect(201);
    let about = "500 : conversion webhook for stable.example.com/v1, Kind=E";
    for (mood, why) in [
        (Mood::Refuses, "failed: not today"),
        (Mood::Renames, "returned invalid object: must have the same name: a != other"),
        (Mood::Forgets, "returned 0 objects, expected 1"),
        (
            Mood::WrongVersion,
            "returned invalid object at index 0: invalid groupVersion (expected stable.example.com/v2, received stable.example.com/v3)",
        ),
        (Mood::WrongKind, "returned invalid object at index 0: invalid kind (expected E, received F)"),
        (
            Mood::BadLabel,
            "returned invalid metadata: metadata.labels: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ),
    ] {
        *webhook.mood.lock() = mood;
        assert_eq!(world.get(&format!("{}/a", path("v2"))).await.failure(), format!("{about} {why}"));
    }
    *webhook.mood.lock() = Mood::WrongUid;
    let failure = world.get(&format!("{}/a", path("v2"))).await.failure();
    assert!(failure.starts_with(&format!("{about} failed: expected response.uid=")), "{failure}");
    *webhook.mood.lock() = Mood::Refuses;
    let refused = |from: &str| {
        format!("500 : conversion webhook for stable.example.com/{from}, Kind=E failed: not today")
    };
    let unready = "429 TooManyRequests: storage is (re)initializing: failed to list stable.example.com/v2, Kind=E: conversion \
        webhook for stable.example.com/v1, Kind=E failed: not today";
    let all = world.get(&path("v2")).await;
    assert_eq!((all.failure().as_str(), &all.headers["retry-after"]), (unready, &"1".parse().unwrap()));
    for asked in
        ["?watch=true", "?watch=true&resourceVersion=0", "?labelSelector=a", "?resourceVersion=0&limit=1"]
    {
        assert_eq!(world.get(&format!("{}{asked}", path("v2"))).await.failure(), unready, "{asked}");
    }
    // What is not read from upstream's cache is told what happened.
    assert_eq!(world.get(&format!("{}?limit=1", path("v2"))).await.failure(), refused("v1"));
    let current = world.get(&path("v1")).await.expect(200)["metadata"]["resourceVersion"].clone();
    let since = format!("{}?watch=true&resourceVersion={}", path("v2"), current.as_str().unwrap());
    let mut events = world.watch(&since).await;
    world.patch(&format!("{}/a", path("v1")), "merge-patch", &json!({ "hostPort": "h:0" })).await.expect(200);
    assert_eq!(events.next().await, None);
    assert_eq!(world.post(&path("v2"), &second("b", "h", "1")).await.failure(), refused("v2"));
    let change = json!({ "port": "2" });
    let answer = world.patch(&format!("{}/a", path("v2")), "merge-patch", &change).await;
    assert_eq!(answer.failure(), refused("v1"));
    assert_eq!(world.delete(&format!("{}/a", path("v2"))).await.failure(), refused("v1"));
    let counted = String::from_utf8(world.get("/metrics").await.bytes).unwrap();
    for line in [
        "apiserver_conversion_webhook_request_total{result=\"failure\",failure_type=\"conversion_webhook_partial_response_failure\"} 1",
        "apiserver_conversion_webhook_request_total{result=\"failure\",failure_type=\"conversion_webhook_malformed_response_failure\"} ",
        "apiserver_conversion_webhook_duration_seconds_count{result=\"failure\",failure_type=\"conversion_webhook_invalid_converted_object_failure\"} 4",
        "apiserver_crd_conversion_webhook_duration_seconds_count{crd_name=\"es.stable.example.com\",from_version=\"v1\",to_version=\"v2\",succeeded=\"false\"} ",
    ] {
        assert!(counted.contains(line), "{line}\n{counted}");
    }
    // The stored version needs no webhook.
    assert_eq!(world.get(&path("v1")).await.expect(200)["items"].as_array().unwrap().len(), 1);
    let change = json!({ "hostPort": "h:2" });
    world.patch(&format!("{}/a", path("v1")), "merge-patch", &change).await.expect(200);
    *webhook.mood.lock() = Mood::Well;
    assert_eq!(world.get(&format!("{}/a", path("v2"))).await.expect(200)["port"], "2");
    // A definition goes with its objects, and says why it cannot while they cannot be read.
    let current = world.get(&format!("{DEFINITIONS}/{NAME}")).await.expect(200);
    let mut changed = definition(&client, "v2");
    changed["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
    world.put(&format!("{DEFINITIONS}/{NAME}"), &changed).await.expect(200);
    world.until(DEFINITIONS, NAME, |one| one["status"]["storedVersions"] == json!(["v1", "v2"])).await;
    *webhook.mood.lock() = Mood::Refuses;
    world.delete(&format!("{DEFINITIONS}/{NAME}")).await.expect(200);
    let terminating = |one: &Value| -> Value {
        let all = one["status"]["conditions"].as_array().unwrap().iter();
        all.clone().find(|one| one["type"] == "Terminating").cloned().unwrap_or_default()
    };
    let failed = |one: &Value| terminating(one)["reason"] == "InstanceDeletionFailed";
    let stuck = world.until(DEFINITIONS, NAME, failed).await;
    assert_eq!(
        terminating(&stuck)["message"],
        "could not issue all deletes: conversion webhook for stable.example.com/v1, Kind=E failed: not today"
    );
    *webhook.mood.lock() = Mood::Well;
    world.until(DEFINITIONS, NAME, |_| false).await;
    assert_eq!(world.get(&format!("{DEFINITIONS}/{NAME}")).await.code, 404);
}

#[tokio::test]
async fn objects_are_stored_anew_by_writes_that_change_nothing_until_an_old_version_can_go() {
    let (world, _, client) = world().await;
    for number in 0..7 {
        world.post(&path("v1"), &first(&format!("e{number}"), "h:1")).await.expect(201);
    }
    let own = format!("{DEFINITIONS}/{NAME}");
    let current = world.get(&own).await.expect(200);
    let mut changed = definition(&client, "v2");
    changed["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
    world.put(&own, &changed).await.expect(200);
    world.until(DEFINITIONS, NAME, |one| one["status"]["storedVersions"] == json!(["v1", "v2"])).await;
    let versions = async || {
        let range = gifee_store::Range::prefix(b"/registry/stable.example.com/es/".to_vec());
        let entries = world.store().range(range).await.unwrap().entries;
        let version = |value: &[u8]| {
            serde_json::from_slice::<Value>(value).unwrap()["apiVersion"].as_str().unwrap().to_owned()
        };
        entries.iter().map(|entry| version(&entry.value)).collect::<Vec<_>>()
    };
    assert_eq!(versions().await, ["stable.example.com/v1"; 7]);
    // A version that objects are stored in cannot go.
    let mut without = definition(&client, "v2");
    without["spec"]["versions"].as_array_mut().unwrap().remove(0);
    without["metadata"]["resourceVersion"] =
        world.get(&own).await.expect(200)["metadata"]["resourceVersion"].clone();
    let refused = world.put(&own, &without).await.failure();
    assert!(refused.contains("status.storedVersions[0]: Invalid value: \"v1\": "), "{refused}");
    // What upstream's migrator does: pages of metadata, and of each object a patch that says which it is.
    let mut page = format!("{}?limit=3", path("v2"));
    loop {
        let list =
            world.call(&format!("GET {page}"), &Value::Null, &[("accept", METADATA)]).await.expect(200);
        for object in list["items"].as_array().unwrap() {
            let metadata = &object["metadata"];
            let same = json!({ "metadata": { "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"] } });
            let one = format!("{}/{}", path("v2"), metadata["name"].as_str().unwrap());
            let written = world.patch(&one, "merge-patch", &same).await.expect(200);
            assert_ne!(written["metadata"]["resourceVersion"], metadata["resourceVersion"]);
            assert_eq!((&written["host"], &written["metadata"]["generation"]), (&json!("h"), &json!(1)));
        }
        match list["metadata"]["continue"].as_str() {
            Some(token) if !token.is_empty() => page = format!("{}?limit=3&continue={token}", path("v2")),
            _ => break,
        }
    }
    assert_eq!(versions().await, ["stable.example.com/v2"; 7]);
    let shrunk = json!({ "status": { "storedVersions": ["v2"] } });
    world.patch(&format!("{own}/status"), "merge-patch", &shrunk).await.expect(200);
    let current = world.get(&own).await.expect(200);
    assert_eq!(current["status"]["storedVersions"], json!(["v2"]));
    without["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
    world.put(&own, &without).await.expect(200);
}

#[tokio::test]
async fn a_conversion_webhook_is_reached_by_its_service() {
    let authority = Authority::new();
    let webhook = Arc::new(Webhook::default());
    let answering = webhook.clone();
    let names = ["converter.default.svc"];
    let backend = Backend::tls(&authority, &names, json(move |review| answering.answer(&review))).await;
    let net = Net(vec![("10.0.0.9:9443".into(), backend.address)]);
    let world = World::with(|config| config.dialer = Arc::new(net)).await;
    world.post("/api/v1/namespaces", &json!({ "metadata": { "name": "default" } })).await.expect(201);
    world.add_service("converter", 443, &[("10.0.0.9", true)], 9443).await;
    let service = json!({ "namespace": "default", "name": "converter", "path": "/crdconvert" });
    let client = json!({ "service": service, "caBundle": authority.bundle() });
    world.define(&definition(&client, "v1")).await;
    world.post(&path("v1"), &first("a", "h:1")).await.expect(201);
    assert_eq!(world.get(&format!("{}/a", path("v2"))).await.expect(200)["host"], "h");
}

#[tokio::test]
async fn what_is_wrong_with_a_conversion_is_said() {
    let world = World::new().await;
    for (conversion, why) in [
        (
            json!({ "strategy": "Webhook" }),
            "[spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook, spec.conversion.conversionReviewVersions: Required value]",
        ),
        (
            json!({ "strategy": "Magic" }),
            "spec.conversion.strategy: Unsupported value: \"Magic\": supported values: \"None\", \"Webhook\"",
        ),
        (
            json!({ "strategy": "Webhook", "webhook": {
                "clientConfig": { "url": "http://u@h/p?q#f" }, "conversionReviewVersions": ["v9"] } }),
            "[spec.conversion.webhookClientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path], spec.conversion.webhookClientConfig.url: Invalid value: \"u\": user information is not permitted in the URL, spec.conversion.webhookClientConfig.url: Invalid value: \"f\": fragments are not permitted in the URL, spec.conversion.webhookClientConfig.url: Invalid value: \"q\": query parameters are not permitted in the URL, spec.conversion.conversionReviewVersions: Invalid value: [\"v9\"]: must include at least one of v1, v1beta1]",
        ),
    ] {
        let mut definition = definition(&Value::Null, "v1");
        definition["spec"]["conversion"] = conversion;
        let failure = world.post(DEFINITIONS, &definition).await.failure();
        let about =
            format!("422 Invalid: CustomResourceDefinition.apiextensions.k8s.io \"{NAME}\" is invalid: ");
        assert_eq!(failure.strip_prefix(&about), Some(why), "{failure}");
    }
}

#[tokio::test]
async fn an_authority_that_is_none_is_refused_once_a_definition_is_established() {
    let world = World::new().await;
    let client = |bundle: &str| json!({ "url": "https://localhost:1/", "caBundle": bundle });
    // What signs may come later.
    world.define(&definition(&client("anVuaw=="), "v1")).await;
    let path = format!("{DEFINITIONS}/{NAME}");
    let webhook =
        |bundle: &str| json!({ "spec": { "conversion": { "webhook": { "clientConfig": client(bundle) } } } });
    // Who was wrong may stay so.
    world.patch(&path, "merge-patch", &webhook("bW9yZSBqdW5r")).await.expect(200);
    world.patch(&path, "merge-patch", &webhook(&Authority::new().bundle())).await.expect(200);
    let failure = world.patch(&path, "merge-patch", &webhook("anVuaw==")).await.failure();
    let about = format!("422 Invalid: CustomResourceDefinition.apiextensions.k8s.io \"{NAME}\" is invalid: ");
    let why = "spec.conversion.webhookClientConfig.caBundle: Invalid value: ";
    let rest = failure.strip_prefix(&about).and_then(|rest| rest.strip_prefix(why));
    assert!(rest.is_some_and(|rest| rest.contains("unable to load root certificates")), "{failure}");
}
