//! Connections and what is stored: TLS, HTTP/1.1 and HTTP/2, encryption at rest, restarts, limits.

use crate::world::World;
use futures_util::StreamExt;
use gifee_apiserver::{Body, Encryption};
use http::Request;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use serde_json::json;
use std::sync::Arc;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

async fn listening(world: &World) -> (std::net::SocketAddr, tokio_rustls::TlsConnector) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls = gifee_apiserver::tls(vec![certificate.clone()], key, Vec::new()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(world.server.clone().serve(listener, Some(tls)));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (address, tokio_rustls::TlsConnector::from(Arc::new(client)))
}

#[tokio::test]
async fn both_versions_of_http_over_tls() {
    let world = World::new().await;
    let (address, connector) = listening(&world).await;
    for version in ["h2", "http/1.1"] {
        let mut config = (**connector.config()).clone();
        config.alpn_protocols = vec![version.into()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        let request = Request::get("https://localhost/version").body(Body::empty()).unwrap();
        let response = if version == "h2" {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        };
        assert_eq!(response.status(), 200, "{version}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("\"minor\": \"37\""));
    }
}

#[tokio::test]
async fn answers_to_head_have_no_body() {
    let world = World::new().await;
    let (address, connector) = listening(&world).await;
    let mut config = (**connector.config()).clone();
    config.alpn_protocols = vec!["h2".into()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for (path, code, length) in [("healthz", 200, "2"), ("version", 405, "197")] {
        let request = Request::head(format!("https://localhost/{path}")).body(Body::empty()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-length"]),
            (code, &length.parse().unwrap())
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.is_empty(), "{path}: {body:?}");
    }
}

#[tokio::test]
async fn bodies_that_nobody_wants_are_read() {
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let frames = futures_util::stream::iter([1, 2]).map(|_| {
        let data: Result<_, std::convert::Infallible> = Ok(http_body::Frame::data(bytes::Bytes::from("x")));
        data
    });
    let last = futures_util::stream::once(async move {
        let _ = end.send(());
        Ok(http_body::Frame::data(bytes::Bytes::new()))
    });
    drop(Body::received(http_body_util::StreamBody::new(Box::pin(frames.chain(last)))));
    tokio::time::timeout(std::time::Duration::from_secs(60), ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn secrets_are_encrypted_at_rest_and_survive_a_restart() {
    let disk = gifee_store::memory::Disk::default();
    let encryption = Arc::new(Encryption::secrets("k1", [7; 32]));
    let open = async |encryption: &Arc<Encryption>| {
        let store = Arc::new(disk.open(gifee_store::Limits::default()).unwrap());
        let encryption = encryption.clone();
        World::with(move |config| {
            config.store = store;
            config.encryption = Some(encryption);
        })
        .await
    };
    let world = open(&encryption).await;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "data": { "password": "aHVudGVyMg==" } });
    let made = world.post(SECRETS, &secret).await.expect(201);
    let patched = world
        .patch(&format!("{SECRETS}/s"), "merge-patch", &json!({ "data": { "more": "eA==" } }))
        .await
        .expect(200);
    assert_eq!(patched["metadata"]["uid"], made["metadata"]["uid"]);
    let mut watch = world.watch(&format!("{SECRETS}?watch=1")).await;
    assert_eq!(watch.next().await.unwrap()["object"], patched);
    let key = b"/registry/core/secrets/default/s";
    let (entry, _) = world.store().get(key).await.unwrap();
    let stored = entry.unwrap().value;
    assert!(stored.starts_with(b"k8s:enc:aesgcm:v1:k1:"));
    assert!(!stored.windows(8).any(|window| window == b"aHVudGVy"));
    world.server.stop();
    drop(watch);
    drop(world);

    let rotated = Arc::new(Encryption::new(
        vec![(String::new(), "secrets".into())],
        vec![("k2".into(), [8; 32]), ("k1".into(), [7; 32])],
    ));
    let world = open(&rotated).await;
    assert_eq!(world.get(&format!("{SECRETS}/s")).await.expect(200), patched, "read with the old key");
    world
        .patch(&format!("{SECRETS}/s"), "merge-patch", &json!({ "data": { "more": "eQ==" } }))
        .await
        .expect(200);
    let (entry, _) = world.store().get(key).await.unwrap();
    assert!(entry.unwrap().value.starts_with(b"k8s:enc:aesgcm:v1:k2:"), "written with the new one");
}

#[tokio::test]
async fn too_many_requests_at_once_are_turned_away() {
    let world = World::with(|config| {
        config.limits.reads_in_flight = 1;
        config.limits.writes_in_flight = 0;
    })
    .await;
    // One that waits for a revision holds the only seat.
    let slow = world.get("/api/v1/pods?resourceVersion=99999&timeout=300ms");
    let (slow, shed) = tokio::join!(slow, world.get("/api/v1/pods"));
    assert_eq!(slow.code, 504);
    assert_eq!((shed.code, shed.bytes), (429, b"Too many requests, please try again later.\n".to_vec()));
    assert_eq!(shed.headers["retry-after"], "1");
    assert_eq!(world.get("/api/v1/pods").await.code, 200);
}

#[tokio::test]
async fn watches_of_before_a_restart_resume() {
    let disk = gifee_store::memory::Disk::default();
    let open = async || {
        let store = Arc::new(disk.open(gifee_store::Limits::default()).unwrap());
        World::with(move |config| config.store = store).await
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = |name: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } });
    let world = open().await;
    world.post(maps, &map("one")).await.expect(201);
    let list = world.get(maps).await.expect(200);
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    world.post(maps, &map("two")).await.expect(201);
    world.patch(&format!("{maps}/two"), "merge-patch", &json!({ "data": { "a": "b" } })).await.expect(200);
    world.delete(&format!("{maps}/one")).await.expect(200);
    world.server.stop();
    drop(world);
    let world = open().await;
    let mut watch = world.watch(&format!("{maps}?watch=1&resourceVersion={revision}")).await;
    assert_eq!(watch.take(3).await, ["ADDED two", "MODIFIED two", "DELETED one"]);
    world.post(maps, &map("three")).await.expect(201);
    assert_eq!(watch.take(1).await, ["ADDED three"]);
    let exact = format!("{maps}?resourceVersion={revision}&resourceVersionMatch=Exact");
    assert_eq!(world.get(&exact).await.expect(200)["items"], list["items"]);
}

