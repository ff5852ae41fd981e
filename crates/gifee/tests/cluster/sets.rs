//! StatefulSets, DaemonSets and their revisions as upstream's conformance tests and people with kubectl drive them:
//! with real containers, side by side on one cluster.

use crate::api::Api;
use crate::conformance::{Step, template};
use crate::fixture::{Cluster, PAGE};
use crate::steps::Steps;
use gifee_base::Gvr;
use serde_json::{Value, json};

const STEPS: &[Step] = &[
    ("stateful", a_stateful_set_has_names_and_is_rolled_out),
    ("ordered", pods_come_and_go_in_order_and_wait_for_the_broken),
    ("burst", a_parallel_set_does_not_wait),
    ("evicted", an_evicted_pod_is_made_again),
    ("daemon", a_daemon_runs_is_rolled_out_and_back),
    ("placed", a_daemon_follows_its_nodes),
    ("revisions", revisions_live),
    ("deployments", deployments_roll_over),
    ("scaled", kubectl_scales),
];

const SETS: &str = "apps/v1/statefulsets";
const DAEMONS: &str = "apps/v1/daemonsets";

#[test]
fn sets() {
    let cluster = Cluster::up("sets");
    let steps = Steps::new(&cluster);
    steps.step("an image", || cluster.busybox());
    steps.step("a node", || {
        let free = |node: &Value| node["spec"]["taints"].as_array().is_none_or(Vec::is_empty);
        cluster.until_all(&Gvr::core("nodes"), "", "", |nodes| nodes.iter().any(free));
    });
    std::thread::scope(|scope| {
        for (name, step) in STEPS {
            let (steps, cluster) = (&steps, &cluster);
            scope.spawn(move || steps.step(name, || step(&Api::new(cluster, name))));
        }
    });
    steps.end();
}

fn kubectl(api: &Api<'_>, words: &[&str]) -> String {
    api.cluster.kubectl(&[&["-n", &api.namespace], words].concat()).ok()
}

/// A template that says a version in its environment.
fn version(version: &str) -> Value {
    let mut template = template();
    template["spec"]["containers"][0]["env"] = json!([{ "name": "VERSION", "value": version }]);
    template
}

fn of(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["env"][0]["value"].as_str().unwrap_or_default()
}

/// `name version` of each pod, by name.
fn versions(pods: &[Value]) -> String {
    let mut lines: Vec<String> = pods
        .iter()
        .map(|pod| format!("{} {}", pod["metadata"]["name"].as_str().unwrap_or_default(), of(pod)))
        .collect();
    lines.sort();
    lines.join(", ")
}

fn stateful(replicas: i32, more: &Value) -> Value {
    let mut spec = json!({ "replicas": replicas, "serviceName": "web",
        "selector": { "matchLabels": { "app": "x" } }, "template": version("1") });
    for (field, value) in more.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "web" }, "spec": spec })
}

fn headless(api: &Api<'_>) {
    let spec = json!({ "clusterIP": "None", "selector": { "app": "x" }, "ports": [{ "port": 8000 }] });
    api.post(&api.path("v1/services"), &json!({ "metadata": { "name": "web" }, "spec": spec }));
}

fn update(api: &Api<'_>, to: &str, partition: i32) {
    let rolling = json!({ "rollingUpdate": { "partition": partition } });
    let spec = json!({ "template": version(to), "updateStrategy": rolling });
    api.patch(&format!("{}/web", api.path(SETS)), &json!({ "spec": spec }));
}

