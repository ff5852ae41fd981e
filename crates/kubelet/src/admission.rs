//! Whether a pod that was given to this node can be taken on beside those that are there.
//!
//! Invariant: pure; whoever bound the pod may have known less than the node does. Answers to the kubelet's
//! `lifecycle/predicate.go` and to the scheduler's `AdmissionCheck`.

use std::collections::BTreeMap;

use gifee_base::{NodeSelector, Object, Quantity};
use gifee_policy::placement;
use gifee_policy::resources::{Amounts, Counting, add, requests};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::pod::members;
use crate::pod::{Member, Role};

pub mod preemption;
#[cfg(test)]
mod tests;

/// What pods count as: what they were given, which stands in their place here, and what running them takes.
const COUNTING: Counting = Counting { given: false, overhead: true };
/// Addresses that stand for all.
const ALL: [&str; 3] = ["", "0.0.0.0", "::"];

/// A port of the node: address, protocol, number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Port {
    address: String,
    protocol: String,
    number: i32,
}

impl Port {
    fn conflicts(&self, other: &Port) -> bool {
        let all = |port: &Port| ALL.contains(&&*port.address);
        self.number == other.number
            && self.protocol == other.protocol
            && (self.address == other.address || all(self) || all(other))
    }
}

/// What a pod takes of its node.
#[derive(Clone, Debug)]
pub struct Taken {
    asked: Amounts,
    ports: Vec<Port>,
}

impl Taken {
    /// By a pod.
    pub fn by(pod: &Pod) -> Taken {
        let tree = serde_json::to_value(pod).unwrap_or_default();
        let members = members::members(pod);
        let stays = |member: &&Member| matches!(member.role, Role::Main | Role::Sidecar);
        let ports = members.iter().filter(stays).flat_map(|member| member.container.ports.iter().flatten());
        let ports = ports.filter_map(|port| {
            Some(Port {
                address: port.host_ip.clone().unwrap_or_default(),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                number: port.host_port.filter(|number| *number > 0)?,
            })
        });
        Taken { asked: requests(&tree, COUNTING), ports: ports.collect() }
    }
}

/// Why a pod is not taken on.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `OutOfcpu`, `NodePorts` and the like.
    pub reason: String,
    /// In whole words.
    pub message: String,
}

fn predicate(name: &str, why: &str) -> Refusal {
    Refusal { reason: name.to_owned(), message: format!("Predicate {name} failed: {why}") }
}

