//! Pods beside others, by table.

use super::*;
use crate::pod::qos;
use bytes::Bytes;
use gifee_base::quantity::Format;
use serde_json::json;

fn pod(spec: Value) -> Pod {
    let mut spec = spec;
    if spec["containers"].is_null() {
        spec["containers"] = json!([{"name": "main"}]);
    }
    serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec})).unwrap()
}

fn asks(cpu: &str, memory: &str) -> Value {
    json!({"containers": [{"name": "main", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]})
}

fn listens(address: &str, protocol: &str, number: i32) -> Value {
    json!({"containers": [{"name": "main",
        "ports": [{"containerPort": 80, "hostPort": number, "hostIP": address, "protocol": protocol}]}]})
}

/// Beside pods with these specs, on a node with two processors, 1,000 bytes and room for three.
fn check(spec: Value, others: &[Value], expect: &str) {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": {"disk": "ssd"}},
        "spec": {"taints": [{"key": "out", "effect": "NoExecute"}, {"key": "full", "effect": "NoSchedule"}]}});
    let node = Object::received(Bytes::from(node.to_string())).unwrap();
    let units = |value| Quantity::from_units(value, Format::DecimalSi);
    let allocatable = [("cpu", 2), ("memory", 1000), ("pods", 3)];
    let allocatable = allocatable.map(|(name, value)| (name.to_owned(), units(value))).into();
    let taken: Vec<Taken> = others.iter().map(|spec| Taken::by(&pod(spec.clone()))).collect();
    let mut spec = spec;
    if spec["tolerations"].is_null() {
        spec["tolerations"] = json!([{"operator": "Exists"}]);
    }
    let got = match admit(&pod(spec.clone()), Some(&node), &allocatable, taken.iter()) {
        Ok(()) => "taken".to_owned(),
        Err(refusal) => format!("{}: {}", refusal.reason, refusal.message),
    };
    assert_eq!(got, expect, "{spec} beside {others:?}");
}

#[test]
fn room_is_what_others_left() {
    check(asks("2", "1000"), &[], "taken");
    check(asks("1500m", "1"), &[asks("500m", "1")], "taken");
    check(
        asks("1501m", "1"),
        &[asks("500m", "1")],
        "OutOfcpu: Node didn't have enough resource: cpu, requested: 1501, used: 500, capacity: 2000",
    );
    check(
        asks("0", "600"),
        &[asks("0", "300"), asks("0", "200")],
        "OutOfmemory: Node didn't have enough resource: memory, requested: 600, used: 500, capacity: 1000",
    );
    check(
        json!({}),
        &[json!({}), json!({}), json!({})],
        "OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3",
    );
    let limits =
        json!({"containers": [{"name": "main", "resources": {"requests": {"example.com/gpu": "1"}}}]});
    check(limits, &[], "taken");
}

#[test]
fn ports_are_used_once() {
    let refused =
        "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    check(listens("", "TCP", 80), &[listens("", "TCP", 80)], refused);
    check(listens("", "TCP", 80), &[listens("", "UDP", 80)], "taken");
    check(listens("10.0.0.1", "TCP", 80), &[listens("10.0.0.2", "TCP", 80)], "taken");
    check(listens("10.0.0.1", "TCP", 80), &[listens("0.0.0.0", "TCP", 80)], refused);
    check(listens("", "TCP", 80), &[listens("", "TCP", 81)], "taken");
}

#[test]
fn the_node_has_to_be_one_that_is_wanted() {
    let refused =
        "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    check(json!({"nodeSelector": {"disk": "ssd"}}), &[], "taken");
    check(json!({"nodeSelector": {"disk": "tape"}}), &[], refused);
    let on = |name: &str| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": [name]}]}]}}}})
    };
    check(on("n"), &[], "taken");
    check(on("m"), &[], refused);
    check(
        json!({"tolerations": []}),
        &[],
        "TaintToleration: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
    );
    check(json!({"tolerations": [{"key": "out", "operator": "Exists"}]}), &[], "taken");
    check(
        json!({"os": {"name": "windows"}}),
        &[],
        "PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS",
    );
}

/// Who goes of these pods (class, amounts of processor in thousandths), for a shortage of so much.
fn goes(short: i64, pods: &[(&str, qos::Class, &str)], expect: Option<&str>) {
    let taken: Vec<Taken> = pods.iter().map(|(_, _, cpu)| Taken::by(&pod(asks(cpu, "0")))).collect();
    let both = pods.iter().zip(&taken);
    let candidates: Vec<preemption::Candidate<'_>> =
        both.map(|((uid, class, _), taken)| preemption::Candidate { uid, taken, class: *class }).collect();
    let short = [("cpu".to_owned(), short)].into();
    let victims = preemption::victims(&short, &candidates).map(|all| all.join(" "));
    assert_eq!(victims.as_deref(), expect, "{short:?} of {pods:?}");
}

#[test]
fn as_few_and_as_little_as_can_be_make_room_for_critical_pods() {
    use qos::Class::{BestEffort, Burstable, Guaranteed};
    let pods = [
        ("effort", BestEffort, "0"),
        ("small", Burstable, "100m"),
        ("middle", Burstable, "300m"),
        ("large", Burstable, "500m"),
        ("sure", Guaranteed, "400m"),
    ];
    goes(100, &pods, Some("small"));
    goes(250, &pods, Some("middle"));
    goes(600, &pods, Some("large small"));
    goes(1000, &pods, Some("large small sure"));
    goes(1400, &pods, None);
}
