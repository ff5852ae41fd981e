//! What goes through WebSockets, and what a person does with pods by kubectl.

use super::{PODS, SPEAKER, ask, make, path, ready, shell, sleeper};
use crate::api::Api;
use crate::conformance::Step;
use crate::fixture::BUSYBOX;
use crate::mixed::Place;
use crate::run::{DEADLINE, runtime};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is done here.
pub const STEPS: &[Step] = &[
    ("sockets", commands_and_logs_go_through_web_sockets),
    ("logs", logs_are_filtered),
    ("kubectl-pods", kubectl_changes_pods),
    ("kubectl-rc", kubectl_shows_a_replication_controller),
];

/// Asks for a WebSocket; its messages, until the server ends it.
fn socket(api: &Api<'_>, path: &str, protocol: &str) -> Vec<Vec<u8>> {
    let place = Place::of(api.cluster);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n",
        place.address
    );
    let read = async {
        let mut stream = place.connect(&place.known).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let mut messages = Vec::new();
        // Frames of a server: a byte with the kind, the length, the text.
        while let Ok(kind) = stream.read_u8().await {
            let length = match stream.read_u8().await.unwrap() {
                126 => usize::from(stream.read_u16().await.unwrap()),
                127 => usize::try_from(stream.read_u64().await.unwrap()).unwrap(),
                length => usize::from(length),
            };
            let mut text = vec![0; length];
            stream.read_exact(&mut text).await.unwrap();
            match kind & 0xf {
                8 => break,
                1 | 2 => messages.push(text),
                _ => {}
            }
        }
        messages
    };
    runtime().block_on(async { tokio::time::timeout(DEADLINE, read).await }).expect("the server ends it")
}

fn commands_and_logs_go_through_web_sockets(api: &Api<'_>) {
    make(api, "pod", &json!({ "containers": [shell("echo container is alive; exec sleep 100000")] }));
    ready(api, "pod");
    let query = "exec?command=echo&command=remote%20execution%20test&stderr=1&stdout=1&container=c";
    let messages = socket(api, &format!("{}/{query}", path(api, "pod")), "v4.channel.k8s.io");
    let said: Vec<u8> = messages.iter().filter(|one| one[0] == 1).flat_map(|one| one[1..].to_vec()).collect();
    assert_eq!(String::from_utf8_lossy(&said), "remote execution test\n");
    let log = format!("{}/log?container=c", path(api, "pod"));
    ask("a line in the log", || !api.text(&log).is_empty());
    for (protocol, expect) in
        [("binary.k8s.io", "container is alive\n"), ("base64.binary.k8s.io", "Y29udGFpbmVyIGlzIGFsaXZlCg==")]
    {
        let messages = socket(api, &log, protocol);
        assert_eq!(messages.first().map(Vec::len), Some(0), "an empty one says that it begins");
        assert_eq!(String::from_utf8_lossy(&messages.concat()), expect);
    }
}

#[track_caller]
fn kubectl(api: &Api<'_>, words: &[&str]) -> String {
    api.cluster.kubectl(&[&["-n", &api.namespace], words].concat()).ok()
}

fn logs_are_filtered(api: &Api<'_>) {
    let line = "for n in 1 2 3 4 5 6 7 8 9 10; do echo \"line $n\"; done; exec sleep 100000";
    make(api, "logger", &json!({ "containers": [shell(line)] }));
    ready(api, "logger");
    ask("all lines", || kubectl(api, &["logs", "logger", "c"]).lines().count() == 10);
    assert_eq!(kubectl(api, &["logs", "logger", "c", "--tail=1"]), "line 10\n");
    assert_eq!(kubectl(api, &["logs", "logger", "c", "--limit-bytes=1"]), "l");
    let dated = kubectl(api, &["logs", "logger", "c", "--tail=1", "--timestamps"]);
    let (time, rest) = dated.split_once(' ').unwrap();
    assert!(gifee_base::clock::parse_time(time).is_some() && rest == "line 10\n", "{dated}");
    assert_eq!(kubectl(api, &["logs", "logger", "c", "--since=24h"]).lines().count(), 10);
    assert_eq!(kubectl(api, &["logs", "logger", "c", "--since-time=2100-01-01T00:00:00Z"]), "");
}

