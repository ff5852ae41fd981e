//! Pods with claims: where they may run, and what is decided of the claims.

use super::{merge, node, node_with, object, pod, pod_with};
use crate::scheduler::{Scheduler, Step};
use crate::storage::{Bindings, Kind};
use gifee_base::ObjectKey;
use serde_json::{Value, json};
use tokio::time::Instant;

fn claim(name: &str, changes: &Value) -> Value {
    let mut claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": name, "namespace": "shop", "uid": format!("uid-{name}") },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } },
            "storageClassName": "late" },
    });
    merge(&mut claim, changes);
    claim
}

fn bound(name: &str, volume: &str) -> Value {
    claim(
        name,
        &json!({ "metadata": { "annotations": { "pv.kubernetes.io/bind-completed": "yes" } },
            "spec": { "volumeName": volume } }),
    )
}

fn volume(name: &str, on: &str, changes: &Value) -> Value {
    let mut volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": name },
        "spec": { "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "2Gi" }, "storageClassName": "late",
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                { "key": "kubernetes.io/hostname", "operator": "In", "values": [on] }] }] } } },
        "status": { "phase": "Available" },
    });
    merge(&mut volume, changes);
    volume
}

fn class(name: &str, provisioner: &str, changes: &Value) -> Value {
    let mut class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": name },
        "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer",
    });
    merge(&mut class, changes);
    class
}

fn kind(tree: &Value) -> Kind {
    match tree["kind"].as_str().unwrap() {
        "PersistentVolumeClaim" => Kind::Claim,
        "PersistentVolume" => Kind::Volume,
        "StorageClass" => Kind::Class,
        "CSINode" => Kind::Node,
        "CSIDriver" => Kind::Driver,
        _ => Kind::Capacity,
    }
}

/// Two nodes, in zones a and b.
fn scheduler(stored: &[Value]) -> Scheduler {
    let now = Instant::now();
    let mut scheduler = Scheduler::new("default-scheduler", 1);
    let nodes = [("one", "a"), ("two", "b")].map(|(name, zone)| {
        node(&node_with(name, &json!({ "metadata": { "labels": { "topology.kubernetes.io/zone": zone } } })))
    });
    scheduler.replace_nodes(nodes.into(), now);
    scheduler.replace_pods(Vec::new(), now);
    for tree in stored {
        scheduler.cluster.storage.put(kind(tree), &object(tree)).unwrap();
    }
    scheduler
}

fn using(name: &str, claims: &[&str]) -> Value {
    let volumes: Vec<Value> = claims
        .iter()
        .map(|claim| json!({ "name": claim, "persistentVolumeClaim": { "claimName": claim } }))
        .collect();
    pod_with(name, &json!({ "volumes": volumes }))
}

/// Node and what is decided of the claims, or the message.
fn next(scheduler: &mut Scheduler, tree: &Value) -> Result<(String, Bindings), String> {
    let now = Instant::now();
    scheduler.pod_changed(pod(tree), now);
    match scheduler.next(now) {
        Some(Step::Bind(binding)) => Ok((binding.node.to_string(), binding.volumes)),
        Some(Step::Report(report)) => Err(report.message),
        other => panic!("{other:?}"),
    }
}

fn check(stored: &[Value], claims: &[&str], expected: Result<(&str, Bindings), &str>) {
    let outcome = next(&mut scheduler(stored), &using("web", claims));
    assert_eq!(
        outcome,
        expected.map(|(node, bindings)| (node.to_owned(), bindings)).map_err(|why| {
            format!(
                "0/2 nodes are available: {why}. no new claims to deallocate, preemption: 0/2 nodes are available: \
                 2 Preemption is not helpful for scheduling."
            )
        })
    );
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

#[test]
fn claims_must_be_there_and_bound_unless_they_wait_for_the_pod() {
    check(&[], &["data"], Err("persistentvolumeclaim \"data\" not found"));
    let soon = class("soon", "example.com/disk", &json!({ "volumeBindingMode": "Immediate" }));
    let of_soon = claim("data", &json!({ "spec": { "storageClassName": "soon" } }));
    check(&[soon, of_soon], &["data"], Err("pod has unbound immediate PersistentVolumeClaims"));
    let going = claim("data", &json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }));
    check(&[going], &["data"], Err("persistentvolumeclaim \"data\" is being deleted"));
    let lost = claim("data", &json!({ "spec": { "volumeName": "v" }, "status": { "phase": "Lost" } }));
    let why = "persistentvolumeclaim \"data\" bound to non-existent persistentvolume \"v\"";
    check(&[lost], &["data"], Err(why));
    let why = "2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
    check(&[bound("data", "v")], &["data"], Err(why));
}

