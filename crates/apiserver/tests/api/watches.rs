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

#[tokio::test]
async fn a_watch_resumes_where_a_list_was() {
    let world = World::new().await;
    world.post(MAPS, &config("one", "a")).await.expect(201);
    let list = world.get(MAPS).await.expect(200);
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap();
    world.post(MAPS, &config("two", "a")).await.expect(201);
    world.delete(&format!("{MAPS}/one")).await.expect(200);
    let mut watch = world.watch(&format!("{MAPS}?watch=1&resourceVersion={revision}")).await;
    assert_eq!(watch.take(2).await, ["ADDED two", "DELETED one"]);
    world.post(MAPS, &config("three", "a")).await.expect(201);
    assert_eq!(watch.take(1).await, ["ADDED three"]);
}

#[tokio::test]
async fn a_deleted_object_bears_the_revision_of_its_deletion() {
    let world = World::new().await;
    let made = world.post(MAPS, &config("one", "a")).await.expect(201);
    let mut watch = world.watch(&format!("{MAPS}?watch=1&labelSelector=app%3Da")).await;
    watch.take(1).await;
    let changed = world.put(&format!("{MAPS}/one"), &config("one", "b")).await.expect(200);
    let left = watch.next().await.unwrap();
    assert_eq!(left["type"], "DELETED");
    assert_eq!(left["object"]["metadata"]["labels"]["app"], "a", "the last that was seen");
    assert_eq!(left["object"]["metadata"]["resourceVersion"], changed["metadata"]["resourceVersion"]);
    let mut all = world.watch(&format!("{MAPS}?watch=1")).await;
    all.take(1).await;
    world.delete(&format!("{MAPS}/one")).await.expect(200);
    let gone = all.next().await.unwrap();
    let revision =
        |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap();
    assert!(revision(&gone["object"]) > revision(&changed) && revision(&changed) > revision(&made));
}

#[tokio::test]
async fn streaming_lists_end_with_a_bookmark() {
    let world = World::new().await;
    world.post(MAPS, &config("one", "a")).await.expect(201);
    let query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut watch = world.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(watch.take(1).await, ["ADDED one"]);
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["kind"], "ConfigMap");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let failure = world.get(&format!("{MAPS}?watch=1&sendInitialEvents=true")).await.failure();
    assert!(
        failure.contains("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        "{failure}"
    );
}

#[tokio::test]
async fn bookmarks_come_and_watches_end_on_time() {
    let world =
        World::with(|config| config.limits.bookmark_interval = std::time::Duration::from_millis(50)).await;
    let made = world.post(MAPS, &config("one", "a")).await.expect(201);
    let path = format!("{MAPS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=1&labelSelector=app%3Dnone");
    let mut watch = world.watch(&path).await;
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    while watch.next().await.is_some() {}
}

#[tokio::test]
async fn watchers_of_a_node_see_its_pods_come_and_go() {
    let world = World::new().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |name: &str| {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "containers": [{ "name": "c", "image": "i" }] } })
    };
    let mut watch = world.watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1").await;
    let mut named = world.watch(&format!("{pods}?watch=1&fieldSelector=metadata.name%3Db")).await;
    for name in ["a", "b"] {
        world.post(pods, &pod(name)).await.expect(201);
    }
    let bind = |node: &str| json!({ "apiVersion": "v1", "kind": "Binding", "target": { "kind": "Node", "name": node } });
    let nominated = json!({ "status": { "nominatedNodeName": "n3" } });
    world.patch(&format!("{pods}/a/status"), "merge-patch", &nominated).await.expect(200);
    world.post(&format!("{pods}/a/binding"), &bind("n1")).await.expect(201);
    world.post(&format!("{pods}/b/binding"), &bind("n2")).await.expect(201);
    let bound = world.get(&format!("{pods}/a")).await.expect(200);
    assert!(bound["status"]["nominatedNodeName"].is_null(), "{bound}");
    assert_eq!(
        world.post(&format!("{pods}/a/binding"), &bind("n2")).await.failure(),
        "409 Conflict: Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n1\""
    );
    world.delete(&format!("{pods}/b?gracePeriodSeconds=0")).await.expect(200);
    world.delete(&format!("{pods}/a?gracePeriodSeconds=0")).await.expect(200);
    assert_eq!(watch.take(2).await, ["ADDED a", "DELETED a"]);
    assert_eq!(named.take(3).await, ["ADDED b", "MODIFIED b", "DELETED b"]);
}

#[tokio::test]
async fn a_slow_watcher_goes_on_from_history() {
    let world = World::with(|config| config.limits.watcher_events = 4).await;
    let mut watch = world.watch(&format!("{MAPS}?watch=1")).await;
    for index in 0..50 {
        world.post(MAPS, &config(&format!("m{index}"), "a")).await.expect(201);
    }
    let expect: Vec<String> = (0..50).map(|index| format!("ADDED m{index}")).collect();
    assert_eq!(watch.take(50).await, expect);
}

#[tokio::test]
async fn a_stopped_server_ends_its_watches() {
    let world = World::new().await;
    let mut watch = world.watch(&format!("{MAPS}?watch=1")).await;
    world.server.stop();
    assert!(watch.next().await.is_none());
}

async fn listening(world: &World) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(world.server.clone().serve(listener, None));
    address
}

