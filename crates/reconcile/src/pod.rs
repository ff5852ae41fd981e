//! What controllers ask about a pod, read out of its bytes without decoding the rest.
//!
//! Answers to upstream's `podutil`.

use crate::codec::{nullable, part};
use crate::error::Result;
use crate::rollout;
use gifee_base::{Object, clock};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use std::sync::Arc;

/// A pod, as far as controllers look at it.
#[derive(Clone, Debug)]
pub struct Brief {
    /// The whole object.
    pub object: Arc<Object>,
    /// `metadata.creationTimestamp`
    pub created: Option<Timestamp>,
    /// `metadata.deletionTimestamp`
    pub deleted: Option<Timestamp>,
    /// Parts of the spec.
    pub spec: Spec,
    /// Parts of the status.
    pub status: PodStatus,
    /// `metadata.finalizers`
    pub finalizers: Vec<String>,
    /// `metadata.deletionGracePeriodSeconds`
    pub grace_seconds: i64,
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Whole {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    #[serde(deserialize_with = "time")]
    creation_timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "time")]
    deletion_timestamp: Option<Timestamp>,
    deletion_grace_period_seconds: Option<i64>,
    #[serde(deserialize_with = "nullable")]
    finalizers: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    annotations: std::collections::BTreeMap<String, String>,
}

/// Parts of a pod's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// Where it is bound.
    #[serde(deserialize_with = "nullable")]
    pub node_name: String,
    /// Host name within the subdomain.
    #[serde(deserialize_with = "nullable")]
    pub hostname: String,
    /// Name of the headless service.
    #[serde(deserialize_with = "nullable")]
    pub subdomain: String,
    /// Whether it shares the node's network.
    #[serde(deserialize_with = "nullable")]
    pub host_network: bool,
    /// `Always`, `OnFailure` or `Never`.
    #[serde(deserialize_with = "nullable")]
    pub restart_policy: String,
    /// Containers, with their ports.
    #[serde(deserialize_with = "nullable")]
    pub containers: Vec<Container>,
    /// Init containers; those that always restart are sidecars and have ports too.
    #[serde(deserialize_with = "nullable")]
    pub init_containers: Vec<Container>,
    /// Taints that it bears.
    #[serde(deserialize_with = "nullable")]
    pub tolerations: Vec<Toleration>,
}

/// A container's name and ports.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// `Always` for a sidecar among the init containers.
    #[serde(deserialize_with = "nullable")]
    pub restart_policy: String,
    /// Ports.
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<ContainerPort>,
}

/// A port of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPort {
    /// Name, or empty.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Number.
    pub container_port: i32,
    /// `TCP`, `UDP` or `SCTP`; empty is TCP.
    #[serde(deserialize_with = "nullable")]
    pub protocol: String,
}

/// A toleration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Toleration {
    /// Key of the taint; empty with `Exists` is every key.
    #[serde(deserialize_with = "nullable")]
    pub key: String,
    /// `Equal` (or empty), `Exists`, `Lt`, `Gt`.
    #[serde(deserialize_with = "nullable")]
    pub operator: String,
    /// Value of the taint.
    #[serde(deserialize_with = "nullable")]
    pub value: String,
    /// Effect of the taint; empty is every effect.
    #[serde(deserialize_with = "nullable")]
    pub effect: String,
    /// For how long a NoExecute taint is borne; none is for ever.
    pub toleration_seconds: Option<i64>,
}

impl Toleration {
    /// Whether it bears a taint.
    pub fn tolerates(&self, key: &str, value: &str, effect: &str) -> bool {
        if !self.effect.is_empty() && self.effect != effect {
            return false;
        }
        if !self.key.is_empty() && self.key != key {
            return false;
        }
        let numbers = || Some((self.value.parse::<i64>().ok()?, value.parse::<i64>().ok()?));
        match self.operator.as_str() {
            "" | "Equal" => !self.key.is_empty() && self.value == value,
            "Exists" => true,
            "Lt" => numbers().is_some_and(|(bound, value)| value < bound),
            "Gt" => numbers().is_some_and(|(bound, value)| value > bound),
            _ => false,
        }
    }
}

