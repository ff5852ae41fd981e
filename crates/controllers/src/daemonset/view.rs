//! What a DaemonSet looks like: itself, and for each node whether its pod belongs there and which are there.

use super::node::{Place, Verdict};
use crate::history::REVISION_HASH;
use gifee_base::Object;
use gifee_reconcile::owner::Claims;
use gifee_reconcile::pod::Brief;
use gifee_reconcile::rollout::{Bounds, Round, scaled};
use gifee_reconcile::{Error, Result};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

const GENERATION: &str = "pod-template-generation";

/// A node and the pods that are on it or meant for it.
#[derive(Debug, Default)]
pub struct Spot {
    /// Whether there is such a node, and what it is to the set.
    pub verdict: Option<Verdict>,
    /// Pods, but for those that have ended and are being deleted.
    pub pods: Vec<Brief>,
    /// Until when a failed pod here is left alone.
    pub backoff: Option<Timestamp>,
}

/// A DaemonSet and all that planning needs.
pub struct View {
    /// The object.
    pub set: Arc<Object>,
    /// The object's tree.
    pub tree: Value,
    /// What it asks of nodes.
    pub place: Place,
    /// `spec.minReadySeconds`
    pub minimum_ready_seconds: i32,
    /// `spec.revisionHistoryLimit`
    pub history_limit: usize,
    /// The hash of the present revision.
    pub hash: String,
    /// Pods to adopt and release.
    pub claims: Claims,
    /// By the name of the node.
    pub spots: BTreeMap<String, Spot>,
}

impl View {
    /// Reads a set. Hash, claims and spots are filled in by who has the caches.
    ///
    /// # Errors
    /// If the bytes are no DaemonSet.
    pub fn read(set: &Arc<Object>) -> Result<Self> {
        let tree = set.to_value().map_err(|error| Error::invalid(set.key(), error))?;
        let limit = tree["spec"]["revisionHistoryLimit"].as_i64();
        Ok(Self {
            set: set.clone(),
            place: Place::read(&tree["spec"]["template"]),
            minimum_ready_seconds: crate::replicaset::minimum_ready_seconds(&tree),
            history_limit: limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX),
            hash: String::new(),
            claims: Claims::default(),
            spots: BTreeMap::new(),
            tree,
        })
    }

    /// How many pods an update may take away or add, of so many nodes; none if it waits for somebody to
    /// delete them.
    pub fn bounds(&self, nodes: i32) -> Option<Bounds> {
        let strategy = &self.tree["spec"]["updateStrategy"];
        if strategy["type"] == "OnDelete" {
            return None;
        }
        let rolling = &strategy["rollingUpdate"];
        let bounds = Bounds {
            surge: scaled(&rolling["maxSurge"], nodes, Round::Up, 0),
            unavailable: scaled(&rolling["maxUnavailable"], nodes, Round::Up, 1),
        };
        Some(bounds.passable())
    }

    /// Whether a node may have two pods while an update is under way.
    pub fn surges(&self) -> bool {
        self.bounds(1).is_some_and(|bounds| bounds.surge > 0)
    }

    /// The generation of the template, as an annotation says it.
    pub fn generation(&self) -> Option<&str> {
        let annotation = &self.tree["metadata"]["annotations"]["deprecated.daemonset.template.generation"];
        annotation.as_str().filter(|text| text.parse::<i64>().is_ok())
    }

    /// Whether a pod is of the present template.
    pub fn updated(&self, pod: &Brief) -> bool {
        let label = |key: &str| pod.object.label(key);
        let by_generation = self.generation().is_some_and(|own| label(GENERATION) == Some(own));
        by_generation || label(REVISION_HASH) == Some(&*self.hash)
    }

    /// Whether a pod is available.
    pub fn available(&self, pod: &Brief, now: Timestamp) -> bool {
        pod.available(self.minimum_ready_seconds, now)
    }

    /// How many nodes are to have a pod.
    pub fn desired(&self) -> i32 {
        let wanted = |spot: &&Spot| spot.verdict.is_some_and(|verdict| verdict.run);
        i32::try_from(self.spots.values().filter(wanted).count()).unwrap_or(i32::MAX)
    }

    /// `status`
    pub fn status(&self) -> &Value {
        &self.tree["status"]
    }
}

/// Which of the pods on one node counts: one that is bound, else the oldest.
pub fn oldest_first(a: &Brief, b: &Brief) -> std::cmp::Ordering {
    let unbound = |pod: &Brief| pod.spec.node_name.is_empty();
    unbound(a)
        .cmp(&unbound(b))
        .then_with(|| a.created.cmp(&b.created))
        .then_with(|| a.object.name().cmp(b.object.name()))
}
