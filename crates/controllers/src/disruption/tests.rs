//! Budgets and pods in, statuses out; and the whole of it against a server.

use super::plan::{Scales, View, by_number, plan};
use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

/// Names; `-` before one that is not ready, `x` after one that is being deleted.
fn pods(names: &[&str]) -> Vec<Brief> {
    let read = |text: &&str| {
        let name = text.trim_matches(&['-', 'x'][..]);
        let ready = if text.starts_with('-') { "False" } else { "True" };
        let mut pod = json!({ "metadata": { "name": name, "namespace": "n", "uid": name }, "spec": {},
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }] } });
        if text.ends_with('x') {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T01:00:00Z".into();
        }
        Brief::read(&Arc::new(Object::received(pod.to_string().into()).unwrap())).unwrap()
    };
    names.iter().map(read).collect()
}

fn view(spec: Value, status: Value, names: &[&str], wanted: &[i64]) -> View {
    let wanted = wanted.iter().enumerate().map(|(at, count)| (at.to_string(), *count)).collect();
    View {
        generation: 3,
        budget: json!({ "spec": spec, "status": status }),
        pods: pods(names),
        scales: Ok(Scales { wanted, unmanaged: vec![] }),
    }
}

#[test]
fn what_may_be_taken_away_is_what_is_left_over() {
    // Current, desired, expected, allowed.
    let check = |spec: Value, names: &[&str], wanted: &[i64], expect: [i64; 4]| {
        let status = plan(&view(spec.clone(), Value::Null, names, wanted), now()).status;
        let shown = ["currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed"];
        assert_eq!(shown.map(|field| status[field].as_i64().unwrap()), expect, "{spec}");
        assert_eq!(status["observedGeneration"], 3);
        let (value, reason) =
            if expect[3] > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        let condition = &status["conditions"][0];
        assert_eq!((&condition["status"], &condition["reason"]), (&json!(value), &json!(reason)));
    };
    check(json!({ "minAvailable": 2 }), &["a", "b", "c"], &[], [3, 2, 3, 1]);
    check(json!({ "minAvailable": 2 }), &["a", "-b", "cx"], &[], [1, 2, 3, 0]);
    check(json!({ "minAvailable": 0 }), &[], &[], [0, 0, 0, 0]);
    check(json!({ "minAvailable": "50%" }), &["a", "b", "c"], &[3], [3, 2, 3, 1]);
    check(json!({ "minAvailable": "1%" }), &[], &[], [0, 0, 0, 0]);
    check(json!({ "maxUnavailable": 1 }), &["a", "b", "c"], &[2, 2], [3, 3, 4, 0]);
    check(json!({ "maxUnavailable": "30%" }), &["a", "b", "c"], &[3], [3, 2, 3, 1]);
    check(json!({ "maxUnavailable": 9 }), &["a"], &[1], [1, 0, 1, 1]);
    assert!(by_number(&json!({ "spec": { "minAvailable": 1 } })) && by_number(&json!({ "spec": {} })));
    assert!(!by_number(&json!({ "spec": { "minAvailable": "1%" } })));
    assert!(!by_number(&json!({ "spec": { "maxUnavailable": 1 } })));
}