/// Decides about a pod. `node` is the node's object, if it is known; `others` is what pods that run take.
///
/// # Errors
/// The first reason against it.
pub fn admit<'a>(
    pod: &Pod,
    node: Option<&Object>,
    allocatable: &BTreeMap<String, Quantity>,
    others: impl Iterator<Item = &'a Taken>,
) -> Result<(), Refusal> {
    let tree = serde_json::to_value(pod).unwrap_or_default();
    if tree["spec"]["os"]["name"].as_str().is_some_and(|name| name != "linux") {
        let message = "Failed to admit pod as the OS field doesn't match node OS";
        return Err(Refusal { reason: "PodOSNotSupported".to_owned(), message: message.to_owned() });
    }
    let own = Taken::by(pod);
    let (mut used, mut count, mut busy) = (Amounts::new(), 0, false);
    for other in others {
        add(&mut used, &other.asked);
        count += 1;
        busy |= own.ports.iter().any(|port| other.ports.iter().any(|one| one.conflicts(port)));
    }
    room(&own.asked, &used, count, allocatable)?;
    if let Some(node) = node {
        let spec = &tree["spec"];
        let required = NodeSelector::required(spec);
        if !placement::selected(spec, node) || !placement::wanted(required.as_ref(), node) {
            return Err(predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"));
        }
    }
    if busy {
        return Err(predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports"));
    }
    let node = node.and_then(|node| node.to_value().ok()).unwrap_or_default();
    let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
    let leaves =
        |taint: &Value| taint["effect"] == "NoExecute" && !placement::tolerated(&tree["spec"], taint);
    if taints.any(leaves) {
        return Err(predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate"));
    }
    Ok(())
}

/// What lacks for a pod beside others.
pub fn shortage<'a>(
    pod: &Pod,
    allocatable: &BTreeMap<String, Quantity>,
    others: impl Iterator<Item = &'a Taken>,
) -> preemption::Shortage {
    let (mut used, mut count) = (Amounts::new(), 0);
    for other in others {
        add(&mut used, &other.asked);
        count += 1;
    }
    let mut short = preemption::Shortage::new();
    for (name, wanted) in &Taken::by(pod).asked {
        let Some(capacity) = allocatable.get(name) else { continue };
        let used = used.get(name).map_or(0, |used| unit(name, used));
        let wanted = unit(name, wanted);
        let lack = wanted.saturating_sub(unit(name, capacity).saturating_sub(used));
        if wanted > 0 && lack > 0 {
            short.insert(name.clone(), lack);
        }
    }
    let lack = count + 1 - allocatable.get("pods").map_or(i64::MAX, Quantity::value);
    if lack > 0 {
        short.insert("pods".to_owned(), lack);
    }
    short
}

/// Decides whether a pod that runs can be given other resources, which stand in its spec.
///
/// # Errors
/// `Infeasible` if it never can be, `Deferred` if others have to make room.
pub fn resize<'a>(
    pod: &Pod,
    allocatable: &BTreeMap<String, Quantity>,
    others: impl Iterator<Item = &'a Taken>,
) -> Result<Taken, (&'static str, String)> {
    if pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key("kubernetes.io/config.mirror")) {
        return Err(("Infeasible", "In-place resize of static-pods is not supported".to_owned()));
    }
    let own = Taken::by(pod);
    for name in ["memory", "cpu"] {
        let (Some(wanted), Some(capacity)) = (own.asked.get(name), allocatable.get(name)) else { continue };
        let (wanted, capacity) = (unit(name, wanted), unit(name, capacity));
        if wanted > capacity {
            let why = format!("{name}, requested: {wanted}, capacity: {capacity}");
            return Err(("Infeasible", format!("Node didn't have enough capacity: {why}")));
        }
    }
    let (mut used, mut count) = (Amounts::new(), 0);
    for other in others {
        add(&mut used, &other.asked);
        count += 1;
    }
    room(&own.asked, &used, count, allocatable).map_err(|refusal| ("Deferred", refusal.message))?;
    Ok(own)
}

/// The kernel shares processors by thousandths, everything else is whole.
fn unit(name: &str, amount: &Quantity) -> i64 {
    if name == "cpu" { amount.milli() } else { amount.value() }
}

/// Whether there is room. What the node does not have at all is somebody else's to give.
fn room(
    asked: &Amounts,
    used: &Amounts,
    count: i64,
    allocatable: &BTreeMap<String, Quantity>,
) -> Result<(), Refusal> {
    let lacks = |name: &str, asked: i64, used: i64, capacity: i64| Refusal {
        reason: format!("OutOf{name}"),
        message: format!(
            "Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {capacity}"
        ),
    };
    let pods = allocatable.get("pods").map_or(i64::MAX, Quantity::value);
    if count + 1 > pods {
        return Err(lacks("pods", 1, count, pods));
    }
    let first = ["cpu", "memory", "ephemeral-storage"];
    let rest = asked.keys().map(String::as_str).filter(|name| !first.contains(name));
    for name in first.into_iter().chain(rest) {
        let (Some(wanted), Some(capacity)) = (asked.get(name), allocatable.get(name)) else { continue };
        let wanted = unit(name, wanted);
        let used = used.get(name).map_or(0, |used| unit(name, used));
        let capacity = unit(name, capacity);
        if wanted > 0 && wanted > capacity.saturating_sub(used) {
            return Err(lacks(name, wanted, used, capacity));
        }
    }
    Ok(())
}