#[test]
fn bound_volumes_draw_the_pod_to_their_nodes() {
    let none = Bindings::default;
    check(&[bound("data", "v"), volume("v", "two", &json!({}))], &["data"], Ok(("two", none())));
    let elsewhere = [bound("data", "v"), volume("v", "three", &json!({}))];
    check(&elsewhere, &["data"], Err("2 node(s) had volume node affinity conflict"));
    let anywhere = json!({ "metadata": { "labels": { "topology.kubernetes.io/zone": "c__b" } },
        "spec": { "nodeAffinity": null } });
    check(&[bound("data", "v"), volume("v", "", &anywhere)], &["data"], Ok(("two", none())));
}

#[test]
fn late_claims_get_the_smallest_volume_that_will_do_or_one_made_for_the_node() {
    let class_of = |changes: Value| class("late", "kubernetes.io/no-provisioner", &changes);
    let large = volume("large", "two", &json!({ "spec": { "capacity": { "storage": "9Gi" } } }));
    let taken =
        volume("taken", "one", &json!({ "spec": { "claimRef": { "namespace": "shop", "name": "x" } } }));
    let stored = [
        class_of(json!({})),
        claim("data", &json!({})),
        large,
        taken,
        volume("small", "two", &json!({})),
        volume("tiny", "two", &json!({ "spec": { "capacity": { "storage": "1Mi" } } })),
    ];
    let bind = vec![(key("data"), "small".into())];
    check(&stored, &["data"], Ok(("two", Bindings { bind, provision: Vec::new() })));
    let none = "2 node(s) didn't find available persistent volumes to bind";
    check(&stored[..2], &["data"], Err(none));

    let zone = json!({ "allowedTopologies": [{ "matchLabelExpressions": [
        { "key": "topology.kubernetes.io/zone", "values": ["a"] }] }] });
    let made = [class("late", "example.com/disk", &zone), claim("data", &json!({}))];
    let provision = vec![key("data")];
    let bindings = || Bindings { bind: Vec::new(), provision: provision.clone() };
    check(&made, &["data"], Ok(("one", bindings())));
    let driver = json!({ "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver",
        "metadata": { "name": "example.com/disk" }, "spec": { "storageCapacity": true } });
    let class = class("late", "example.com/disk", &json!({}));
    let tracked = [class, claim("data", &json!({})), driver];
    check(&tracked, &["data"], Err("2 node(s) did not have enough free storage"));
    let room = json!({ "apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity",
        "metadata": { "name": "c", "namespace": "kube-system" }, "storageClassName": "late", "capacity": "5Gi",
        "nodeTopology": { "matchLabels": { "topology.kubernetes.io/zone": "b" } } });
    check(&[&tracked[..], &[room]].concat(), &["data"], Ok(("two", bindings())));
}

#[test]
fn a_decided_volume_is_not_given_twice() {
    let now = Instant::now();
    let mut scheduler = scheduler(&[
        class("late", "kubernetes.io/no-provisioner", &json!({})),
        claim("first", &json!({})),
        claim("second", &json!({})),
        volume("v", "one", &json!({})),
    ]);
    let first = using("web-1", &["first"]);
    assert_eq!(next(&mut scheduler, &first).unwrap().1.bind, [(key("first"), "v".into())]);
    next(&mut scheduler, &using("web-2", &["second"])).unwrap_err();
    // The binding fails, and the volume can be had again.
    scheduler.bind_failed(&pod(&first), true, now);
    scheduler.storage_changed(None, now);
    let Some(Step::Bind(binding)) = scheduler.next(now + std::time::Duration::from_secs(20)) else {
        panic!("it waits")
    };
    assert_eq!(binding.volumes.bind, [(key("second"), "v".into())]);
}

