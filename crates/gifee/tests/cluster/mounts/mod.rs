//! What containers find in their volumes: step by step what the bodies of upstream's conformance tests of storage do,
//! and of its other tests of volumes that a node has by itself, side by side on one cluster.
//!
//! Invariant: what is compared is what a process in a container printed or did, never a file that the test reads itself.

mod downward;
mod files;
mod folders;
mod images;
mod parts;

use crate::api::Api;
use crate::conformance::Step;
use crate::fixture::{BUSYBOX, Cluster};
use crate::steps::Steps;
use serde_json::{Value, json};

#[test]
fn mounts() {
    let cluster = Cluster::up("mounts");
    let steps = Steps::new(&cluster);
    steps.step("an image", || cluster.busybox());
    let all: [&[Step]; 5] = [files::STEPS, folders::STEPS, downward::STEPS, parts::STEPS, images::STEPS];
    std::thread::scope(|scope| {
        for (name, step) in all.iter().copied().flatten() {
            let (steps, cluster) = (&steps, &cluster);
            scope.spawn(move || steps.step(name, || step(&Api::new(cluster, name))));
        }
    });
    steps.end();
}

/// Containers of a pod: a name, as whom each runs, its mounts, what its shell does, and what that prints.
pub type Case<'a> = (&'a str, u32, Value, String, String);

/// A container that runs a line of shell.
pub fn shell(name: &str, user: u32, mounts: &Value, line: &str) -> Value {
    json!({ "name": name, "image": BUSYBOX, "command": ["sh", "-c", line], "volumeMounts": mounts,
        "securityContext": { "runAsUser": user, "runAsGroup": user } })
}

/// A mount of a volume.
pub fn at(volume: &str, path: &str) -> Value {
    json!([{ "name": volume, "mountPath": path }])
}

/// Makes a pod that is not started again when it ends.
pub fn start(api: &Api<'_>, name: &str, volumes: &Value, containers: Vec<Value>, more: &Value) {
    let mut spec = json!({ "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": false, "volumes": volumes, "containers": containers });
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    let labels = json!({ "key1": "value1", "key2": "value2" });
    let annotations = json!({ "builder": "bar" });
    let pod = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": labels, "annotations": annotations }, "spec": spec });
    api.post(&api.path("v1/pods"), &pod);
}

/// What a container printed.
pub fn log(api: &Api<'_>, pod: &str, container: &str) -> String {
    api.text(&format!("{}/{pod}/log?container={container}", api.path("v1/pods")))
}

/// Waits until a pod has ended; it must have succeeded.
#[track_caller]
pub fn succeeds(api: &Api<'_>, name: &str) -> Value {
    let over = |pod: &Value| pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed";
    let pod = api.until("v1/pods", name, over);
    if pod["status"]["phase"] != "Succeeded" {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let said = containers.map(|one| one["name"].as_str().unwrap());
        let said: Vec<String> = said.map(|one| format!("{one}: {}", log(api, name, one))).collect();
        panic!("{name} failed: {said:#?}\n{:#}", pod["status"]);
    }
    pod
}

/// Runs containers side by side in one pod to their end, and compares what each printed.
#[track_caller]
pub fn check(api: &Api<'_>, name: &str, volumes: &Value, more: &Value, cases: &[Case<'_>]) {
    let containers = cases.iter().map(|(name, user, mounts, line, _)| shell(name, *user, mounts, line));
    start(api, name, volumes, containers.collect(), more);
    succeeds(api, name);
    let wrong = cases.iter().filter_map(|(case, .., prints)| {
        let printed = log(api, name, case);
        (printed != *prints).then(|| format!("{case}: {printed:?}, not {prints:?}"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{name}: {wrong:#?}");
}

/// Waits until a container of a pod runs.
pub fn runs(api: &Api<'_>, pod: &str, container: &str) {
    api.until("v1/pods", pod, |pod| {
        let all = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
        all.into_iter().any(|one| one["name"] == container && one["state"]["running"].is_object())
    });
}

/// Waits until a container of a pod waits for a reason, and returns what it says of it.
pub fn waits(api: &Api<'_>, pod: &str, container: &str, reason: &str) -> String {
    let why = |pod: &Value| {
        let mut all = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
        let one = all.find(|one| one["name"] == container)?;
        let waiting = &one["state"]["waiting"];
        (waiting["reason"] == reason).then(|| waiting["message"].clone())
    };
    let pod = api.until("v1/pods", pod, |pod| why(pod).is_some());
    why(&pod).unwrap_or_default().as_str().unwrap_or_default().to_owned()
}

/// Waits until an event says of a pod that a volume could not be made, and returns what it says.
pub fn unmounted(api: &Api<'_>, pod: &str) -> String {
    let of = |event: &Value| event["reason"] == "FailedMount" && event["involvedObject"]["name"] == pod;
    let events = api.until_all("v1/events", "", |events| events.iter().any(of));
    events.iter().find(|event| of(event)).unwrap()["message"].as_str().unwrap().to_owned()
}
