//! What a simulated node says of a pod: patches of its status, as a kubelet writes them.

use gifee_base::Object;
use gifee_base::clock::format_time;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::time::Duration;

/// Annotation: for how many seconds the pod runs before it ends by itself.
pub const RUN_SECONDS: &str = "simulation.gifee.dev/run-seconds";
/// Annotation: the exit code with which it ends by itself; several, with commas between: of one run after the other.
pub const EXIT_CODE: &str = "simulation.gifee.dev/exit-code";
/// Why a pod is not ready whose containers are not.
const NOT_READY: &str = "ContainersNotReady";
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

/// The exit codes that the pod itself says.
pub fn exit_codes(pod: &Object) -> Vec<i64> {
    let codes = pod.text_at(&["metadata", "annotations", EXIT_CODE]).unwrap_or_default();
    codes.split(',').filter_map(|code| code.trim().parse().ok()).collect()
}

/// Whether it is known that its containers wait.
pub fn waits(pod: &Object) -> bool {
    pod.value_at(&["status", "containerStatuses"]).is_some()
}

/// Whether its containers run again after a failure.
pub fn restarted_on_failure(pod: &Object) -> bool {
    pod.text_at(&["spec", "restartPolicy"]).is_some_and(|policy| policy == "OnFailure")
}

/// How often its containers have been restarted.
pub fn restarts(pod: &Object) -> usize {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Status {
        restart_count: usize,
    }
    let statuses = pod.value_at(&["status", "containerStatuses"]);
    let statuses: Option<Vec<Status>> = statuses.and_then(|bytes| serde_json::from_slice(bytes).ok());
    statuses.into_iter().flatten().map(|one| one.restart_count).max().unwrap_or_default()
}

/// Which pod is meant, in which state.
fn of(pod: &Object) -> Value {
    json!({ "uid": pod.uid(), "resourceVersion": pod.revision().to_string() })
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
pub fn running(pod: &Object, address: &str, node: &str, ready: bool, now: Timestamp) -> Value {
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
    let containers: Vec<Value> = spec.containers.iter().map(|one| status(one, run(), ready)).collect();
    let first = |one: &Container| match one.restart_policy.as_str() {
        "Always" => status(one, run(), true),
        _ => status(one, done(), true),
    };
    let init: Vec<Value> = spec.init_containers.iter().map(first).collect();
    let mut changed = json!({
        "phase": "Running", "hostIP": node_address(node), "podIP": address, "podIPs": [{ "ip": address }],
        "startTime": now, "observedGeneration": pod.generation(),
        "conditions": conditions(pod, ready, NOT_READY, &now), "containerStatuses": containers,
    });
    if !init.is_empty() {
        changed["initContainerStatuses"] = init.into();
    }
    json!({ "metadata": of(pod), "status": changed })
}

/// What a pod says of its containers, each changed; the list is replaced as a whole.
fn changed(pod: &Object, change: impl Fn(&mut Value)) -> Vec<Value> {
    let statuses = pod.value_at(&["status", "containerStatuses"]);
    let mut statuses: Vec<Value> =
        statuses.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    statuses.iter_mut().for_each(change);
    statuses
}

/// A pod becomes ready, or is it no longer.
pub fn turned(pod: &Object, ready: bool, now: Timestamp) -> Value {
    json!({ "metadata": of(pod), "status": {
        "observedGeneration": pod.generation(),
        "containerStatuses": changed(pod, |one| one["ready"] = ready.into()),
        "conditions": conditions(pod, ready, NOT_READY, &format_time(now)),
    } })
}

/// The images of a pod cannot be had.
pub fn waiting(pod: &Object, now: Timestamp) -> Value {
    let now = format_time(now);
    let waiting = json!({ "reason": "ImagePullBackOff", "message": "the image cannot be had" });
    let containers: Vec<Value> = spec(pod)
        .containers
        .iter()
        .map(|one| {
            json!({ "name": one.name, "image": one.image, "imageID": "", "ready": false, "started": false,
                "restartCount": 0, "state": { "waiting": waiting } })
        })
        .collect();
    json!({ "metadata": of(pod), "status": {
        "phase": "Pending", "startTime": now, "observedGeneration": pod.generation(),
        "conditions": conditions(pod, false, NOT_READY, &now), "containerStatuses": containers,
    } })
}

/// The node does not take a pod.
pub fn refused(pod: &Object, reason: &str, now: Timestamp) -> Value {
    json!({ "metadata": of(pod), "status": {
        "phase": "Failed", "reason": reason, "message": "Pod was rejected", "startTime": format_time(now),
        "observedGeneration": pod.generation(),
    } })
}

/// All containers of a pod have failed, and run again.
pub fn restarted(pod: &Object, code: i64, restarts: usize, now: Timestamp) -> Value {
    let now = format_time(now);
    let last = json!({ "exitCode": code, "reason": "Error", "startedAt": now, "finishedAt": now });
    let containers = changed(pod, |one| {
        one["restartCount"] = restarts.into();
        one["lastState"] = json!({ "terminated": last });
        one["state"] = json!({ "running": { "startedAt": now } });
    });
    json!({ "metadata": of(pod), "status": { "containerStatuses": containers } })
}

/// All containers of a pod have ended.
pub fn ended(pod: &Object, code: i64, now: Timestamp) -> Value {
    let now = format_time(now);
    let (phase, reason) = if code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
    let condition = if code == 0 { "PodCompleted" } else { "PodFailed" };
    let restarts = restarts(pod);
    let containers: Vec<Value> = spec(pod)
        .containers
        .iter()
        .map(|container| {
            json!({
                "name": container.name, "image": container.image, "imageID": format!("simulated://{}", container.image),
                "ready": false, "started": false, "restartCount": restarts,
                "state": { "terminated": { "exitCode": code, "reason": reason, "startedAt": now, "finishedAt": now } },
            })
        })
        .collect();
    json!({ "metadata": of(pod), "status": {
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
