//! Single decisions: what each plugin filters, prefers and says.

use super::{cluster, node_with, outcome, pod, pod_with};
use crate::budgets::Budgets;
use serde_json::{Value, json};

fn check(nodes: &[Value], placed: &[(&str, Value)], spec: &Value, expected: &str) {
    let mut cluster = cluster(nodes, placed);
    let outcome = outcome(&mut cluster, &Budgets::default(), &pod(&pod_with("web", spec)));
    assert_eq!(outcome, expected, "{spec}");
}

/// Two nodes; only the second has what a change gives it.
fn second(changes: &Value) -> [Value; 2] {
    [node_with("one", &json!({})), node_with("two", changes)]
}

const HELPLESS: &str = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
const NO_VICTIMS: &str =
    "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";

fn refused(reason: &str, preemption: &str) -> String {
    format!("0/1 nodes are available: {reason}. {preemption}")
}

#[test]
fn resources_must_fit() {
    let one = [node_with("one", &json!({}))];
    let half = ("one", json!({ "cpu": "500m", "memory": "512Mi" }));
    let fits = json!({ "cpu": "500m", "memory": "512Mi" });
    check(&one, std::slice::from_ref(&half), &fits, "one");
    let both = json!({ "cpu": "501m", "memory": "513Mi" });
    let message = refused("1 Insufficient cpu, 1 Insufficient memory", NO_VICTIMS);
    check(&one, std::slice::from_ref(&half), &both, &message);
    check(&one, &[half], &json!({}), "one");
    let never = refused("1 Insufficient cpu", HELPLESS);
    check(&one, &[], &json!({ "cpu": "1001m" }), &never);
    let extended = json!({ "containers": [{ "name": "c", "resources": {
        "requests": { "example.com/gpu": "1" }, "limits": { "example.com/gpu": "1" } } }] });
    check(&one, &[], &extended, &refused("1 Insufficient example.com/gpu", HELPLESS));
    let gpus = json!({ "status": { "allocatable": { "example.com/gpu": "1" } } });
    check(&second(&gpus), &[], &extended, "two");
    let full = [node_with("one", &json!({ "status": { "allocatable": { "pods": "1" } } }))];
    check(&full, &[("one", json!({}))], &json!({}), &refused("1 Too many pods", NO_VICTIMS));
}

#[test]
fn a_pod_that_may_not_preempt_says_so() {
    let one = [node_with("one", &json!({}))];
    let spec = json!({ "cpu": "2", "preemptionPolicy": "Never" });
    let message = refused("1 Insufficient cpu", "preemption: not eligible due to preemptionPolicy=Never.");
    check(&one, &[], &spec, &message);
}

#[test]
fn taints_and_cordons_must_be_tolerated() {
    let tainted = json!({ "spec": { "taints": [{ "key": "own", "value": "db", "effect": "NoSchedule" }] } });
    let one = [node_with("one", &tainted)];
    check(&one, &[], &json!({}), &refused("1 node(s) had untolerated taint(s)", HELPLESS));
    for toleration in [
        json!({ "key": "own", "operator": "Equal", "value": "db", "effect": "NoSchedule" }),
        json!({ "key": "own", "value": "db" }),
        json!({ "key": "own", "operator": "Exists" }),
        json!({ "operator": "Exists" }),
    ] {
        check(&one, &[], &json!({ "tolerations": [toleration] }), "one");
    }
    let other = json!({ "tolerations": [{ "key": "own", "value": "web" }] });
    check(&one, &[], &other, &refused("1 node(s) had untolerated taint(s)", HELPLESS));

    let cordoned = [node_with("one", &json!({ "spec": { "unschedulable": true } }))];
    check(&cordoned, &[], &json!({}), &refused("1 node(s) were unschedulable", HELPLESS));
    let toleration = json!({ "key": "node.kubernetes.io/unschedulable", "operator": "Exists" });
    check(&cordoned, &[], &json!({ "tolerations": [toleration] }), "one");

    let soft = json!({ "spec": { "taints": [{ "key": "old", "effect": "PreferNoSchedule" }] } });
    check(&[node_with("one", &soft), node_with("two", &json!({}))], &[], &json!({}), "two");
}