/// Parts of a pod's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown` or empty.
    #[serde(deserialize_with = "nullable")]
    pub phase: String,
    /// First address.
    #[serde(rename = "podIP", deserialize_with = "nullable")]
    pub pod_ip: String,
    /// All addresses.
    #[serde(rename = "podIPs", deserialize_with = "nullable")]
    pub pod_ips: Vec<PodIp>,
    /// Conditions.
    #[serde(deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
    /// States of the containers.
    #[serde(deserialize_with = "nullable")]
    pub container_statuses: Vec<ContainerStatus>,
    /// States of the init containers.
    #[serde(deserialize_with = "nullable")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// One address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// The address.
    pub ip: String,
}

/// A condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// Such as `Ready`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Since when.
    #[serde(deserialize_with = "time")]
    pub last_transition_time: Option<Timestamp>,
}

/// State of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Name.
    pub name: String,
    /// How often it was restarted.
    pub restart_count: i32,
    /// What it is doing.
    #[serde(deserialize_with = "nullable")]
    pub state: ContainerState,
}

/// What a container is doing, as far as it has ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// How it ended.
    pub terminated: Option<Terminated>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Terminated {
    /// Its exit code.
    pub exit_code: i32,
    /// When it ended.
    #[serde(deserialize_with = "time")]
    pub finished_at: Option<Timestamp>,
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<std::borrow::Cow<'de, str>> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|text| clock::parse_time(&text)))
}

/// The claims of volumes that a pod names, its own ephemeral ones included.
pub fn claims(pod: &Object) -> Vec<String> {
    // Every change of every pod comes by here, and few have such volumes.
    let found = |source: &str| memchr::memmem::find(pod.raw(), source.as_bytes()).is_some();
    if !found("\"persistentVolumeClaim\":") && !found("\"ephemeral\":") {
        return Vec::new();
    }
    let volumes: Vec<serde_json::Value> = pod
        .value_at(&["spec", "volumes"])
        .and_then(|volumes| serde_json::from_slice(volumes).ok())
        .unwrap_or_default();
    let claim = |volume: &serde_json::Value| {
        let own = volume["ephemeral"]
            .is_object()
            .then(|| format!("{}-{}", pod.name(), volume["name"].as_str().unwrap_or("")));
        volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned).or(own)
    };
    volumes.iter().filter_map(claim).collect()
}

/// Whether a pod of this phase has ended for good.
pub fn terminal(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

impl Brief {
    /// Reads a pod.
    ///
    /// # Errors
    /// If the bytes are no pod.
    pub fn read(object: &Arc<Object>) -> Result<Self> {
        let whole: Whole = part(object, "Pod")?;
        Ok(Self {
            object: object.clone(),
            created: whole.metadata.creation_timestamp,
            deleted: whole.metadata.deletion_timestamp,
            finalizers: whole.metadata.finalizers,
            grace_seconds: whole.metadata.deletion_grace_period_seconds.unwrap_or_default(),
            annotations: whole.metadata.annotations,
            spec: whole.spec,
            status: whole.status,
        })
    }

    /// An annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// Whether it has ended, well or not.
    pub fn terminal(&self) -> bool {
        terminal(&self.status.phase)
    }

    /// Whether it counts as a replica: neither ended nor being deleted.
    pub fn active(&self) -> bool {
        !self.terminal() && self.deleted.is_none()
    }

    /// A condition.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.r#type == kind)
    }

    /// Whether its Ready condition is True.
    pub fn ready(&self) -> bool {
        self.condition("Ready").is_some_and(|condition| condition.status == "True")
    }

    /// Since when it is ready.
    pub fn ready_since(&self) -> Option<Timestamp> {
        self.condition("Ready")
            .filter(|condition| condition.status == "True")
            .and_then(|condition| condition.last_transition_time)
    }

    /// Whether it has been ready for so many seconds.
    pub fn available(&self, minimum_ready_seconds: i32, now: Timestamp) -> bool {
        self.ready()
            && (minimum_ready_seconds <= 0
                || rollout::availability::available(self.ready_since(), minimum_ready_seconds, now))
    }

    /// How often the container that restarted most did so.
    pub fn restarts(&self) -> i32 {
        self.status.container_statuses.iter().map(|status| status.restart_count).max().unwrap_or_default()
    }
}
