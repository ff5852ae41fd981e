//! Wire forms: every kind in every form shows what JSON shows.

use crate::kinds::example;
use crate::world::{Answer, World};
use bytes::Bytes;
use gifee_apiserver::Body;
use gifee_registry::Kind;
use gifee_registry::kind::Scope;
use gifee_schema::Schema;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::io::Read;
use std::time::Duration;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn decode(bytes: &[u8]) -> Value {
    let schema = |group: &str, version: &str, kind: &str| Schema::builtin(group, version, kind);
    gifee_schema::protobuf::decode(bytes, &schema)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}

async fn get(world: &World, path: &str, accept: &str) -> Answer {
    world.call(&format!("GET {path}"), &Value::Null, &[("accept", accept)]).await
}

/// A tree without what protobuf cannot say apart from absence.
fn normal(schema: &Schema, value: &Value) -> Value {
    decode(&gifee_schema::protobuf::encode(schema, value).unwrap())
}

/// The frames of a watch: type and object.
async fn frames(world: &World, path: &str, accept: &str, count: usize) -> Vec<(String, Value)> {
    let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
    let response = world.server.handle(None, request).await;
    assert_eq!(response.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let mut body = response.into_body();
    let (mut buffer, mut found) = (Vec::new(), Vec::new());
    while found.len() < count {
        if let Some(length) = buffer.first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            if buffer.len() >= 4 + length {
                let frame: Vec<u8> = buffer.drain(..4 + length).skip(4).collect();
                found.push(event(&frame));
                continue;
            }
        }
        let frame = tokio::time::timeout(Duration::from_secs(10), body.frame());
        let frame = frame.await.expect("an event comes").expect("the watch goes on");
        buffer.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    found
}

/// A `WatchEvent` message: a type, and an object in its envelope inside a raw extension.
fn event(frame: &[u8]) -> (String, Value) {
    let kind_length = frame[1] as usize;
    let kind = String::from_utf8(frame[2..2 + kind_length].to_vec()).unwrap();
    let start = frame.windows(4).position(|four| four == b"k8s\0").unwrap();
    (kind, decode(&frame[start..]))
}

async fn drive(kind: &Kind) -> Result<(), String> {
    let world = World::new().await;
    let text = example(kind);
    let tree = gifee_schema::parse::yaml(text.as_bytes()).unwrap().value;
    let root = if kind.gvk.group.is_empty() {
        "/api/v1".into()
    } else {
        format!("/apis/{}", kind.gvk.api_version())
    };
    let namespace = tree["metadata"]["namespace"].as_str().unwrap_or("default");
    let base = match kind.scope {
        Scope::Namespaced => format!("{root}/namespaces/{namespace}/{}", kind.resource),
        Scope::Cluster => format!("{root}/{}", kind.resource),
    };
    let request = Request::post(&base).header("content-type", "application/yaml").header("accept", PROTOBUF);
    let made = world.send(request.body(text.into()).unwrap()).await;
    if made.code != 201 {
        return Err(format!("create: {}", String::from_utf8_lossy(&made.bytes)));
    }
    let schema = Schema::builtin(&kind.gvk.group, &kind.gvk.version, &kind.gvk.kind).unwrap();
    let name = decode(&made.bytes)["metadata"]["name"].as_str().unwrap().to_owned();
    let path = format!("{base}/{name}");
    // The server itself goes on with a definition until it is established.
    let defines = &*kind.gvk.kind == "CustomResourceDefinition";
    let stored = match defines {
        true => world.until(&base, &name, crate::custom::established).await,
        false => world.get(&path).await.expect(200),
    };
    let expect = normal(&schema, &stored);
    let equal = |what: &str, found: &Value, expect: &Value| {
        if found == expect { Ok(()) } else { Err(format!("{what}:\n{found}\n{expect}")) }
    };
    if !defines {
        equal("created", &decode(&made.bytes), &expect)?;
    }
    let answer = get(&world, &path, PROTOBUF).await;
    equal("content type", &json!(answer.headers["content-type"].to_str().unwrap()), &json!(PROTOBUF))?;
    equal("get", &decode(&answer.bytes), &expect)?;
    let json = stored.clone();
    for (form, accept) in [("yaml", "application/yaml"), ("pretty", "application/json;pretty=1")] {
        let answer = get(&world, &path, accept).await;
        equal(form, &gifee_schema::parse::yaml(&answer.bytes).unwrap().value, &json)?;
    }
    let list = world.get(&base).await.expect(200);
    let list_schema = Schema::builtin(&kind.gvk.group, &kind.gvk.version, &kind.list_kind).unwrap();
    equal("list", &decode(&get(&world, &base, PROTOBUF).await.bytes), &{
        let mut expect = normal(&list_schema, &list);
        // The items of a list do not name their kind on the wire.
        expect["items"]
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .for_each(|item| drop(item.as_object_mut().unwrap().remove("kind")));
        expect
    })?;
    for (form, accept) in [("yaml list", "application/yaml"), ("pretty list", "application/json;pretty=1")] {
        let answer = get(&world, &base, accept).await;
        equal(form, &gifee_schema::parse::yaml(&answer.bytes).unwrap().value, &list)?;
    }
    let metadata = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let part = decode(&get(&world, &path, &metadata).await.bytes);
    equal("metadata", &part["metadata"], &expect["metadata"])?;
    equal("kind of metadata", &part["kind"], &json!("PartialObjectMetadata"))?;
    let metadata = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let parts = decode(&get(&world, &base, &metadata).await.bytes);
    let found =
        parts["items"].as_array().unwrap().iter().find(|one| one["metadata"]["name"] == *name).cloned();
    equal("list of metadata", &found.unwrap_or_default()["metadata"], &expect["metadata"])?;
    let count = list["items"].as_array().unwrap().len();
    let watched = frames(&world, &format!("{base}?watch=1"), PROTOBUF, count).await;
    if !watched.contains(&("ADDED".to_owned(), expect.clone())) {
        return Err(format!("watch: {watched:?}"));
    }
    Ok(())
}

#[tokio::test]
async fn every_kind_is_the_same_in_every_form() {
    let mut failures = Vec::new();
    for kind in gifee_registry::kinds(&gifee_registry::Settings::default()) {
        if kind.stored
            && let Err(failure) = drive(&kind).await
        {
            failures.push(format!("{}: {failure}", kind.gvk));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn config(name: &str, filler: usize) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "a": "x".repeat(filler) } })
}

