//! Turns a stream of records into few writes: counts equal ones, merges similar ones, cuts floods.
//!
//! Pure: time comes in, a write comes out. Each memory holds at most 4,096 entries and then forgets the
//! least recent half. Answers to client-go's `EventCorrelator`, with its figures.

use super::Record;
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

const ENTRIES_MAXIMUM: usize = 4096;
/// How many different messages are written before similar events are merged.
const SIMILAR_MAXIMUM: usize = 10;
const SIMILAR_SECONDS: i64 = 600;
/// Events of one source about one object: so many at once, then one in so many seconds.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

/// Stands for a value in a memory: 64 bits instead of a page of strings. That two meet is harmless (one
/// event is counted on another) and does not happen.
pub(super) fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A map by digest that forgets what was used longest ago.
pub(super) struct Recent<V> {
    entries: HashMap<u64, (V, u64)>,
    tick: u64,
}

impl<V> Recent<V> {
    pub(super) fn new() -> Self {
        Self { entries: HashMap::new(), tick: 0 }
    }

    /// The entry of a key, made if need be.
    pub(super) fn entry(&mut self, key: u64, make: impl FnOnce() -> V) -> &mut V {
        self.tick += 1;
        if self.entries.len() >= ENTRIES_MAXIMUM {
            let oldest = self.tick - (ENTRIES_MAXIMUM / 2) as u64;
            self.entries.retain(|_, (_, used)| *used > oldest);
        }
        let (value, used) = self.entries.entry(key).or_insert_with(|| (make(), 0));
        *used = self.tick;
        value
    }

    pub(super) fn remove(&mut self, key: u64) {
        self.entries.remove(&key);
    }
}

/// What to write for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// A new event of this name.
    Create { name: String, record: Record, at: Timestamp },
    /// A higher count on an event of this name.
    Count { name: String, record: Record, count: i32, first: Timestamp, at: Timestamp },
}

struct Similar {
    messages: HashSet<u64>,
    last: Timestamp,
}

struct Seen {
    name: String,
    count: i32,
    first: Timestamp,
}

struct Bucket {
    tokens: f64,
    filled: Timestamp,
}

pub(super) struct Correlator {
    similar: Recent<Similar>,
    seen: Recent<Seen>,
    buckets: Recent<Bucket>,
}

impl Correlator {
    pub(super) fn new() -> Self {
        Self { similar: Recent::new(), seen: Recent::new(), buckets: Recent::new() }
    }

    /// What to write for a record; none if its source has written too much about the object.
    pub(super) fn observe(&mut self, record: Record, now: Timestamp) -> Option<Write> {
        let (record, identity) = self.merge(record, now);
        let mut regarding = record.regarding.clone();
        regarding.resource_version.clear();
        regarding.field_path.clear();
        if !self.admit(digest(&(&record.source, regarding)), now) {
            return None;
        }
        let seen = self.seen.entry(identity, || Seen {
            name: event_name(&record.regarding.name, now),
            count: 0,
            first: now,
        });
        seen.count += 1;
        let (name, count, first) = (seen.name.clone(), seen.count, seen.first);
        Some(match count {
            1 => Write::Create { name, record, at: now },
            _ => Write::Count { name, record, count, first, at: now },
        })
    }

    /// Forgets an event that is no longer there, so that the next one is created anew.
    pub(super) fn forget(&mut self, record: &Record) {
        let (kind, identity) = identities(record);
        self.seen.remove(kind);
        self.seen.remove(identity);
    }

    /// The record to write, and what it counts as equal to.
    fn merge(&mut self, mut record: Record, now: Timestamp) -> (Record, u64) {
        let (kind, identity) = identities(&record);
        let similar = self.similar.entry(kind, || Similar { messages: HashSet::new(), last: now });
        if now.as_second() - similar.last.as_second() > SIMILAR_SECONDS {
            similar.messages.clear();
        }
        similar.last = now;
        let message = digest(&record.message);
        similar.messages.insert(message);
        if similar.messages.len() < SIMILAR_MAXIMUM {
            return (record, identity);
        }
        // The next new one would be merged as well: the set need not grow.
        similar.messages.remove(&message);
        record.message = format!("(combined from similar events): {}", record.message);
        (record, kind)
    }

    fn admit(&mut self, subject: u64, now: Timestamp) -> bool {
        let bucket = self.buckets.entry(subject, || Bucket { tokens: BURST, filled: now });
        let passed = (now.as_millisecond() - bucket.filled.as_millisecond()).max(0) as f64 / 1000.0;
        bucket.tokens = (bucket.tokens + passed / REFILL_SECONDS).min(BURST);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

/// Digests of what a record has in common with similar ones, and with equal ones.
fn identities(record: &Record) -> (u64, u64) {
    let mut record = record.clone();
    record.regarding.resource_version.clear();
    let identity = digest(&record);
    record.message.clear();
    (digest(&("similar", record)), identity)
}

/// The object's name and the time in hexadecimal nanoseconds; two in one nanosecond do not happen.
pub(super) fn event_name(object: &str, now: Timestamp) -> String {
    format!("{object}.{:x}", now.as_nanosecond())
}
