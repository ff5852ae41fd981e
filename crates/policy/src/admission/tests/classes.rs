//! Rules that fill in defaults of the cluster: classes, finalizers, overhead, labels of the node.

use super::*;

fn classes() -> World {
    let mut world = world();
    let class = |name: &str, since: &str| {
        json!({ "metadata": { "name": name, "creationTimestamp": since,
            "annotations": { "storageclass.kubernetes.io/is-default-class": "true" } }, "allowVolumeExpansion": true })
    };
    world.add("storage.k8s.io", "storageclasses", class("old", "2020-01-01T00:00:00Z"));
    world.add("storage.k8s.io", "storageclasses", class("young", "2021-01-01T00:00:00Z"));
    world.add(
        "networking.k8s.io",
        "ingressclasses",
        json!({ "metadata": { "name": "i", "annotations": { "ingressclass.kubernetes.io/is-default-class": "true" } } }),
    );
    world.add(
        "node.k8s.io",
        "runtimeclasses",
        json!({ "metadata": { "name": "r" }, "overhead": { "podFixed": { "cpu": "100m" } },
            "scheduling": { "nodeSelector": { "x": "y" }, "tolerations": [{ "key": "t", "operator": "Exists" }] } }),
    );
    world.add(
        "",
        "nodes",
        json!({ "metadata": { "name": "n", "labels": { "topology.kubernetes.io/zone": "z", "other": "o" } } }),
    );
    world
}

fn made(ask: &Ask<'_>, object: Value) -> Result<Value, String> {
    run_in(&classes(), &Chain::default(), ask, object).map(|outcome| outcome.0)
}

#[test]
fn claims_and_ingresses_get_the_default_class() {
    let claim = Ask { kind: ("", "PersistentVolumeClaim", "persistentvolumeclaims"), ..Ask::default() };
    let object = made(&claim, json!({ "spec": {} })).unwrap();
    assert_eq!(object["spec"]["storageClassName"], "young");
    assert_eq!(object["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let none = made(&claim, json!({ "spec": { "storageClassName": "" } })).unwrap();
    assert_eq!(none["spec"]["storageClassName"], "");
    let ingress = Ask { kind: ("networking.k8s.io", "Ingress", "ingresses"), ..Ask::default() };
    assert_eq!(made(&ingress, json!({ "spec": {} })).unwrap()["spec"]["ingressClassName"], "i");
    let annotated =
        json!({ "metadata": { "annotations": { "kubernetes.io/ingress.class": "x" } }, "spec": {} });
    assert!(made(&ingress, annotated).unwrap()["spec"]["ingressClassName"].is_null());
}

#[test]
fn claims_grow_only_where_they_can() {
    let claim = |storage: &str, class: &str, phase: &str| {
        json!({ "spec": { "storageClassName": class, "resources": { "requests": { "storage": storage } } },
            "status": { "phase": phase } })
    };
    let ask = |old| Ask {
        operation: Operation::Update,
        kind: ("", "PersistentVolumeClaim", "persistentvolumeclaims"),
        old: Some(old),
        ..Ask::default()
    };
    assert!(made(&ask(claim("1Gi", "old", "Bound")), claim("2Gi", "old", "Bound")).is_ok());
    let refused = made(&ask(claim("1Gi", "old", "Pending")), claim("2Gi", "old", "Pending")).unwrap_err();
    assert!(refused.ends_with("Only bound persistent volume claims can be expanded"), "{refused}");
    let refused = made(&ask(claim("1Gi", "none", "Bound")), claim("2Gi", "none", "Bound")).unwrap_err();
    assert!(refused.contains("only dynamically provisioned pvc can be resized"), "{refused}");
}

#[test]
fn runtime_classes_must_be_there_and_say_overhead_and_place() {
    let pod = |class: &str| json!({ "spec": { "serviceAccountName": "bare", "runtimeClassName": class, "containers": [{ "name": "c" }] } });
    let object = made(&Ask::default(), pod("r")).unwrap();
    assert_eq!(object["spec"]["overhead"], json!({ "cpu": "100m" }));
    assert_eq!(object["spec"]["nodeSelector"], json!({ "x": "y" }));
    assert!(object["spec"]["tolerations"].as_array().unwrap().iter().any(|one| one["key"] == "t"));
    assert_eq!(
        made(&Ask::default(), pod("none")).unwrap_err(),
        "pods \"p\" is forbidden: pod rejected: RuntimeClass \"none\" not found"
    );
    let mut other = pod("r");
    other["spec"]["overhead"] = json!({ "cpu": "1" });
    assert!(
        made(&Ask::default(), other).unwrap_err().contains("doesn't match RuntimeClass's defined Overhead")
    );
    let mut own = pod("r");
    own["spec"]["nodeSelector"] = json!({ "x": "other" });
    assert!(
        made(&Ask::default(), own)
            .unwrap_err()
            .contains("conflict: runtimeClass.scheduling.nodeSelector[x] = y")
    );
}

#[test]
fn bindings_bring_the_labels_of_the_node() {
    let ask = Ask { subresource: "binding", ..Ask::default() };
    let binding = made(&ask, json!({ "target": { "kind": "Node", "name": "n" } })).unwrap();
    assert_eq!(binding["metadata"]["labels"], json!({ "topology.kubernetes.io/zone": "z" }));
    assert!(made(&ask, json!({ "target": { "name": "none" } })).unwrap()["metadata"].is_null());
}
