//! What is attached where, from fixtures and against a fake server.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use tokio_util::sync::CancellationToken;

fn volume(name: &str) -> Volume {
    Volume { name: name.into(), driver: "d".into(), handle: format!("h-{name}"), exclusive: true }
}

fn node(attached: &[&str], in_use: &[&str], ready: bool) -> Value {
    let unique = |names: &[&str]| names.iter().map(|name| volume(name).unique()).collect::<Vec<_>>();
    let attached: Vec<Value> =
        unique(attached).into_iter().map(|name| json!({ "name": name, "devicePath": "" })).collect();
    json!({ "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": "n", "annotations": { MANAGED: "true" } }, "spec": {},
        "status": { "volumesAttached": attached, "volumesInUse": unique(in_use),
            "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "Unknown" } }] } })
}

/// `attach, listed, detach, again` of a volume `v` in a state.
fn check(node: Value, wanted: bool, attachment: Option<(bool, bool)>, unwanted: u64) -> String {
    let one = volume("v");
    let view = View {
        name: "n".into(),
        node,
        wanted: wanted.then(|| Wanted { volume: one.clone(), elsewhere: None }).into_iter().collect(),
        attachments: attachment
            .map(|(attached, deleting)| Attachment {
                name: one.attachment("n"),
                volume: Some(one.clone()),
                attached,
                deleting,
                unwanted: Duration::from_secs(unwanted),
            })
            .into_iter()
            .collect(),
    };
    let plan = plan(&view);
    let listed = plan.attached.map_or("-".to_owned(), |all| all.len().to_string());
    let again = plan.again.map_or(0, |again| again.as_secs());
    format!("{} {listed} {} {again}", plan.attach.len(), plan.detach.len())
}

#[test]
fn a_volume_is_attached_listed_used_and_detached() {
    assert_eq!(check(node(&[], &[], true), true, None, 0), "1 - 0 0");
    assert_eq!(check(node(&[], &[], true), true, Some((false, false)), 0), "0 - 0 0");
    assert_eq!(check(node(&[], &[], true), true, Some((true, false)), 0), "0 1 0 0");
    assert_eq!(check(node(&["v"], &["v"], true), true, Some((true, false)), 0), "0 - 0 0");
    assert_eq!(check(node(&["v"], &["v"], true), false, Some((true, false)), 10), "0 - 0 350");
    assert_eq!(check(node(&["v"], &[], true), false, Some((true, false)), 0), "0 0 1 0");
    assert_eq!(check(node(&[], &[], true), false, Some((true, true)), 0), "0 - 0 0");
    assert_eq!(check(node(&[], &[], true), true, Some((true, true)), 0), "0 - 0 0");
    // A node that is lost cannot hold a volume for ever; one that answers can.
    assert_eq!(check(node(&["v"], &["v"], false), false, Some((true, false)), 400), "0 0 1 0");
    assert_eq!(check(node(&["v"], &["v"], true), false, Some((true, false)), 400), "0 - 0 0");
    assert_eq!(check(Value::Null, false, Some((true, false)), 0), "0 - 1 0");
    let mut out = node(&["v"], &["v"], false);
    out["spec"]["taints"] = json!([{ "key": "node.kubernetes.io/out-of-service", "effect": "NoExecute" }]);
    assert_eq!(check(out, false, Some((true, false)), 0), "0 0 1 0");
}

#[tokio::test(start_paused = true)]
async fn follows_pods_from_node_to_node() {
    let (fake, stop, events) = (Fake::new(), CancellationToken::new(), Recorder::memory());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, events.clone(), stop.clone());
    for name in ["n", "m"] {
        let mut one = node(&[], &[], true);
        one["metadata"]["name"] = name.into();
        fake.put(one);
    }
    fake.put(json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "v" },
        "spec": { "accessModes": ["ReadWriteOnce"], "csi": { "driver": "d", "volumeHandle": "h-v" },
            "claimRef": { "namespace": "web", "name": "c", "uid": "uid-c" } } }));
    fake.put(json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": "c", "namespace": "web", "uid": "uid-c" }, "spec": { "volumeName": "v" },
        "status": { "phase": "Bound" } }));
    tokio::spawn(run(context, Arc::default()));
    let pod = |name: &str, node: &str| {
        fake.put(
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "web" },
            "spec": { "nodeName": node, "volumes": [
                { "name": "v", "persistentVolumeClaim": { "claimName": "c" } }] } }),
        );
    };
    let names = |node: &str| {
        let all = fake.objects(&attachments());
        all.iter().filter(|one| one["spec"]["nodeName"] == node).count()
    };
    let until = async |what: &str, so: &dyn Fn() -> bool| {
        for _ in 0..1000 {
            if so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        panic!("{what}: {:?}", fake.objects(&attachments()));
    };
    pod("p", "n");
    until("made", &|| names("n") == 1).await;
    let key = ObjectKey::cluster(&volume("v").attachment("n"));
    fake.change(&attachments(), &key, |one| one["status"]["attached"] = true.into());
    let listed = |node: &str| {
        let node = fake.object(&nodes(), &ObjectKey::cluster(node)).unwrap();
        node["status"]["volumesAttached"].as_array().map_or(0, Vec::len)
    };
    until("listed", &|| listed("n") == 1).await;
    pod("q", "m");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(names("m"), 0);
    let mut told: Vec<String> = events.take().into_iter().map(|event| event.message).collect();
    told.sort();
    assert_eq!(
        told,
        [
            "AttachVolume.Attach succeeded for volume \"v\" ",
            "Multi-Attach error for volume \"v\" Volume is already used by pod(s) p",
        ]
    );
    fake.remove(&Gvr::core("pods"), &ObjectKey::new("web", "p"));
    until("moved", &|| names("n") == 0 && names("m") == 1 && listed("n") == 0).await;
    fake.writes();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.writes(), Vec::<String>::new());
    stop.cancel();
}