#[tokio::test]
async fn failures_and_successes_come_in_the_form_asked_for() {
    let world = World::new().await;
    let gone = get(&world, &format!("{MAPS}/none"), PROTOBUF).await;
    assert_eq!((gone.code, gone.headers["content-type"].to_str().unwrap()), (404, PROTOBUF));
    let status = decode(&gone.bytes);
    assert_eq!(
        (&status["kind"], &status["reason"], &status["code"]),
        (&json!("Status"), &json!("NotFound"), &json!(404))
    );
    let yaml = get(&world, &format!("{MAPS}/none"), "application/yaml").await;
    assert_eq!(gifee_schema::parse::yaml(&yaml.bytes).unwrap().value["reason"], "NotFound");
    // Where there is no form to say it in, JSON for a person.
    let refused = get(&world, MAPS, "application/cbor").await;
    assert_eq!(
        refused.failure(),
        "406 NotAcceptable: only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
    );
    assert!(refused.bytes.starts_with(b"{\n  \""));
    let refused = get(&world, &format!("{MAPS}?watch=1"), "application/yaml").await;
    assert_eq!(refused.code, 406);
    world.post(MAPS, &config("one", 1)).await.expect(201);
    let deleted = world.call(&format!("DELETE {MAPS}/one"), &Value::Null, &[("accept", PROTOBUF)]).await;
    assert_eq!(decode(&deleted.bytes)["status"], "Success");
    let list = get(&world, MAPS, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").await;
    assert_eq!(
        list.failure(),
        "406 NotAcceptable: you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)"
    );
}

#[tokio::test]
async fn kinds_without_messages_fall_back_or_are_refused() {
    let world = World::new().await;
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    world.server.add_kind(gifee_registry::row::row("example.com/v1", "Widget", "widgets"), None, None);
    let widget = json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": "w" } });
    world.post(widgets, &widget).await.expect(201);
    let both = get(&world, widgets, &format!("{PROTOBUF},application/json")).await;
    assert_eq!(both.headers["content-type"], "application/json");
    assert_eq!(both.expect(200)["items"][0]["metadata"]["name"], "w");
    let only = get(&world, widgets, PROTOBUF).await;
    assert_eq!(only.code, 406);
    assert_eq!(decode(&only.bytes)["reason"], "NotAcceptable");
    let metadata = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    assert_eq!(decode(&get(&world, widgets, &metadata).await.bytes)["items"][0]["metadata"]["name"], "w");
}

#[tokio::test]
async fn long_lists_are_measured_kept_and_compressed() {
    let world = World::new().await;
    for index in 0..60 {
        world.post(MAPS, &config(&format!("m{index:03}"), 100_000)).await.expect(201);
    }
    let list = world.get(MAPS).await.expect(200);
    let names = |value: &Value| {
        let items = value["items"].as_array().unwrap().iter();
        items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let plain = get(&world, MAPS, PROTOBUF).await;
    assert!(plain.bytes.len() > 6_000_000);
    assert_eq!(names(&decode(&plain.bytes)), names(&list));
    for accept in [PROTOBUF, "application/json", "application/yaml"] {
        for path in [MAPS.to_owned(), format!("{MAPS}?limit=50")] {
            let headers = [("accept", accept), ("accept-encoding", "gzip")];
            let answer = world.call(&format!("GET {path}"), &Value::Null, &headers).await;
            assert_eq!(answer.headers["content-encoding"], "gzip");
            assert_eq!(answer.headers["vary"], "Accept-Encoding");
            let mut bytes = Vec::new();
            flate2::read::GzDecoder::new(&answer.bytes[..]).read_to_end(&mut bytes).unwrap();
            let found = match accept {
                PROTOBUF => decode(&bytes),
                _ => gifee_schema::parse::yaml(&bytes).unwrap().value,
            };
            assert_eq!(names(&found), names(&list)[..if path == MAPS { 60 } else { 50 }]);
        }
    }
    let small = world.call(&format!("GET {MAPS}/m000"), &Value::Null, &[("accept-encoding", "gzip")]).await;
    assert!(!small.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn discovery_is_a_message_too() {
    let world = World::new().await;
    for (path, kind) in [
        ("/api", "APIVersions"),
        ("/apis", "APIGroupList"),
        ("/apis/apps", "APIGroup"),
        ("/apis/apps/v1", "APIResourceList"),
        ("/api/v1", "APIResourceList"),
    ] {
        let plain = world.get(path).await.expect(200);
        let answer = get(&world, path, PROTOBUF).await;
        assert_eq!(answer.headers["content-type"], PROTOBUF, "{path}");
        let mut message = decode(&answer.bytes);
        assert_eq!((&message["kind"], &message["apiVersion"]), (&json!(kind), &json!("v1")));
        let schema = Schema::builtin("", "v1", kind).unwrap();
        let mut expect = plain.clone();
        expect["apiVersion"] = "v1".into();
        let mut expect = normal(&schema, &expect);
        // Which host was asked is in one of them.
        for one in [&mut message, &mut expect] {
            one.as_object_mut().unwrap().remove("serverAddressByClientCIDRs");
        }
        assert_eq!(message, expect, "{path}");
        let yaml = get(&world, path, "application/yaml").await;
        assert_eq!(gifee_schema::parse::yaml(&yaml.bytes).unwrap().value["kind"], plain["kind"]);
    }
    let accept = format!("{PROTOBUF};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let answer = get(&world, "/apis", &accept).await;
    assert_eq!(answer.headers["content-type"], *accept);
    let message = decode(&answer.bytes);
    assert_eq!(message["kind"], "APIGroupDiscoveryList");
    assert_eq!(message["items"][1]["metadata"]["name"], "apps");
    let refused = get(&world, "/apis", "application/cbor").await;
    assert_eq!(refused.code, 406);
}

/// A watch that begins with a list is compressed, every piece to its end; others are not.
#[tokio::test]
async fn streaming_lists_are_compressed() {
    let world = World::new().await;
    world.post(MAPS, &config("one", 1)).await.expect(201);
    let list = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    for (query, expect) in [(list, Some("gzip")), ("watch=1", None)] {
        let request = Request::get(format!("{MAPS}?{query}&timeoutSeconds=1"));
        let request = request.header("accept-encoding", "gzip").body(Body::empty()).unwrap();
        let answer = world.send(request).await;
        let encoding = answer.headers.get("content-encoding").map(|value| value.to_str().unwrap());
        assert_eq!(encoding, expect);
        let mut text = Vec::new();
        match expect {
            Some(_) => {
                let flushed = answer.bytes.windows(4).position(|four| four == [0, 0, 0xff, 0xff]);
                assert!(flushed.is_some(), "what is said can be read before more comes");
                flate2::read::MultiGzDecoder::new(&*answer.bytes).read_to_end(&mut text).unwrap();
            }
            None => text = answer.bytes,
        }
        let first: Value = serde_json::from_slice(text.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
        assert_eq!(first["object"]["metadata"]["name"], "one");
    }
}

#[tokio::test]
async fn bookmarks_and_failures_of_watches_in_protobuf() {
    let world = World::with(|config| config.limits.history_events = 2).await;
    world.post(MAPS, &config("one", 1)).await.expect(201);
    let query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let found = frames(&world, &format!("{MAPS}?{query}"), PROTOBUF, 2).await;
    assert_eq!((found[0].0.as_str(), found[1].0.as_str()), ("ADDED", "BOOKMARK"));
    assert_eq!(found[1].1["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    for index in 0..5 {
        world.post(MAPS, &config(&format!("m{index}"), 1)).await.expect(201);
    }
    let found = frames(&world, &format!("{MAPS}?watch=1&resourceVersion=1"), PROTOBUF, 1).await;
    assert_eq!(
        (found[0].0.as_str(), &found[0].1["code"], &found[0].1["kind"]),
        ("ERROR", &json!(410), &json!("Status"))
    );
    let metadata = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let found = frames(&world, &format!("{MAPS}?watch=1"), &metadata, 1).await;
    assert_eq!(found[0].1["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn what_is_not_understood_is_refused_with_what_is() {
    let world = World::new().await;
    for content_type in ["application/cbor", "text/plain", "application/x-www-form-urlencoded"] {
        let request = Request::post(MAPS).header("content-type", content_type);
        let answer = world.send(request.body(Bytes::from_static(b"x").into()).unwrap()).await;
        assert_eq!(
            answer.failure(),
            "415 UnsupportedMediaType: the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        );
    }
}
