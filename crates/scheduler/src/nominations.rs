//! Pods that are to have the room that others are leaving.
//!
//! Invariant: at most one node for each waiting pod. Answers to upstream's nominator.

use crate::pod::Pod;
use gifee_base::ObjectKey;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A pod and the node that it is to have.
#[derive(Clone, Debug)]
pub struct Nominee {
    /// The pod.
    pub pod: Pod,
    /// The node's name.
    pub node: Arc<str>,
    /// Whether the server has said so.
    pub told: bool,
}

/// All nominees.
#[derive(Debug, Default)]
pub struct Nominations(BTreeMap<ObjectKey, Nominee>);

impl Nominations {
    /// A pod is to have a node; what it was to have before.
    pub fn put(&mut self, nominee: Nominee) -> Option<Nominee> {
        self.0.insert(nominee.pod.key.clone(), nominee)
    }

    /// What a pod is to have.
    pub fn get(&self, key: &ObjectKey) -> Option<&Nominee> {
        self.0.get(key)
    }

    /// A pod is to have nothing any more.
    pub fn take(&mut self, key: &ObjectKey) -> Option<Nominee> {
        self.0.remove(key)
    }

    /// Those that a pod takes the room of: the others of lower priority on a node.
    pub fn behind(&self, pod: &Pod, node: &str) -> Vec<ObjectKey> {
        let lower = |one: &&Nominee| *one.node == *node && one.pod.template.priority < pod.template.priority;
        self.0.values().filter(lower).map(|one| one.pod.key.clone()).collect()
    }
}
