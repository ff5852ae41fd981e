//! What is left to do about a pod that nobody will finish, and which ended pods are too many. Pure.

use gifee_base::Object;
use gifee_reconcile::{Result, nullable, part};
use serde::Deserialize;
use std::sync::Arc;

/// A pod, as far as its end goes.
#[derive(Clone, Debug)]
pub struct Pod {
    /// The whole object.
    pub object: Arc<Object>,
    /// `metadata.creationTimestamp`
    pub created: String,
    /// `metadata.deletionGracePeriodSeconds`
    pub grace: Option<i64>,
    /// `spec.nodeName`, or empty.
    pub node: String,
    /// `status.phase`, or empty.
    pub phase: String,
    /// `status.reason`, or empty.
    pub reason: String,
}

#[derive(Deserialize)]
struct Whole {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default, deserialize_with = "nullable")]
    spec: Spec,
    #[serde(default, deserialize_with = "nullable")]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    #[serde(deserialize_with = "nullable")]
    creation_timestamp: String,
    deletion_grace_period_seconds: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    #[serde(deserialize_with = "nullable")]
    node_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "nullable")]
    phase: String,
    #[serde(deserialize_with = "nullable")]
    reason: String,
}

impl Pod {
    /// Reads a pod.
    ///
    /// # Errors
    /// If the bytes are no pod.
    pub fn read(object: &Arc<Object>) -> Result<Self> {
        let whole: Whole = part(object, "Pod")?;
        Ok(Self {
            object: object.clone(),
            created: whole.metadata.creation_timestamp,
            grace: whole.metadata.deletion_grace_period_seconds,
            node: whole.spec.node_name,
            phase: whole.status.phase,
            reason: whole.status.reason,
        })
    }

    /// Whether it has ended, well or not.
    pub fn ended(&self) -> bool {
        ended(&self.phase)
    }

    fn evicted(&self) -> bool {
        self.phase == "Failed" && self.reason == "Evicted"
    }
}

/// Whether a pod in this phase has ended, well or not.
pub fn ended(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// What is left to do about a pod that has to go by force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// It gets the phase Failed: no node agent will ever say how it ended.
    pub fail: bool,
    /// It is deleted without grace.
    pub delete: bool,
}

/// Plans the end of a pod by force.
pub fn end(pod: &Pod) -> Plan {
    // One that is still there after this has finalizers, which are not ours.
    Plan { fail: !pod.ended(), delete: !pod.object.deleting() || pod.grace.unwrap_or_default() != 0 }
}

/// The ended pods beyond a number: evicted ones first, then the oldest.
pub fn excess(mut ended: Vec<Pod>, threshold: usize) -> Vec<Pod> {
    let count = ended.len().saturating_sub(threshold);
    if count == 0 {
        return Vec::new();
    }
    ended.sort_by(|a, b| {
        (!a.evicted(), &a.created, a.object.name()).cmp(&(!b.evicted(), &b.created, b.object.name()))
    });
    ended.truncate(count);
    ended
}
