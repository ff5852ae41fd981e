//! Who grows which volume.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use serde_json::Value;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn claim(asked: &str, has: &str, phase: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": "c", "namespace": "web", "uid": "uid-c" },
        "spec": { "volumeName": "v", "resources": { "requests": { "storage": asked } } },
        "status": { "phase": phase, "capacity": { "storage": has },
            "conditions": [{ "type": "Resizing", "status": "True" }, { "type": "Other", "status": "True" }] } })
}

fn volume(source: &str, uid: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "v" }, "spec": { source: {},
        "capacity": { "storage": "1Gi" }, "claimRef": { "namespace": "web", "name": "c", "uid": uid } } })
}

#[test]
fn only_what_asks_for_more_grows() {
    let check = |claim: Value, source: &str, uid: &str, expect: Plan| {
        assert_eq!(plan(&claim, &volume(source, uid)), expect, "{claim}");
    };
    check(claim("1Gi", "1Gi", "Bound"), "csi", "uid-c", Plan::Nothing);
    check(claim("1Gi", "2Gi", "Bound"), "csi", "uid-c", Plan::Nothing);
    check(claim("2Gi", "1Gi", "Pending"), "csi", "uid-c", Plan::Nothing);
    check(claim("2Gi", "1Gi", "Bound"), "csi", "uid-d", Plan::Unbound);
    check(claim("2Gi", "1Gi", "Bound"), "csi", "uid-c", Plan::Elsewhere);
    let conditions = vec![json!({ "type": "Other", "status": "True" })];
    let write = Plan::Write { capacity: "2Gi".into(), volume: true, conditions };
    check(claim("2Gi", "1Gi", "Bound"), "hostPath", "uid-c", write);
    // Folders of nodes are somebody else's, unless they were made here.
    check(claim("2Gi", "1Gi", "Bound"), "local", "uid-c", Plan::Elsewhere);
    let mut own = volume("local", "uid-c");
    own["metadata"]["annotations"] = json!({ "pv.kubernetes.io/provisioned-by": "gifee.io/local-path" });
    assert!(matches!(plan(&claim("2Gi", "1Gi", "Bound"), &own), Plan::Write { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_volume_of_a_host_grows_at_once() {
    let (fake, stop, events) = (Fake::new(), CancellationToken::new(), Recorder::memory());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, events.clone(), stop.clone());
    fake.put(volume("hostPath", "uid-c"));
    tokio::spawn(run(context, Arc::default()));
    fake.put(claim("2Gi", "1Gi", "Bound"));
    let key = ObjectKey::new("web", "c");
    for _ in 0..1000 {
        let grown =
            fake.object(&claims(), &key).is_some_and(|one| one["status"]["capacity"]["storage"] == "2Gi");
        if grown && fake.object(&volumes(), &ObjectKey::cluster("v")).is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.objects(&volumes())[0]["spec"]["capacity"]["storage"], "2Gi");
    assert_eq!(fake.objects(&claims())[0]["status"]["capacity"]["storage"], "2Gi");
    assert_eq!(fake.writes().len(), 2);
    let told: Vec<String> = events.take().into_iter().map(|event| event.reason).collect();
    assert_eq!(told, ["VolumeResizeSuccessful"]);
    stop.cancel();
}
