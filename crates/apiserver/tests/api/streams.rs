//! Streams to nodes and pods, with a kubelet made up in this process.

use crate::world::World;
use async_trait::async_trait;
use bytes::Bytes;
use gifee_apiserver::seam::{Connector, Dialer, Duplex, Target};
use gifee_base::Status;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Answers in every place what it was asked; switches protocols and then echoes in capitals.
struct Kubelet;

#[async_trait]
impl Dialer for Kubelet {
    async fn dial(&self, host: &str, port: u16) -> std::io::Result<Box<dyn Duplex>> {
        let target = Target { host: host.to_owned(), port, tls: false };
        Ok(self.connect(&target).await.expect("this one always connects"))
    }
}

#[async_trait]
impl Connector for Kubelet {
    async fn connect(&self, target: &Target) -> Result<Box<dyn Duplex>, Status> {
        let (near, far) = tokio::io::duplex(1 << 16);
        let place = format!("{}:{}", target.host, target.port);
        tokio::spawn(async move {
            let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
                let place = place.clone();
                async move {
                    let mut response = Response::new(Full::new(Bytes::new()));
                    if request.headers().contains_key("upgrade") {
                        let upgrade = hyper::upgrade::on(&mut request);
                        tokio::spawn(async move {
                            let mut stream = TokioIo::new(upgrade.await.unwrap());
                            let mut byte = [0];
                            while stream.read_exact(&mut byte).await.is_ok() {
                                stream.write_all(&byte.to_ascii_uppercase()).await.unwrap();
                            }
                        });
                        *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
                        response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
                        response.headers_mut().insert("upgrade", "echo".parse().unwrap());
                    } else if request.uri().path().ends_with("/bad") {
                        *response.status_mut() = http::StatusCode::BAD_REQUEST;
                        *response.body_mut() = Full::new("container \"bad\" is waiting to start".into());
                    } else {
                        let authorized = request.headers().contains_key("authorization");
                        let text = format!("{} {place}{} {authorized}", request.method(), request.uri());
                        *response.body_mut() = Full::new(text.into());
                        response.headers_mut().insert("location", "/there".parse().unwrap());
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
            let _ = connection.with_upgrades().await;
        });
        Ok(Box::new(near))
    }
}

async fn world() -> World {
    let world = World::with(|config| {
        config.connector = Some(Arc::new(Kubelet));
        config.dialer = Arc::new(Kubelet);
    })
    .await;
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n" }, "status": {
        "addresses": [{ "type": "InternalIP", "address": "10.0.0.9" }], "daemonEndpoints": { "kubeletEndpoint": { "Port": 4444 } } } });
    world.post("/api/v1/nodes", &node).await.expect(201);
    let pod = |name: &str, containers: &[&str]| {
        let containers: Vec<_> = containers.iter().map(|name| json!({ "name": name, "image": "i", "ports": [{ "name": "web", "containerPort": 8080 }] })).collect();
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": { "nodeName": "n", "containers": containers } })
    };
    for (name, containers) in [("one", &["main"][..]), ("two", &["a", "bad"]), ("away", &["main"])] {
        let mut pod = pod(name, containers);
        if name == "away" {
            pod["spec"].as_object_mut().unwrap().remove("nodeName");
        }
        world.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
    }
    let status =
        json!({ "status": { "podIP": "10.1.0.1", "podIPs": [{ "ip": "10.1.0.1" }], "phase": "Running" } });
    world.patch("/api/v1/namespaces/default/pods/one/status", "merge-patch", &status).await.expect(200);
    world
}

