//! How much history an engine keeps, and how much of it in memory.

use std::time::Duration;

/// The bounds of history. What is older than `history_age`, or beyond the other two bounds, is compacted by
/// the writer itself; a range or watch from before then is `Compacted`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Events younger than this stay, unless there are too many of them.
    pub history_age: Duration,
    /// At most so many events since the compaction point; at the bound the oldest quarter goes.
    pub history_events: usize,
    /// At most so many bytes of events on the disk since the compaction point; as above.
    pub history_bytes: usize,
    /// At most so many of the latest events are also in memory; older ones are read from the journal.
    pub recent_events: usize,
    /// At most so many bytes of the latest events, values of replaced objects included, are in memory.
    pub recent_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            history_age: Duration::from_secs(5 * 60),
            history_events: 500_000,
            history_bytes: 256 * 1024 * 1024,
            recent_events: 16_384,
            recent_bytes: 8 * 1024 * 1024,
        }
    }
}

/// History is compacted in steps of this part of `history_age`: it is between 1 and 1.2 times that old.
pub(crate) const AGE_STEPS: u32 = 10;

/// The most bytes of writes, in KiB, that wait for the writer; at the bound writers wait their turn. A write
/// counts at least one KiB, so there are never more of them either.
pub(crate) const QUEUE_KIBIBYTES: usize = 32 * 1024;

/// The most writes, and about the most bytes, in one commit. The rest waits for the next.
pub(crate) const COMMIT_WRITES: usize = 1_024;
pub(crate) const COMMIT_BYTES: usize = 4 * 1024 * 1024;

/// The most records that one commit of a compaction removes.
pub(crate) const COMPACTION_RECORDS: usize = 256;

/// While writes keep coming, a running compaction gets one commit in so many.
pub(crate) const COMPACTION_TURN: u32 = 16;

/// The most events that wait for one watch; at the bound it goes on from history in its own time.
pub(crate) const WATCH_EVENTS: usize = 2 * COMMIT_WRITES;

/// The most records that a watch which is behind looks at before it hands out what it has found.
pub(crate) const CATCH_UP_RECORDS: usize = 1_024;
