//! Ranges, now and at a revision: a snapshot of the objects, and for the past the changes since, undone.
//!
//! Invariant: a page at a revision is what a range at that moment would have said, for as long as that
//! revision is not compacted.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use imbl::OrdMap;

use super::state::{Held, Shared, bounds, within};
use crate::{Entry, Error, Page, Range, Revision, journal::Archive, record::Record};

/// What keys were before some revision's changes: an object, or absent.
type Undo = BTreeMap<Bytes, Option<Held>>;

pub(super) async fn read(shared: &Arc<Shared>, range: Range) -> Result<Page, Error> {
    let (objects, revision, floor, mut undo) = {
        let state = shared.state.read();
        state.open()?;
        let revision = range.revision.unwrap_or(state.revision);
        if revision > state.revision {
            return Err(Error::FutureRevision { requested: revision, current: state.revision });
        }
        state.retained(revision)?;
        let mut undo = Undo::new();
        let floor = state.recent.floor();
        if revision < state.revision {
            for record in state.recent.after(revision.max(floor)).into_iter().flatten() {
                if within(&record.key, &range.start, &range.end) && !undo.contains_key(&record.key) {
                    undo.insert(record.key.clone(), before(record));
                }
            }
        }
        (state.objects.clone(), revision, floor, undo)
    };
    if revision < floor {
        let (shared, range) = (shared.clone(), range.clone());
        let read = move || {
            let read = undo_journal(&*shared.archive, &range, revision, floor);
            // What a compaction removed meanwhile is missing from what was read.
            shared.state.read().retained(revision)?;
            read
        };
        let read = tokio::task::spawn_blocking(read).await;
        // Earlier changes win: theirs is what was there before all later ones.
        undo.extend(read.map_err(|error| Error::Unavailable { what: error.to_string() })??);
    }
    Ok(page(&objects, undo, &range, revision))
}

/// What the key of a record was before it.
fn before(record: &Record) -> Option<Held> {
    let (value, revision) = record.previous.clone()?;
    Some(Held { value, revision, created: record.created })
}

/// What the keys were at `revision` that changed after it, up to and including `floor`.
fn undo_journal(
    archive: &dyn Archive,
    range: &Range,
    revision: Revision,
    floor: Revision,
) -> Result<Undo, Error> {
    let mut changed: BTreeMap<Bytes, Revision> = BTreeMap::new();
    archive.scan(revision, &mut |view| {
        if view.revision > floor {
            return ControlFlow::Break(());
        }
        if within(view.key, &range.start, &range.end) && !changed.contains_key(view.key) {
            changed.insert(Bytes::copy_from_slice(view.key), view.previous);
        }
        ControlFlow::Continue(())
    })?;
    let mut undo = Undo::new();
    for (key, previous) in changed {
        let mut held = None;
        if previous != 0 {
            archive.get(previous, &mut |view| {
                held = view.value.map(|value| Held {
                    value: Bytes::copy_from_slice(value),
                    revision: previous,
                    created: view.created,
                });
            })?;
            if held.is_none() {
                return Err(archive.corrupt(format!("revision {previous} is missing")));
            }
        }
        undo.insert(key, held);
    }
    Ok(undo)
}

/// The entries of the range among the objects, with what is to be undone in their place.
fn page(objects: &OrdMap<Bytes, Held>, undo: Undo, range: &Range, revision: Revision) -> Page {
    let mut page = Page { entries: Vec::new(), revision, more: false, count: 0 };
    let Some(bounds) = bounds(&range.start, &range.end) else { return page };
    let mut add = |key: &Bytes, held: &Held| {
        page.count += 1;
        if range.limit == 0 || page.entries.len() < range.limit {
            page.entries.push(held.entry(key));
        } else {
            page.more = true;
        }
    };
    let mut undo = undo.iter().peekable();
    for (key, held) in objects.range::<_, [u8]>(bounds) {
        while let Some((gone, before)) = undo.next_if(|(undone, _)| *undone < key) {
            before.iter().for_each(|before| add(gone, before));
        }
        match undo.next_if(|(undone, _)| *undone == key) {
            Some((key, before)) => before.iter().for_each(|before| add(key, before)),
            None => add(key, held),
        }
    }
    for (gone, before) in undo {
        before.iter().for_each(|before| add(gone, before));
    }
    page
}

impl Page {
    /// Where the next page starts, if there is one; ask for it at this page's revision.
    pub fn next_start(&self) -> Option<Bytes> {
        let last: &Entry = self.entries.last().filter(|_| self.more)?;
        Some(crate::successor(&last.key))
    }
}
