//! What a simulated node says of a pod: patches of its status, as a kubelet writes them.

use gifee_base::Object;
use gifee_base::clock::format_time;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::time::Duration;

/// Annotation: for how many seconds the pod runs before it ends by itself.
pub const RUN_SECONDS: &str = "simulation.gifee.dev/run-seconds";
/// Annotation: the exit code with which it ends by itself.
pub const EXIT_CODE: &str = "simulation.gifee.dev/exit-code";
/// Exit code of a program that was told to end.
pub const TERMINATED: i64 = 143;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    #[serde(deserialize_with = "nullable")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "nullable")]
    init_containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    #[serde(deserialize_with = "nullable")]
    image: String,
    #[serde(deserialize_with = "nullable")]
    restart_policy: String,
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn spec(pod: &Object) -> Spec {
    pod.value_at(&["spec"]).and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default()
}

/// Whether a pod has ended.
pub fn terminal(pod: &Object) -> bool {
    pod.text_at(&["status", "phase"]).is_some_and(|phase| matches!(&*phase, "Succeeded" | "Failed"))
}

/// Whether a pod ends by itself.
pub fn ends(pod: &Object) -> bool {
    let restarts = pod.text_at(&["spec", "restartPolicy"]);
    restarts.is_some_and(|policy| !policy.is_empty() && policy != "Always")
}

/// How long the pod itself says that it runs.
pub fn run_time(pod: &Object) -> Option<Duration> {
    let seconds: f64 = pod.text_at(&["metadata", "annotations", RUN_SECONDS])?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The exit code that the pod itself says.
pub fn exit_code(pod: &Object) -> i64 {
    let code = pod.text_at(&["metadata", "annotations", EXIT_CODE]);
    code.and_then(|code| code.parse().ok()).unwrap_or_default()
}

fn conditions(pod: &Object, ready: bool, reason: &str, now: &str) -> Value {
    let generation = pod.generation();
    let one = |kind: &str, holds: bool| {
        let status = if holds { "True" } else { "False" };
        let mut condition = json!({ "type": kind, "status": status, "observedGeneration": generation,
            "lastProbeTime": null, "lastTransitionTime": now });
        if !holds {
            condition["reason"] = reason.into();
        }
        condition
    };
    json!([
        one("PodReadyToStartContainers", ready),
        one("Initialized", true),
        one("Ready", ready),
        one("ContainersReady", ready),
    ])
}

/// All containers of a pod run.
pub fn running(pod: &Object, address: &str, node: &str, now: Timestamp) -> Value {
    let now = format_time(now);
    let spec = spec(pod);
    let status = |container: &Container, state: Value, ready: bool| {
        json!({
            "name": container.name, "image": container.image, "imageID": format!("simulated://{}", container.image),
            "containerID": format!("simulated://{}/{}", pod.uid(), container.name),
            "ready": ready, "started": true, "restartCount": 0, "state": state,
        })
    };
    let run = || json!({ "running": { "startedAt": now } });
    let done = || json!({ "terminated": { "exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now } });
    let containers: Vec<Value> = spec.containers.iter().map(|one| status(one, run(), true)).collect();
    let first = |one: &Container| match one.restart_policy.as_str() {
        "Always" => status(one, run(), true),
        _ => status(one, done(), true),
    };
    let init: Vec<Value> = spec.init_containers.iter().map(first).collect();
    let mut changed = json!({
        "phase": "Running", "hostIP": node_address(node), "podIP": address, "podIPs": [{ "ip": address }],
        "startTime": now, "observedGeneration": pod.generation(),
        "conditions": conditions(pod, true, "", &now), "containerStatuses": containers,
    });
    if !init.is_empty() {
        changed["initContainerStatuses"] = init.into();
    }
    json!({ "metadata": { "uid": pod.uid() }, "status": changed })
}

/// All containers of a pod have ended.
pub fn ended(pod: &Object, code: i64, now: Timestamp) -> Value {
    let now = format_time(now);
    let (phase, reason) = if code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
    let condition = if code == 0 { "PodCompleted" } else { "PodFailed" };
    let containers: Vec<Value> = spec(pod)
        .containers
        .iter()
        .map(|container| {
            json!({
                "name": container.name, "image": container.image, "imageID": format!("simulated://{}", container.image),
                "ready": false, "started": false, "restartCount": 0,
                "state": { "terminated": { "exitCode": code, "reason": reason, "startedAt": now, "finishedAt": now } },
            })
        })
        .collect();
    json!({ "metadata": { "uid": pod.uid() }, "status": {
        "phase": phase, "observedGeneration": pod.generation(),
        "conditions": conditions(pod, false, condition, &now), "containerStatuses": containers,
    } })
}

/// An address for the node of a name: the same one each time.
fn node_address(name: &str) -> String {
    let number: u32 = name.bytes().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let [_, a, b, c] = spread(number).to_be_bytes();
    format!("172.{}.{b}.{c}", 16 + a % 16)
}

/// Spreads the bits.
fn spread(number: u32) -> u32 {
    number.wrapping_mul(0x9e37_79b9)
}
