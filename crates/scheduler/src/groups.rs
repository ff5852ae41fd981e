//! Groups of pods that start together or not at all.
//!
//! Invariant: the members of a group are the pods that name it and have not ended, whether they wait or are placed.
//! Answers to the workload manager and GangScheduling.

use gifee_base::{Object, ObjectKey};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};

/// All groups.
#[derive(Debug, Default)]
pub struct Groups {
    /// How many must start together: none for groups that do not care.
    known: HashMap<ObjectKey, usize>,
    members: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
}

#[derive(Deserialize)]
struct PodGroup {
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    scheduling_policy: Policy,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Policy {
    gang: Option<Gang>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gang {
    min_count: usize,
}

impl Groups {
    /// A group is new or changed.
    ///
    /// # Errors
    /// If the bytes are no PodGroup.
    pub fn put(&mut self, object: &Object) -> Result<(), serde_json::Error> {
        let group: PodGroup = serde_json::from_slice(object.raw())?;
        let least = group.spec.scheduling_policy.gang.map_or(0, |gang| gang.min_count);
        self.known.insert(object.key(), least);
        Ok(())
    }

    /// A group is gone.
    pub fn remove(&mut self, key: &ObjectKey) {
        self.known.remove(key);
    }

    /// All groups are to be told anew.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// How many of a group must start together, if there is such a group.
    pub fn least(&self, key: &ObjectKey) -> Option<usize> {
        self.known.get(key).copied()
    }

    /// The pods of a group.
    pub fn members(&self, key: &ObjectKey) -> impl Iterator<Item = &ObjectKey> {
        self.members.get(key).into_iter().flatten()
    }

    /// A pod belongs to a group; whether it did not before.
    pub fn join(&mut self, group: ObjectKey, pod: &ObjectKey) -> bool {
        self.members.entry(group).or_default().insert(pod.clone())
    }

    /// A pod belongs to a group no more.
    pub fn leave(&mut self, group: &ObjectKey, pod: &ObjectKey) {
        if let Some(members) = self.members.get_mut(group) {
            members.remove(pod);
            if members.is_empty() {
                self.members.remove(group);
            }
        }
    }
}