#[tokio::test]
async fn a_watch_over_a_websocket_sends_an_event_a_message() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
    let world = World::new().await;
    for name in ["one", "two"] {
        world.post(MAPS, &config(name, "a")).await.expect(201);
    }
    let address = listening(&world).await;
    let url = format!("ws://{address}{MAPS}?watch=1&timeoutSeconds=3");
    let (mut socket, response) = tokio_tungstenite::connect_async(&url).await.unwrap();
    assert!(!response.headers().contains_key("sec-websocket-protocol"));
    for name in ["one", "two"] {
        let Some(Ok(Message::Text(text))) = socket.next().await else { panic!("a text comes") };
        let event: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!(name)));
    }
    socket.send(Message::text("nobody listens")).await.unwrap();
    world.delete(&format!("{MAPS}/two")).await.expect(200);
    assert!(socket.next().await.unwrap().unwrap().to_text().unwrap().contains("DELETED"));
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_))) | None), "it ends on time");

    let mut request = url.into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("accept", "application/vnd.kubernetes.protobuf".parse().unwrap());
    headers.insert(
        "sec-websocket-protocol",
        "base64url.bearer.authorization.k8s.io.dG9r, binary.k8s.io".parse().unwrap(),
    );
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "binary.k8s.io");
    let Some(Ok(Message::Binary(bytes))) = socket.next().await else { panic!("bytes come") };
    assert!(bytes.starts_with(b"\n\x05ADDED\x12"));
    let old = format!(
        "ws://{address}{MAPS}?watch=1&resourceVersion=999999999&sendInitialEvents=1&resourceVersionMatch=NotOlderThan"
    );
    let (mut socket, _) = tokio_tungstenite::connect_async(&old).await.unwrap();
    let text = socket.next().await.unwrap().unwrap();
    assert!(text.to_text().unwrap().contains("Too large resource version"));
}

#[tokio::test]
async fn a_watch_that_wants_bookmarks_gets_one_before_it_ends() {
    let world = World::new().await;
    world.post(MAPS, &config("one", "a")).await.expect(201);
    let mut watch = world.watch(&format!("{MAPS}?watch=1&allowWatchBookmarks=1&timeoutSeconds=3")).await;
    assert_eq!(watch.take(2).await, ["ADDED one", "BOOKMARK -"]);
    let made = world.post(MAPS, &config("two", "b")).await.expect(201);
    assert_eq!(watch.take(1).await, ["ADDED two"]);
    let last = watch.next().await.unwrap();
    assert_eq!(
        (&last["type"], &last["object"]["metadata"]["resourceVersion"]),
        (&json!("BOOKMARK"), &made["metadata"]["resourceVersion"])
    );
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_watch_from_the_future_waits_or_says_so_as_an_event() {
    let world = World::new().await;
    let made = world.post(MAPS, &config("one", "a")).await.expect(201);
    let now: u64 = made["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    let mut watch = world.watch(&format!("{MAPS}?watch=1&resourceVersion={}", now + 1)).await;
    world.post(MAPS, &config("skipped", "a")).await.expect(201);
    world.post(MAPS, &config("shown", "a")).await.expect(201);
    assert_eq!(watch.take(1).await, ["ADDED shown"]);
    let query = "watch=1&resourceVersion=999999&sendInitialEvents=1&resourceVersionMatch=NotOlderThan";
    let mut watch = world.watch(&format!("{MAPS}?{query}")).await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(504)));
    assert_eq!(event["object"]["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn who_is_in_the_process_is_handed_the_objects_that_others_get_as_frames() {
    use futures_util::StreamExt;
    use gifee_apiserver::{AsObjects, Event, Events};
    let world = World::new().await;
    world.post(MAPS, &config("one", "a")).await.expect(201);
    world.post(MAPS, &config("two", "b")).await.expect(201);
    let query = "watch=1&labelSelector=app%3Da&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut frames = world.watch(&format!("{MAPS}?{query}")).await;
    let ask = |query: &str, accept: &str| {
        let request =
            http::Request::get(format!("{MAPS}?{query}")).header("accept", accept).extension(AsObjects);
        world.server.handle(None, request.body(gifee_apiserver::Body::empty()).unwrap())
    };
    let mut objects = Events::of(&mut ask(query, "application/json").await).expect("it hands over objects");
    world.put(&format!("{MAPS}/two"), &config("two", "a")).await.expect(200);
    world.put(&format!("{MAPS}/one"), &config("one", "b")).await.expect(200);
    world.delete(&format!("{MAPS}/two")).await.expect(200);
    for _ in 0..5 {
        let frame = frames.next().await.unwrap();
        let (kind, object) = match objects.next().await.unwrap() {
            Event::Added(object) => ("ADDED", object.to_value().unwrap()),
            Event::Modified(object) => ("MODIFIED", object.to_value().unwrap()),
            Event::Deleted(object) => ("DELETED", object.to_value().unwrap()),
            Event::Bookmark { revision, initial_events_end } => {
                assert!(initial_events_end);
                assert_eq!(frame["object"]["metadata"]["resourceVersion"], revision.to_string());
                ("BOOKMARK", frame["object"].clone())
            }
            Event::Failed(status) => panic!("{status:?}"),
        };
        assert_eq!((&frame["type"], &frame["object"]), (&json!(kind), &object));
    }
    // Metadata is in the objects that are there; what is made for the watcher is said in bytes.
    let mut partial = ask("watch=1", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").await;
    assert!(Events::of(&mut partial).is_some());
    let mut table = ask("watch=1", "application/json;as=Table;g=meta.k8s.io;v=v1").await;
    assert!(Events::of(&mut table).is_none());
    world.server.stop();
    assert!(objects.next().await.is_none());
}