#[test]
fn selectors_and_affinity_choose_nodes() {
    let ssd = json!({ "metadata": { "labels": { "disk": "ssd", "rank": "7" } } });
    let nodes = second(&ssd);
    check(&nodes, &[], &json!({ "nodeSelector": { "disk": "ssd" } }), "two");
    let required = |term: Value| {
        json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [term] } } } })
    };
    for expression in [
        json!({ "key": "disk", "operator": "In", "values": ["nvme", "ssd"] }),
        json!({ "key": "disk", "operator": "Exists" }),
        json!({ "key": "rank", "operator": "Gt", "values": ["6"] }),
        json!({ "key": "rank", "operator": "Lt", "values": ["8"] }),
        json!({ "key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["one"] }),
    ] {
        check(&nodes, &[], &required(json!({ "matchExpressions": [expression] })), "two");
    }
    let absent = json!({ "matchExpressions": [{ "key": "disk", "operator": "DoesNotExist" }] });
    check(&nodes, &[], &required(absent), "one");
    let named = json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["two"] }] });
    check(&nodes, &[], &required(named), "two");

    let one = [node_with("one", &json!({}))];
    let none = refused("1 node(s) didn't match Pod's node affinity/selector", HELPLESS);
    check(&one, &[], &json!({ "nodeSelector": { "disk": "ssd" } }), &none);
    check(&one, &[], &required(json!({})), &none);
    let elsewhere = json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["x"] }] });
    check(
        &one,
        &[],
        &required(elsewhere),
        &refused("1 node(s) didn't satisfy plugin(s) [NodeAffinity]", HELPLESS),
    );
    let preferred = json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
        { "weight": 5, "preference": { "matchExpressions": [{ "key": "disk", "operator": "Exists" }] } },
    ] } } });
    check(&nodes, &[], &preferred, "two");
}

#[test]
fn host_ports_conflict_by_address_protocol_and_number() {
    let one = [node_with("one", &json!({}))];
    let port = |ip: &str, protocol: &str, number: u16| json!({ "ports": [{ "containerPort": 80, "hostPort": number, "hostIP": ip, "protocol": protocol }] });
    let conflict = refused("1 node(s) didn't have free ports for the requested pod ports", NO_VICTIMS);
    for (used, wanted, expected) in [
        (port("", "TCP", 80), port("", "TCP", 80), &*conflict),
        (port("", "TCP", 80), port("127.0.0.1", "TCP", 80), &conflict),
        (port("127.0.0.1", "TCP", 80), port("0.0.0.0", "TCP", 80), &conflict),
        (port("127.0.0.1", "TCP", 80), port("127.0.0.2", "TCP", 80), "one"),
        (port("", "TCP", 80), port("", "UDP", 80), "one"),
        (port("", "TCP", 80), port("", "TCP", 81), "one"),
    ] {
        check(&one, &[("one", used)], &wanted, expected);
    }
}

#[test]
fn emptier_and_more_balanced_nodes_are_preferred() {
    let nodes = second(&json!({}));
    check(&nodes, &[("one", json!({ "cpu": "200m", "memory": "200Mi" }))], &json!({}), "two");
    // Equally much is left on both, but this pod would leave the second with an even rest.
    let placed = [
        ("one", json!({ "cpu": "600m", "memory": "102Mi" })),
        ("two", json!({ "cpu": "100m", "memory": "614Mi" })),
    ];
    check(&nodes, &placed, &json!({ "cpu": "300m", "memory": "1Mi" }), "two");
}

#[test]
fn nodes_that_have_the_image_are_preferred() {
    let image = json!({ "status": { "images": [{ "names": ["web:latest"], "sizeBytes": 900_000_000 }] } });
    check(&second(&image), &[], &json!({}), "two");
}

#[test]
fn without_nodes_there_is_no_place() {
    check(&[], &[], &json!({}), "no nodes available to schedule pods");
}

#[test]
fn what_an_agent_must_know_of_it_must_declare() {
    let nodes = second(&json!({ "status": { "declaredFeatures":
        ["RestartAllContainersOnContainerExits", "UserNamespacesHostNetworkSupport"] } }));
    let rule =
        json!([{ "action": "RestartAllContainers", "exitCodes": { "operator": "In", "values": [1] } }]);
    let all = json!({ "containers": [{ "name": "c", "restartPolicyRules": rule }] });
    let users = json!({ "hostNetwork": true, "hostUsers": false });
    for spec in [&all, &users] {
        check(&nodes, &[], spec, "two");
        let message = refused("1 node(s) didn't match Pod's required features", HELPLESS);
        check(&nodes[..1], &[], spec, &message);
    }
    for spec in [json!({ "hostNetwork": true }), json!({ "hostUsers": false })] {
        check(&nodes[..1], &[], &spec, "one");
    }
}

#[test]
fn a_declared_feature_wakes_who_waits_for_it() {
    let now = tokio::time::Instant::now();
    let mut scheduler = crate::scheduler::Scheduler::new("default-scheduler", 1);
    let mut tree = node_with("one", &json!({}));
    scheduler.replace_nodes(vec![super::node(&tree)], now);
    let web = pod_with("web", &json!({ "hostNetwork": true, "hostUsers": false }));
    scheduler.replace_pods(vec![pod(&web)], now);
    assert!(matches!(scheduler.next(now), Some(crate::Step::Report(_))));
    tree["metadata"]["labels"]["other"] = "x".into();
    scheduler.node_changed(super::node(&tree), now);
    assert!(scheduler.next(now).is_none());
    tree["status"]["declaredFeatures"] = json!(["UserNamespacesHostNetworkSupport"]);
    scheduler.node_changed(super::node(&tree), now);
    let later = now + std::time::Duration::from_secs(60);
    assert!(matches!(scheduler.next(later), Some(crate::Step::Bind(_))));
}
