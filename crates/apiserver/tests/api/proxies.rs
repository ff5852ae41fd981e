//! Proxies to pods, services and nodes, as upstream's conformance tests drive them.

use crate::backend::{Answers, Authority, Backend, Net};
use crate::world::World;
use gifee_apiserver::Body;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;

const NAMESPACE: &str = "/api/v1/namespaces/default";

/// Says what it was asked, or what the path wants.
fn echo() -> Answers {
    Arc::new(|request| {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|all| all.to_bytes()).unwrap_or_default();
            let header = |name: &str| {
                let value = parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
                value.unwrap_or_default()
            };
            let mut response = Response::new(Body::empty());
            response.headers_mut().insert("access-control-allow-origin", "*".parse().unwrap());
            let path = parts.uri.path();
            if let Some(code) = path.strip_prefix("/code/") {
                *response.status_mut() = code.parse().unwrap();
                response.headers_mut().insert("location", "/else/where/?a=b".parse().unwrap());
            } else if path == "/page" {
                response.headers_mut().insert("content-type", "text/html; charset=utf-8".parse().unwrap());
                *response.body_mut() = Body::from(
                    "<!doctype html><p>/plain</p><a href='/x'>y</a><img SRC=/i.png><a href=\"http://e/z\"><form action=\"/f?a=1&amp;b=2\">",
                );
            } else if path == "/endless" {
                return crate::backend::endless_response();
            } else {
                let text = format!(
                    "{} {} host={} uri={} secret={}{} body={}",
                    parts.method,
                    parts.uri,
                    header("host"),
                    header("x-forwarded-uri"),
                    header("authorization"),
                    header("impersonate-user"),
                    String::from_utf8_lossy(&body),
                );
                *response.body_mut() = Body::from(text);
            }
            response
        })
    })
}

async fn world() -> World {
    let plain = Backend::plain(echo()).await;
    let authority = Authority::new();
    let secure = Backend::tls(&authority, &["whatever"], echo()).await;
    let net = Net(vec![("10.1.0.1:8080".into(), plain.address), ("10.1.0.1:8443".into(), secure.address)]);
    let world = World::with(|config| config.dialer = Arc::new(net)).await;
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" }, "spec": { "containers": [
        { "name": "c", "image": "i", "ports": [{ "name": "web", "containerPort": 8080 }, { "name": "tls", "containerPort": 8443 }] }] } });
    world.post(&format!("{NAMESPACE}/pods"), &pod).await.expect(201);
    let status =
        json!({ "status": { "podIP": "10.1.0.1", "podIPs": [{ "ip": "10.1.0.1" }], "phase": "Running" } });
    world.patch(&format!("{NAMESPACE}/pods/p/status"), "merge-patch", &status).await.expect(200);
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": { "ports": [
        { "name": "web", "port": 80 }, { "name": "tls", "port": 443 }] } });
    world.post(&format!("{NAMESPACE}/services"), &service).await.expect(201);
    let slice = json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": "s", "labels": { "kubernetes.io/service-name": "s" } },
        "ports": [{ "name": "web", "port": 8080 }, { "name": "tls", "port": 8443 }],
        "endpoints": [
            { "addresses": ["10.66.66.66"], "conditions": { "ready": true } },
            { "addresses": ["10.1.0.1"], "conditions": { "ready": true },
              "targetRef": { "kind": "Pod", "namespace": "default", "name": "p" } }] });
    world.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await.expect(201);
    world
}

#[tokio::test]
async fn every_method_passes_verbatim_through_pods_and_services() {
    let world = world().await;
    for target in [
        "pods/p",
        "pods/http:p:8080",
        "services/s:web",
        "services/http:s:80",
        "services/https:s:443",
        "pods/https:p:8443",
    ] {
        for method in ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"] {
            let path = format!("{NAMESPACE}/{target}/proxy/some/path/with/{method}?method={method}&x=%20");
            let request = Request::builder()
                .method(Method::from_bytes(method.as_bytes()).unwrap())
                .uri(&path)
                .header("host", "cluster.example")
                .header("authorization", "Bearer secret")
                .body(if method == "GET" || method == "HEAD" { Body::empty() } else { Body::from("b") })
                .unwrap();
            let answer = world.send(request).await;
            assert_eq!(answer.code, 200, "{method} {target}: {}", String::from_utf8_lossy(&answer.bytes));
            assert!(answer.headers.get("access-control-allow-origin").is_none());
            let uri = path.split('?').next().unwrap();
            let sent = if method == "GET" || method == "HEAD" { "" } else { "b" };
            let expect = format!(
                "{method} /some/path/with/{method}?method={method}&x=%20 host=cluster.example uri={uri} secret= body={sent}"
            );
            let expect = if method == "HEAD" { String::new() } else { expect };
            assert_eq!(String::from_utf8(answer.bytes).unwrap(), expect, "{target}");
        }
    }
}

