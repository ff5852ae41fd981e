//! What has changed on which node, in order, for those that keep something by node.
//!
//! Invariant: a reader that has read up to a place either learns of all changes since, or that it must begin anew.

use crate::pod::Template;
use std::collections::VecDeque;
use std::sync::Arc;

/// So many changes are kept; who has missed more begins anew.
const KEPT: usize = 1 << 16;

/// A change of a node, or of what is on it.
#[derive(Clone, Debug)]
pub struct Change {
    /// Index of the node.
    pub node: usize,
    /// A pod came or went; otherwise it is the node, or who is to have room there.
    pub moved: Option<Moved>,
}

/// A pod came to a node, or left it.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The pod's.
    pub template: Arc<Template>,
    /// 1 or -1.
    pub delta: i32,
    /// Whether the pod is not being deleted.
    pub stays: bool,
}

/// The changes.
#[derive(Debug, Default)]
pub struct Journal {
    changes: VecDeque<Change>,
    /// How many there were before those that are kept.
    dropped: u64,
}

impl Journal {
    /// Notes a change.
    pub fn push(&mut self, change: Change) {
        if self.changes.len() == KEPT {
            self.changes.pop_front();
            self.dropped += 1;
        }
        self.changes.push_back(change);
    }

    /// The place after the last change.
    pub fn end(&self) -> u64 {
        self.dropped + self.changes.len() as u64
    }

    /// The changes since a place; none if not all of them are kept.
    pub fn since(&self, place: u64) -> Option<impl Iterator<Item = &Change>> {
        let at = usize::try_from(place.checked_sub(self.dropped)?).ok()?;
        Some(self.changes.range(at.min(self.changes.len())..))
    }
}
