//! What is said of requests that cannot be satisfied, and that nothing is said of others.

use super::*;

fn place() -> World {
    let mut world = world();
    let mut node = |name: &str, disk: &str, memory: &str, taints: Value| {
        world.add(
            "",
            "nodes",
            json!({
                "metadata": { "name": name, "labels": { "disk": disk, "rank": "3" } },
                "spec": { "taints": taints },
                "status": { "allocatable": { "cpu": "2", "memory": memory, "pods": "110" } },
            }),
        );
    };
    node("n1", "hdd", "2Gi", json!([{ "key": "node.kubernetes.io/not-ready", "effect": "NoExecute" }]));
    node("n2", "ssd", "4Gi", json!([]));
    node("n3", "ssd", "64Gi", json!([{ "key": "team", "value": "db", "effect": "NoSchedule" }]));
    let class =
        |name: &str, provisioner: &str| json!({ "metadata": { "name": name }, "provisioner": provisioner });
    world.add("storage.k8s.io", "storageclasses", class("made", "example.com/disk"));
    world.add("storage.k8s.io", "storageclasses", class("local", "kubernetes.io/no-provisioner"));
    world.add(
        "",
        "persistentvolumes",
        json!({
            "metadata": { "name": "v" },
            "spec": { "storageClassName": "local", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "10Gi" } },
            "status": { "phase": "Available" },
        }),
    );
    world.add(
        "",
        "persistentvolumeclaims",
        json!({ "metadata": { "namespace": "a", "name": "data" }, "spec": { "accessModes": ["ReadWriteOnce"] } }),
    );
    world.add("apps", "deployments", workload(&json!({}), 1));
    world
}

fn workload(spec: &Value, replicas: i64) -> Value {
    json!({
        "kind": "Deployment",
        "metadata": { "namespace": "a", "name": "web" },
        "spec": { "replicas": replicas, "template": { "metadata": { "labels": { "app": "web", "tier": "front" } }, "spec": spec } },
    })
}

fn told(world: &World, kind: (&str, &str, &str), object: Value, old: Option<Value>) -> Vec<String> {
    let operation = if old.is_some() { Operation::Update } else { Operation::Create };
    let ask = Ask { operation, kind, old, ..Ask::default() };
    run_in(world, &Chain::new(&[], &["ResourceQuota"]), &ask, object).unwrap().2
}

#[test]
fn pods_that_no_node_could_hold_are_named() {
    let world = place();
    let check = |spec: Value, expect: &[&str]| {
        let pod = json!({ "metadata": { "name": "p" }, "spec": spec });
        assert_eq!(told(&world, ("", "Pod", "pods"), pod, None), expect, "{spec}");
    };
    let asks = |memory: &str| json!([{ "name": "c", "resources": { "requests": { "memory": memory } } }]);
    let prefix = "spec: no node could hold this pod, even an empty one; of 3 nodes:";
    check(json!({ "containers": asks("3Gi") }), &[]);
    check(
        json!({ "containers": asks("8Gi") }),
        &[&format!(
            "{prefix} 1 with the taint {{team: db}} that it does not tolerate, 2 with too little memory (8Gi asked for, 4Gi at most)"
        )],
    );
    check(
        json!({ "containers": asks("8Gi"), "tolerations": [{ "key": "team", "operator": "Equal", "value": "db" }] }),
        &[],
    );
    check(json!({ "containers": asks("8Gi"), "nodeName": "n1" }), &[]);
    check(
        json!({ "containers": [{ "name": "c", "resources": { "requests": { "example.com/gpu": "1" } } }], "nodeSelector": { "disk": "hdd" } }),
        &[&format!(
            "{prefix} 2 without the labels of its nodeSelector, 1 with too little example.com/gpu (1 asked for, 0 at most)"
        )],
    );
    let affinity = |operator: &str, value: &str| {
        let term =
            json!({ "matchExpressions": [{ "key": "rank", "operator": operator, "values": [value] }] });
        let required = json!({ "nodeSelectorTerms": [term] });
        json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": required } } })
    };
    for (operator, value, fits) in
        [("Gt", "2", true), ("Gt", "3", false), ("Lt", "4", true), ("In", "4", false), ("NotIn", "4", true)]
    {
        let expect = format!("{prefix} 3 outside of its node affinity");
        let expect: &[&str] = if fits { &[] } else { &[&expect] };
        check(affinity(operator, value), expect);
    }
    let owned = json!({
        "metadata": { "name": "p", "ownerReferences": [{ "controller": true }] },
        "spec": { "nodeSelector": { "disk": "tape" } },
    });
    assert!(told(&world, ("", "Pod", "pods"), owned, None).is_empty());
}

