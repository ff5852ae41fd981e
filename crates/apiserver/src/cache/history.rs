//! Events of the recent past of one resource, for watches to resume from and lists to go back to.
//!
//! Invariant: every event with a revision above the floor is here, in order. Bounded by number and by the
//! bytes that only history holds.

use super::Event;
use std::collections::VecDeque;
use std::sync::Arc;

/// The past.
#[derive(Debug)]
pub struct History {
    events: VecDeque<Arc<Event>>,
    floor: u64,
    bytes: usize,
    maximum_events: usize,
    maximum_bytes: usize,
}

impl History {
    /// Nothing yet; what happened up to `floor` is unknown.
    pub fn new(floor: u64, maximum_events: usize, maximum_bytes: usize) -> Self {
        Self { events: VecDeque::new(), floor, bytes: 0, maximum_events, maximum_bytes }
    }

    /// The newest event.
    pub fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.weight();
        self.events.push_back(event);
        while self.events.len() > self.maximum_events || self.bytes > self.maximum_bytes {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= event.weight();
            self.floor = self.floor.max(event.revision);
        }
    }

    /// Forgets what happened up to `revision`.
    pub fn forget(&mut self, revision: u64) {
        while self.events.front().is_some_and(|event| event.revision <= revision) {
            self.pop();
        }
        self.floor = self.floor.max(revision);
        if self.events.capacity() > 4 * self.events.len().max(64) {
            self.events.shrink_to(2 * self.events.len());
        }
    }

    /// The revision up to which nothing is known.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// What happened after `revision`; None if not all of it is known.
    pub fn after(&self, revision: u64) -> Option<impl DoubleEndedIterator<Item = &Arc<Event>>> {
        if revision < self.floor {
            return None;
        }
        let from = self.events.partition_point(|event| event.revision <= revision);
        Some(self.events.range(from..))
    }
}
