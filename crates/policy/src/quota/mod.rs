//! What an object counts against quotas, and which quotas it counts against.
//!
//! Invariant: pure; the API server charges by it and the quota controller counts by it, so that both measure
//! alike. Answers to upstream's `pkg/quota/v1` evaluators.

mod claims;
mod pods;
mod scope;
#[cfg(test)]
mod tests;

use crate::resources::{Amounts, amounts};
use gifee_base::Quantity;
use gifee_base::quantity::Format;
use serde_json::Value;

pub use claims::recounts as claim_recounts;
pub use scope::Requirement;

/// A quota as its object says it.
#[derive(Clone, Debug, Default)]
pub struct Quota {
    /// Its scopes, in both spellings.
    pub scopes: Vec<Requirement>,
    /// What is allowed, as the quota controller has taken it over.
    pub hard: Amounts,
    /// What is used.
    pub used: Amounts,
}

impl Quota {
    /// From a ResourceQuota; what is allowed is read from its status, which the controller has seen.
    pub fn of(object: &Value) -> Self {
        Self {
            scopes: scope::of(&object["spec"]),
            hard: amounts(&object["status"]["hard"]),
            used: amounts(&object["status"]["used"]),
        }
    }
}

/// Resources whose objects are counted under an older name, too.
const ALIASES: [&str; 6] = [
    "configmaps",
    "persistentvolumeclaims",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];

/// Resources that no quota counts: they are not stored, or come and go with others.
pub fn ignored(group: &str, resource: &str) -> bool {
    match group {
        "" => matches!(resource, "bindings" | "componentstatuses" | "events"),
        "authentication.k8s.io" => resource == "tokenreviews",
        "authorization.k8s.io" => true,
        "apiregistration.k8s.io" => resource == "apiservices",
        "apiextensions.k8s.io" => resource == "customresourcedefinitions",
        "events.k8s.io" => true,
        _ => false,
    }
}

/// The name under which objects of a resource are counted.
pub fn count_name(group: &str, resource: &str) -> String {
    if group.is_empty() { format!("count/{resource}") } else { format!("count/{resource}.{group}") }
}

fn one() -> Quantity {
    Quantity::from_units(1, Format::DecimalSi)
}

/// What an object of a resource counts; `now` in Unix seconds ends what is overdue.
pub fn usage(group: &str, resource: &str, object: &Value, now: Option<i64>) -> Amounts {
    let mut usage = Amounts::from([(count_name(group, resource), one())]);
    match (group, resource) {
        ("", "pods") => pods::usage(object, now, &mut usage),
        ("", "persistentvolumeclaims") => claims::usage(object, &mut usage),
        ("resource.k8s.io", "resourceclaims") => claims::devices(object, &mut usage),
        ("", "services") => services(object, &mut usage),
        ("", alias) if ALIASES.contains(&alias) => {
            usage.insert(alias.into(), one());
        }
        _ => {}
    }
    usage
}

/// Whether objects of a resource can count as `name`.
pub fn counts(group: &str, resource: &str, name: &str) -> bool {
    match (group, resource) {
        ("", "pods") if pods::counts(name) => true,
        ("", "persistentvolumeclaims") if claims::counts(name) => true,
        ("resource.k8s.io", "resourceclaims") if claims::counts_devices(name) => true,
        ("", "services") if matches!(name, "services.nodeports" | "services.loadbalancers") => true,
        _ => {
            name == count_name(group, resource)
                || (group.is_empty() && ALIASES.contains(&name) && name == resource)
        }
    }
}

/// Whether all scopes of a quota hold for an object.
pub fn in_scope(group: &str, resource: &str, object: &Value, scopes: &[Requirement]) -> bool {
    scopes.iter().all(|scope| match (group, resource) {
        ("", "pods") => pods::in_scope(object, scope),
        ("", "persistentvolumeclaims") => claims::in_scope(object, scope),
        _ => false,
    })
}

/// The kinds of amounts that the containers of a pod must say, because a quota holds them: `name for: containers`.
pub fn missing(group: &str, resource: &str, object: &Value, names: &[&String]) -> Option<String> {
    if (group, resource) == ("", "pods") { pods::missing(object, names) } else { None }
}

fn services(service: &Value, usage: &mut Amounts) {
    let spec = &service["spec"];
    let ports = spec["ports"].as_array().map_or(0, Vec::len);
    let count =
        |number: usize| Quantity::from_units(i64::try_from(number).unwrap_or(i64::MAX), Format::DecimalSi);
    usage.insert("services".into(), one());
    let (mut node_ports, mut balancers) = (0, 0);
    match spec["type"].as_str() {
        Some("NodePort") => node_ports = ports,
        Some("LoadBalancer") => {
            balancers = 1;
            node_ports = if spec["allocateLoadBalancerNodePorts"] == false {
                let all = spec["ports"].as_array().into_iter().flatten();
                all.filter(|port| port["nodePort"].as_i64().is_some_and(|port| port != 0)).count()
            } else {
                ports
            };
        }
        _ => {}
    }
    usage.insert("services.nodeports".into(), count(node_ports));
    usage.insert("services.loadbalancers".into(), count(balancers));
}