fn a_stateful_set_has_names_and_is_rolled_out(api: &Api<'_>) {
    headless(api);
    api.post(&api.path(SETS), &stateful(3, &json!({})));
    let status = ["rollout", "status", "statefulset/web", "--timeout=120s"];
    kubectl(api, &status);
    for host in ["web-1.web", &format!("web-2.web.{}.svc.cluster.local", api.namespace)] {
        let url = format!("http://{host}:8000/");
        let read = format!("until wget -q -O- {url}; do sleep 0.2; done");
        let page = kubectl(api, &["exec", "web-0", "--", "busybox", "timeout", "60", "sh", "-c", &read]);
        assert!(page.contains(PAGE), "{page}");
    }
    assert_eq!(kubectl(api, &["exec", "web-2", "--", "hostname"]).trim(), "web-2");
    let live = |pods: &[Value]| pods.iter().all(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    // A canary, then the rest, then all the way back.
    update(api, "2", 2);
    kubectl(api, &status);
    let is = |expected: &'static str| move |pods: &[Value]| live(pods) && versions(pods) == expected;
    api.until_all("v1/pods", "app=x", is("web-0 1, web-1 1, web-2 2"));
    let set = api.until(SETS, "web", |set| set["status"]["updatedReplicas"] == 1);
    assert_ne!(set["status"]["currentRevision"], set["status"]["updateRevision"]);
    api.delete(&format!("{}/web-0", api.path("v1/pods")), &Value::Null);
    api.until_all("v1/pods", "app=x,apps.kubernetes.io/pod-index=0", |pods| {
        pods.len() == 1 && live(pods) && pods[0]["status"]["phase"] == "Running" && of(&pods[0]) == "1"
    });
    update(api, "2", 0);
    let complete = |set: &Value| {
        let status = &set["status"];
        status["currentRevision"] == status["updateRevision"]
            && status["readyReplicas"] == 3
            && status["observedGeneration"] == set["metadata"]["generation"]
    };
    api.until(SETS, "web", complete);
    api.until_all("v1/pods", "app=x", is("web-0 2, web-1 2, web-2 2"));
    let history = kubectl(api, &["rollout", "history", "statefulset/web"]);
    assert!(history.contains('1') && history.contains('2'), "{history}");
    kubectl(api, &["rollout", "undo", "statefulset/web"]);
    api.until_all("v1/pods", "app=x", is("web-0 1, web-1 1, web-2 1"));
    api.until(SETS, "web", complete);
    let undone = kubectl(api, &["rollout", "undo", "statefulset/web", "--to-revision=3"]);
    assert!(undone.contains("skipped rollback"), "{undone}");
    // The scale is a resource of its own.
    let path = format!("{}/web/scale", api.path(SETS));
    let mut scale = api.get(&path);
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(3), &json!("app=x")));
    scale["spec"]["replicas"] = 1.into();
    api.put(&path, &scale);
    api.until_all("v1/pods", "app=x", |pods| {
        // The last goes first: whoever is there has all before it.
        assert!(pods.iter().any(|pod| pod["metadata"]["name"] == "web-0"), "{}", versions(pods));
        assert!(pods.len() < 3 || versions(pods).contains("web-2"));
        versions(pods) == "web-0 1"
    });
    let events = kubectl(api, &["get", "events", "-o", "custom-columns=M:.message", "--no-headers"]);
    for message in
        ["create Pod web-2 in StatefulSet web successful", "delete Pod web-2 in StatefulSet web successful"]
    {
        assert!(events.contains(message), "{events}");
    }
    kubectl(api, &["delete", "statefulset", "-l", "none=such"]);
    api.delete(&format!("{}/web", api.path(SETS)), &json!({ "propagationPolicy": "Foreground" }));
    api.until_all("v1/pods", "app=x", <[Value]>::is_empty);
    api.until_all("apps/v1/controllerrevisions", "app=x", <[Value]>::is_empty);
}

/// A template whose pods are ready while their page is there.
fn probed() -> Value {
    let mut template = version("1");
    template["spec"]["containers"][0]["readinessProbe"] = json!({ "exec": { "command": ["cat", "/www/index.html"] }, "periodSeconds": 1, "failureThreshold": 1 });
    template
}

fn set_ready(api: &Api<'_>, pod: &str, ready: bool) {
    let (from, to) = if ready { ("/www/gone", "/www/index.html") } else { ("/www/index.html", "/www/gone") };
    kubectl(api, &["exec", pod, "--", "busybox", "mv", from, to]);
    let state = if ready { "True" } else { "False" };
    api.until("v1/pods", pod, |pod| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == state)
    });
}

fn scale(api: &Api<'_>, replicas: i32) {
    api.patch(&format!("{}/web/scale", api.path(SETS)), &json!({ "spec": { "replicas": replicas } }));
}

