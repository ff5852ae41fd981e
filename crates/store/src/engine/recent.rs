//! The latest records, in memory, so that watches which are a little behind and ranges at a revision of
//! moments ago need no disk.
//!
//! Invariant: it holds every record with a revision greater than its floor, in order.

use std::collections::{VecDeque, vec_deque};

use super::limits::Limits;
use crate::{Revision, record::Record};

#[derive(Default)]
pub(super) struct Recent {
    records: VecDeque<Record>,
    bytes: usize,
    floor: Revision,
}

impl Recent {
    /// Nothing yet, and nothing to come at or below `floor`.
    pub fn new(floor: Revision) -> Self {
        Self { floor, ..Self::default() }
    }

    /// Adds the newest record; the oldest leave at the limits.
    pub fn push(&mut self, record: Record, limits: &Limits) {
        self.bytes += record.weight();
        self.records.push_back(record);
        while self.records.len() > limits.recent_events || self.bytes > limits.recent_bytes {
            self.pop();
        }
    }

    /// Drops all up to `compacted`.
    pub fn forget(&mut self, compacted: Revision) {
        while self.records.front().is_some_and(|record| record.revision <= compacted) {
            self.pop();
        }
        self.floor = self.floor.max(compacted);
        // A burst should not hold its memory for good.
        if self.records.capacity() > 4 * self.records.len().max(256) {
            self.records.shrink_to(2 * self.records.len());
        }
    }

    fn pop(&mut self) {
        if let Some(record) = self.records.pop_front() {
            self.bytes -= record.weight();
            self.floor = record.revision;
        }
    }

    /// The revision above which all records are here.
    pub fn floor(&self) -> Revision {
        self.floor
    }

    /// The records with revisions greater than `revision`; `None` if some of them are gone.
    pub fn after(&self, revision: Revision) -> Option<vec_deque::Iter<'_, Record>> {
        if revision < self.floor {
            return None;
        }
        let from = self.records.partition_point(|record| record.revision <= revision);
        Some(self.records.range(from..))
    }
}
