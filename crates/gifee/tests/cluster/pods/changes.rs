//! Pods that change while they run: other resources, and containers that come in to look.

use super::{PODS, exec, holds, make, path, ready, shell, sleeper};
use crate::api::Api;
use crate::conformance::Step;
use crate::fixture::BUSYBOX;
use gifee_base::{Gvr, Quantity};
use serde_json::{Value, json};

/// What is done here.
pub const STEPS: &[Step] = &[
    ("ephemeral", containers_come_in_to_look),
    ("resize-guaranteed", guaranteed_pods_are_resized),
    ("resize-burstable", burstable_pods_are_resized),
    ("resize-replace", a_pod_is_resized_by_replacement),
    ("resize-restart", a_container_is_started_again_for_its_memory),
    ("resize-waits", what_does_not_fit_waits_for_others),
];

fn containers_come_in_to_look(api: &Api<'_>) {
    make(api, "pod", &json!({ "restartPolicy": "Always", "containers": [sleeper()] }));
    ready(api, "pod");
    let part = format!("{}/ephemeralcontainers", path(api, "pod"));
    let look = |name: &str| {
        json!({ "name": name, "image": BUSYBOX, "command": ["sh", "-c", "echo polo; exec sleep 100000"],
            "stdin": true, "tty": true })
    };
    let runs = |count: usize| {
        move |pod: &Value| {
            let all = pod["status"]["ephemeralContainerStatuses"].as_array().cloned().unwrap_or_default();
            all.iter().filter(|one| !one["state"]["running"].is_null()).count() == count
        }
    };
    let body = json!({ "spec": { "ephemeralContainers": [look("debugger")] } });
    let added = api.try_call(&format!("PATCH {part}"), "application/strategic-merge-patch+json", &body);
    assert_eq!(added.unwrap()["spec"]["ephemeralContainers"][0]["name"], "debugger");
    api.until(PODS, "pod", runs(1));
    let log = format!("{}/log?container=debugger", path(api, "pod"));
    super::ask("what it says", || api.text(&log).trim_end() == "polo");
    assert_eq!(exec(api, "pod", "debugger", "echo inside"), "inside\n");
    api.update(&part, |pod| {
        pod["spec"]["ephemeralContainers"].as_array_mut().unwrap().push(look("second"));
    });
    let pod = api.until(PODS, "pod", runs(2));
    assert!(holds(&pod, "Ready"));
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
}

/// Requests and limits of processor and memory; what is empty is not said.
type Amounts = [&'static str; 4];

fn resources(amounts: &Amounts) -> Value {
    let mut all = json!({});
    for (index, amount) in amounts.iter().enumerate().filter(|(_, amount)| !amount.is_empty()) {
        let side = if index < 2 { "requests" } else { "limits" };
        all[side][["cpu", "memory"][index % 2]] = (*amount).into();
    }
    all
}

fn named(index: usize, amounts: &Amounts) -> Value {
    let mut container = sleeper();
    container["name"] = format!("c{}", index + 1).into();
    container["resources"] = resources(amounts);
    container
}

fn amount(text: &str) -> Quantity {
    text.parse().unwrap()
}

/// The file of a limit, read where the container sees it, and what stands in it without one.
fn limits(api: &Api<'_>, pod: &str, container: &str) -> [String; 2] {
    let line = "cd /sys/fs/cgroup; if [ -d memory ]; then head -n 1 memory/memory.limit_in_bytes; head -n 1 cpu/cpu.cfs_quota_us; \
        else head -n 1 memory.max; head -n 1 cpu.max; fi";
    let said = exec(api, pod, container, line);
    let mut lines = said.lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned());
    [lines.next().unwrap_or_default(), lines.next().unwrap_or_default()]
}

