//! Who gets a folder where, and when it goes, by table.

use super::plan::{Fate, Wish, claim, volume};
use super::*;

const CLASS: &str = r#"{"metadata": {"name": "local-path"}, "provisioner": "gifee.io/local-path",
    "volumeBindingMode": "WaitForFirstConsumer", "reclaimPolicy": "Delete"}"#;

fn class() -> Value {
    serde_json::from_str(CLASS).unwrap()
}

fn a_claim(node: Option<&str>) -> Value {
    let mut annotations = json!({ "volume.kubernetes.io/storage-provisioner": PROVISIONER });
    if let Some(node) = node {
        annotations[SELECTED_NODE] = node.into();
    }
    json!({ "metadata": { "name": "data", "namespace": "web", "uid": "u-1", "resourceVersion": "7", "annotations": annotations },
        "spec": { "accessModes": ["ReadWriteOncePod"], "storageClassName": "local-path",
            "resources": { "requests": { "storage": "3Gi" } } } })
}

fn node(name: &str, hostname: &str, ready: &str) -> Arc<Object> {
    let tree = json!({ "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": hostname } },
        "status": { "conditions": [{ "type": "Ready", "status": ready }] } });
    Arc::new(Object::received(tree.to_string().into()).unwrap())
}

#[test]
fn a_claim_whose_node_is_chosen_gets_a_folder_there() {
    let nodes = [node("n1", "host-1", "True"), node("n2", "host-2", "True")];
    let Wish::Make { node, name, volume } = claim(&a_claim(Some("n2")), Some(&class()), &nodes) else {
        panic!("nothing is made");
    };
    assert_eq!((node.as_str(), name.as_str()), ("n2", "pvc-u-1"));
    let spec = &volume["spec"];
    assert_eq!(spec["accessModes"], json!(["ReadWriteOncePod"]));
    assert_eq!(spec["capacity"]["storage"], "3Gi");
    assert_eq!(spec["persistentVolumeReclaimPolicy"], "Delete");
    assert_eq!(spec["storageClassName"], "local-path");
    assert_eq!(spec["claimRef"]["uid"], "u-1");
    let term = &spec["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
    assert_eq!(*term, json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": ["host-2"] }));
    assert_eq!(volume["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"], PROVISIONER);
}

#[test]
fn nobody_else_gets_one() {
    let nodes = [node("n1", "n1", "False"), node("n2", "n2", "True")];
    let check = |change: &dyn Fn(&mut Value, &mut Value), expect: Wish| {
        let (mut one, mut class) = (a_claim(Some("n1")), class());
        change(&mut one, &mut class);
        let wish = claim(&one, Some(&class), &nodes);
        assert_eq!(wish, expect, "{one}");
    };
    check(&|one, _| one["metadata"]["annotations"][SELECTED_NODE] = Value::Null, Wish::Nothing);
    check(&|one, _| one["metadata"]["annotations"][SELECTED_NODE] = "gone".into(), Wish::Elsewhere);
    check(&|one, _| one["spec"]["volumeName"] = "v".into(), Wish::Nothing);
    check(&|one, _| one["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into(), Wish::Nothing);
    check(&|_, class| class["provisioner"] = "example.io/other".into(), Wish::Nothing);
    let provisioner = "volume.kubernetes.io/storage-provisioner";
    check(&|one, _| one["metadata"]["annotations"][provisioner] = "example.io/other".into(), Wish::Nothing);
    assert_eq!(claim(&a_claim(Some("n1")), None, &nodes), Wish::Nothing);
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut one = a_claim(Some("n1"));
        change(&mut one);
        assert!(matches!(claim(&one, Some(&class()), &nodes), Wish::Refuse(_)), "{one}");
    };
    refused(&|one| one["spec"]["volumeMode"] = "Block".into());
    refused(&|one| one["spec"]["dataSourceRef"] = json!({ "kind": "VolumeSnapshot", "name": "s" }));
    // Where nobody waits for a consumer, any node that is ready will do.
    let mut immediate = class();
    immediate["volumeBindingMode"] = "Immediate".into();
    let wish = claim(&a_claim(None), Some(&immediate), &nodes);
    assert!(matches!(wish, Wish::Make { node, .. } if node == "n2"));
    assert!(matches!(claim(&a_claim(None), Some(&immediate), &[]), Wish::Refuse(_)));
}

#[test]
fn a_folder_goes_with_its_claim_if_it_is_to() {
    let nodes = [node("n1", "host-1", "True")];
    let made = |phase: &str, policy: &str| {
        let Wish::Make { mut volume, .. } = claim(&a_claim(Some("n1")), Some(&class()), &nodes) else {
            panic!("nothing is made");
        };
        volume["status"]["phase"] = phase.into();
        volume["spec"]["persistentVolumeReclaimPolicy"] = policy.into();
        *volume
    };
    let deleting = |mut one: Value| {
        one["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        one
    };
    let here = || Fate::Deleted(Some("n1".to_owned()));
    assert_eq!(volume(&made("Bound", "Delete"), &nodes), Fate::Stays);
    assert_eq!(volume(&made("Released", "Delete"), &nodes), here());
    assert_eq!(volume(&made("Released", "Retain"), &nodes), Fate::Stays);
    assert_eq!(volume(&made("Released", "Delete"), &[]), Fate::Deleted(None));
    assert_eq!(volume(&deleting(made("Bound", "Delete")), &nodes), Fate::Stays);
    assert_eq!(volume(&deleting(made("Available", "Delete")), &nodes), here());
    assert_eq!(volume(&deleting(made("Released", "Retain")), &nodes), Fate::Forgotten);
    let mut other = made("Released", "Delete");
    other["metadata"]["annotations"] = json!({});
    assert_eq!(volume(&other, &nodes), Fate::Stays);
}
