//! What a deployment looks like: itself, its replica sets, and what is still running of the old ones.

use crate::replicaset::{created, minimum_ready_seconds};
use gifee_base::Object;
use gifee_reconcile::owner::Claims;
use gifee_reconcile::rollout::{Bounds, Round, scaled};
use gifee_reconcile::{Error, Result};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The label that tells the pods of one template from those of another.
pub const TEMPLATE_HASH: &str = "pod-template-hash";

/// How pods of an old template make way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// All old ones end before the first new one starts.
    Recreate,
    /// Bit by bit, within these bounds.
    RollingUpdate(Bounds),
}

/// A deployment and all that planning needs.
pub struct View {
    /// The object.
    pub object: Arc<Object>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// `spec.replicas`
    pub replicas: i32,
    /// `spec.minReadySeconds`
    pub minimum_ready_seconds: i32,
    /// `spec.paused`
    pub paused: bool,
    /// `spec.progressDeadlineSeconds`, unless there is none.
    pub progress_deadline_seconds: Option<i32>,
    /// `spec.revisionHistoryLimit`
    pub history_limit: usize,
    /// `spec.strategy`, resolved against the replicas.
    pub strategy: Strategy,
    /// `spec.selector`
    pub selector: Value,
    /// `spec.template`
    pub template: Value,
    /// `status`
    pub status: Value,
    /// Its replica sets, those to be adopted among them, oldest first.
    pub sets: Vec<Set>,
    /// Replica sets to adopt and release.
    pub claims: Claims,
    /// UIDs of replica sets of which pods still run, even if they are being deleted. Only needed for
    /// `Recreate`.
    pub running: Vec<String>,
}

/// A replica set, as a deployment sees it.
#[derive(Clone)]
pub struct Set {
    /// The object.
    pub object: Arc<Object>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// `spec.replicas`
    pub replicas: i32,
    /// `spec.minReadySeconds`
    pub minimum_ready_seconds: i32,
    /// `spec.template`
    pub template: Value,
    /// `status`
    pub status: SetStatus,
}

/// What a replica set says of itself.
#[derive(Clone, Debug, Default)]
pub struct SetStatus {
    /// Active pods.
    pub replicas: i32,
    /// Ready ones of them.
    pub ready: i32,
    /// Available ones of them.
    pub available: i32,
    /// Pods being deleted.
    pub terminating: i32,
    /// Generation that this is about.
    pub observed_generation: i64,
    /// The `ReplicaFailure` condition.
    pub failure: Option<Value>,
}

fn number(value: &Value) -> i32 {
    value.as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or_default()
}

fn annotations(tree: &Value) -> BTreeMap<String, String> {
    let map = tree["metadata"]["annotations"].as_object().into_iter().flatten();
    map.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn tree(object: &Object) -> Result<Value> {
    object.to_value().map_err(|error| Error::invalid(object.key(), error))
}

impl View {
    /// Reads a deployment. Sets, claims and running are filled in by who has the caches.
    ///
    /// # Errors
    /// If the bytes are no deployment.
    pub fn read(object: &Arc<Object>) -> Result<Self> {
        let tree = tree(object)?;
        let spec = &tree["spec"];
        let replicas = spec["replicas"].as_i64().map_or(1, |_| number(&spec["replicas"]));
        Ok(Self {
            object: object.clone(),
            annotations: annotations(&tree),
            replicas,
            minimum_ready_seconds: minimum_ready_seconds(&tree),
            paused: spec["paused"] == true,
            progress_deadline_seconds: spec["progressDeadlineSeconds"]
                .as_i64()
                .and_then(|seconds| i32::try_from(seconds).ok())
                .filter(|seconds| *seconds != i32::MAX),
            history_limit: spec["revisionHistoryLimit"]
                .as_u64()
                .and_then(|limit| usize::try_from(limit).ok())
                .unwrap_or(usize::MAX),
            strategy: strategy(&spec["strategy"], replicas),
            selector: spec["selector"].clone(),
            template: spec["template"].clone(),
            status: tree["status"].clone(),
            sets: Vec::new(),
            claims: Claims::default(),
            running: Vec::new(),
        })
    }

    /// How many pods may be there.
    pub fn maximum_pods(&self) -> i32 {
        match self.strategy {
            Strategy::RollingUpdate(bounds) => bounds.maximum(self.replicas),
            Strategy::Recreate => self.replicas,
        }
    }

    /// How many pods must be available.
    pub fn minimum_available(&self) -> i32 {
        match self.strategy {
            Strategy::RollingUpdate(bounds) => bounds.minimum_available(self.replicas),
            Strategy::Recreate => self.replicas,
        }
    }
}

impl Set {
    /// Reads a replica set.
    ///
    /// # Errors
    /// If the bytes are no replica set.
    pub fn read(object: &Arc<Object>) -> Result<Self> {
        let tree = tree(object)?;
        let status = &tree["status"];
        let conditions = status["conditions"].as_array();
        let replicas = &tree["spec"]["replicas"];
        Ok(Self {
            object: object.clone(),
            created: created(&tree),
            annotations: annotations(&tree),
            replicas: replicas.as_i64().map_or(1, |_| number(replicas)),
            minimum_ready_seconds: minimum_ready_seconds(&tree),
            template: tree["spec"]["template"].clone(),
            status: SetStatus {
                replicas: number(&status["replicas"]),
                ready: number(&status["readyReplicas"]),
                available: number(&status["availableReplicas"]),
                terminating: number(&status["terminatingReplicas"]),
                observed_generation: status["observedGeneration"].as_i64().unwrap_or_default(),
                failure: conditions
                    .into_iter()
                    .flatten()
                    .find(|one| one["type"] == "ReplicaFailure")
                    .cloned(),
            },
        })
    }

    /// The number of its revision; 0 if it has none.
    pub fn revision(&self) -> i64 {
        self.annotations.get(super::revision::REVISION).and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

fn strategy(strategy: &Value, replicas: i32) -> Strategy {
    if strategy["type"] == "Recreate" {
        return Strategy::Recreate;
    }
    let quarter = Value::from("25%");
    let bound = |name: &str, round| {
        let given = strategy["rollingUpdate"].get(name).filter(|value| !value.is_null());
        scaled(given.unwrap_or(&quarter), replicas, round, 0)
    };
    let (surge, unavailable) = (bound("maxSurge", Round::Up), bound("maxUnavailable", Round::Down));
    Strategy::RollingUpdate(Bounds { surge, unavailable }.passable())
}
