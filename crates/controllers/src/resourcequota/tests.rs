//! The status as a table, and the controller against a fake server.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use serde_json::json;
use tokio_util::sync::CancellationToken;

fn quota(spec: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "q", "namespace": "web" }, "spec": spec })
}

fn pod(name: &str, cpu: &str, phase: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "web" },
        "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu } } }] },
        "status": { "phase": phase } })
}

#[test]
fn counts_what_is_in_scope() {
    let pods = [pod("a", "500m", "Running"), pod("b", "2", "Pending"), pod("c", "1", "Succeeded")];
    let objects =
        pods.iter().map(|pod| Arc::new(Object::received(pod.to_string().into()).unwrap())).collect();
    let source = Source { group: String::new(), resource: "pods".into(), objects };
    let sources = [source, Source { group: String::new(), resource: "secrets".into(), objects: Vec::new() }];
    let check = |spec: Value, used: Value| {
        let status = status(&quota(spec.clone()), &sources, 0);
        assert_eq!(status, json!({ "hard": spec["hard"], "used": used }), "{spec}");
    };
    check(
        json!({ "hard": { "cpu": "5", "pods": "9", "count/pods": "9", "secrets": "1", "unknown.io/x": "1" } }),
        json!({ "cpu": "2500m", "pods": "2", "count/pods": "3", "secrets": "0" }),
    );
    check(json!({ "hard": { "pods": "9" }, "scopes": ["BestEffort"] }), json!({ "pods": "0" }));
    check(json!({ "hard": { "pods": "9" }, "scopes": ["NotTerminating"] }), json!({ "pods": "2" }));
}

#[test]
fn names_say_what_they_count() {
    for (name, expect) in [
        ("requests.cpu", Some(("", "pods"))),
        ("requests.example.com/gpu", Some(("", "pods"))),
        ("services.nodeports", Some(("", "services"))),
        ("gold.storageclass.storage.k8s.io/requests.storage", Some(("", "persistentvolumeclaims"))),
        ("gpu.deviceclass.resource.k8s.io/devices", Some(("resource.k8s.io", "resourceclaims"))),
        ("count/deployments.apps", Some(("apps", "deployments"))),
        ("count/secrets", Some(("", "secrets"))),
        ("secrets", Some(("", "secrets"))),
        ("something", None),
    ] {
        let found = counted(name);
        let found = found.as_ref().map(|(group, resource)| (group.as_str(), resource.as_str()));
        assert_eq!(found, expect, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn follows_quotas_and_what_they_count() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
    tokio::spawn(run(context, Arc::new(Config::default())));
    fake.put(quota(json!({ "hard": { "pods": "5", "cpu": "4" } })));
    let key = ObjectKey::new("web", "q");
    let until = async |expect: Value| {
        for _ in 0..1000 {
            if fake.object(&quotas(), &key).is_some_and(|quota| quota["status"]["used"] == expect) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        panic!("{expect}: {:?}", fake.object(&quotas(), &key));
    };
    until(json!({ "pods": "0", "cpu": "0" })).await;
    fake.put(pod("a", "1", "Running"));
    until(json!({ "pods": "1", "cpu": "1" })).await;
    fake.change(&Gvr::core("pods"), &ObjectKey::new("web", "a"), |pod| {
        pod["status"]["phase"] = "Failed".into()
    });
    until(json!({ "pods": "0", "cpu": "0" })).await;
    fake.change(&quotas(), &key, |quota| quota["spec"]["hard"] = json!({ "count/pods": "3" }));
    until(json!({ "count/pods": "1" })).await;
    assert_eq!(fake.object(&quotas(), &key).unwrap()["status"]["hard"], json!({ "count/pods": "3" }));
    fake.remove(&Gvr::core("pods"), &ObjectKey::new("web", "a"));
    until(json!({ "count/pods": "0" })).await;
    stop.cancel();
}
