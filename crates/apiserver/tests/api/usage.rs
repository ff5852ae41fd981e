//! metrics.k8s.io, with node agents made up in this process.

use crate::backend::{Authority, Backend, Net};
use crate::world::World;
use async_trait::async_trait;
use gifee_apiserver::seam::{Connector, Duplex, Target};
use gifee_apiserver::{Aggregation, Body, Config};
use gifee_base::Status;
use http::{Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const NODES: &str = "/apis/metrics.k8s.io/v1beta1/nodes";
const PODS: &str = "/apis/metrics.k8s.io/v1beta1/pods";

/// Answers for some nodes by their address, and counts; no other node can be reached.
struct Agents {
    summaries: Arc<Mutex<HashMap<String, Value>>>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Connector for Agents {
    async fn connect(&self, target: &Target) -> Result<Box<dyn Duplex>, Status> {
        let Some(summary) = self.summaries.lock().get(&target.host).cloned() else {
            return Err(Status::unavailable("no route to host"));
        };
        let (near, far) = tokio::io::duplex(1 << 16);
        let (text, asked) = (summary.to_string(), self.asked.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                asked.fetch_add(1, Ordering::Relaxed);
                assert_eq!(request.uri().to_string(), "/stats/summary?only_cpu_and_memory=true");
                let body = Body::from(text.clone());
                async move { Ok::<_, Infallible>(Response::new(body)) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            let _ = server.serve_connection(TokioIo::new(far), service).await;
        });
        Ok(Box::new(near))
    }
}

fn amounts(cpu: u64, memory: u64) -> Value {
    json!({ "cpu": { "time": "2026-01-01T00:00:00Z", "usageNanoCores": cpu },
        "memory": { "time": "2026-01-01T00:00:00Z", "workingSetBytes": memory } })
}

fn named(name: &str, cpu: u64, memory: u64) -> Value {
    let mut value = amounts(cpu, memory);
    value["name"] = name.into();
    value
}

struct Metrics {
    world: World,
    asked: Arc<AtomicUsize>,
}

async fn metrics(change: impl FnOnce(&mut Config)) -> Metrics {
    let (asked, summaries) = (Arc::new(AtomicUsize::new(0)), Arc::<Mutex<HashMap<String, Value>>>::default());
    let agents = Agents { summaries: summaries.clone(), asked: asked.clone() };
    let world = World::with(|config| {
        config.connector = Some(Arc::new(agents));
        change(config);
    })
    .await;
    for (name, address) in [("n1", "10.0.0.1"), ("n2", "10.0.0.2"), ("lost", "10.0.0.3")] {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": { "is": name } },
            "status": { "addresses": [{ "type": "InternalIP", "address": address }] } });
        world.post("/api/v1/nodes", &node).await.expect(201);
    }
    let mut pods = Vec::new();
    for (name, node, phase) in [
        ("web", "n1", "Running"),
        ("done", "n1", "Succeeded"),
        ("db", "n2", "Running"),
        ("far", "lost", "Running"),
    ] {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": name } },
            "spec": { "nodeName": node, "containers": [{ "name": "main", "image": "i" }] } });
        let made = world.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
        let path = format!("/api/v1/namespaces/default/pods/{name}/status");
        world.patch(&path, "merge-patch", &json!({ "status": { "phase": phase } })).await.expect(200);
        pods.push(made["metadata"]["uid"].clone());
    }
    let pod = |uid: &Value, containers: &[Value]| json!({ "podRef": { "name": "x", "namespace": "y", "uid": uid }, "containers": containers });
    let one = [
        pod(&pods[0], &[named("main", 250_000_000, 20 << 20), named("side", 1_234_567, 4100)]),
        pod(&pods[1], &[named("main", 1, 1)]),
        pod(&json!("another"), &[named("main", 9, 9)]),
    ];
    let two = [pod(&pods[2], &[named("main", 7, 8192)])];
    summaries
        .lock()
        .insert("10.0.0.1".into(), json!({ "node": amounts(1_500_000_000, 3 << 30), "pods": one }));
    summaries.lock().insert("10.0.0.2".into(), json!({ "node": amounts(1, 1000), "pods": two }));
    Metrics { world, asked }
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|one| one["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn nodes_are_asked_what_they_and_their_pods_use() {
    let Metrics { world, asked } = metrics(|_| {}).await;
    let nodes = world.get(NODES).await.expect(200);
    assert_eq!((&nodes["kind"], names(&nodes)), (&json!("NodeMetricsList"), vec!["n1", "n2"]));
    assert_eq!(nodes["items"][0]["usage"], json!({ "cpu": "1500m", "memory": "3Gi" }));
    assert_eq!(nodes["items"][1]["usage"], json!({ "cpu": "1n", "memory": "1k" }));
    assert_eq!(nodes["items"][0]["window"], "1s");
    assert_eq!(names(&world.get(&format!("{NODES}?labelSelector=is%3Dn2")).await.expect(200)), ["n2"]);
    let pods = world.get(PODS).await.expect(200);
    assert_eq!(names(&pods), ["db", "web"]);
    let web = &pods["items"][1];
    assert_eq!(web["metadata"]["labels"], json!({ "app": "web" }));
    assert_eq!(
        web["containers"],
        json!([{ "name": "main", "usage": { "cpu": "250m", "memory": "20Mi" } },
            { "name": "side", "usage": { "cpu": "1234567n", "memory": "4100" } }])
    );
    assert_eq!(world.get(&format!("{NODES}/n1")).await.expect(200)["kind"], "NodeMetrics");
    let own = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";
    assert_eq!(world.get(&format!("{own}/web")).await.expect(200)["containers"], web["containers"]);
    assert_eq!(names(&world.get(&format!("{own}?labelSelector=app%21%3Dweb")).await.expect(200)), ["db"]);
    assert_eq!(
        names(&world.get(&format!("{own}?fieldSelector=metadata.name%3Dweb")).await.expect(200)),
        ["web"]
    );
    assert_eq!(asked.load(Ordering::Relaxed), 2, "each node was to be asked once");
    for (path, failure) in [
        (format!("{own}/none"), "404 NotFound: pods \"none\" not found"),
        (format!("{own}/far"), "404 NotFound: podmetrics.metrics.k8s.io \"default/far\" not found"),
        (format!("{NODES}/lost"), "404 NotFound: nodemetrics.metrics.k8s.io \"lost\" not found"),
        (
            format!("{own}?fieldSelector=spec.nodeName%3Dn1"),
            "400 BadRequest: \"spec.nodeName\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
    ] {
        assert_eq!(world.get(&path).await.failure(), failure);
    }
}

#[tokio::test]
async fn usage_comes_as_a_table_and_in_protobuf() {
    let Metrics { world, .. } = metrics(|_| {}).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = world.call(&format!("GET {PODS}"), &Value::Null, &[("accept", table)]).await.expect(200);
    let columns: Vec<_> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(columns, ["Name", "cpu", "memory", "Window"]);
    assert_eq!(table["rows"][1]["cells"], json!(["web", "251234567n", "20975620", "1s"]));
    let wire = [("accept", "application/vnd.kubernetes.protobuf")];
    let answer = world.call(&format!("GET {NODES}"), &Value::Null, &wire).await;
    assert_eq!((answer.code, &answer.bytes[..4]), (200, &b"k8s\0"[..]));
}

#[tokio::test]
async fn another_server_takes_the_place() {
    let authority = Authority::new();
    let answers = Arc::new(|_| -> futures_util::future::BoxFuture<'static, Response<Body>> {
        let list = json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1",
            "resources": [{ "name": "nodes", "singularName": "", "namespaced": false, "kind": "NodeMetrics", "verbs": ["get", "list"] }],
            "from": "another" });
        Box::pin(async move { Response::new(Body::from(list.to_string())) })
    });
    let backend = Backend::tls(&authority, &["usage.default.svc"], answers).await;
    let net = Net(vec![("10.1.0.7:8443".into(), backend.address)]);
    let Metrics { world, .. } = metrics(|config| {
        config.dialer = Arc::new(net);
        config.aggregation = Some(Aggregation::default());
    })
    .await;
    let from = async || {
        let answer = world.get(NODES).await;
        (answer.code == 200).then(|| answer.json()["from"].clone())
    };
    assert_eq!(from().await, Some(Value::Null));
    world.add_service("usage", 443, &[("10.1.0.7", true)], 8443).await;
    let services = "/apis/apiregistration.k8s.io/v1/apiservices";
    let service = json!({ "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": { "name": "v1beta1.metrics.k8s.io" },
        "spec": { "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "caBundle": authority.bundle(), "service": { "namespace": "default", "name": "usage", "port": 443 } } });
    world.post(services, &service).await.expect(201);
    let waiting = async |wanted: Value| {
        let wait = async {
            while from().await.as_ref() != Some(&wanted) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("whoever should answers");
    };
    waiting(json!("another")).await;
    let groups = world.get("/apis").await.expect(200);
    let groups =
        groups["groups"].as_array().unwrap().iter().filter(|one| one["name"] == "metrics.k8s.io").count();
    assert_eq!(groups, 1);
    world.delete(&format!("{services}/v1beta1.metrics.k8s.io")).await.expect(200);
    waiting(Value::Null).await;
    assert_eq!(names(&world.get(NODES).await.expect(200)), ["n1", "n2"]);
}
