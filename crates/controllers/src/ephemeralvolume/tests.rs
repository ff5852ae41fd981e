//! Claims of pods' own volumes, from fixtures and against a fake server.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use serde_json::{Value, json};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn pod() -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": "web", "uid": "uid-p" },
        "spec": { "volumes": [{ "name": "scratch", "ephemeral": { "volumeClaimTemplate": {
            "metadata": { "labels": { "a": "b" } }, "spec": { "accessModes": ["ReadWriteOnce"] } } } },
            { "name": "other", "emptyDir": {} }] } })
}

fn owned(uid: &str) -> Arc<Object> {
    let claim = json!({ "metadata": { "name": "p-scratch", "namespace": "web", "ownerReferences": [
        { "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": true }] } });
    Arc::new(Object::received(claim.to_string().into()).unwrap())
}

#[test]
fn a_claim_is_made_once_and_never_shared() {
    let steps = plan(&pod(), |_| None);
    let [Step::Create { volume, claim }] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(volume, "scratch");
    assert_eq!(
        *claim,
        json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "name": "p-scratch", "namespace": "web", "labels": { "a": "b" }, "ownerReferences": [
                { "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "uid-p", "controller": true,
                    "blockOwnerDeletion": true }] },
            "spec": { "accessModes": ["ReadWriteOnce"] } })
    );
    assert_eq!(plan(&pod(), |_| Some(owned("uid-p"))), []);
    let why = "PVC \"web/p-scratch\" was not created for pod \"web/p\" (pod is not owner)";
    assert_eq!(
        plan(&pod(), |_| Some(owned("uid-q"))),
        [Step::Foreign { volume: "scratch".into(), why: why.into() }]
    );
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_goes_comes_again() {
    let (fake, stop, events) = (Fake::new(), CancellationToken::new(), Recorder::memory());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, events.clone(), stop.clone());
    tokio::spawn(run(context, Arc::default()));
    fake.put(pod());
    let key = ObjectKey::new("web", "p-scratch");
    let until = async || {
        for _ in 0..1000 {
            if fake.object(&claims(), &key).is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        panic!("no claim");
    };
    until().await;
    fake.remove(&claims(), &key);
    until().await;
    assert_eq!(fake.writes().len(), 2);
    assert!(events.take().is_empty());
    stop.cancel();
}
