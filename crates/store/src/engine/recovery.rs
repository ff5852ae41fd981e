//! Opening: the records, read in order, become the objects and the history again.
//!
//! Invariant: an engine opened on a journal says what the one before it said, except that it has forgotten
//! how old history is and keeps it anew for its full age. Records that contradict each other are refused.

use std::{ops::ControlFlow, sync::Arc, time::Instant};

use bytes::Bytes;
use imbl::OrdMap;
use parking_lot::RwLock;

use super::{
    compaction::History,
    limits::Limits,
    recent::Recent,
    registrations::Registrations,
    state::{Held, Shared, State},
    writer::Writer,
};
use crate::{
    Error, Revision,
    journal::Journal,
    record::{Record, View},
};

/// The revision of a store that was never written. etcd starts here too; 0 means "any" to Kubernetes.
const FIRST: Revision = 1;

pub(super) fn recover(journal: Box<dyn Journal>, limits: Limits) -> Result<(Arc<Shared>, Writer), Error> {
    let compacted = journal.compacted()?;
    let archive = journal.archive();
    let mut found = Found::new(compacted, limits);
    let mut contradiction = None;
    archive.scan(0, &mut |view| match found.add(view) {
        Ok(()) => ControlFlow::Continue(()),
        Err(what) => {
            contradiction = Some(what);
            ControlFlow::Break(())
        }
    })?;
    if let Some(what) = contradiction {
        return Err(archive.corrupt(what));
    }
    let Found { objects, recent, mut history, revision, leftovers, .. } = found;
    history.mark(Instant::now());
    history.put_leftovers(leftovers);
    let state =
        State { objects, revision, compacted, recent, watches: Registrations::default(), closed: false };
    let shared = Arc::new(Shared { state: RwLock::new(state), archive, limits });
    let writer = Writer::new(shared.clone(), journal, history, revision + 1);
    Ok((shared, writer))
}

struct Found {
    objects: OrdMap<Bytes, Held>,
    recent: Recent,
    history: History,
    leftovers: Vec<Revision>,
    revision: Revision,
    compacted: Revision,
    limits: Limits,
}

impl Found {
    fn new(compacted: Revision, limits: Limits) -> Self {
        Self {
            objects: OrdMap::new(),
            recent: Recent::new(compacted),
            history: History::new(compacted, limits),
            leftovers: Vec::new(),
            revision: compacted.max(FIRST),
            compacted,
            limits,
        }
    }

    /// Takes the next record; says what is wrong with it if it cannot follow those before.
    fn add(&mut self, view: View<'_>) -> Result<(), String> {
        let before = self.objects.get_key_value(view.key).map(|(key, held)| (key.clone(), held.clone()));
        let old = view.revision <= self.compacted;
        match (&before, view.previous) {
            (None, 0) => {}
            (Some((_, held)), previous) if held.revision == previous => {}
            // What it replaced was cleared away already.
            (None, _) if old => {}
            _ => {
                return Err(format!("revision {} does not follow revision {}", view.revision, view.previous));
            }
        }
        let key = match &before {
            Some((key, _)) => key.clone(),
            None => Bytes::copy_from_slice(view.key),
        };
        let value = view.value.map(Bytes::copy_from_slice);
        let previous = before.map(|(_, held)| (held.value, held.revision));
        match &value {
            Some(value) => {
                let held = Held { value: value.clone(), revision: view.revision, created: view.created };
                self.objects.insert(key.clone(), held);
            }
            None => {
                self.objects.remove(&key);
            }
        }
        if old {
            self.leftovers.extend(previous.map(|(_, revision)| revision));
            if value.is_none() {
                self.leftovers.push(view.revision);
            }
        } else {
            self.history.note(view);
            let record = Record { revision: view.revision, key, value, created: view.created, previous };
            self.recent.push(record, &self.limits);
        }
        self.revision = self.revision.max(view.revision);
        Ok(())
    }
}
