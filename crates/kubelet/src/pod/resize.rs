//! Resources of containers that change while these run: what a pod was given, what is in force, and what is said of it.
//!
//! Invariant: pure. A pod is started, limited and counted by what it was given, whatever its spec asks for meanwhile.
//! Answers to the kubelet's allocation manager, `computePodResizeAction` and the messages of its events.

use std::collections::BTreeMap;
use std::sync::Arc;

use gifee_oci::spec::Resources;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use super::view::View;
use super::{members, qos};

/// What can change.
const NAMES: [&str; 2] = ["cpu", "memory"];

/// Resources by the name of the container.
pub type Given = BTreeMap<String, ResourceRequirements>;

/// Why a pod is not given what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// `Deferred` or `Infeasible`.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
    /// The generation that asks for it.
    pub generation: Option<i64>,
}

/// What the node has given a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allotment {
    /// To its containers.
    pub given: Given,
    /// The generation that it was changed for; none as long as it is what the pod began with.
    pub generation: Option<i64>,
    /// Why it is not more, or less.
    pub pending: Option<Pending>,
}

impl Allotment {
    /// All that a pod asks for.
    pub fn asked(pod: &Pod) -> Allotment {
        let all = containers(pod).map(|one| (one.name.clone(), one.resources.clone().unwrap_or_default()));
        Allotment { given: all.collect(), generation: None, pending: None }
    }

    /// What a pod had when the agent before this one last spoke of it.
    pub fn reported(pod: &Pod) -> Allotment {
        let mut allotment = Allotment::asked(pod);
        let status = pod.status.as_ref();
        let lists = status.map(|status| [&status.init_container_statuses, &status.container_statuses]);
        for one in lists.into_iter().flatten().flatten().flatten() {
            if let (Some(given), Some(had)) = (allotment.given.get_mut(&one.name), &one.resources) {
                given.clone_from(had);
            }
        }
        allotment
    }

    /// Whether it gives all that a pod asks for.
    pub fn suffices(&self, pod: &Pod) -> bool {
        containers(pod).all(|one| {
            let given = self.given.get(&one.name);
            given.is_none_or(|given| changes(one.resources.as_ref(), Some(given)).is_empty())
        })
    }
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = members::spec(pod);
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// The pod with these resources in place of those that it asks for. The same one if they are the same.
pub fn overlay(pod: Arc<Pod>, given: &Given) -> Arc<Pod> {
    let same = |one: &Container| {
        given.get(&one.name).is_none_or(|given| changes(one.resources.as_ref(), Some(given)).is_empty())
    };
    if containers(&pod).all(same) {
        return pod;
    }
    let mut changed = Pod::clone(&pod);
    if let Some(spec) = &mut changed.spec {
        for one in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
            if let Some(given) = given.get(&one.name) {
                one.resources = Some(given.clone());
            }
        }
    }
    Arc::new(changed)
}

/// The resources in which two containers differ.
pub fn changes(
    one: Option<&ResourceRequirements>,
    other: Option<&ResourceRequirements>,
) -> Vec<&'static str> {
    let all = |name: &str, resources: Option<&ResourceRequirements>| {
        let (requests, limits) =
            (resources.and_then(|all| all.requests.as_ref()), resources.and_then(|all| all.limits.as_ref()));
        (qos::amount(requests, name), qos::amount(limits, name))
    };
    NAMES.into_iter().filter(|name| all(name, one) != all(name, other)).collect()
}

/// Whether a container has to be started again to get what it was given.
pub fn restarts(container: &Container, had: &ResourceRequirements) -> bool {
    let changed = changes(container.resources.as_ref(), Some(had));
    let mut policies = container.resize_policy.iter().flatten();
    policies.any(|one| one.restart_policy == "RestartContainer" && changed.contains(&&*one.resource_name))
}

/// The larger of each; a limit that only one of them has is none.
fn larger(one: &ResourceRequirements, other: &ResourceRequirements) -> ResourceRequirements {
    type List = BTreeMap<String, Quantity>;
    let pick = |name: &String, one: Option<&List>, other: Option<&List>| -> Option<Quantity> {
        let (one_list, other_list) = (one, other);
        let (one, other) = (one.and_then(|list| list.get(name)), other.and_then(|list| list.get(name)));
        match (one, other) {
            (Some(one), Some(other)) => {
                let first = qos::amount(one_list, name) >= qos::amount(other_list, name);
                Some(if first { one } else { other }.clone())
            }
            (one, other) => one.or(other).cloned(),
        }
    };
    let names = |one: Option<&List>, other: Option<&List>| -> Vec<String> {
        one.into_iter().chain(other).flat_map(|list| list.keys().cloned()).collect()
    };
    let (asked, wanted) = (one.requests.as_ref(), other.requests.as_ref());
    let requests = names(asked, wanted);
    let requests =
        requests.into_iter().filter_map(|name| Some((name.clone(), pick(&name, asked, wanted)?))).collect();
    let (had, limit) = (one.limits.as_ref(), other.limits.as_ref());
    let both =
        |name: &String| [had, limit].iter().all(|list| list.is_some_and(|list| list.contains_key(name)));
    let limits = names(had, limit).into_iter().filter(both);
    let limits = limits.filter_map(|name| Some((name.clone(), pick(&name, had, limit)?))).collect();
    ResourceRequirements { requests: Some(requests), limits: Some(limits), claims: None }
}

/// The limits of the pod's control group while some of its containers still have what they had before: enough for
/// those too. Of the ones in `changed` it is supposed that they already have what they were given.
pub fn footing(view: &View, changed: &[&str]) -> Resources {
    let mut given = Given::new();
    for member in view.members.iter().filter(|member| !changed.contains(&member.name())) {
        if let Some(had) = &view.container(member.name()).stale {
            let now = member.container.resources.clone().unwrap_or_default();
            given.insert(member.name().to_owned(), larger(&now, had));
        }
    }
    qos::pod_resources(&overlay(view.pod.clone(), &given), None)
}

/// What an event says of a resize: `Pod resize <what>: {…}`.
pub fn describe(what: &str, pod: &Pod, generation: Option<i64>, error: Option<&str>) -> String {
    let list = |containers: &[&Container]| -> Value {
        let one = |one: &&Container| json!({"name": one.name, "resources": one.resources.clone().unwrap_or_default()});
        containers.iter().map(one).collect()
    };
    let spec = members::spec(pod);
    let stays = |one: &&Container| one.restart_policy.as_deref() == Some("Always");
    let init: Vec<&Container> = spec.init_containers.iter().flatten().filter(stays).collect();
    let mut summary = serde_json::Map::new();
    if !init.is_empty() {
        summary.insert("initContainers".to_owned(), list(&init));
    }
    summary.insert("containers".to_owned(), list(&spec.containers.iter().collect::<Vec<_>>()));
    summary.insert("generation".to_owned(), generation.unwrap_or_default().into());
    if let Some(error) = error {
        summary.insert("error".to_owned(), error.into());
    }
    format!("Pod resize {what}: {}", Value::Object(summary))
}