#[tokio::test]
async fn who_may_acts_as_somebody_else() {
    let world = World::new().await;
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let ask = async |headers: &[(&str, &str)]| {
        world.call("POST /apis/authentication.k8s.io/v1/selfsubjectreviews", &review, headers).await
    };
    let me = ("authorization", "Bearer me");
    let user = ask(&[
        me,
        ("impersonate-user", "you"),
        ("impersonate-group", "team"),
        ("impersonate-extra-a%2fb", "c"),
    ])
    .await
    .expect(201);
    assert_eq!(
        user["status"]["userInfo"],
        json!({ "username": "you", "groups": ["team", "system:authenticated"], "extra": { "a/b": ["c"] } })
    );
    let account = ask(&[me, ("impersonate-user", "system:serviceaccount:a:b")]).await.expect(201);
    assert_eq!(
        account["status"]["userInfo"]["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"])
    );
    let refused = ask(&[("authorization", "Bearer nobody"), ("impersonate-user", "you")]).await;
    assert_eq!(
        refused.failure(),
        "403 Forbidden: selfsubjectreviews.authentication.k8s.io is forbidden: User \"nobody\" cannot impersonate-on:user-info:create resource \"selfsubjectreviews\" in API group \"authentication.k8s.io\" at the cluster scope: not you"
    );
    assert_eq!(ask(&[me, ("impersonate-group", "team")]).await.code, 400);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_audibly() {
    let world = World::new().await;
    let (address, connector) = listening(&world).await;
    let mut config = (**connector.config()).clone();
    config.alpn_protocols = vec!["http/1.1".into()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(SECRETS).body(Body::from(vec![b'x'; 10 << 20])).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 413);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("Request entity too large: limit is 3145728"));
}
