//! Probes: who is started again, who is not, and who is ready when.

use super::{PODS, ask, holds, make, ready, shell, sleeper};
use crate::api::Api;
use crate::conformance::Step;
use crate::run::runtime;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is done here.
pub const STEPS: &[Step] = &[
    ("well", the_well_are_left_alone),
    ("sick", the_sick_are_started_again),
    ("counts", restarts_are_counted_upwards),
    ("delayed", nobody_is_ready_before_its_first_probe),
    ("unready", who_is_never_ready_is_not_started_again),
    ("grpc", grpc_servers_are_asked_for_their_health),
];

/// A page under /healthz, and another that is missing.
const SERVER: &str = "busybox mkdir /www/healthz; echo ok > /www/healthz/index.html; echo ok > /health; exec httpd -f -p 8080 -h /www";

fn restarts(pod: &Value) -> i64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or_default()
}

/// A pod with a probe each second.
fn probed(api: &Api<'_>, name: &str, line: &str, which: &str, probe: &Value, more: &Value) {
    let mut container = shell(line);
    let mut all = json!({ "periodSeconds": 1, "failureThreshold": 1 });
    all.as_object_mut().unwrap().extend(probe.as_object().unwrap().clone());
    container[which] = all;
    let mut spec = json!({ "restartPolicy": "Always", "containers": [container] });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    make(api, name, &spec);
}

/// Waits until a probe of a pod has ended so often in this way.
#[track_caller]
fn tried(api: &Api<'_>, pod: &str, kind: &str, result: &str, times: u64) {
    let nodes = api.get("/api/v1/nodes");
    let node = nodes["items"][0]["metadata"]["name"].as_str().unwrap();
    let path = format!("/api/v1/nodes/{node}/proxy/metrics/probes");
    let labels = [
        format!("namespace=\"{}\"", api.namespace),
        format!("pod=\"{pod}\""),
        format!("probe_type=\"{kind}\""),
        format!("result=\"{result}\""),
    ];
    ask(&format!("{times} {result} {kind} probes of {pod}"), || {
        let text = api.text(&path);
        let mut lines = text.lines().filter(|line| line.starts_with("prober_probe_total{"));
        let line = lines.find(|line| labels.iter().all(|label| line.contains(label.as_str())));
        let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        count.is_some_and(|count| count >= times as f64)
    });
}

fn the_well_are_left_alone(api: &Api<'_>) {
    let probes = [
        ("exec", json!({ "exec": { "command": ["cat", "/health"] } })),
        ("http", json!({ "httpGet": { "path": "/healthz/", "port": 8080 } })),
        ("tcp", json!({ "tcpSocket": { "port": 8080 } })),
    ];
    for (name, probe) in &probes {
        let mut patient = probe.clone();
        patient["initialDelaySeconds"] = 1.into();
        patient["failureThreshold"] = 3.into();
        probed(api, name, SERVER, "livenessProbe", &patient, &json!({}));
    }
    for (name, _) in &probes {
        tried(api, name, "Liveness", "successful", 3);
        let pod = ready(api, name);
        assert_eq!(restarts(&pod), 0, "{name}");
    }
}

