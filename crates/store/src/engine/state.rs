//! What readers see: the objects, the current revision, the latest events, the watches that follow.
//!
//! Invariant: all of it changes together, under one lock, only after the journal has committed.

use std::{ops::Bound, sync::Arc};

use bytes::Bytes;
use imbl::OrdMap;
use parking_lot::RwLock;

use super::{limits::Limits, recent::Recent, registrations::Registrations};
use crate::{Entry, Error, Revision, journal::Archive, record::Record};

/// A present object, without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub value: Bytes,
    pub revision: Revision,
    pub created: Revision,
}

impl Held {
    pub fn entry(&self, key: &Bytes) -> Entry {
        Entry { key: key.clone(), value: self.value.clone(), revision: self.revision, created: self.created }
    }
}

/// What readers and the writer share.
pub(super) struct Shared {
    pub state: RwLock<State>,
    pub archive: Arc<dyn Archive>,
    pub limits: Limits,
}

pub(super) struct State {
    pub objects: OrdMap<Bytes, Held>,
    /// That of the last published write.
    pub revision: Revision,
    /// The compaction point.
    pub compacted: Revision,
    pub recent: Recent,
    pub watches: Registrations,
    pub closed: bool,
}

impl State {
    pub fn open(&self) -> Result<(), Error> {
        if self.closed { Err(Error::Closed) } else { Ok(()) }
    }

    /// Whether history after `after`, or the state at it, is still all there.
    pub fn retained(&self, after: Revision) -> Result<(), Error> {
        self.open()?;
        if after < self.compacted { Err(Error::Compacted { oldest: self.compacted }) } else { Ok(()) }
    }

    /// Makes committed records visible.
    pub fn publish(&mut self, records: Vec<Record>, limits: &Limits) {
        let Some(last) = records.last().map(|record| record.revision) else { return };
        for record in records {
            self.watches.deliver(&record);
            match &record.value {
                Some(value) => {
                    let held =
                        Held { value: value.clone(), revision: record.revision, created: record.created };
                    self.objects.insert(record.key.clone(), held);
                }
                None => {
                    self.objects.remove(&record.key);
                }
            }
            self.recent.push(record, limits);
        }
        self.revision = last;
        self.watches.delivered(last);
    }

    pub fn close(&mut self) {
        self.closed = true;
        self.watches.close();
    }
}

/// Where a range of keys begins and ends.
type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The keys of `[start, end)`, where an empty `end` is no bound; `None` if there can be none.
pub(super) fn bounds<'a>(start: &'a [u8], end: &'a [u8]) -> Option<Bounds<'a>> {
    match end {
        [] => Some((Bound::Included(start), Bound::Unbounded)),
        end if start < end => Some((Bound::Included(start), Bound::Excluded(end))),
        _ => None,
    }
}

/// Whether `key` is in `[start, end)`, where an empty `end` is no bound.
pub(super) fn within(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    key >= start && (end.is_empty() || key < end)
}
