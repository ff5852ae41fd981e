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
    let check = |mut tree: Value, kept: [bool; 2], over: bool| {
        tree["metadata"]["name"] = "p".into();
        tree["spec"]["volumes"] = json!([{ "name": "a", "persistentVolumeClaim": { "claimName": "c" } },
            { "name": "b", "ephemeral": {} }]);
        let pod = Object::received(tree.to_string().into()).unwrap();
        assert_eq!([keeps(&pod, "c"), keeps(&pod, "p-b")], kept, "{tree}");
        assert!(!keeps(&pod, "other"));
        assert_eq!(ended(&pod), over, "{tree}");
    };
    let node = json!({ "nodeName": "n" });
    check(json!({ "metadata": {}, "status": { "phase": "Pending" } }), [false, false], false);
    check(json!({ "metadata": {}, "spec": node, "status": { "phase": "Running" } }), [true, true], false);
    // Upstream keeps a claim for a pod that has ended, as long as it is there.
    check(json!({ "metadata": {}, "spec": node, "status": { "phase": "Failed" } }), [true, true], true);
    let going = |left: i64| json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": left });
    let runs = json!({ "phase": "Running", "containerStatuses": [{ "state": { "running": {} } }] });
    check(json!({ "metadata": going(30), "spec": node, "status": runs }), [true, true], false);
    let over = json!({ "phase": "Running", "containerStatuses": [{ "state": { "terminated": {} } }] });
    check(json!({ "metadata": going(0), "spec": node, "status": over }), [true, false], true);
}

#[test]
fn since_when_a_claim_is_unused() {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut claim =
        json!({ "metadata": {}, "status": { "phase": "Bound", "conditions": [{ "type": "Resizing" }] } });
    assert!(judged(&claim) && !judged(&json!({ "status": { "phase": "Pending" } })));
    let first = conditions(&claim, false, now).unwrap();
    let unused = json!({ "type": "Unused", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "NoPodsUsingPVC", "message": "No pods are currently referencing this PVC" });
    assert_eq!(first, [json!({ "type": "Resizing" }), unused]);
    claim["status"]["conditions"] = first.into();
    assert_eq!(conditions(&claim, false, "2026-01-02T00:00:00Z".parse().unwrap()), None);
    let used = conditions(&claim, true, "2026-01-02T00:00:00Z".parse().unwrap()).unwrap();
    let text = |field: &str| used[1][field].as_str().unwrap().to_owned();
    assert_eq!(
        [text("status"), text("reason"), text("message"), text("lastTransitionTime")],
        ["False", "PodUsingPVC", "A pod is currently referencing this PVC", "2026-01-02T00:00:00Z"]
    );
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
    let reason = || fake.object(&claims(), &key).unwrap()["status"]["conditions"][0]["reason"].clone();
    assert_eq!(reason(), Value::Null, "it is not bound yet");
    fake.change(&claims(), &key, |claim| claim["status"]["phase"] = "Bound".into());
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(reason(), "PodUsingPVC");
    fake.change(&claims(), &key, |claim| {
        claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into()
    });
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(protected());
    fake.remove(&Gvr::core("pods"), &ObjectKey::new("web", "p"));
    until(false).await;
    stop.cancel();
}