fn the_sick_are_started_again(api: &Api<'_>) {
    let ill = "echo ok > /health; sleep 2; busybox rm -f /health; exec sleep 100000";
    probed(
        api,
        "exec",
        ill,
        "livenessProbe",
        &json!({ "exec": { "command": ["cat", "/health"] }, "initialDelaySeconds": 1 }),
        &json!({}),
    );
    let missing = json!({ "httpGet": { "path": "/missing", "port": 8080 }, "initialDelaySeconds": 1 });
    probed(api, "http", SERVER, "livenessProbe", &missing, &json!({}));
    // One that ends well when it is told to end is started again, too.
    let polite = "trap 'exit 0' TERM; while true; do sleep 1; done";
    let never = json!({ "exec": { "command": ["busybox", "false"] }, "initialDelaySeconds": 1 });
    probed(
        api,
        "polite",
        polite,
        "livenessProbe",
        &never,
        &json!({ "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 30 }),
    );
    for name in ["exec", "http", "polite"] {
        let pod = api.until(PODS, name, |pod| restarts(pod) >= 1);
        assert_eq!(pod["status"]["phase"], "Running", "{name}");
    }
    let events = api.cluster.list(&gifee_base::Gvr::core("events"), &api.namespace, "");
    let said = |pod: &str, text: &str| {
        events.iter().any(|one| {
            one["involvedObject"]["name"] == pod
                && one["message"].as_str().is_some_and(|said| said.contains(text))
        })
    };
    assert!(said("http", "Liveness probe failed: HTTP probe failed with statuscode: 404"), "{events:#?}");
    assert!(said("exec", "Liveness probe failed: cat: can't open '/health': No such file or directory"));
    assert!(said("exec", "Container c failed liveness probe, will be restarted"));
}

fn restarts_are_counted_upwards(api: &Api<'_>) {
    let never = json!({ "exec": { "command": ["busybox", "false"] } });
    // It is killed in its own time, not in the pod's, which would be too long.
    let mut own = never.clone();
    own["terminationGracePeriodSeconds"] = 1.into();
    probed(
        api,
        "pod",
        "exec sleep 100000",
        "livenessProbe",
        &own,
        &json!({ "terminationGracePeriodSeconds": 100_000 }),
    );
    let last = std::cell::Cell::new(0);
    api.until(PODS, "pod", |pod| {
        assert!(restarts(pod) >= last.get(), "{pod:#}");
        last.set(restarts(pod));
        last.get() >= 2
    });
    api.delete(&super::path(api, "pod"), &json!({ "gracePeriodSeconds": 0 }));
}

fn nobody_is_ready_before_its_first_probe(api: &Api<'_>) {
    let probe = json!({ "exec": { "command": ["cat", "/health"] }, "initialDelaySeconds": 5 });
    probed(api, "pod", SERVER, "readinessProbe", &probe, &json!({}));
    let pod = ready(api, "pod");
    let time = |text: &Value| gifee_base::clock::parse_time(text.as_str().unwrap()).unwrap();
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    let since = conditions.iter().find(|one| one["type"] == "Ready").unwrap();
    let started = time(&pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]);
    // Both are in whole seconds.
    assert!(time(&since["lastTransitionTime"]).duration_since(started).as_secs() >= 4, "{pod:#}");
    assert_eq!(restarts(&pod), 0);
}

fn who_is_never_ready_is_not_started_again(api: &Api<'_>) {
    probed(
        api,
        "pod",
        "exec sleep 100000",
        "readinessProbe",
        &json!({ "exec": { "command": ["busybox", "false"] } }),
        &json!({}),
    );
    tried(api, "pod", "Readiness", "failed", 3);
    let pod = api.get(&super::path(api, "pod"));
    assert!(!holds(&pod, "Ready") && restarts(&pod) == 0, "{pod:#}");
}

/// A health server on a port of the machine, which says what it is told to.
fn health(serving: Arc<AtomicBool>) -> u16 {
    let _inside = runtime().enter();
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    runtime().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serving = serving.clone();
            let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
                let status = if serving.load(Ordering::Relaxed) { 1 } else { 2 };
                async move {
                    let _ = request.into_body().collect().await;
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                    let answer = Bytes::from(vec![0, 0, 0, 0, 2, 8, status]);
                    let frames = [Frame::data(answer), Frame::trailers(trailers)].map(Ok::<_, Infallible>);
                    Ok::<_, Infallible>(hyper::Response::new(StreamBody::new(futures_util::stream::iter(
                        frames,
                    ))))
                }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    port
}

fn grpc_servers_are_asked_for_their_health(api: &Api<'_>) {
    let serving = Arc::new(AtomicBool::new(true));
    let port = health(serving.clone());
    let mut container = sleeper();
    container["livenessProbe"] =
        json!({ "grpc": { "port": port }, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 60 });
    // What listens on the machine listens on the pod's address.
    make(api, "pod", &json!({ "hostNetwork": true, "restartPolicy": "Always", "containers": [container] }));
    tried(api, "pod", "Liveness", "successful", 3);
    assert_eq!(restarts(&ready(api, "pod")), 0);
    serving.store(false, Ordering::Relaxed);
    api.until(PODS, "pod", |pod| restarts(pod) >= 1);
}