fn pods_come_and_go_in_order_and_wait_for_the_broken(api: &Api<'_>) {
    headless(api);
    api.post(&api.path(SETS), &stateful(1, &json!({ "template": probed() })));
    api.until(SETS, "web", |set| set["status"]["readyReplicas"] == 1);
    set_ready(api, "web-0", false);
    scale(api, 3);
    // The controller has seen it, and makes no pod.
    api.until(SETS, "web", |set| {
        set["status"]["observedGeneration"] == set["metadata"]["generation"]
            && set["status"]["readyReplicas"].is_null()
    });
    assert_eq!(versions(&api.until_all("v1/pods", "app=x", |_| true)), "web-0 1");
    set_ready(api, "web-0", true);
    api.until(SETS, "web", |set| set["status"]["readyReplicas"] == 3);
    let mut pods = api.until_all("v1/pods", "app=x", |pods| pods.len() == 3);
    pods.sort_by_key(|pod| pod["metadata"]["name"].to_string());
    let created: Vec<&str> =
        pods.iter().map(|pod| pod["metadata"]["creationTimestamp"].as_str().unwrap()).collect();
    assert!(created.is_sorted(), "{created:?}");
    // While all are broken none goes, since the first of them must go first.
    let all = ["web-0", "web-1", "web-2"];
    all.iter().for_each(|pod| set_ready(api, pod, false));
    scale(api, 0);
    api.until(SETS, "web", |set| set["status"]["observedGeneration"] == set["metadata"]["generation"]);
    let live = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_null();
    assert_eq!(api.until_all("v1/pods", "app=x", |_| true).iter().filter(|pod| live(pod)).count(), 3);
    // Once the last one is the only broken one it goes, and the others after it.
    all[..2].iter().for_each(|pod| set_ready(api, pod, true));
    api.until_all("v1/pods", "app=x", <[Value]>::is_empty);
}

fn a_parallel_set_does_not_wait(api: &Api<'_>) {
    headless(api);
    let spec = json!({ "template": probed(), "podManagementPolicy": "Parallel" });
    api.post(&api.path(SETS), &stateful(2, &spec));
    api.until(SETS, "web", |set| set["status"]["readyReplicas"] == 2);
    set_ready(api, "web-0", false);
    scale(api, 4);
    api.until(SETS, "web", |set| set["status"]["replicas"] == 4);
    scale(api, 0);
    api.until_all("v1/pods", "app=x", <[Value]>::is_empty);
}

fn an_evicted_pod_is_made_again(api: &Api<'_>) {
    headless(api);
    api.post(&api.path(SETS), &stateful(1, &json!({})));
    let running = |pod: &Value| pod["status"]["phase"] == "Running";
    let uid = api.until("v1/pods", "web-0", running)["metadata"]["uid"].clone();
    let evicted = json!({ "status": { "phase": "Failed", "reason": "Evicted" } });
    api.patch(&format!("{}/web-0/status", api.path("v1/pods")), &evicted);
    api.until("v1/pods", "web-0", |pod| running(pod) && pod["metadata"]["uid"] != uid);
}

fn daemon(template: Value) -> Value {
    let spec = json!({ "selector": { "matchLabels": { "app": "x" } }, "template": template });
    json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "log", "labels": { "app": "x" } }, "spec": spec })
}

