//! What the controller reads out of a Node, without decoding the rest.

use gifee_base::Object;
use gifee_reconcile::{Result, nullable, part};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// A Node, as far as its health goes.
#[derive(Clone, Debug)]
pub struct Node {
    /// The whole object.
    pub object: Arc<Object>,
    /// `metadata.creationTimestamp`
    pub created: String,
    /// `spec.unschedulable`
    pub unschedulable: bool,
    /// `spec.taints`
    pub taints: Vec<Value>,
    /// `status.conditions`
    pub conditions: Vec<Value>,
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
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(deserialize_with = "nullable")]
    unschedulable: bool,
    #[serde(deserialize_with = "nullable")]
    taints: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "nullable")]
    conditions: Vec<Value>,
}

impl Node {
    /// Reads a Node.
    ///
    /// # Errors
    /// If the bytes are no Node.
    pub fn read(object: &Arc<Object>) -> Result<Self> {
        let whole: Whole = part(object, "Node")?;
        Ok(Self {
            object: object.clone(),
            created: whole.metadata.creation_timestamp,
            unschedulable: whole.spec.unschedulable,
            taints: whole.spec.taints,
            conditions: whole.status.conditions,
        })
    }

    /// A condition of the status.
    pub fn condition(&self, kind: &str) -> Option<&Value> {
        self.conditions.iter().find(|condition| condition["type"] == kind)
    }

    /// Region and zone in one word, as upstream joins them; empty if the node is in neither.
    pub fn zone(&self) -> String {
        let label = |stable: &str, beta: &str| {
            self.object.label(stable).or_else(|| self.object.label(beta)).unwrap_or_default().to_owned()
        };
        let region = label("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region");
        let zone = label("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
        if region.is_empty() && zone.is_empty() { String::new() } else { format!("{region}:\0:{zone}") }
    }

    /// Whether its state says nothing about its zone.
    pub fn excluded_from_disruption(&self) -> bool {
        self.object.label("node.kubernetes.io/exclude-disruption").is_some()
    }
}