/// Waits until a pod has these resources, and looks whether they are in force.
#[track_caller]
fn resized(api: &Api<'_>, wanted: &[Amounts]) {
    let pod = api.until(PODS, "pod", |pod| {
        let statuses = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        let same = |(status, amounts): (&Value, &Amounts)| status["resources"] == resources(amounts);
        let waits = holds(pod, "PodResizePending") || holds(pod, "PodResizeInProgress");
        statuses.len() == wanted.len()
            && statuses.iter().zip(wanted).all(same)
            && !waits
            && holds(pod, "Ready")
    });
    for (index, [_, _, cpu, memory]) in wanted.iter().enumerate() {
        let status = &pod["status"]["containerStatuses"][index];
        assert_eq!(status["restartCount"], 0);
        let [memory_limit, quota] = limits(api, "pod", &format!("c{}", index + 1));
        if !memory.is_empty() {
            assert_eq!(memory_limit, amount(memory).value().to_string(), "{memory}");
        }
        if cpu.is_empty() {
            assert!(quota == "-1" || quota == "max", "{quota}");
        } else {
            assert_eq!(quota, (amount(cpu).milli() * 100).max(1000).to_string(), "{cpu}");
        }
    }
}

/// Has a pod resized.
fn change(api: &Api<'_>, to: &[Amounts]) {
    let containers: Vec<Value> = to
        .iter()
        .enumerate()
        .map(|(index, amounts)| json!({ "name": format!("c{}", index + 1), "resources": resources(amounts) }))
        .collect();
    let request = format!("PATCH {}/resize", path(api, "pod"));
    let body = json!({ "spec": { "containers": containers } });
    api.try_call(&request, "application/strategic-merge-patch+json", &body).unwrap();
}

/// A pod that is resized, and back if that is allowed.
fn there_and_back(api: &Api<'_>, from: &[Amounts], to: &[Amounts], back: bool) {
    let containers: Vec<Value> =
        from.iter().enumerate().map(|(index, amounts)| named(index, amounts)).collect();
    make(api, "pod", &json!({ "restartPolicy": "OnFailure", "containers": containers }));
    resized(api, from);
    change(api, to);
    resized(api, to);
    if back {
        change(api, from);
        resized(api, from);
    }
    api.delete(&path(api, "pod"), &Value::Null);
    api.until(PODS, "pod", Value::is_null);
}

fn guaranteed_pods_are_resized(api: &Api<'_>) {
    let both = |cpu: &'static str, memory: &'static str| [cpu, memory, cpu, memory];
    let from = [both("20m", "35Mi"), both("22m", "37Mi"), both("24m", "39Mi")];
    for to in [
        [both("25m", "40Mi"), both("27m", "42Mi"), both("19m", "34Mi")],
        [both("25m", "40Mi"), both("17m", "32Mi"), both("19m", "34Mi")],
        [both("25m", "35Mi"), both("17m", "42Mi"), both("29m", "44Mi")],
    ] {
        there_and_back(api, &from, &to, true);
    }
    let events = api.cluster.list(&Gvr::core("events"), &api.namespace, "");
    for (reason, text) in [
        (
            "ResizeStarted",
            "Pod resize started: {\"containers\":[{\"name\":\"c1\",\"resources\":{\"limits\":{\"cpu\":\"25m\"",
        ),
        ("ResizeCompleted", "Pod resize completed: {\"containers\":[{\"name\":\"c1\""),
    ] {
        let said = |one: &Value| {
            one["reason"] == reason && one["message"].as_str().is_some_and(|said| said.starts_with(text))
        };
        assert!(events.iter().any(said), "no {text} in {events:#?}");
    }
}

fn burstable_pods_are_resized(api: &Api<'_>) {
    let from = [
        ["20m", "", "", ""],
        ["", "35Mi", "", ""],
        ["20m", "35Mi", "", ""],
        ["20m", "", "", ""],
        ["", "35Mi", "", ""],
    ];
    let to = [
        ["25m", "", "35m", ""],
        ["", "30Mi", "", "50Mi"],
        ["20m", "30Mi", "", ""],
        ["15m", "35Mi", "", ""],
        ["20m", "40Mi", "", ""],
    ];
    there_and_back(api, &from, &to, false);
    // What the kernel cannot tell apart.
    there_and_back(api, &[["2m", "", "10m", ""]], &[["1m", "", "5m", ""]], true);
}

