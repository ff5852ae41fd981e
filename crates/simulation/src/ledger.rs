//! What is known of every pod, out of one watch: when it came, when it was bound, when it was ready, why it waits.
//!
//! Invariant: an entry per pod that exists, and none of those that are gone; times are those at which the watch told.

use gifee_base::{Object, ObjectKey};
use serde::{Deserialize, Deserializer};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A pod as far as a simulation looks at it.
#[derive(Clone, Debug)]
pub struct Pod {
    /// UID.
    pub uid: Arc<str>,
    /// The resource version of what is known of it.
    pub revision: u64,
    /// Kind and name of what controls it, such as `ReplicaSet/web-1`.
    pub owner: Option<Arc<str>>,
    /// Where it is bound.
    pub node: Option<Arc<str>>,
    /// When it was first seen.
    pub born: Instant,
    /// When it was seen bound.
    pub bound: Option<Instant>,
    /// When it was first seen ready.
    pub ready: Option<Instant>,
    /// Whether its containers have been started.
    pub started: bool,
    /// Whether it is ready now.
    pub serves: bool,
    /// Whether it has ended.
    pub ended: bool,
    /// Whether it is told to go.
    pub deleting: bool,
    /// Why it has no place, if the scheduler has said so.
    pub reason: Option<Arc<str>>,
}

impl Pod {
    /// Whether it waits for a node.
    pub fn pending(&self) -> bool {
        self.node.is_none() && !self.ended && !self.deleting
    }

    /// Whether nothing more is to be expected of it as things stand.
    pub fn settled(&self) -> bool {
        !self.deleting
            && (self.ended || self.ready.is_some() || (self.node.is_none() && self.reason.is_some()))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "nullable")]
    phase: String,
    #[serde(deserialize_with = "nullable")]
    conditions: Vec<Condition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
    #[serde(deserialize_with = "nullable")]
    message: String,
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// All pods.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Those that exist.
    pub pods: HashMap<ObjectKey, Pod>,
    /// How many wait for a node, by namespace.
    pending: HashMap<Arc<str>, usize>,
    /// Those that exist and of which more is to be expected.
    pub unsettled: usize,
    /// Where times from creation to binding go while something is measured.
    pub measured: Option<Times>,
}

/// Times of pods that were measured, from when they were first seen.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// Of pods in this namespace only; empty: of all.
    pub namespace: String,
    /// Until bound.
    pub bound: Vec<Duration>,
    /// Until ready.
    pub ready: Vec<Duration>,
    /// When the last one was bound.
    pub last_bound: Option<Instant>,
    /// When the last one became ready.
    pub last_ready: Option<Instant>,
}

impl Times {
    fn counts(&self, key: &ObjectKey) -> bool {
        self.namespace.is_empty() || *self.namespace == *key.namespace
    }
}

impl Ledger {
    /// How many pods wait for a node: in a namespace, or if it is empty in all.
    pub fn pending(&self, namespace: &str) -> usize {
        match namespace {
            "" => self.pending.values().sum(),
            _ => self.pending.get(namespace).copied().unwrap_or_default(),
        }
    }

    fn count(&mut self, namespace: &str, change: isize) {
        if !self.pending.contains_key(namespace) {
            self.pending.insert(namespace.into(), 0);
        }
        if let Some(count) = self.pending.get_mut(namespace) {
            *count = count.saturating_add_signed(change);
        }
    }

    /// Takes in a pod's state; its entry as it is now.
    pub fn put(&mut self, object: &Object, now: Instant) -> Pod {
        let key = object.key();
        let old = self.take(&key, object.uid());
        let node = object.text_at(&["spec", "nodeName"]).filter(|node| !node.is_empty());
        let status: Status = object
            .value_at(&["status"])
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default();
        let condition = |name: &str| status.conditions.iter().find(|one| one.r#type == name);
        let mut pod = old.unwrap_or_else(|| Pod {
            uid: object.uid().into(),
            revision: 0,
            owner: object.controller().map(|owner| format!("{}/{}", owner.kind, owner.name).into()),
            node: None,
            born: now,
            bound: None,
            ready: None,
            started: false,
            serves: false,
            ended: false,
            deleting: false,
            reason: None,
        });
        pod.revision = object.revision();
        pod.deleting = object.deleting();
        pod.started = status.phase == "Running";
        pod.ended = matches!(&*status.phase, "Succeeded" | "Failed");
        if pod.node.is_none()
            && let Some(node) = node
        {
            pod.node = Some(node.as_ref().into());
            pod.bound = Some(now);
            if let Some(times) = self.measured.as_mut().filter(|times| times.counts(&key)) {
                times.bound.push(now - pod.born);
                times.last_bound = Some(now);
            }
        }
        let ready = condition("Ready").is_some_and(|one| one.status == "True");
        pod.serves = ready;
        if ready && pod.ready.is_none() {
            pod.ready = Some(now);
            if let Some(times) = self.measured.as_mut().filter(|times| times.counts(&key)) {
                times.ready.push(now - pod.born);
                times.last_ready = Some(now);
            }
        }
        let refused = condition("PodScheduled").filter(|one| one.status == "False");
        pod.reason = refused.map(|one| one.message.as_str().into());
        if pod.pending() {
            self.count(&key.namespace, 1);
        }
        self.unsettled += usize::from(!pod.settled());
        self.pods.insert(key, pod.clone());
        pod
    }

    /// Takes a pod out.
    pub fn remove(&mut self, key: &ObjectKey, uid: &str) {
        self.take(key, uid);
    }

    fn take(&mut self, key: &ObjectKey, uid: &str) -> Option<Pod> {
        let pod = self.pods.remove(key)?;
        if pod.pending() {
            self.count(&key.namespace, -1);
        }
        self.unsettled -= usize::from(!pod.settled());
        (*pod.uid == *uid).then_some(pod)
    }
}

/// The value below which such a part of all lies; none of none.
pub fn percentile(times: &mut [Duration], part: f64) -> Option<Duration> {
    times.sort_unstable();
    let last = times.len().checked_sub(1)?;
    // Times are few enough for exact positions.
    times.get((last as f64 * part).round() as usize).copied()
}
