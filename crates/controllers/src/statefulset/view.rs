//! What a StatefulSet looks like: itself, its pods by ordinal, and their volume claims.

use crate::history::REVISION_HASH;
use gifee_base::Object;
use gifee_reconcile::owner::Claims;
use gifee_reconcile::pod::Brief;
use gifee_reconcile::rollout::{Round, scaled};
use gifee_reconcile::{Error, Result};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How pods of an old revision make way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// When somebody deletes them.
    OnDelete,
    /// From the last ordinal down.
    RollingUpdate {
        /// Replicas below this keep the current revision; none: as many as are of it.
        partition: Option<i32>,
        /// How many may be unavailable.
        unavailable: i32,
    },
}

/// What becomes of volume claims that are not needed any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Whether they go with the set.
    pub delete_with_set: bool,
    /// Whether they go with a pod that is scaled away.
    pub delete_with_pod: bool,
}

/// A pod with its place in the set.
#[derive(Clone, Debug)]
pub struct Member {
    /// The pod.
    pub brief: Brief,
    /// The number at the end of its name.
    pub ordinal: i32,
}

/// A StatefulSet and all that planning needs.
pub struct View {
    /// The object.
    pub set: Arc<Object>,
    /// The object's tree.
    pub tree: Value,
    /// `spec.replicas`
    pub replicas: i32,
    /// `spec.ordinals.start`
    pub start: i32,
    /// Whether pods need not wait for each other.
    pub parallel: bool,
    /// `spec.updateStrategy`, resolved against the replicas.
    pub strategy: Strategy,
    /// `spec.minReadySeconds`
    pub minimum_ready_seconds: i32,
    /// `spec.revisionHistoryLimit`
    pub history_limit: usize,
    /// `spec.persistentVolumeClaimRetentionPolicy`
    pub retention: Retention,
    /// Pods to adopt and release.
    pub claims: Claims,
    /// Its own pods, those to be adopted among them.
    pub pods: Vec<Member>,
    /// Volume claims of the namespace that bear the name of one of its own.
    pub volumes: BTreeMap<String, Arc<Object>>,
}

/// The name of the set that a pod's name says, and its ordinal.
pub fn parse(name: &str) -> Option<(&str, i32)> {
    let (parent, ordinal) = name.rsplit_once('-')?;
    let digits = !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit());
    Some((parent, ordinal.parse().ok().filter(|_| digits)?))
}

fn number(value: &Value) -> i32 {
    value.as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or_default()
}

impl View {
    /// Reads a set. Pods, claims and volumes are filled in by who has the caches.
    ///
    /// # Errors
    /// If the bytes are no StatefulSet.
    pub fn read(set: &Arc<Object>) -> Result<Self> {
        let tree = set.to_value().map_err(|error| Error::invalid(set.key(), error))?;
        let spec = &tree["spec"];
        let replicas = spec["replicas"].as_i64().map_or(1, |_| number(&spec["replicas"]));
        let deletes = |when: &str| spec["persistentVolumeClaimRetentionPolicy"][when] == "Delete";
        Ok(Self {
            set: set.clone(),
            replicas,
            start: number(&spec["ordinals"]["start"]),
            parallel: spec["podManagementPolicy"] == "Parallel",
            strategy: strategy(&spec["updateStrategy"], replicas),
            minimum_ready_seconds: number(&spec["minReadySeconds"]),
            history_limit: spec["revisionHistoryLimit"]
                .as_i64()
                .and_then(|limit| usize::try_from(limit).ok())
                .unwrap_or(usize::MAX),
            retention: Retention {
                delete_with_set: deletes("whenDeleted"),
                delete_with_pod: deletes("whenScaled"),
            },
            claims: Claims::default(),
            pods: Vec::new(),
            volumes: BTreeMap::new(),
            tree,
        })
    }

    /// Whether an ordinal is one that the set wants.
    pub fn wants(&self, ordinal: i32) -> bool {
        ordinal >= self.start && i64::from(ordinal) < i64::from(self.start) + i64::from(self.replicas)
    }

    /// The name of the pod with an ordinal.
    pub fn pod_name(&self, ordinal: i32) -> String {
        format!("{}-{ordinal}", self.set.name())
    }

    /// `spec.volumeClaimTemplates`
    pub fn templates(&self) -> &[Value] {
        self.tree["spec"]["volumeClaimTemplates"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The name of the claim that a template makes for an ordinal.
    pub fn claim_name(&self, template: &Value, ordinal: i32) -> String {
        let template = template["metadata"]["name"].as_str().unwrap_or_default();
        format!("{template}-{}", self.pod_name(ordinal))
    }

    /// `status`
    pub fn status(&self) -> &Value {
        &self.tree["status"]
    }
}

impl Member {
    /// Reads a pod; none if its name bears no ordinal.
    ///
    /// # Errors
    /// If the bytes are no pod.
    pub fn read(object: &Arc<Object>) -> Result<Option<Self>> {
        let Some((_, ordinal)) = parse(object.name()) else { return Ok(None) };
        Ok(Some(Self { brief: Brief::read(object)?, ordinal }))
    }

    /// The name of its revision.
    pub fn revision(&self) -> &str {
        self.brief.object.label(REVISION_HASH).unwrap_or_default()
    }

    /// Whether it is being deleted.
    pub fn terminating(&self) -> bool {
        self.brief.deleted.is_some()
    }

    /// Whether it runs and is ready.
    pub fn ready(&self) -> bool {
        self.brief.status.phase == "Running" && self.brief.ready()
    }

    /// Whether it has been ready for long enough, deleted or not.
    pub fn available(&self, view: &View, now: Timestamp) -> bool {
        self.brief.available(view.minimum_ready_seconds, now)
    }

    /// Whether it serves and will go on to.
    pub fn serves(&self, view: &View, now: Timestamp) -> bool {
        self.available(view, now) && !self.terminating()
    }
}

fn strategy(strategy: &Value, replicas: i32) -> Strategy {
    if strategy["type"] == "OnDelete" {
        return Strategy::OnDelete;
    }
    let rolling = &strategy["rollingUpdate"];
    Strategy::RollingUpdate {
        partition: (!rolling.is_null()).then(|| number(&rolling["partition"])),
        // A small percentage must not block.
        unavailable: scaled(&rolling["maxUnavailable"], replicas, Round::Down, 1).max(1),
    }
}