fn kubectl_changes_pods(api: &Api<'_>) {
    make(api, "pause", &json!({ "restartPolicy": "Always", "containers": [sleeper()] }));
    ready(api, "pause");
    kubectl(api, &["label", "pods", "pause", "testing-label=testing-label-value"]);
    assert!(kubectl(api, &["get", "pod", "pause", "-L", "testing-label"]).contains("testing-label-value"));
    kubectl(api, &["label", "pods", "pause", "testing-label-"]);
    assert!(!kubectl(api, &["get", "pod", "pause", "-L", "testing-label"]).contains("testing-label-value"));
    // A dry run changes nothing, a replacement does.
    let patch = format!("{{\"spec\":{{\"containers\":[{{\"name\":\"c\",\"image\":\"{SPEAKER}\"}}]}}}}");
    kubectl(api, &["patch", "pod", "pause", "-p", &patch, "--dry-run=server"]);
    assert_eq!(api.get(&path(api, "pause"))["spec"]["containers"][0]["image"], BUSYBOX);
    let text = kubectl(api, &["get", "pod", "pause", "-o", "json"]).replace(BUSYBOX, SPEAKER);
    api.cluster.aged("1.36", &["-n", &api.namespace, "replace", "-f", "-"], &text).ok();
    api.until(PODS, "pause", |pod| pod["status"]["containerStatuses"][0]["image"] == SPEAKER);
}

fn kubectl_shows_a_replication_controller(api: &Api<'_>) {
    let template = json!({ "metadata": { "labels": { "app": "primary" } },
        "spec": { "terminationGracePeriodSeconds": 0, "containers": [{ "name": "c", "image": BUSYBOX }] } });
    let body = json!({ "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": "primary" },
        "spec": { "replicas": 1, "selector": { "app": "primary" }, "template": template } });
    api.post(&api.path("v1/replicationcontrollers"), &body);
    let pods = api.until_all(PODS, "app=primary", |pods| pods.iter().any(|pod| super::holds(pod, "Ready")));
    let name = pods[0]["metadata"]["name"].as_str().unwrap();
    let contains = |said: &str, parts: &[&str]| {
        for part in parts {
            assert!(said.contains(part), "no {part} in {said}");
        }
    };
    contains(
        &kubectl(api, &["describe", "pod", name]),
        &[
            "Name:",
            "Namespace:",
            "Node:",
            "Labels:",
            "app=primary",
            "Status:",
            "Running",
            "IP:",
            "Controlled By:",
            "ReplicationController/primary",
            "Image:",
            BUSYBOX,
            "State:",
        ],
    );
    contains(
        &kubectl(api, &["describe", "rc", "primary"]),
        &[
            "Name:",
            "Selector:",
            "app=primary",
            "Replicas:",
            "1 current",
            "1 desired",
            "Pods Status:",
            "1 Running",
            "Pod Template:",
            "Image:",
            BUSYBOX,
            "Events:",
            "SuccessfulCreate",
        ],
    );
    kubectl(api, &["patch", "pod", name, "-p", "{\"metadata\":{\"annotations\":{\"x\":\"y\"}}}"]);
    assert_eq!(api.get(&path(api, name))["metadata"]["annotations"]["x"], "y");
    kubectl(api, &["expose", "rc", "primary", "--name=rm2", "--port=1234", "--target-port=8000"]);
    kubectl(api, &["expose", "service", "rm2", "--name=rm3", "--port=2345", "--target-port=8000"]);
    for (service, port) in [("rm2", 1234), ("rm3", 2345)] {
        let made = api.get(&format!("{}/{service}", api.path("v1/services")));
        assert_eq!(made["spec"]["ports"][0]["port"], port);
        let some = |one: &Value| one["subsets"][0]["addresses"].as_array().is_some_and(|all| all.len() == 1);
        let endpoints = api.until("v1/endpoints", service, some);
        assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], 8000);
    }
}
