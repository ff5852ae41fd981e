//! What a pod counts: itself, what it requests and what it is limited to, until it has ended.

use super::scope::Requirement;
use super::{count_name, one};
use crate::resources::{self, Amounts, Counting};
use gifee_base::clock::parse_time;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 10] = [
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "pods",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
/// What every container must say where a quota holds it.
const REQUIRED: [&str; 6] =
    ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

/// Whether pods can count as `name`.
pub fn counts(name: &str) -> bool {
    NAMES.contains(&name)
        || name == count_name("", "pods")
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
        || (name.starts_with("requests.") && extended(name))
}

/// Whether a resource is none of Kubernetes' own.
fn extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

/// Whether a pod has not ended, and is not overdue to go.
fn lives(pod: &Value, now: Option<i64>) -> bool {
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return false;
    }
    let metadata = &pod["metadata"];
    let deletion = metadata["deletionTimestamp"].as_str().and_then(parse_time);
    match (deletion, metadata["deletionGracePeriodSeconds"].as_i64(), now) {
        (Some(deletion), Some(grace), Some(now)) => now <= deletion.as_second().saturating_add(grace),
        _ => true,
    }
}

/// Adds what a pod counts.
pub fn usage(pod: &Value, now: Option<i64>, usage: &mut Amounts) {
    if !lives(pod, now) {
        return;
    }
    let counting = Counting { given: true, overhead: true };
    usage.extend(compute(&resources::requests(pod, counting), &resources::limits(pod, counting)));
}

/// Requests and limits under the names that quotas hold them by.
fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::from([("pods".to_owned(), one())]);
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = requests.get(name) {
            usage.insert(name.into(), *amount);
            usage.insert(format!("requests.{name}"), *amount);
        }
        if let Some(amount) = limits.get(name) {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
    for (name, amount) in requests {
        if name.starts_with("hugepages-") {
            usage.insert(name.clone(), *amount);
            usage.insert(format!("requests.{name}"), *amount);
        }
        if extended(name) && !name.starts_with("requests.") {
            usage.insert(format!("requests.{name}"), *amount);
        }
    }
    usage
}

/// What containers leave unsaid of what a quota holds.
pub fn missing(pod: &Value, names: &[&String]) -> Option<String> {
    let required: BTreeSet<&str> =
        names.iter().map(|name| name.as_str()).filter(|name| REQUIRED.contains(name)).collect();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for list in ["containers", "initContainers"] {
        for container in pod["spec"][list].as_array().into_iter().flatten() {
            let amounts = |list: &str| resources::amounts(&container["resources"][list]);
            let said = compute(&amounts("requests"), &amounts("limits"));
            for name in required.iter().filter(|name| !said.contains_key(**name)) {
                missing.entry(name).or_default().insert(container["name"].as_str().unwrap_or_default());
            }
        }
    }
    let texts = missing.iter().map(|(name, containers)| {
        format!("{name} for: {}", containers.iter().copied().collect::<Vec<_>>().join(","))
    });
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| format!("must specify {}", texts.join("; ")))
}

/// Whether a scope holds for a pod.
pub fn in_scope(pod: &Value, scope: &Requirement) -> bool {
    let spec = &pod["spec"];
    let terminating = || spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
    match scope.name.as_str() {
        "Terminating" => terminating(),
        "NotTerminating" => !terminating(),
        "BestEffort" => resources::best_effort(pod),
        "NotBestEffort" => !resources::best_effort(pod),
        "PriorityClass" => {
            let class = spec["priorityClassName"].as_str().filter(|class| !class.is_empty());
            scope.holds(class)
        }
        "CrossNamespacePodAffinity" => crosses_namespaces(&spec["affinity"]),
        _ => false,
    }
}

fn crosses_namespaces(affinity: &Value) -> bool {
    let crosses = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|list| !list.is_empty())
            || term["namespaceSelector"].is_object()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let list = |field: &str| affinity[*kind][field].as_array().map_or(&[] as &[Value], Vec::as_slice);
        list("requiredDuringSchedulingIgnoredDuringExecution").iter().any(crosses)
            || list("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|weighted| crosses(&weighted["podAffinityTerm"]))
    })
}
