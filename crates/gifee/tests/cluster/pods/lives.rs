//! Pods as their clients see them come, change and go.

use super::{PODS, holds, make, path, phase, ready, shell, sleeper};
use crate::api::Api;
use crate::conformance::Step;
use crate::fixture::BUSYBOX;
use gifee_base::Gvr;
use serde_json::{Value, json};

/// What is done here.
pub const STEPS: &[Step] = &[
    ("submitted", pods_are_submitted_updated_and_removed),
    ("deadline", a_deadline_can_be_set_later),
    ("statuses", statuses_are_patched_and_replaced),
    ("collections", collections_are_deleted),
    ("generations", generations_count_changes),
    ("many-generations", five_hundred_changes_are_observed),
    ("endpoints", services_have_their_pods),
    ("many-services", services_have_their_pods_soon),
];

fn list(api: &Api<'_>, labels: &str) -> Vec<Value> {
    api.cluster.list(&Gvr::core("pods"), &api.namespace, labels)
}

fn pods_are_submitted_updated_and_removed(api: &Api<'_>) {
    assert_eq!(list(api, "name=foo").len(), 0);
    make(
        api,
        "foo",
        &json!({ "terminationGracePeriodSeconds": 30, "containers": [shell("trap 'exit 0' TERM; while true; do sleep 1; done")] }),
    );
    assert_eq!(list(api, "name=foo").len(), 1);
    let pod = ready(api, "foo");
    assert!(pod["status"]["hostIP"].as_str().unwrap().parse::<std::net::IpAddr>().is_ok());
    api.patch(&path(api, "foo"), &json!({ "metadata": { "labels": { "name": "bar" } } }));
    assert_eq!((list(api, "name=foo").len(), list(api, "name=bar").len()), (0, 1));
    let deleted = api.delete(&path(api, "foo"), &json!({ "gracePeriodSeconds": 30 }));
    assert!(deleted["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(deleted["metadata"]["deletionGracePeriodSeconds"], 30);
    api.until(PODS, "foo", Value::is_null);
    assert_eq!(list(api, "name=bar").len(), 0);
}

fn a_deadline_can_be_set_later(api: &Api<'_>) {
    make(api, "late", &json!({ "containers": [sleeper()] }));
    phase(api, "late", "Running");
    api.patch(&path(api, "late"), &json!({ "spec": { "activeDeadlineSeconds": 1 } }));
    assert_eq!(phase(api, "late", "Failed")["status"]["reason"], "DeadlineExceeded");
}

fn statuses_are_patched_and_replaced(api: &Api<'_>) {
    make(api, "pod", &json!({ "restartPolicy": "Always", "containers": [sleeper()] }));
    ready(api, "pod");
    let status = format!("{}/status", path(api, "pod"));
    let condition = json!([{ "type": "StatusPatched", "status": "True" }]);
    let patched = runtime_patch(api, &status, &json!({ "status": { "conditions": condition } }));
    assert!(holds(&patched, "StatusPatched"));
    let changed = json!({ "metadata": { "labels": { "test-pod": "patched" } },
        "spec": { "containers": [{ "name": "c", "image": super::SPEAKER }] } });
    let changed = runtime_patch(api, &path(api, "pod"), &changed);
    assert_eq!(changed["metadata"]["labels"]["test-pod"], "patched");
    // It is started again with the other image, and what others say of it stays.
    let other = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        status["restartCount"] == 1 && status["image"] == super::SPEAKER && holds(pod, "Ready")
    };
    assert!(holds(&api.until(PODS, "pod", other), "StatusPatched"));
    let replaced = api.update(&status, |pod| {
        let conditions = pod["status"]["conditions"].as_array_mut().unwrap();
        conditions
            .iter_mut()
            .filter(|one| one["type"] == "Ready")
            .for_each(|one| one["status"] = "False".into());
    });
    assert!(!holds(&replaced, "Ready"));
    // The node knows better.
    ready(api, "pod");
    api.delete(&api.path(PODS), &Value::Null);
    api.until(PODS, "pod", Value::is_null);
}

/// A strategic merge patch.
#[track_caller]
fn runtime_patch(api: &Api<'_>, path: &str, body: &Value) -> Value {
    let patched = api.try_call(&format!("PATCH {path}"), "application/strategic-merge-patch+json", body);
    patched.unwrap_or_else(|status| panic!("PATCH {path}: {status:?}"))
}

fn collections_are_deleted(api: &Api<'_>) {
    for number in 1..4 {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("test-pod-{number}"), "labels": { "type": "Testing" } },
            "spec": { "terminationGracePeriodSeconds": 1, "containers": [sleeper()] } });
        api.post(&api.path(PODS), &pod);
    }
    api.until_all(PODS, "type=Testing", |pods| pods.iter().all(|pod| holds(pod, "Ready")));
    api.delete(&format!("{}?labelSelector=type%3DTesting", api.path(PODS)), &Value::Null);
    api.until_all(PODS, "type=Testing", <[Value]>::is_empty);
}