#[test]
fn evictions_count_until_their_time_is_over() {
    let status = json!({ "disruptedPods": { "a": "2026-01-01T00:59:00Z", "b": "2026-01-01T00:50:00Z",
        "c": "2026-01-01T00:59:00Z", "gone": "2026-01-01T00:59:00Z" } });
    let plan_of = plan(&view(json!({ "minAvailable": 1 }), status, &["a", "b", "cx", "d"], &[]), now());
    assert_eq!(plan_of.status["disruptedPods"], json!({ "a": "2026-01-01T00:59:00Z" }));
    assert_eq!(
        (&plan_of.status["currentHealthy"], &plan_of.status["disruptionsAllowed"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(plan_of.again, Some(Duration::from_secs(60)));
    // The plan of an applied plan is the same.
    let again =
        plan(&view(json!({ "minAvailable": 1 }), plan_of.status.clone(), &["a", "b", "cx", "d"], &[]), now());
    assert_eq!(again.status, plan_of.status);
}

#[test]
fn what_cannot_be_counted_allows_nothing() {
    let mut view = view(json!({ "maxUnavailable": 1 }), json!({ "disruptionsAllowed": 4 }), &["a"], &[]);
    view.scales = Err("found no controllers for pod \"a\"".into());
    let status = plan(&view, now()).status;
    assert_eq!(status["disruptionsAllowed"], 0);
    assert_eq!(
        status["conditions"][0],
        json!({ "type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed",
            "message": "found no controllers for pod \"a\"", "observedGeneration": 3,
            "lastTransitionTime": "2026-01-01T01:00:00Z" })
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_not_taken_away_says_so_no_longer() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
    for (name, since) in [("old", "2026-01-01T00:00:00Z"), ("new", "2999-01-01T00:00:00Z")] {
        fake.put(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "n", "uid": name },
            "spec": {}, "status": { "phase": "Running", "conditions": [{ "type": "DisruptionTarget", "status": "True",
                "reason": "EvictionByEvictionAPI", "lastTransitionTime": since }] } }));
    }
    tokio::spawn(run(context, Arc::default()));
    let condition = |name: &str| {
        let pod = fake.object(&Gvr::core("pods"), &ObjectKey::new("n", name)).unwrap();
        pod["status"]["conditions"][0].clone()
    };
    for _ in 0..500 {
        if condition("old")["status"] == "False" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    assert_eq!((&condition("old")["status"], &condition("old")["reason"]), (&json!("False"), &Value::Null));
    assert_eq!(condition("new")["status"], "True");
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn budgets_follow_their_pods_and_who_scales_them() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
    tokio::spawn(run(context, Arc::default()));
    let owner = |kind: &str, uid: &str| json!([{ "apiVersion": "apps/v1", "kind": kind, "name": "web", "uid": uid, "controller": true }]);
    let scaled = |kind: &str, uid: &str, replicas: i64, owners: Value| {
        json!({ "apiVersion": "apps/v1", "kind": kind, "spec": { "replicas": replicas },
            "metadata": { "name": "web", "namespace": "n", "uid": uid, "ownerReferences": owners } })
    };
    fake.put(scaled("Deployment", "d", 4, Value::Null));
    fake.put(scaled("ReplicaSet", "r", 9, owner("Deployment", "d")));
    for name in ["a", "b", "c"] {
        fake.put(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "n", "uid": name,
            "labels": { "app": "web" }, "ownerReferences": owner("ReplicaSet", "r") }, "spec": {},
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] } }));
    }
    fake.put(json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "b", "namespace": "n",
        "generation": 1 }, "spec": { "maxUnavailable": 2, "selector": { "matchLabels": { "app": "web" } } } }));
    let until = async |what: &str, test: &dyn Fn(&Value) -> bool| {
        for _ in 0..500 {
            let status = fake.object(&budgets(), &ObjectKey::new("n", "b")).unwrap()["status"].clone();
            if test(&status) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        panic!("{what}: {:?}", fake.object(&budgets(), &ObjectKey::new("n", "b")));
    };
    until("one may go", &|status| status["disruptionsAllowed"] == 1 && status["expectedPods"] == 4).await;
    fake.remove(&Gvr::core("pods"), &ObjectKey::new("n", "a"));
    until("none may go", &|status| status["disruptionsAllowed"] == 0 && status["currentHealthy"] == 2).await;
    fake.change(&Gvr::new("apps", "v1", "deployments"), &ObjectKey::new("n", "web"), |deployment| {
        deployment["spec"]["replicas"] = 3.into();
        deployment["metadata"]["generation"] = 2.into();
    });
    until("one may go again", &|status| status["disruptionsAllowed"] == 1).await;
    stop.cancel();
}
