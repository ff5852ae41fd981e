//! Turns a stream of records into events.k8s.io events: the second equal one starts a series, which is
//! then only refreshed.
//!
//! Pure. Answers to client-go's `tools/events`: a series is refreshed every 30 minutes and ends after 6
//! minutes without an event; here both are checked when an equal record comes.

use super::Record;
use super::correlate::{Recent, digest, event_name};
use jiff::Timestamp;

const REFRESH_SECONDS: i64 = 30 * 60;
const FINISH_SECONDS: i64 = 6 * 60;

/// What to write for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// A new event of this name.
    Create { name: String, record: Record, at: Timestamp },
    /// The state of the series of an event of this name.
    Series { name: String, record: Record, count: i32, first: Timestamp, at: Timestamp },
}

struct Seen {
    name: String,
    count: i32,
    first: Timestamp,
    last: Timestamp,
    written: Timestamp,
}

pub(super) struct Series {
    seen: Recent<Seen>,
}

impl Series {
    pub(super) fn new() -> Self {
        Self { seen: Recent::new() }
    }

    /// What to write for a record, if anything.
    pub(super) fn observe(&mut self, record: Record, now: Timestamp) -> Option<Write> {
        let identity = identity(&record);
        let fresh = || Seen {
            name: event_name(&record.regarding.name, now),
            count: 0,
            first: now,
            last: now,
            written: now,
        };
        let seen = self.seen.entry(identity, fresh);
        if now.as_second() - seen.last.as_second() > FINISH_SECONDS {
            *seen = fresh();
        }
        seen.count += 1;
        seen.last = now;
        if seen.count == 1 {
            return Some(Write::Create { name: seen.name.clone(), record, at: now });
        }
        if seen.count > 2 && now.as_second() - seen.written.as_second() < REFRESH_SECONDS {
            return None;
        }
        seen.written = now;
        let (name, count, first) = (seen.name.clone(), seen.count, seen.first);
        Some(Write::Series { name, record, count, first, at: now })
    }

    /// Forgets an event that is no longer there.
    pub(super) fn forget(&mut self, record: &Record) {
        self.seen.remove(identity(record));
    }
}

fn identity(record: &Record) -> u64 {
    let mut record = record.clone();
    record.regarding.resource_version.clear();
    digest(&record)
}
