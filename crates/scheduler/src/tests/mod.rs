//! The scheduler against fixtures, a reference, a simulation and a fake server.

mod around;
mod configured;
mod decode;
mod devices;
mod extenders;
mod places;
mod preempt;
mod queue;
mod reference;
mod server;
mod simulation;
mod together;
mod volumes;

use crate::budgets::Budgets;
use crate::cluster::Cluster;
use crate::node::Node;
use crate::placement::Placement;
use crate::plugins::Set;
use crate::pod::Pod;
use crate::preemption::Outcome;
use crate::profile::Profile;
use crate::ranking::Rankings;
use crate::selectors::Selectors;
use crate::{decode as decoding, preemption};
use gifee_base::Object;
use serde_json::{Value, json};

fn object(value: &Value) -> Object {
    Object::received(value.to_string().into()).unwrap()
}

fn node(value: &Value) -> Node {
    Node::decode(&object(value)).unwrap()
}

fn pod(value: &Value) -> Pod {
    decoding::pod(&object(value)).unwrap()
}

/// A node of 1 CPU, 1 GiB and 10 pods, with changes.
fn node_with(name: &str, changes: &Value) -> Value {
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "spec": {},
        "status": { "allocatable": { "cpu": "1", "memory": "1Gi", "pods": "10" } },
    });
    merge(&mut node, changes);
    node
}

/// A pod of one container with a spec; `cpu` and `memory` in it are the container's requests, `ports` its ports.
fn pod_with(name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    let map = spec.as_object_mut().unwrap();
    let (cpu, memory) = (map.remove("cpu"), map.remove("memory"));
    let ports = map.remove("ports").unwrap_or_default();
    let mut requests = json!({});
    for (key, value) in [("cpu", cpu), ("memory", memory)] {
        if let Some(value) = value {
            requests[key] = value;
        }
    }
    if !map.contains_key("containers") {
        let container =
            json!({ "name": "c", "image": "web", "resources": { "requests": requests }, "ports": ports });
        map.insert("containers".into(), json!([container]));
    }
    map.entry("schedulerName").or_insert("default-scheduler".into());
    json!({
        "apiVersion": "v1", "kind": "Pod", "spec": spec, "status": { "phase": "Pending" },
        "metadata": { "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "generation": 1 },
    })
}

fn merge(target: &mut Value, changes: &Value) {
    match (target, changes) {
        (Value::Object(target), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(target.entry(key.as_str()).or_insert(Value::Null), change);
            }
        }
        (target, changes) => *target = changes.clone(),
    }
}

fn cluster(nodes: &[Value], placed: &[(&str, Value)]) -> Cluster {
    let mut cluster = Cluster::default();
    for value in nodes {
        cluster.put_node(node(value));
    }
    for (number, (name, spec)) in placed.iter().enumerate() {
        let pod = pod(&pod_with(&format!("placed-{number}"), spec));
        cluster.place(&pod, &(*name).into(), true);
    }
    cluster
}

/// The name of the node, or the message why there is none, or who must leave which node.
fn outcome(cluster: &mut Cluster, budgets: &Budgets, pod: &Pod) -> String {
    let profile = Profile::new("default-scheduler");
    let spread = Selectors::default().spread(&profile, &pod.template);
    let mut rankings = Rankings::default();
    let ranking = rankings.of(cluster, &profile, pod, spread);
    let diagnosis = match ranking.choose(cluster, &profile, pod, &mut || 0) {
        Placement::Node(index) => return cluster.node(index).name.to_string(),
        Placement::None(diagnosis) => diagnosis,
    };
    if diagnosis.nodes == 0 {
        return diagnosis.message();
    }
    let search = preemption::Search { cluster, profile: &profile, pod, budgets, random: 0, all: false };
    let all = preemption::Search { all: true, ..search };
    let all = all.find(ranking, &diagnosis, &mut Set::default());
    match search.find(ranking, &diagnosis, &mut Set::default()) {
        Outcome::None(why) | Outcome::Waiting(why) => format!("{} {why}", diagnosis.message()),
        Outcome::Several(_) => unreachable!("only one is wanted"),
        Outcome::Found(candidate) => {
            let Outcome::Several(all) = all else { panic!("one of several") };
            assert_eq!(preemption::best(all).unwrap().victims.len(), candidate.victims.len());
            let victims: Vec<&str> = candidate.victims.iter().map(|(key, _)| &*key.name).collect();
            format!("{} without {}", cluster.node(candidate.node).name, victims.join(" "))
        }
    }
}
