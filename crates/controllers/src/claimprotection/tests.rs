//! A deleted claim stays while a pod uses it.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[test]
fn pods_use_claims_by_name_and_their_own() {
    let pod = |spec: Value, phase: &str| {
        let pod = json!({ "metadata": { "name": "p" }, "spec": spec, "status": { "phase": phase } });
        Object::received(pod.to_string().into()).unwrap()
    };
    let mounts = pod(
        json!({ "nodeName": "n", "volumes": [{ "name": "a", "persistentVolumeClaim": { "claimName": "c" } },
            { "name": "b", "ephemeral": {} }, { "name": "d", "emptyDir": {} }] }),
        "Running",
    );
    assert_eq!(pod::claims(&mounts), ["c", "p-b"]);
    assert!(uses_anything(&mounts));
    let scratch = pod(json!({ "nodeName": "n", "volumes": [{ "name": "d", "emptyDir": {} }] }), "Failed");
    assert_eq!(pod::claims(&scratch), Vec::<String>::new());
    assert!(!uses_anything(&scratch));
    assert!(!uses_anything(&pod(json!({}), "Pending")));
}

#[tokio::test(start_paused = true)]
async fn a_claim_in_use_stays_until_its_pod_is_gone() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
    tokio::spawn(run(context, Arc::new(Config::default())));
    let claim = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": "c", "namespace": "web" } });
    fake.put(claim);
    fake.put(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": "web" },
        "spec": { "nodeName": "n", "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "c" } }] } }));
    let key = ObjectKey::new("web", "c");
    let protected = || {
        let claim = fake.object(&claims(), &key);
        claim.is_some_and(|claim| without(&claim, FINALIZER).1)
    };
    let until = async |expect: bool| {
        for _ in 0..500 {
            if protected() == expect {
                return;
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        panic!("{:?}", fake.object(&claims(), &key));
    };
    until(true).await;
    fake.change(&claims(), &key, |claim| {
        claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into()
    });
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(protected());
    fake.remove(&Gvr::core("pods"), &ObjectKey::new("web", "p"));
    until(false).await;
    stop.cancel();
}
