//! ReplicationControllers beside ReplicaSets that select the same pods.

use gifee_base::{Gvr, ObjectKey};
use gifee_client::fake::Fake;
use gifee_reconcile::{Context, Recorder};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::test(start_paused = true)]
async fn keeps_its_own_pods_and_no_others() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
    tokio::spawn(super::run(context.clone(), Arc::default()));
    tokio::spawn(crate::replicaset::run(context, Arc::default()));
    let template = json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [] } });
    let owner = |kind: &str, version: &str, uid: &str, selector: Value| {
        json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "web", "namespace": "web", "uid": uid },
            "spec": { "replicas": 2, "selector": selector, "template": template } })
    };
    fake.put(owner("ReplicationController", "v1", "c", json!({ "app": "web" })));
    fake.put(owner("ReplicaSet", "apps/v1", "s", json!({ "matchLabels": { "app": "web" } })));
    let owned = |uid: &str| {
        let pods = fake.objects(&Gvr::core("pods"));
        pods.iter().filter(|pod| pod["metadata"]["ownerReferences"][0]["uid"] == uid).count()
    };
    let (controllers, key) = (Gvr::core("replicationcontrollers"), ObjectKey::new("web", "web"));
    let status = || fake.object(&controllers, &key).unwrap()["status"].clone();
    for _ in 0..500 {
        if owned("c") == 2 && owned("s") == 2 && status()["replicas"] == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    assert_eq!((owned("c"), owned("s")), (2, 2));
    assert_eq!(
        status(),
        json!({ "replicas": 2, "fullyLabeledReplicas": 2, "observedGeneration": status()["observedGeneration"] })
    );
    let pods = fake.objects(&Gvr::core("pods"));
    let reference =
        pods.iter().map(|pod| &pod["metadata"]["ownerReferences"][0]).find(|one| one["uid"] == "c");
    assert_eq!(reference.unwrap()["kind"], "ReplicationController");
    assert_eq!(reference.unwrap()["apiVersion"], "v1");
    stop.cancel();
}
