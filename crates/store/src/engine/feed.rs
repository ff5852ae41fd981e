//! How one watch follows the store: from the journal, then from the latest records in memory, then live from
//! its mailbox; back to history when it was too slow.
//!
//! Invariant: the cursor only moves forward, and only past events that were handed out or are not of the
//! range; so nothing is missed or seen twice, whichever way an event comes.

use std::{ops::ControlFlow, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    limits::CATCH_UP_RECORDS,
    registrations::Mailbox,
    state::{Shared, within},
};
use crate::{Batch, Change, Error, Event, Feed, Revision, Watch, journal::Archive, record::View};

pub(super) fn watch(shared: &Arc<Shared>, start: Bytes, end: Bytes, after: Revision) -> Result<Watch, Error> {
    let mailbox = Arc::new(Mailbox::default());
    let mut follower = Follower {
        shared: shared.clone(),
        range: Arc::new((start, end)),
        cursor: after,
        mailbox: mailbox.clone(),
        first: None,
        live: false,
        ended: false,
    };
    // If memory goes back so far it is live from now on, however long the caller takes to look.
    if let Found::Batch(batch) = follower.read_memory()? {
        follower.first = Some(batch);
    }
    let request = move || {
        mailbox.inbox.lock().progress = true;
        mailbox.news.notify_one();
    };
    Ok(Watch::new(Box::new(follower), Arc::new(request)))
}

struct Follower {
    shared: Arc<Shared>,
    range: Arc<(Bytes, Bytes)>,
    /// All events of the range up to here were handed out.
    cursor: Revision,
    mailbox: Arc<Mailbox>,
    /// What was found when the watch began.
    first: Option<Batch>,
    /// The mailbox is registered, and everything after the cursor comes through it.
    live: bool,
    ended: bool,
}

/// What a look into the mailbox, or into memory, gave.
enum Found {
    Batch(Batch),
    Nothing,
    Behind,
    Closed,
}

#[async_trait]
impl Feed for Follower {
    async fn next(&mut self) -> Option<Result<Batch, Error>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        while !self.ended {
            if self.live {
                match self.take() {
                    Found::Batch(batch) => return Some(Ok(batch)),
                    Found::Nothing => self.mailbox.news.notified().await,
                    Found::Behind => self.live = false,
                    Found::Closed => break,
                }
            } else {
                match self.catch_up().await {
                    Ok(Found::Batch(batch)) => return Some(Ok(batch)),
                    Ok(_) => {}
                    Err(Error::Closed) => break,
                    Err(error) => {
                        self.ended = true;
                        return Some(Err(error));
                    }
                }
            }
        }
        self.ended = true;
        None
    }
}

impl Follower {
    /// What is in the mailbox.
    fn take(&mut self) -> Found {
        // Both locks, state first as the writer takes them: then what is published is in the mailbox.
        let state = self.shared.state.read();
        let mut inbox = self.mailbox.inbox.lock();
        if inbox.events.is_empty() {
            if inbox.closed {
                return Found::Closed;
            }
            if inbox.lagging {
                return Found::Behind;
            }
            if !inbox.progress {
                return Found::Nothing;
            }
        }
        let mut reached = inbox.revision;
        if !inbox.lagging {
            reached = reached.max(state.revision);
            inbox.progress = false;
        }
        let events = std::mem::take(&mut inbox.events);
        reached = reached.max(events.last().map_or(0, |event| event.revision));
        self.cursor = self.cursor.max(reached);
        Found::Batch(Batch { events, revision: self.cursor })
    }

    async fn catch_up(&mut self) -> Result<Found, Error> {
        match self.read_memory()? {
            Found::Behind => self.read_journal().await,
            found => Ok(found),
        }
    }

    /// The next events from the latest records; at their end the watch becomes live and says so.
    fn read_memory(&mut self) -> Result<Found, Error> {
        let mut state = self.shared.state.write();
        state.retained(self.cursor)?;
        let Some(records) = state.recent.after(self.cursor) else { return Ok(Found::Behind) };
        let (start, end) = &*self.range;
        let remaining = records.len();
        let mut events = Vec::new();
        for record in records.take(CATCH_UP_RECORDS) {
            if within(&record.key, start, end) {
                events.push(record.event());
            }
            self.cursor = record.revision;
        }
        if remaining <= CATCH_UP_RECORDS {
            self.cursor = self.cursor.max(state.revision);
            {
                let mut inbox = self.mailbox.inbox.lock();
                inbox.revision = self.cursor;
                inbox.lagging = false;
                inbox.progress = false;
            }
            state.watches.insert(start.clone(), end.clone(), self.mailbox.clone());
            self.live = true;
        } else if events.is_empty() {
            return Ok(Found::Nothing);
        }
        Ok(Found::Batch(Batch { events, revision: self.cursor }))
    }

    /// The next events from records that are no longer in memory.
    async fn read_journal(&mut self) -> Result<Found, Error> {
        let floor = self.shared.state.read().recent.floor();
        let (shared, range, cursor) = (self.shared.clone(), self.range.clone(), self.cursor);
        let read = move || {
            let read = read(&*shared.archive, &range, cursor, floor);
            // What a compaction removed meanwhile is missing from what was read.
            shared.state.read().retained(cursor)?;
            read
        };
        let read = tokio::task::spawn_blocking(read).await;
        let (events, reached) = read.map_err(|error| Error::Unavailable { what: error.to_string() })??;
        self.cursor = reached;
        if events.is_empty() {
            return Ok(Found::Nothing);
        }
        Ok(Found::Batch(Batch { events, revision: reached }))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if self.live {
            self.shared.state.write().watches.remove(&self.mailbox);
        }
    }
}

/// The events of a range with `cursor < revision <= floor`, as many as a bounded number of records hold, and
/// how far that is.
fn read(
    archive: &dyn Archive,
    (start, end): &(Bytes, Bytes),
    cursor: Revision,
    floor: Revision,
) -> Result<(Vec<Event>, Revision), Error> {
    let mut found = Vec::new();
    let mut reached = floor;
    let mut remaining = CATCH_UP_RECORDS;
    archive.scan(cursor, &mut |view| {
        if view.revision > floor {
            return ControlFlow::Break(());
        }
        if within(view.key, start, end) {
            found.push((event(view), view.previous));
        }
        remaining -= 1;
        if remaining == 0 {
            reached = view.revision;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    let mut events = Vec::with_capacity(found.len());
    for (mut event, previous) in found {
        if previous != 0 {
            fill(archive, &mut event, previous)?;
        }
        events.push(event);
    }
    Ok((events, reached))
}

/// The event of a record, with the previous value yet to be filled in.
fn event(view: View<'_>) -> Event {
    let change = match view.value {
        Some(value) => {
            Change::Put { value: Bytes::copy_from_slice(value), created: view.created, previous: None }
        }
        None => Change::Delete { previous: Bytes::new(), previous_revision: view.previous },
    };
    Event { revision: view.revision, key: Bytes::copy_from_slice(view.key), change }
}

fn fill(archive: &dyn Archive, event: &mut Event, at: Revision) -> Result<(), Error> {
    let mut value = None;
    archive.get(at, &mut |view| value = view.value.map(Bytes::copy_from_slice))?;
    let Some(value) = value else {
        return Err(archive.corrupt(format!("revision {} replaced {at}, which is missing", event.revision)));
    };
    match &mut event.change {
        Change::Put { previous, .. } => *previous = Some((value, at)),
        Change::Delete { previous, .. } => *previous = value,
    }
    Ok(())
}