#[test]
fn templates_are_looked_at_when_they_are_new() {
    let world = place();
    let kind = ("apps", "Deployment", "deployments");
    let object = workload(&json!({ "nodeSelector": { "disk": "tape" } }), 1);
    let said = told(&world, kind, object.clone(), None);
    assert!(said[0].starts_with("spec.template.spec: no node could hold this pod"), "{said:?}");
    assert!(told(&world, kind, object.clone(), Some(object)).is_empty());
    let cron = json!({ "spec": { "jobTemplate": { "spec": { "template": { "spec": { "nodeSelector": { "a": "b" } } } } } } });
    let said = told(&world, ("batch", "CronJob", "cronjobs"), cron, None);
    assert!(said[0].starts_with("spec.jobTemplate.spec.template.spec: no node"), "{said:?}");
}

#[test]
fn claims_that_nothing_provides_are_named() {
    let world = place();
    let check = |class: Value, size: &str, expect: Option<&str>| {
        let mut claim = json!({ "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": size } } } });
        if !class.is_null() {
            claim["spec"]["storageClassName"] = class;
        }
        let said = told(&world, ("", "PersistentVolumeClaim", "persistentvolumeclaims"), claim, None);
        let full = expect
            .map(|why| format!("spec.storageClassName: {why}; the claim stays Pending until there is one"));
        assert_eq!(said, full.into_iter().collect::<Vec<_>>());
    };
    check(json!("made"), "1Ti", None);
    check(json!("local"), "1Gi", None);
    check(
        json!("local"),
        "1Ti",
        Some("StorageClass \"local\" makes no volumes, and no free PersistentVolume of it suits it"),
    );
    check(
        json!("fast"),
        "1Gi",
        Some("there is no StorageClass \"fast\", and no free PersistentVolume of that class suits it"),
    );
    check(
        Value::Null,
        "1Gi",
        Some(
            "names no StorageClass, none is the default, and no free PersistentVolume without a class suits it",
        ),
    );
}

#[test]
fn claims_that_replicas_cannot_share_are_named() {
    let world = place();
    let kind = ("apps", "Deployment", "deployments");
    let spec = json!({ "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }] });
    assert!(told(&world, kind, workload(&spec, 1), None).is_empty());
    let expect = "spec.template.spec.volumes[0]: claim \"data\" is ReadWriteOnce, for the pods of one node at a time: of 3 replicas the others cannot start";
    assert_eq!(told(&world, kind, workload(&spec, 3), None), [expect]);
}

#[test]
fn services_that_miss_what_they_mean_are_named() {
    let world = place();
    let check = |name: &str, selector: Value, expect: &[&str]| {
        let service = json!({ "metadata": { "name": name }, "spec": { "selector": selector } });
        assert_eq!(told(&world, ("", "Service", "services"), service, None), expect, "{selector}");
    };
    check("web", json!({ "app": "web" }), &[]);
    check("other", json!({ "app": "other" }), &[]);
    check("web", json!({}), &[]);
    let near = "Deployment \"web\" makes pods with app=web,tier=front";
    let miss = |wanted: &str| {
        format!("spec.selector: {wanted} selects no pod and no template of the namespace; {near}")
    };
    check("web", json!({ "app": "wbe" }), &[&miss("app=wbe")]);
    check("x", json!({ "app": "web", "tier": "back" }), &[&miss("app=web,tier=back")]);
}
