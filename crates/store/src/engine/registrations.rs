//! The watches that are up to date, indexed by key range: an event costs the watches that want it, not the
//! watches that exist.
//!
//! Invariant: the writer never waits for a watch. One whose box is full leaves the index, keeps what it has,
//! and goes on from history.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::limits::WATCH_EVENTS;
use crate::{Event, Revision, record::Record};

/// Where the events for one watch wait until it takes them.
#[derive(Default)]
pub(super) struct Mailbox {
    pub inbox: Mutex<Inbox>,
    pub news: Notify,
}

#[derive(Default)]
pub(super) struct Inbox {
    pub events: Vec<Event>,
    /// Every event up to here was put in the box.
    pub revision: Revision,
    /// The box was full; there will be no more events in it.
    pub lagging: bool,
    /// Someone asked how far the watch is.
    pub progress: bool,
    pub closed: bool,
}

struct Registration {
    start: Bytes,
    end: Bytes,
    mailbox: Arc<Mailbox>,
    touched: bool,
    gone: bool,
}

/// The index. Every start and end of a range is a boundary; each stretch between two boundaries, and the one
/// after the last, lists the watches that cover it. Rebuilt when a watch came or went, before the next event.
#[derive(Default)]
pub(super) struct Registrations {
    all: Vec<Registration>,
    boundaries: Vec<Bytes>,
    stretches: Vec<Vec<usize>>,
    touched: Vec<usize>,
    stale: bool,
}

impl Registrations {
    pub fn insert(&mut self, start: Bytes, end: Bytes, mailbox: Arc<Mailbox>) {
        self.all.push(Registration { start, end, mailbox, touched: false, gone: false });
        self.stale = true;
    }

    pub fn remove(&mut self, mailbox: &Arc<Mailbox>) {
        for registration in &mut self.all {
            registration.gone |= Arc::ptr_eq(&registration.mailbox, mailbox);
        }
        self.stale = true;
    }

    /// Puts the event into the boxes of the watches whose range holds its key.
    pub fn deliver(&mut self, record: &Record) {
        if self.stale {
            self.rebuild();
        }
        let stretch = self.boundaries.partition_point(|boundary| *boundary <= record.key);
        let Some(watches) = stretch.checked_sub(1).map(|stretch| &self.stretches[stretch]) else { return };
        for index in watches {
            let registration = &mut self.all[*index];
            if registration.gone {
                continue;
            }
            let mut inbox = registration.mailbox.inbox.lock();
            if inbox.events.len() >= WATCH_EVENTS {
                inbox.lagging = true;
                registration.gone = true;
                self.stale = true;
            } else if inbox.revision < record.revision {
                inbox.events.push(record.event());
            }
            if !registration.touched {
                registration.touched = true;
                self.touched.push(*index);
            }
        }
    }

    /// Wakes the watches that got events; all events up to `revision` have been delivered.
    pub fn delivered(&mut self, revision: Revision) {
        for index in self.touched.drain(..) {
            let registration = &mut self.all[index];
            registration.touched = false;
            if !registration.gone {
                let mut inbox = registration.mailbox.inbox.lock();
                inbox.revision = inbox.revision.max(revision);
            }
            registration.mailbox.news.notify_one();
        }
    }

    pub fn close(&mut self) {
        for registration in self.all.drain(..) {
            registration.mailbox.inbox.lock().closed = true;
            registration.mailbox.news.notify_one();
        }
        self.touched.clear();
        self.stale = true;
    }

    /// Never between `deliver` and `delivered` of one commit unless nothing of it was touched yet.
    fn rebuild(&mut self) {
        if !self.touched.is_empty() {
            return;
        }
        self.all.retain(|registration| !registration.gone);
        self.boundaries.clear();
        for registration in &self.all {
            self.boundaries.push(registration.start.clone());
            if !registration.end.is_empty() {
                self.boundaries.push(registration.end.clone());
            }
        }
        self.boundaries.sort_unstable();
        self.boundaries.dedup();
        self.stretches.clear();
        self.stretches.resize_with(self.boundaries.len(), Vec::new);
        for (index, registration) in self.all.iter().enumerate() {
            let from = self.boundaries.partition_point(|boundary| *boundary < registration.start);
            let to = match &registration.end {
                end if end.is_empty() => self.boundaries.len(),
                end => self.boundaries.partition_point(|boundary| boundary < end),
            };
            for stretch in self.stretches.iter_mut().take(to).skip(from) {
                stretch.push(index);
            }
        }
        self.stale = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(revision: Revision, key: &'static str) -> Record {
        Record { revision, key: key.into(), value: Some(Bytes::new()), created: revision, previous: None }
    }

    fn keys(mailbox: &Mailbox) -> Vec<String> {
        let events = std::mem::take(&mut mailbox.inbox.lock().events);
        events.iter().map(|event| String::from_utf8_lossy(&event.key).into_owned()).collect()
    }

    #[test]
    fn each_event_reaches_exactly_the_ranges_that_hold_its_key() {
        let ranges = [("", ""), ("/a/", "/a0"), ("/a/b/", "/a/b0"), ("/b", ""), ("/c", "/c"), ("/d", "/a")];
        let mut registrations = Registrations::default();
        let mailboxes: Vec<_> = ranges.iter().map(|_| Arc::new(Mailbox::default())).collect();
        for ((start, end), mailbox) in ranges.iter().zip(&mailboxes) {
            registrations.insert((*start).into(), (*end).into(), mailbox.clone());
        }
        let events = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/a/b0", "/a0", "/b", "/c", "/z"];
        for (revision, key) in (1..).zip(events) {
            registrations.deliver(&record(revision, key));
        }
        registrations.delivered(99);
        for ((start, end), mailbox) in ranges.iter().zip(&mailboxes) {
            let expected: Vec<_> = events
                .into_iter()
                .filter(|key| key >= start && (end.is_empty() || key < end))
                .map(String::from)
                .collect();
            assert_eq!(keys(mailbox), expected, "range {start:?} to {end:?}");
        }
    }

    #[test]
    fn a_full_box_leaves_the_index_and_the_others_go_on() {
        let mut registrations = Registrations::default();
        let (full, other) = (Arc::new(Mailbox::default()), Arc::new(Mailbox::default()));
        registrations.insert(Bytes::new(), Bytes::new(), full.clone());
        registrations.insert(Bytes::new(), Bytes::new(), other.clone());
        for revision in 1..=WATCH_EVENTS as u64 + 5 {
            registrations.deliver(&record(revision, "k"));
            registrations.delivered(revision);
            keys(&other);
        }
        assert!(full.inbox.lock().lagging);
        assert_eq!(full.inbox.lock().revision, WATCH_EVENTS as u64);
        assert_eq!(keys(&full).len(), WATCH_EVENTS);
        assert!(!other.inbox.lock().lagging);
        assert_eq!(registrations.all.len(), 1);
    }

    #[test]
    fn a_removed_watch_gets_nothing_more() {
        let mut registrations = Registrations::default();
        let mailbox = Arc::new(Mailbox::default());
        registrations.insert(Bytes::new(), Bytes::new(), mailbox.clone());
        registrations.deliver(&record(1, "k"));
        registrations.delivered(1);
        registrations.remove(&mailbox);
        registrations.deliver(&record(2, "k"));
        registrations.delivered(2);
        assert_eq!(keys(&mailbox).len(), 1);
    }
}
