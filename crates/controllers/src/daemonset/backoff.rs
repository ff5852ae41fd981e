//! How long failed pods are left alone, per set and node, so that a set and a node that rejects its pods do
//! not fight at full speed.
//!
//! Bound: one entry per node of a set; those of an earlier generation go when the next is made.

use gifee_base::ObjectKey;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use std::collections::HashMap;

const FIRST: SignedDuration = SignedDuration::from_secs(1);
const LONGEST: SignedDuration = SignedDuration::from_mins(15);

/// Back-offs of all sets.
#[derive(Default)]
pub struct Backoffs {
    sets: Mutex<HashMap<ObjectKey, Set>>,
}

#[derive(Default)]
struct Set {
    /// UID and observed generation of the set.
    of: (String, i64),
    nodes: HashMap<String, (Timestamp, SignedDuration)>,
}

impl Backoffs {
    /// Until when a failed pod of a node is left alone.
    pub fn until(&self, key: &ObjectKey, of: (&str, i64), node: &str) -> Option<Timestamp> {
        let sets = self.sets.lock();
        let set = sets.get(key).filter(|set| (set.of.0.as_str(), set.of.1) == of)?;
        let (since, delay) = set.nodes.get(node)?;
        since.checked_add(*delay).ok()
    }

    /// A failed pod of a node is being deleted: the next is left alone for longer.
    pub fn failed(&self, key: &ObjectKey, of: (&str, i64), node: &str, now: Timestamp) {
        let mut sets = self.sets.lock();
        let set = sets.entry(key.clone()).or_default();
        if (set.of.0.as_str(), set.of.1) != of {
            *set = Set { of: (of.0.to_owned(), of.1), nodes: HashMap::new() };
        }
        let last = set.nodes.get(node).filter(|(since, _)| now.duration_since(*since) <= LONGEST * 2);
        let delay = last.map_or(FIRST, |(_, delay)| (*delay * 2).min(LONGEST));
        set.nodes.insert(node.to_owned(), (now, delay));
    }

    /// Forgets a set that is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.sets.lock().remove(key);
    }
}