#[test]
fn claims_of_one_pod_and_full_nodes_reject() {
    let one = json!({ "spec": { "accessModes": ["ReadWriteOncePod"] } });
    let mut own = bound("data", "v");
    merge(&mut own, &one);
    let csi = |handle: &str| json!({ "spec": { "nodeAffinity": null, "csi": { "driver": "example.com/disk", "volumeHandle": handle } } });
    let mut with = scheduler(&[own, volume("v", "", &csi("h1"))]);
    next(&mut with, &using("web-1", &["data"])).unwrap();
    let why = next(&mut with, &using("web-2", &["data"])).unwrap_err();
    let reason =
        "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    assert!(why.starts_with(&format!("0/2 nodes are available: {reason}.")), "{why}");

    let limits = |name: &str| {
        json!({ "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": { "name": name },
            "spec": { "drivers": [{ "name": "example.com/disk", "allocatable": { "count": 1 } }] } })
    };
    let mut stored = vec![limits("one"), limits("two")];
    for number in 1..=3 {
        stored.push(bound(&format!("c{number}"), &format!("v{number}")));
        stored.push(volume(&format!("v{number}"), "", &csi(&format!("h{number}"))));
    }
    let mut with = scheduler(&stored);
    next(&mut with, &using("web-1", &["c1"])).unwrap();
    next(&mut with, &using("web-2", &["c2"])).unwrap();
    let why = next(&mut with, &using("web-3", &["c3"])).unwrap_err();
    assert!(why.starts_with("0/2 nodes are available: 2 node(s) exceed max volume count."), "{why}");
    next(&mut with, &using("web-4", &["c1"])).unwrap();
}

#[test]
fn claims_that_tell_no_nodes_apart_cost_no_ranking_of_their_own() {
    let check = |stored: &[Value], expect: bool| {
        let scheduler = scheduler(stored);
        let template = pod(&using("web", &["data"])).template;
        let alone = crate::ranking::is_alone(&scheduler.cluster, &template);
        assert_eq!(alone, !expect, "{stored:?}");
    };
    let late = || class("late", "example.com/disks", &json!({}));
    let anywhere = |changes: Value| {
        let mut volume = volume("v", "one", &json!({}));
        volume["spec"].as_object_mut().unwrap().remove("nodeAffinity");
        merge(&mut volume, &changes);
        volume
    };
    let csi = json!({ "spec": { "csi": { "driver": "d", "volumeHandle": "h" } } });
    let limit = |driver: &str| {
        json!({ "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": { "name": "one" },
            "spec": { "drivers": [{ "name": driver, "nodeID": "one", "allocatable": { "count": 3 } }] } })
    };
    check(&[late(), claim("data", &json!({}))], true);
    check(&[claim("data", &json!({}))], false);
    check(&[late()], false);
    let one_pod = json!({ "spec": { "accessModes": ["ReadWriteOncePod"] } });
    check(&[late(), claim("data", &one_pod)], false);
    check(&[late(), claim("data", &json!({})), anywhere(json!({}))], false);
    let zones = json!({ "allowedTopologies": [{ "matchLabelExpressions":
        [{ "key": "topology.kubernetes.io/zone", "values": ["a"] }] }] });
    check(&[class("late", "example.com/disks", &zones), claim("data", &json!({}))], false);
    check(&[bound("data", "v"), anywhere(json!({}))], true);
    check(&[bound("data", "v"), volume("v", "one", &json!({}))], false);
    let zone = json!({ "metadata": { "labels": { "topology.kubernetes.io/zone": "a" } } });
    check(&[bound("data", "v"), anywhere(zone)], false);
    check(&[bound("data", "v"), anywhere(csi.clone()), limit("other")], true);
    check(&[bound("data", "v"), anywhere(csi), limit("d")], false);
}