#[tokio::test]
async fn logs_and_proxies_reach_the_right_place() {
    let world = world().await;
    let pods = "/api/v1/namespaces/default/pods";
    let text = async |path: &str| {
        let answer = world
            .call(&format!("GET {path}"), &serde_json::Value::Null, &[("authorization", "Bearer me")])
            .await;
        (answer.code, String::from_utf8(answer.bytes).unwrap())
    };
    let check =
        async |path: &str, expect: &str| assert_eq!(text(path).await, (200, expect.to_owned()), "{path}");
    check(
        &format!("{pods}/one/log?tailLines=5&container=main"),
        "GET 10.0.0.9:4444/containerLogs/default/one/main?tailLines=5 false",
    )
    .await;
    check(&format!("{pods}/one/proxy/a/b%20c?d=e"), "GET 10.1.0.1:8080/a/b%20c?d=e false").await;
    check(&format!("{pods}/http:one:web/proxy/"), "GET 10.1.0.1:8080/ false").await;
    check(&format!("{pods}/one:99/proxy/"), "GET 10.1.0.1:99/ false").await;
    check("/api/v1/nodes/n/proxy/stats/summary", "GET 10.0.0.9:4444/stats/summary false").await;
    check("/api/v1/nodes/n:80/proxy/x", "GET 10.0.0.9:80/x false").await;
    let redirect = world.get(&format!("{pods}/one/proxy/x")).await;
    assert_eq!(redirect.headers["location"], format!("{pods}/one/proxy/there"));
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": { "ports": [{ "port": 80, "name": "web" }] } });
    world.post("/api/v1/namespaces/default/services", &service).await.expect(201);
    assert_eq!(
        world.get("/api/v1/namespaces/default/services/s:web/proxy/").await.failure(),
        "503 ServiceUnavailable: no endpoints available for service \"s\""
    );
    let slice = json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": "s-1", "labels": { "kubernetes.io/service-name": "s" } },
        "ports": [{ "name": "web", "port": 8080 }], "endpoints": [{ "addresses": ["10.1.0.1"], "conditions": { "ready": true },
            "targetRef": { "kind": "Pod", "namespace": "default", "name": "one" } }] });
    world.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await.expect(201);
    check("/api/v1/namespaces/default/services/s:web/proxy/y", "GET 10.1.0.1:8080/y false").await;
    for (path, expect) in [
        (
            format!("{pods}/two/log"),
            "400 BadRequest: a container name must be specified for pod two, choose one of: [a bad]",
        ),
        (format!("{pods}/two/log?container=no"), "400 BadRequest: container no is not valid for pod two"),
        (format!("{pods}/two/log?container=bad"), "400 BadRequest: container \"bad\" is waiting to start"),
        (format!("{pods}/none/log"), "404 NotFound: pods \"none\" not found"),
        (format!("{pods}/away/exec?command=x"), "400 BadRequest: pod away does not have a host assigned"),
    ] {
        assert_eq!(world.get(&path).await.failure(), expect);
    }
    assert_eq!(world.get(&format!("{pods}/away/log")).await.code, 204);
}

#[tokio::test]
async fn switched_protocols_are_carried_both_ways() {
    let world = world().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(world.server.clone().serve(listener, None));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = "GET /api/v1/namespaces/default/pods/one/exec?command=sh&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.to_lowercase().contains("upgrade: echo"), "{head}");
    stream.write_all(b"shout").await.unwrap();
    let mut loud = [0; 5];
    stream.read_exact(&mut loud).await.unwrap();
    assert_eq!(&loud, b"SHOUT");
}

#[tokio::test]
async fn a_server_without_a_way_to_nodes_says_so() {
    let world = World::new().await;
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" }, "spec": { "nodeName": "n", "containers": [{ "name": "c", "image": "i" }] } });
    world.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
    assert_eq!(
        world.get("/api/v1/namespaces/default/pods/p/log").await.failure(),
        "404 NotFound: nodes \"n\" not found"
    );
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n" }, "status": {
        "addresses": [{ "type": "InternalIP", "address": "10.0.0.9" }] } });
    world.post("/api/v1/nodes", &node).await.expect(201);
    assert_eq!(
        world.get("/api/v1/namespaces/default/pods/p/log").await.failure(),
        "503 ServiceUnavailable: this server reaches no nodes"
    );
}

#[tokio::test]
async fn options_of_logs_are_judged_before_anybody_is_asked() {
    let world = world().await;
    let pods = "/api/v1/namespaces/default/pods";
    let invalid = |why: &str| format!("422 Invalid: PodLogOptions \"one\" is invalid: {why}");
    for (query, expect) in [
        ("tailLines=-1", invalid("tailLines: Invalid value: -1: must be greater than or equal to 0")),
        ("limitBytes=0", invalid("limitBytes: Invalid value: 0: must be greater than 0")),
        ("sinceSeconds=0", invalid("sinceSeconds: Invalid value: 0: must be greater than 0")),
        (
            "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z",
            invalid(": Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"),
        ),
        (
            "tailLines=-1&limitBytes=-2",
            invalid(
                "[tailLines: Invalid value: -1: must be greater than or equal to 0, limitBytes: Invalid value: -2: must be greater than 0]",
            ),
        ),
        (
            "stream=Both",
            invalid("stream: Unsupported value: \"Both\": supported values: \"All\", \"Stderr\", \"Stdout\""),
        ),
        ("tailLines=x", "400 BadRequest: strconv.ParseInt: parsing \"x\": invalid syntax".to_owned()),
    ] {
        let path = format!("GET {pods}/one/log?container=main&{query}");
        let answer = world.call(&path, &serde_json::Value::Null, &[("authorization", "Bearer me")]).await;
        assert_eq!(answer.failure(), expect, "{query}");
    }
}
