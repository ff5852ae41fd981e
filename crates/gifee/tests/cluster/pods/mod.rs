//! What a node does with pods: upstream's conformance tests of it, step by step what their bodies do, on real
//! containers, side by side on one cluster.

mod abuse;
mod changes;
mod endings;
mod hooks;
mod lives;
mod places;
mod probes;
mod rights;
mod terminal;
mod variables;

use crate::api::Api;
use crate::conformance::Step;
use crate::fixture::{BUSYBOX, Cluster};
use crate::run::{DEADLINE, runtime};
use crate::steps::Steps;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The steps of all files.
const STEPS: &[&[Step]] = &[
    abuse::STEPS,
    changes::STEPS,
    endings::STEPS,
    hooks::STEPS,
    lives::STEPS,
    places::STEPS,
    probes::STEPS,
    rights::STEPS,
    terminal::STEPS,
    variables::STEPS,
];

/// An image with an entrypoint and arguments.
const SPEAKER: &str = "speaker:1";
/// Pods.
const PODS: &str = "v1/pods";

#[test]
fn pods() {
    let cluster = Cluster::up("pods");
    let steps = Steps::new(&cluster);
    steps.step("images", || {
        cluster.busybox();
        let words =
            ["--rootfs", "--name", SPEAKER, "--entrypoint", r#"["echo", "entry"]"#, "--cmd", r#"["word"]"#];
        cluster.import(&cluster.folder.path().join("busybox.tar"), &words).ok();
    });
    std::thread::scope(|scope| {
        for (name, step) in STEPS.iter().copied().flatten() {
            let (steps, cluster) = (&steps, &cluster);
            scope.spawn(move || steps.step(name, || step(&Api::new(cluster, name))));
        }
    });
    steps.end();
}

/// A container that runs a line of a shell.
fn shell(line: &str) -> Value {
    json!({ "name": "c", "image": BUSYBOX, "command": ["sh", "-c", line] })
}

/// A container that stays.
fn sleeper() -> Value {
    shell("exec sleep 100000")
}

/// Makes a pod of a specification, which says only what matters.
#[track_caller]
fn make(api: &Api<'_>, name: &str, spec: &Value) -> Value {
    let mut all = json!({ "restartPolicy": "Never", "terminationGracePeriodSeconds": 0 });
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let pod = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "name": name } }, "spec": all });
    api.post(&api.path(PODS), &pod)
}

/// The path of a pod.
fn path(api: &Api<'_>, name: &str) -> String {
    format!("{}/{name}", api.path(PODS))
}

/// Waits until a pod has a phase.
#[track_caller]
fn phase(api: &Api<'_>, name: &str, phase: &str) -> Value {
    api.until(PODS, name, |pod| pod["status"]["phase"] == phase)
}

/// Whether a condition of a pod holds.
fn holds(pod: &Value, condition: &str) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|one| one["type"] == condition && one["status"] == "True")
}

/// Waits until a pod is ready.
#[track_caller]
fn ready(api: &Api<'_>, name: &str) -> Value {
    api.until(PODS, name, |pod| holds(pod, "Ready"))
}

/// Runs a pod to its good end; what its first container wrote.
#[track_caller]
fn output(api: &Api<'_>, name: &str, spec: &Value) -> String {
    make(api, name, spec);
    let over = |pod: &Value| pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed";
    let pod = api.until(PODS, name, over);
    let container = pod["spec"]["containers"][0]["name"].as_str().unwrap();
    let log = api.text(&format!("{}/log?container={container}", path(api, name)));
    assert_eq!(pod["status"]["phase"], "Succeeded", "{log}\n{:#}", pod["status"]);
    log
}

/// Asks until it is as wanted: for what no watch tells of.
#[track_caller]
fn ask(what: &str, wanted: impl Fn() -> bool) {
    let begun = Instant::now();
    while !wanted() {
        assert!(begun.elapsed() < DEADLINE, "did not come: {what}");
        runtime().block_on(async { tokio::time::sleep(Duration::from_millis(100)).await });
    }
}

/// What a program in a pod says.
#[track_caller]
fn exec(api: &Api<'_>, pod: &str, container: &str, line: &str) -> String {
    let words = ["-n", &api.namespace, "exec", pod, "-c", container, "--", "sh", "-c", line];
    api.cluster.kubectl(&words).ok()
}
