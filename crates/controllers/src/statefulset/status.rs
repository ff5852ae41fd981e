//! The status of a StatefulSet. Pure.

use super::plan::Revisions;
use super::view::{Member, View};
use jiff::Timestamp;
use serde_json::{Value, json};

/// What the pods of a set come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All that exist.
    pub replicas: i64,
    /// Those that are ready.
    pub ready: i64,
    /// Those that have been for long enough.
    pub available: i64,
    /// Those of the current revision that are not going.
    pub current: i64,
    /// Those of the update revision that are not going.
    pub updated: i64,
}

impl Counts {
    /// Counts pods.
    pub fn of(view: &View, revisions: &Revisions, now: Timestamp) -> Self {
        let mut counts = Self::default();
        for member in view.pods.iter().filter(|member| !member.brief.status.phase.is_empty()) {
            counts.replicas += 1;
            counts.ready += i64::from(member.ready());
            counts.available += i64::from(member.ready() && member.available(view, now));
            counts.count_revision(member, revisions, 1);
        }
        counts
    }

    fn count_revision(&mut self, member: &Member, revisions: &Revisions, by: i64) {
        if member.terminating() {
            return;
        }
        self.current += if member.revision() == revisions.current { by } else { 0 };
        self.updated += if member.revision() == revisions.update { by } else { 0 };
    }

    /// A pod is about to go.
    pub fn without(&mut self, member: &Member, revisions: &Revisions) {
        self.count_revision(member, revisions, -1);
    }
}

/// The whole status.
pub fn status(view: &View, revisions: &Revisions, mut counts: Counts) -> Value {
    let wanted = i64::from(view.replicas);
    let mut current = &revisions.current;
    // The update is complete.
    if counts.updated == wanted && counts.ready == wanted && counts.replicas == wanted {
        counts.current = counts.updated;
        current = &revisions.update;
    }
    let mut status = json!({
        "observedGeneration": view.set.generation(),
        "replicas": counts.replicas,
        "availableReplicas": counts.available,
        "currentRevision": current,
        "updateRevision": revisions.update,
        "collisionCount": revisions.collisions,
    });
    for (name, count) in [
        ("readyReplicas", counts.ready),
        ("currentReplicas", counts.current),
        ("updatedReplicas", counts.updated),
    ] {
        if count > 0 {
            status[name] = count.into();
        }
    }
    // Conditions are anybody's.
    if !view.status()["conditions"].is_null() {
        status["conditions"] = view.status()["conditions"].clone();
    }
    status
}