fn a_pod_is_resized_by_replacement(api: &Api<'_>) {
    make(
        api,
        "pod",
        &json!({ "restartPolicy": "Always", "containers": [named(0, &["20m", "35Mi", "", ""])] }),
    );
    resized(api, &[["20m", "35Mi", "", ""]]);
    api.update(&format!("{}/resize", path(api, "pod")), |pod| {
        pod["spec"]["containers"][0]["resources"] = resources(&["25m", "40Mi", "", ""]);
    });
    resized(api, &[["25m", "40Mi", "", ""]]);
}

fn a_container_is_started_again_for_its_memory(api: &Api<'_>) {
    let mut container = shell("trap 'exit 0' TERM; while true; do sleep 1; done");
    container["resources"] = resources(&["20m", "35Mi", "20m", "35Mi"]);
    container["resizePolicy"] = json!([{ "resourceName": "memory", "restartPolicy": "RestartContainer" }]);
    make(
        api,
        "pod",
        &json!({ "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 30, "containers": [container] }),
    );
    ready(api, "pod");
    let resize = |amounts: &Amounts, restarts: i64| {
        let body = json!({ "spec": { "containers": [{ "name": "c", "resources": resources(amounts) }] } });
        let request = format!("PATCH {}/resize", path(api, "pod"));
        api.try_call(&request, "application/strategic-merge-patch+json", &body).unwrap();
        api.until(PODS, "pod", |pod| {
            assert_ne!(pod["status"]["phase"], "Succeeded");
            let status = &pod["status"]["containerStatuses"][0];
            status["restartCount"] == restarts
                && status["resources"] == resources(amounts)
                && holds(pod, "Ready")
                && !holds(pod, "PodResizeInProgress")
        });
    };
    resize(&["25m", "35Mi", "25m", "35Mi"], 0);
    // Twice, and at once: it is nobody's fault that it ends.
    resize(&["25m", "40Mi", "25m", "40Mi"], 1);
    resize(&["25m", "38Mi", "25m", "38Mi"], 2);
    assert_eq!(limits(api, "pod", "c")[0], amount("38Mi").value().to_string());
}

fn what_does_not_fit_waits_for_others(api: &Api<'_>) {
    let nodes = api.get("/api/v1/nodes");
    let all = amount(nodes["items"][0]["status"]["allocatable"]["cpu"].as_str().unwrap()).milli();
    let mut other = sleeper();
    other["resources"] = json!({ "requests": { "cpu": "500m" } });
    make(api, "other", &json!({ "containers": [other] }));
    make(api, "pod", &json!({ "containers": [named(0, &["20m", "35Mi", "", ""])] }));
    ready(api, "other");
    resized(api, &[["20m", "35Mi", "", ""]]);
    // With the other one it is too much, without it there is room for this and a little more.
    let wanted = format!("{}m", all - 400);
    let body = json!({ "spec": { "containers": [{ "name": "c1", "resources": { "requests": { "cpu": wanted } } }] } });
    let request = format!("PATCH {}/resize", path(api, "pod"));
    api.try_call(&request, "application/strategic-merge-patch+json", &body).unwrap();
    let waits = |pod: &Value| {
        let mut all = pod["status"]["conditions"].as_array().into_iter().flatten();
        all.any(|one| one["type"] == "PodResizePending" && one["reason"] == "Deferred")
    };
    let pod = api.until(PODS, "pod", waits);
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(
        (&status["resources"]["requests"]["cpu"], &status["allocatedResources"]["cpu"]),
        (&json!("20m"), &json!("20m"))
    );
    api.delete(&path(api, "other"), &Value::Null);
    let pod = api.until(PODS, "pod", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        !holds(pod, "PodResizePending") && status["resources"]["requests"]["cpu"] == wanted.as_str()
    });
    assert_eq!(pod["status"]["containerStatuses"][0]["allocatedResources"]["cpu"], wanted.as_str());
    api.delete(&path(api, "pod"), &Value::Null);
}
