//! Pods out of their bytes, without keeping them.
//!
//! Answers to upstream's `PodRequests` and the `corev1` scheduling functions.

use crate::plugins::FEATURES;
use crate::pod::{Condition, DeviceClaim, HostPort, Life, Meant, Needs, Owner, Pod, Shape, Template};
use crate::resources::{Amounts, Resources};
use crate::terms::{self, Constraint, Wishes};
use gifee_base::Object;
use gifee_base::clock::parse_time;
use gifee_base::nodes::NodeAffinity;
use gifee_reconcile::nullable;
use gifee_reconcile::pod::Toleration;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a container without a CPU request counts for in scores, in thousandths.
const WEIGHT_CPU: i64 = 100;
/// What a container without a memory request counts for in scores, in bytes.
const WEIGHT_MEMORY: i64 = 200 << 20;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    #[serde(deserialize_with = "nullable")]
    node_name: String,
    #[serde(deserialize_with = "nullable")]
    scheduler_name: String,
    #[serde(deserialize_with = "nullable")]
    priority: i32,
    #[serde(deserialize_with = "nullable")]
    preemption_policy: String,
    #[serde(deserialize_with = "nullable")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "nullable")]
    init_containers: Vec<Container>,
    #[serde(deserialize_with = "nullable")]
    resources: Demands,
    overhead: Amounts,
    #[serde(deserialize_with = "nullable")]
    node_selector: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    affinity: Affinity,
    #[serde(deserialize_with = "nullable")]
    tolerations: Vec<Toleration>,
    #[serde(deserialize_with = "nullable")]
    topology_spread_constraints: Vec<Constraint>,
    #[serde(deserialize_with = "nullable")]
    scheduling_group: SchedulingGroup,
    #[serde(deserialize_with = "nullable")]
    volumes: Vec<PodVolume>,
    #[serde(deserialize_with = "nullable")]
    resource_claims: Vec<PodClaim>,
    #[serde(deserialize_with = "nullable")]
    scheduling_gates: Vec<Gate>,
    #[serde(deserialize_with = "nullable")]
    host_network: bool,
    host_users: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    #[serde(deserialize_with = "nullable")]
    name: String,
    #[serde(deserialize_with = "nullable")]
    image: String,
    #[serde(deserialize_with = "nullable")]
    restart_policy: String,
    #[serde(deserialize_with = "nullable")]
    resources: Demands,
    #[serde(deserialize_with = "nullable")]
    ports: Vec<Port>,
    #[serde(deserialize_with = "nullable")]
    restart_policy_rules: Vec<RestartRule>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RestartRule {
    action: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Demands {
    requests: Amounts,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Port {
    #[serde(deserialize_with = "nullable")]
    host_port: i32,
    #[serde(rename = "hostIP", deserialize_with = "nullable")]
    host_ip: String,
    #[serde(deserialize_with = "nullable")]
    protocol: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SchedulingGroup {
    pod_group_name: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodVolume {
    #[serde(deserialize_with = "nullable")]
    name: String,
    persistent_volume_claim: Option<ClaimSource>,
    ephemeral: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimSource {
    #[serde(deserialize_with = "nullable")]
    claim_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodClaim {
    name: Box<str>,
    resource_claim_name: Option<Box<str>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Gate {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Affinity {
    #[serde(deserialize_with = "nullable")]
    node_affinity: NodeAffinity,
    #[serde(deserialize_with = "nullable")]
    pod_affinity: Wishes,
    #[serde(deserialize_with = "nullable")]
    pod_anti_affinity: Wishes,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    #[serde(deserialize_with = "nullable")]
    phase: String,
    #[serde(deserialize_with = "nullable")]
    start_time: String,
    #[serde(deserialize_with = "nullable")]
    nominated_node_name: String,
    #[serde(deserialize_with = "nullable")]
    conditions: Vec<PodCondition>,
    #[serde(deserialize_with = "nullable")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "nullable")]
    init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "nullable")]
    resource_claim_statuses: Vec<PodClaim>,
    allocated_resources: Amounts,
    #[serde(deserialize_with = "nullable")]
    resources: Demands,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodCondition {
    r#type: String,
    status: String,
    #[serde(deserialize_with = "nullable")]
    reason: String,
    #[serde(deserialize_with = "nullable")]
    message: String,
    #[serde(deserialize_with = "nullable")]
    observed_generation: i64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    allocated_resources: Amounts,
    #[serde(deserialize_with = "nullable")]
    resources: Demands,
}

/// Decodes a pod; its template is not yet shared.
///
/// # Errors
/// If the bytes are no pod.
pub fn pod(object: &Object) -> Result<Pod, gifee_base::object::Error> {
    let (spec, status): (Spec, Status) = (object.decode_at(&["spec"])?, object.decode_at(&["status"])?);
    let (requests, features) = (requests(&spec, &status, |_| {}), features(&spec));
    let weights = requests_for_scores(&spec, &status);
    let conditions = &status.conditions;
    let condition = conditions.iter().find(|one| one.r#type == "PodScheduled").map(|one| {
        Box::new(Condition {
            status: one.status.clone(),
            reason: one.reason.clone(),
            message: one.message.clone(),
            observed_generation: one.observed_generation,
        })
    });
    let affinity = spec.affinity.node_affinity;
    let (to, from) = (spec.affinity.pod_affinity, spec.affinity.pod_anti_affinity);
    let shape = Shape {
        requests,
        weight: (weights.cpu, weights.memory),
        priority: spec.priority,
        preempts: spec.preemption_policy != "Never",
        ports: host_ports(&spec.containers, &spec.init_containers),
        node_selector: spec.node_selector.into_iter().collect(),
        required: affinity.required,
        preferred: affinity.preferred,
        tolerations: spec.tolerations,
        images: images(&spec.init_containers, &spec.containers),
        features,
    };
    let key = object.key();
    let template = Template {
        shape: shape.into(),
        terms: terms::understood(&key.namespace, to, from, spec.topology_spread_constraints).into(),
        gates: spec.scheduling_gates.into_iter().map(|gate| gate.name).collect(),
        namespace: key.namespace.clone(),
        labels: labels(object),
        owner: owner(object),
        group: spec.scheduling_group.pod_group_name.filter(|name| !name.is_empty()),
        devices: devices(spec.resource_claims, &status.resource_claim_statuses),
        claims: spec.volumes.into_iter().filter_map(|volume| claim(&key.name, volume)).collect(),
    };
    let preempted = |one: &PodCondition| {
        one.r#type == "DisruptionTarget" && one.status == "True" && one.reason == "PreemptionByScheduler"
    };
    let life = Life {
        started: parse_time(&status.start_time).map_or(i64::MAX, |at| at.as_second()),
        deleting: object.deleting(),
        preempted: object.deleting() && conditions.iter().any(preempted),
    };
    Ok(Pod {
        key,
        uid: object.uid().into(),
        template: template.into(),
        node: name(&spec.node_name),
        nominated: name(&status.nominated_node_name),
        life,
        scheduler: spec.scheduler_name.as_str().into(),
        ended: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
        revision: object.revision(),
        generation: object.generation(),
        condition,
    })
}

fn name(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

/// The claim of a volume; that of an ephemeral one bears the pod's name.
fn claim(pod: &str, volume: PodVolume) -> Option<(Box<str>, bool)> {
    match (volume.persistent_volume_claim, volume.ephemeral) {
        (Some(source), _) => Some((source.claim_name.into(), false)),
        (None, Some(_)) => Some((format!("{pod}-{}", volume.name).into(), true)),
        (None, None) => None,
    }
}

/// Which claims of devices are meant: named in the spec, or made for the pod and named in the status.
fn devices(claims: Vec<PodClaim>, statuses: &[PodClaim]) -> Vec<DeviceClaim> {
    let meant = |one: PodClaim| {
        let claim = match one.resource_claim_name {
            Some(name) => Meant::Named(name),
            None => match statuses.iter().find(|status| status.name == one.name) {
                Some(status) => status.resource_claim_name.clone().map_or(Meant::Nothing, Meant::Made),
                None => Meant::NotYet,
            },
        };
        DeviceClaim { name: one.name, claim }
    };
    claims.into_iter().map(meant).collect()
}

fn owner(object: &Object) -> Option<(Owner, Box<str>)> {
    let controller = object.controller()?;
    let kind = match controller.kind {
        "ReplicaSet" => Owner::ReplicaSet,
        "ReplicationController" => Owner::ReplicationController,
        "StatefulSet" => Owner::StatefulSet,
        _ => return None,
    };
    Some((kind, controller.name.into()))
}

fn labels(object: &Object) -> Vec<(Box<str>, Box<str>)> {
    let mut labels: Vec<_> = object.labels().map(|(key, value)| (key.into(), value.into())).collect();
    labels.sort();
    labels
}

fn requests_for_scores(spec: &Spec, status: &Status) -> Resources {
    requests(spec, status, |requests| {
        if requests.cpu == 0 {
            requests.cpu = WEIGHT_CPU;
        }
        if requests.memory == 0 {
            requests.memory = WEIGHT_MEMORY;
        }
    })
}

/// What the pod takes at most at any time: all containers and sidecars together, or an init container
/// with the sidecars before it, plus the overhead. Requests of the pod as a whole take precedence.
fn requests(spec: &Spec, status: &Status, complete: impl Fn(&mut Resources)) -> Resources {
    let infeasible =
        status.conditions.iter().any(|one| one.r#type == "PodResizePending" && one.reason == "Infeasible");
    let of = |container: &Container, statuses: &[ContainerStatus]| {
        let mut requests = container.resources.requests.resources();
        if let Some(status) = statuses.iter().find(|status| status.name == container.name) {
            let mut actual = status.resources.requests.resources();
            actual.raise(&status.allocated_resources.resources());
            // A resize that cannot be done takes nothing; one under way takes the larger of both.
            if infeasible && !actual.is_zero() {
                requests = actual;
            } else {
                requests.raise(&actual);
            }
        }
        complete(&mut requests);
        requests
    };
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&of(container, &status.container_statuses));
    }
    let (mut sidecars, mut initial) = (Resources::default(), Resources::default());
    for container in &spec.init_containers {
        let own = of(container, &status.init_container_statuses);
        if container.restart_policy == "Always" {
            total.add(&own);
            sidecars.add(&own);
            initial.raise(&sidecars);
        } else {
            let mut peak = own;
            peak.add(&sidecars);
            initial.raise(&peak);
        }
    }
    total.raise(&initial);
    let mut whole = spec.resources.requests.resources();
    if !whole.is_zero() {
        let mut actual = status.resources.requests.resources();
        actual.raise(&status.allocated_resources.resources());
        if infeasible && !actual.is_zero() {
            whole = actual;
        } else {
            whole.raise(&actual);
        }
    }
    for name in spec.resources.requests.0.keys() {
        match name.as_str() {
            "cpu" => total.cpu = whole.cpu,
            "memory" => total.memory = whole.memory,
            name if name.starts_with("hugepages-") => total.set_named(name, whole.other(name)),
            _ => {}
        }
    }
    total.add(&spec.overhead.resources());
    total
}

fn host_ports(containers: &[Container], init: &[Container]) -> Vec<HostPort> {
    let sidecars = init.iter().filter(|container| container.restart_policy == "Always");
    let mut ports: Vec<HostPort> = Vec::new();
    for port in containers.iter().chain(sidecars).flat_map(|container| &container.ports) {
        if port.host_port <= 0 {
            continue;
        }
        let or =
            |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
        let port = HostPort {
            ip: or(&port.host_ip, "0.0.0.0"),
            protocol: or(&port.protocol, "TCP"),
            port: port.host_port,
        };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}

fn features(spec: &Spec) -> Vec<&'static str> {
    let mut rules =
        spec.containers.iter().chain(&spec.init_containers).flat_map(|one| &one.restart_policy_rules);
    let needs = Needs {
        restarts_all: rules.any(|rule| rule.action == "RestartAllContainers"),
        host_network: spec.host_network,
        own_users: spec.host_users == Some(false),
    };
    FEATURES.iter().filter(|one| (one.infers)(&needs)).map(|one| one.name).collect()
}

fn images(init: &[Container], containers: &[Container]) -> Vec<String> {
    init.iter().chain(containers).map(|container| normalized(&container.image)).collect()
}

/// With the tag that an image without one gets.
fn normalized(image: &str) -> String {
    let tagged = image.rfind(':').is_some_and(|colon| image.rfind('/').is_none_or(|slash| colon > slash));
    if tagged { image.to_owned() } else { format!("{image}:latest") }
}