fn a_daemon_runs_is_rolled_out_and_back(api: &Api<'_>) {
    api.post(&api.path(DAEMONS), &daemon(version("1")));
    let status = ["rollout", "status", "daemonset/log", "--timeout=120s"];
    kubectl(api, &status);
    let only = |pods: &[Value]| pods.len() == 1 && pods[0]["metadata"]["deletionTimestamp"].is_null();
    let pod = api.until_all("v1/pods", "app=x", |pods| only(pods)).remove(0);
    // One that is deleted, or fails, is made again.
    let path = |pod: &Value| format!("{}/{}", api.path("v1/pods"), pod["metadata"]["name"].as_str().unwrap());
    api.delete(&path(&pod), &Value::Null);
    let next = |old: &Value| {
        let uid = old["metadata"]["uid"].clone();
        api.until_all("v1/pods", "app=x", move |pods| {
            only(pods) && pods[0]["metadata"]["uid"] != uid && pods[0]["status"]["phase"] == "Running"
        })
        .remove(0)
    };
    let pod = next(&pod);
    api.patch(&format!("{}/status", path(&pod)), &json!({ "status": { "phase": "Failed" } }));
    let pod = next(&pod);
    // Out and back; what has not changed is not restarted.
    api.patch(&format!("{}/log", api.path(DAEMONS)), &json!({ "spec": { "template": version("2") } }));
    kubectl(api, &status);
    let updated = api.until_all("v1/pods", "app=x", |pods| only(pods) && of(&pods[0]) == "2").remove(0);
    assert_ne!(pod["metadata"]["uid"], updated["metadata"]["uid"]);
    let history = kubectl(api, &["rollout", "history", "daemonset/log"]);
    assert!(history.contains('1') && history.contains('2'), "{history}");
    kubectl(api, &["rollout", "undo", "daemonset/log"]);
    kubectl(api, &status);
    let back = api.until_all("v1/pods", "app=x", |pods| only(pods) && of(&pods[0]) == "1").remove(0);
    let undone = kubectl(api, &["rollout", "undo", "daemonset/log", "--to-revision=3"]);
    assert!(undone.contains("skipped rollback"), "{undone}");
    assert_eq!(
        back["metadata"]["labels"]["controller-revision-hash"],
        pod["metadata"]["labels"]["controller-revision-hash"]
    );
    // Its status is a resource of its own.
    let path = format!("{}/log/status", api.path(DAEMONS));
    let condition = json!({ "type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "set" });
    api.patch(&path, &json!({ "status": { "conditions": [condition] } }));
    api.until(DAEMONS, "log", |set| set["status"]["conditions"][0]["type"] == "StatusUpdate");
    kubectl(api, &["delete", "daemonset", "-l", "app=x"]);
    api.until_all("v1/pods", "app=x", <[Value]>::is_empty);
}

fn a_daemon_follows_its_nodes(api: &Api<'_>) {
    let mut template = version("1");
    template["spec"]["nodeSelector"] = json!({ "gifee.dev/color": "blue" });
    api.post(&api.path(DAEMONS), &daemon(template));
    api.until(DAEMONS, "log", |set| set["status"]["observedGeneration"] == 1);
    assert!(api.until_all("v1/pods", "app=x", |_| true).is_empty());
    let nodes = api.get("/api/v1/nodes");
    let node = format!("/api/v1/nodes/{}", nodes["items"][0]["metadata"]["name"].as_str().unwrap());
    let label =
        |color: &str| api.patch(&node, &json!({ "metadata": { "labels": { "gifee.dev/color": color } } }));
    label("blue");
    api.until(DAEMONS, "log", |set| set["status"]["numberAvailable"] == 1);
    label("green");
    api.until_all("v1/pods", "app=x", <[Value]>::is_empty);
    let green = json!({ "template": { "spec": { "nodeSelector": { "gifee.dev/color": "green" } } } });
    api.patch(&format!("{}/log", api.path(DAEMONS)), &json!({ "spec": green }));
    api.until(DAEMONS, "log", |set| set["status"]["numberAvailable"] == 1);
}

fn revisions_live(api: &Api<'_>) {
    const REVISIONS: &str = "apps/v1/controllerrevisions";
    api.post(&api.path(DAEMONS), &daemon(version("1")));
    let first = api.until_all(REVISIONS, "app=x", |all| all.len() == 1).remove(0);
    let name = first["metadata"]["name"].as_str().unwrap();
    let path = format!("{}/{name}", api.path(REVISIONS));
    assert_eq!(first["metadata"]["ownerReferences"][0]["kind"], "DaemonSet");
    assert_eq!(api.get(&path)["revision"], 1);
    api.patch(&path, &json!({ "metadata": { "labels": { name: "patched" } } }));
    // One that says the same takes its place.
    let mut twin = first.clone();
    let labels = first["metadata"]["labels"].clone();
    twin["metadata"] =
        json!({ "name": "twin", "labels": labels, "ownerReferences": first["metadata"]["ownerReferences"] });
    twin["revision"] = 2.into();
    api.post(&api.path(REVISIONS), &twin);
    api.delete(&path, &Value::Null);
    api.until_all(REVISIONS, "app=x", |all| all.len() == 1 && all[0]["metadata"]["name"] == "twin");
    api.delete(&format!("{}/twin", api.path(REVISIONS)), &Value::Null);
    // Without any, it is made again.
    api.until(REVISIONS, name, Value::is_object);
    api.patch(&format!("{}/log", api.path(DAEMONS)), &json!({ "spec": { "template": version("2") } }));
    api.until_all(REVISIONS, "app=x", |all| all.len() == 2);
}

fn deployments_roll_over(api: &Api<'_>) {
    const DEPLOYMENTS: &str = "apps/v1/deployments";
    let deployment = |name: &str, replicas: i32, strategy: Value| {
        let mut template = version("1");
        template["metadata"]["labels"] = json!({ "app": name });
        let body = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
            "spec": { "replicas": replicas, "revisionHistoryLimit": 0, "strategy": strategy,
                "selector": { "matchLabels": { "app": name } }, "template": template } });
        api.post(&api.path(DEPLOYMENTS), &body);
        kubectl(api, &["rollout", "status", &format!("deployment/{name}"), "--timeout=120s"]);
    };
    let set = |name: &str, change: &Value| api.patch(&format!("{}/{name}", api.path(DEPLOYMENTS)), change);
    let env = |version: &str| {
        let container = json!({ "name": "c", "image": crate::fixture::BUSYBOX, "env": [{ "name": "VERSION", "value": version }] });
        json!({ "spec": { "template": { "spec": { "containers": [container] } } } })
    };
    deployment("recreate", 2, json!({ "type": "Recreate" }));
    set("recreate", &env("2"));
    api.until_all("v1/pods", "app=recreate", |pods| {
        let mut all: Vec<&str> =
            pods.iter().filter(|pod| pod["status"]["phase"] == "Running").map(of).collect();
        all.dedup();
        assert!(all.len() < 2, "two versions run: {}", versions(pods));
        pods.len() == 2 && all == ["2"]
    });
    // Old sets go, since none are kept.
    api.until_all("apps/v1/replicasets", "app=recreate", |sets| sets.len() == 1);
    // Growing in the middle of a rollout that is stuck shares what is added.
    deployment(
        "shared",
        4,
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 2, "maxUnavailable": 0 } }),
    );
    set(
        "shared",
        &json!({ "spec": { "template": { "spec": { "containers": [{ "name": "c", "image": "none.invalid/none:1" }] } } } }),
    );
    let sizes = |sets: &[Value]| {
        let mut sizes: Vec<i64> =
            sets.iter().map(|set| set["spec"]["replicas"].as_i64().unwrap_or_default()).collect();
        sizes.sort_unstable();
        sizes
    };
    api.until_all("apps/v1/replicasets", "app=shared", |sets| sizes(sets) == [2, 4]);
    set("shared", &json!({ "spec": { "replicas": 10 } }));
    api.until_all("apps/v1/replicasets", "app=shared", |sets| sizes(sets) == [4, 8]);
    set("shared", &env("3"));
    let rolled = |deployment: &Value| {
        deployment["status"]["updatedReplicas"] == 10 && deployment["status"]["replicas"] == 10
    };
    api.until(DEPLOYMENTS, "shared", rolled);
}

