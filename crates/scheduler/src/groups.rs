//! Groups of pods that start together or not at all.
//!
//! Invariant: the members of a group are the pods that name it and have not ended, whether they wait or are placed.
//! Answers to the workload manager and GangScheduling.

use gifee_base::{Object, ObjectKey};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};

/// Says whether a group has ever been scheduled.
pub const CONDITION: &str = "PodGroupInitiallyScheduled";

/// All groups.
#[derive(Debug, Default)]
pub struct Groups {
    known: HashMap<ObjectKey, Known>,
    members: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
}

/// A group.
#[derive(Debug)]
pub struct Known {
    /// How many must start together: none if it does not care.
    least: usize,
    /// `metadata.generation`
    pub generation: i64,
    /// Its PodGroupInitiallyScheduled condition.
    pub condition: Option<Told>,
}

/// What a group's condition says.
#[derive(Debug)]
pub struct Told {
    /// Whether it is true.
    pub scheduled: bool,
    /// For a person.
    pub message: String,
    /// Of the group that it is about.
    pub observed: i64,
}

#[derive(Deserialize)]
struct PodGroup {
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Vec<Condition>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Condition {
    r#type: String,
    status: String,
    message: String,
    observed_generation: i64,
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
        let told = group.status.conditions.into_iter().find(|one| one.r#type == CONDITION).map(|one| Told {
            scheduled: one.status == "True",
            message: one.message,
            observed: one.observed_generation,
        });
        let known = Known { least, generation: object.generation(), condition: told };
        self.known.insert(object.key(), known);
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
        self.known.get(key).map(|one| one.least)
    }

    /// How many pods a group has.
    pub fn size(&self, key: &ObjectKey) -> usize {
        self.members.get(key).map_or(0, BTreeSet::len)
    }

    /// Whether as many pods of a group are there as must start together.
    pub fn is_complete(&self, key: &ObjectKey) -> bool {
        self.least(key).is_some_and(|least| self.size(key) >= least)
    }

    /// A group, if there is such.
    pub fn get(&self, key: &ObjectKey) -> Option<&Known> {
        self.known.get(key)
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