fn generations_count_changes(api: &Api<'_>) {
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "pod", "generation": 100 },
        "spec": { "terminationGracePeriodSeconds": 5, "activeDeadlineSeconds": 5000,
            "containers": [shell("trap 'exit 0' TERM; while true; do sleep 1; done")] } });
    assert_eq!(api.post(&api.path(PODS), &pod)["metadata"]["generation"], 1);
    let observed = |generation: i64| {
        api.until(PODS, "pod", |pod| {
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().find(|one| one["type"] == "Ready");
            pod["status"]["observedGeneration"] == generation
                && ready.is_some_and(|one| one["observedGeneration"] == generation && one["status"] == "True")
        })
    };
    observed(1);
    let toleration = json!([{ "key": "a", "operator": "Exists" }]);
    for (change, generation) in [
        (json!({ "metadata": { "labels": { "a": "b" } } }), 1),
        (json!({ "metadata": { "annotations": { "a": "b" }, "finalizers": ["example.com/keep"] } }), 1),
        (json!({ "spec": { "activeDeadlineSeconds": 4000 } }), 2),
        (json!({ "spec": { "activeDeadlineSeconds": 4000 } }), 2),
    ] {
        assert_eq!(api.patch(&path(api, "pod"), &change)["metadata"]["generation"], generation, "{change}");
    }
    let longer = api.update(&path(api, "pod"), |pod| {
        pod["spec"]["tolerations"].as_array_mut().unwrap().extend(toleration.as_array().unwrap().clone());
    });
    assert_eq!(longer["metadata"]["generation"], 3);
    let other = json!({ "spec": { "containers": [{ "name": "c", "image": super::SPEAKER }] } });
    assert_eq!(runtime_patch(api, &path(api, "pod"), &other)["metadata"]["generation"], 4);
    observed(4);
    let resized = json!({ "spec": { "containers": [{ "name": "c", "image": BUSYBOX }] } });
    assert_eq!(runtime_patch(api, &path(api, "pod"), &resized)["metadata"]["generation"], 5);
    observed(5);
    // A graceful deletion is a change, too.
    let deleted = api.delete(&path(api, "pod"), &Value::Null);
    assert_eq!(deleted["metadata"]["generation"], 6);
    api.until(PODS, "pod", |pod| {
        pod["status"]["observedGeneration"] == 6 && pod["status"]["phase"] == "Succeeded"
    });
    api.patch(&path(api, "pod"), &json!({ "metadata": { "finalizers": null } }));
    api.until(PODS, "pod", Value::is_null);
}

fn five_hundred_changes_are_observed(api: &Api<'_>) {
    make(api, "pod", &json!({ "activeDeadlineSeconds": 100_000, "containers": [sleeper()] }));
    for number in 0..500 {
        api.patch(&path(api, "pod"), &json!({ "spec": { "activeDeadlineSeconds": 99_999 - number } }));
    }
    let pod = api.until(PODS, "pod", |pod| pod["status"]["observedGeneration"] == 501);
    assert_eq!(pod["metadata"]["generation"], 501);
}

/// A service, and how many addresses it has.
fn addressed(api: &Api<'_>, name: &str, selector: &Value, count: usize) -> Vec<Value> {
    let body = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
        "spec": { "selector": selector, "ports": [{ "name": "p", "port": 80, "targetPort": 8000 }] } });
    api.post(&api.path("v1/services"), &body);
    let labels = format!("kubernetes.io/service-name={name}");
    api.until_all("discovery.k8s.io/v1/endpointslices", &labels, |slices| {
        let all = slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
        all.filter(|one| one["conditions"]["ready"] == true).count() == count
    })
}

fn services_have_their_pods(api: &Api<'_>) {
    for name in ["one", "two"] {
        make(api, name, &json!({ "containers": [sleeper()] }));
        api.patch(&path(api, name), &json!({ "metadata": { "labels": { "both": "yes" } } }));
    }
    for name in ["one", "two"] {
        let slices = addressed(api, name, &json!({ "name": name }), 1);
        assert_eq!(slices[0]["endpoints"][0]["targetRef"]["name"], name);
        let address = ready(api, name)["status"]["podIP"].clone();
        assert_eq!(slices[0]["endpoints"][0]["addresses"], json!([address]));
        let endpoints = api.until("v1/endpoints", name, |one| one["subsets"][0]["addresses"].is_array());
        assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], address);
    }
    addressed(api, "both", &json!({ "both": "yes" }), 2);
}

fn services_have_their_pods_soon(api: &Api<'_>) {
    make(api, "pod", &json!({ "containers": [sleeper()] }));
    ready(api, "pod");
    for number in 0..50 {
        addressed(api, &format!("latency-{number}"), &json!({ "name": "pod" }), 1);
    }
}