/// Every kind that has a scale, with and without preconditions, by both programs.
fn kubectl_scales(api: &Api<'_>) {
    for (resource, kind) in [
        ("apps/v1/deployments", "Deployment"),
        ("apps/v1/replicasets", "ReplicaSet"),
        ("apps/v1/statefulsets", "StatefulSet"),
        ("v1/replicationcontrollers", "ReplicationController"),
    ] {
        let mut body = stateful(1, &json!({ "template": template() }));
        (body["kind"], body["apiVersion"]) = (kind.into(), resource.rsplit_once('/').unwrap().0.into());
        if kind != "StatefulSet" {
            body["spec"].as_object_mut().unwrap().remove("serviceName");
        }
        if kind == "ReplicationController" {
            body["spec"]["selector"] = json!({ "app": "x" });
        }
        api.post(&api.path(resource), &body);
        let is = |count: i32| api.until(resource, "web", |one| one["spec"]["replicas"] == count);
        let name = format!("{kind}/web");
        let namespace = ["-n", &api.namespace, "scale", &name];
        let words = |more: &[&'static str]| [&namespace[..], more].concat();
        let said = api.cluster.kubectl(&words(&["--replicas=2"])).ok();
        assert!(said.trim().ends_with("/web scaled"), "{said}");
        is(2);
        for run in [
            |cluster: &Cluster, words: &[&str]| cluster.kubectl(words),
            |cluster: &Cluster, words: &[&str]| cluster.gifee(words),
        ] {
            let refused = run(api.cluster, &words(&["--replicas=0", "--current-replicas=9"]));
            assert!(
                refused.code != 0 && refused.err.contains("Expected replicas to be 9, was 2"),
                "{refused}"
            );
            let refused = run(api.cluster, &words(&["--replicas=0", "--resource-version=1"]));
            assert!(
                refused.code != 0 && refused.err.contains("Expected resource version to be 1, was "),
                "{refused}"
            );
            is(2);
        }
        api.cluster.kubectl(&words(&["--replicas=1", "--current-replicas=2"])).ok();
        is(1);
        api.cluster.gifee(&words(&["--replicas=0", "--current-replicas=1"])).ok();
        is(0);
        api.delete(&format!("{}/web", api.path(resource)), &json!({ "propagationPolicy": "Background" }));
        api.until_all("v1/pods", "app=x", <[Value]>::is_empty);
    }
}