#[tokio::test]
async fn statuses_and_redirects_come_back() {
    let world = world().await;
    for target in ["pods/p", "services/s:web"] {
        let proxy = format!("{NAMESPACE}/{target}/proxy");
        for method in ["GET", "HEAD"] {
            let answer = world.call(&format!("{method} {proxy}?method={method}"), &Value::Null, &[]).await;
            assert_eq!(answer.code, 301, "{method} {target}");
            assert_eq!(answer.headers["location"], format!("{proxy}/?method={method}"));
        }
        for method in ["DELETE", "OPTIONS", "PATCH", "POST", "PUT"] {
            assert_eq!(
                world.call(&format!("{method} {proxy}?a=b"), &Value::Null, &[]).await.code,
                200,
                "{method}"
            );
        }
        for code in [201, 302, 404, 418, 500, 503] {
            let answer = world.get(&format!("{proxy}/code/{code}")).await;
            assert_eq!(answer.code, code);
            assert_eq!(answer.headers["location"], format!("{proxy}/else/where/?a=b"));
        }
    }
}

#[tokio::test]
async fn links_of_pages_lead_through_the_proxy() {
    let world = world().await;
    for target in ["pods/p", "services/s:web"] {
        let proxy = format!("{NAMESPACE}/{target}/proxy");
        let page = String::from_utf8(world.get(&format!("{proxy}/page")).await.bytes).unwrap();
        assert_eq!(
            page.replace("SRC", "src"),
            format!(
                "<!doctype html><p>/plain</p><a href=\"{proxy}/x\">y</a><img src=\"{proxy}/i.png\"><a href=\"http://e/z\"><form action=\"{proxy}/f?a=1&amp;b=2\">"
            )
        );
    }
}

#[tokio::test]
async fn failures_read_as_upstreams() {
    let world = world().await;
    for (path, expect) in [
        ("services/s:99/proxy/", "503 ServiceUnavailable: no service port 99 found for service \"s\""),
        ("services/s:none/proxy/", "503 ServiceUnavailable: no endpoints available for service \"s\""),
        ("services/none/proxy/", "404 NotFound: services \"none\" not found"),
        ("services/ftp:s:80/proxy/", "400 BadRequest: invalid service request \"ftp:s:80\""),
        ("pods/a:b:c:d/proxy/", "400 BadRequest: invalid pod request \"a:b:c:d\""),
        ("pods/none/proxy/", "404 NotFound: pods \"none\" not found"),
        (
            "pods/p:81/proxy/",
            "503 ServiceUnavailable: error trying to reach service: dial tcp 10.1.0.1:81: connect: connection refused",
        ),
    ] {
        assert_eq!(world.get(&format!("{NAMESPACE}/{path}")).await.failure(), expect, "{path}");
    }
    let status = json!({ "status": { "podIP": "127.0.0.1", "podIPs": [{ "ip": "127.0.0.1" }] } });
    world.patch(&format!("{NAMESPACE}/pods/p/status"), "merge-patch", &status).await;
    let answer = world.get(&format!("{NAMESPACE}/pods/p/proxy/")).await;
    assert_eq!(answer.failure(), "400 BadRequest: address not allowed");
}

#[tokio::test]
async fn an_endless_answer_is_a_stream() {
    let world = world().await;
    let request = Request::get(format!("{NAMESPACE}/pods/p/proxy/endless")).body(Body::empty()).unwrap();
    let mut response = world.server.handle(None, request).await;
    let mut bytes = 0;
    while bytes < 4 << 20 {
        bytes += response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    world.post(&format!("{NAMESPACE}/configmaps"), &json!({ "metadata": { "name": "m" } })).await.expect(201);
}
