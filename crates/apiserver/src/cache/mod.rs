//! The watch cache: for each stored resource an immutable snapshot of all objects, the recent past, and the
//! watchers.
//!
//! Invariant: snapshots, history and watchers see the same events in the same order, fed by one watch of the
//! store. Readers load a pointer; only the feed and who comes or goes as a watcher takes the lock. Answers to
//! apiserver's `storage/cacher`.

mod event;
mod feed;
pub mod fields;
mod filter;
mod history;
mod load;
mod subscription;
mod watchers;

pub use event::{Delivery, Event, Form, Transition, write_frame};
pub use feed::{Caches, Counts, RANGES, Storage, store_failed, store_key};
pub use filter::Filter;
pub use subscription::{Next, Subscription};
pub use watchers::Item;

use arc_swap::ArcSwap;
use bytes::Bytes;
use fields::Fields;
use gifee_base::Object;
use history::History;
use imbl::OrdMap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::mpsc;
use watchers::Watchers;

/// Snapshots that continued lists can go on from without a walk back through history, per resource.
const PINNED_SNAPSHOTS: usize = 32;

/// A cached object.
#[derive(Debug)]
pub struct Entry {
    /// The object.
    pub object: Arc<Object>,
    fields: Box<[fields::Value]>,
}

impl Entry {
    /// An object, of which these fields may be selected by.
    pub fn new(object: Arc<Object>, fields: &Fields) -> Self {
        let fields = fields.extract(&object);
        Self { object, fields }
    }

    /// The text of a selectable field.
    pub fn field<'a>(&'a self, fields: &'a Fields, index: usize) -> &'a str {
        fields.text(self.object.raw(), &self.fields, index)
    }
}

/// Objects by their key under the resource: `namespace/name`, or the name alone.
pub type Objects = OrdMap<Bytes, Arc<Entry>>;

/// All objects of a resource at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The objects.
    pub objects: Objects,
    /// Revision of the last event in it.
    pub revision: u64,
}

/// The limits of a cache.
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    /// Events kept.
    pub history_events: usize,
    /// Bytes of replaced objects kept.
    pub history_bytes: usize,
    /// Events that wait for a watcher.
    pub watcher_events: usize,
}

/// How stored bytes are shown, where that is not as they are: objects of a definition that changed since, or of
/// another version of it.
pub trait Present: Send + Sync + std::fmt::Debug {
    /// What is shown instead of the stored bytes; None: themselves.
    fn present(&self, stored: &Bytes) -> Option<Bytes>;
}

/// The cache of one stored resource.
#[derive(Debug)]
pub struct Cache {
    /// Group and resource under whose name the objects are stored.
    pub storage: (Arc<str>, Arc<str>),
    /// Selectable fields.
    pub fields: Arc<Fields>,
    /// The same objects as other versions show them. They are fed whatever this one is fed.
    pub views: Vec<Arc<Cache>>,
    present: Option<Arc<dyn Present>>,
    snapshot: ArcSwap<Snapshot>,
    hub: Mutex<Hub>,
    watcher_events: usize,
    prefix_len: usize,
    watching: Arc<AtomicUsize>,
    /// Changes that came from the store.
    received: AtomicU64,
}

#[derive(Debug)]
struct Hub {
    history: History,
    watchers: Watchers,
    pinned: VecDeque<Arc<Snapshot>>,
    closed: bool,
}

/// A change on its way into the cache.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub revision: u64,
    pub key: Bytes,
    /// The new value; None: deleted.
    pub value: Option<Bytes>,
}

/// The revision asked for is not known any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOld {
    /// The oldest revision that is.
    pub oldest: u64,
}

impl Cache {
    fn new(
        storage: (Arc<str>, Arc<str>),
        fields: Fields,
        present: Option<Arc<dyn Present>>,
        views: Vec<Arc<Cache>>,
        floor: u64,
        limits: CacheLimits,
    ) -> Self {
        let history = History::new(floor, limits.history_events, limits.history_bytes);
        let watchers = Watchers::default();
        let watching = watchers.count();
        let hub = Hub { history, watchers, pinned: VecDeque::new(), closed: false };
        let prefix_len = feed::store_prefix(&storage.0, &storage.1).len();
        Self {
            prefix_len,
            watching,
            storage,
            fields: Arc::new(fields),
            views,
            present,
            snapshot: ArcSwap::default(),
            hub: Mutex::new(hub),
            watcher_events: limits.watcher_events,
            received: AtomicU64::new(0),
        }
    }

    /// Bytes of a store key before the key under this resource.
    pub fn prefix_len(&self) -> usize {
        self.prefix_len
    }

    /// All objects now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// One object now.
    pub fn get(&self, key: &[u8]) -> Option<Arc<Entry>> {
        self.snapshot.load().objects.get(key).cloned()
    }

    /// Revision of the last event.
    pub fn revision(&self) -> u64 {
        self.snapshot.load().revision
    }

    /// All objects as they were at `revision`.
    ///
    /// # Errors
    /// If that is too long ago.
    pub fn snapshot_at(&self, revision: u64) -> Result<Arc<Snapshot>, TooOld> {
        let hub = self.hub.lock();
        let now = self.snapshot.load_full();
        if now.revision <= revision {
            return Ok(now);
        }
        if let Some(pinned) = hub.pinned.iter().rev().find(|pinned| pinned.revision == revision) {
            return Ok(pinned.clone());
        }
        let Some(events) = hub.history.after(revision) else {
            return Err(TooOld { oldest: hub.history.floor() });
        };
        let mut objects = now.objects.clone();
        for event in events.rev() {
            match &event.previous {
                Some(previous) => objects.insert(event.key.clone(), previous.clone()),
                None => objects.remove(&event.key),
            };
        }
        Ok(Arc::new(Snapshot { objects, revision }))
    }

    /// Keeps the state at a revision for the next pages of a list, until newer ones push it out.
    pub fn pin(&self, snapshot: &Snapshot, revision: u64) {
        let mut hub = self.hub.lock();
        if hub.pinned.iter().any(|pinned| pinned.revision == revision) {
            return;
        }
        if hub.pinned.len() >= PINNED_SNAPSHOTS {
            hub.pinned.pop_front();
        }
        hub.pinned.push_back(Arc::new(Snapshot { objects: snapshot.objects.clone(), revision }));
    }

    /// Follows events after `after`.
    ///
    /// # Errors
    /// If not all of them are known.
    pub fn subscribe(
        self: &Arc<Self>,
        filter: &Arc<Filter>,
        after: u64,
        bookmarks: bool,
    ) -> Result<Subscription, TooOld> {
        let mut hub = self.hub.lock();
        let Some(events) = hub.history.after(after) else {
            return Err(TooOld { oldest: hub.history.floor() });
        };
        let replay: Vec<_> = events.cloned().collect();
        let (queue, items) = mpsc::channel(self.watcher_events);
        let follow = self.snapshot.load().revision.max(after);
        let id = if hub.closed {
            0
        } else {
            hub.watchers.insert(&self.fields, filter.clone(), follow, bookmarks, queue)
        };
        drop(hub);
        Ok(Subscription::new(self.clone(), id, filter.clone(), bookmarks, after, replay, items))
    }

    /// How many watchers may be told of an object; none if all together are fewer than `least`, which costs nothing.
    pub fn interested(&self, namespace: &str, name: &str, least: usize) -> usize {
        if self.watching.load(Ordering::Relaxed) < least {
            return 0;
        }
        self.hub.lock().watchers.interested(namespace, name)
    }

    fn unsubscribe(&self, id: u64) {
        self.hub.lock().watchers.remove(id);
    }

    fn closed(&self) -> bool {
        self.hub.lock().closed
    }

    fn close(&self) {
        self.views.iter().for_each(|view| view.close());
        let mut hub = self.hub.lock();
        hub.closed = true;
        hub.watchers.clear();
    }

    /// The bytes that are shown for stored ones.
    pub fn shown(&self, stored: Bytes) -> Bytes {
        match &self.present {
            Some(present) => present.present(&stored).unwrap_or(stored),
            None => stored,
        }
    }

    /// Whether stored bytes may be shown as others.
    pub fn presents(&self) -> bool {
        self.present.is_some()
    }

    fn entry(&self, value: Bytes, revision: u64) -> Option<Arc<Entry>> {
        match Object::stored(self.shown(value), revision) {
            Ok(object) => Some(Arc::new(Entry::new(Arc::new(object), &self.fields))),
            Err(error) => {
                let (group, resource) = &self.storage;
                tracing::error!(%group, %resource, revision, %error, "a stored object cannot be read");
                None
            }
        }
    }

    /// Fills an empty cache with the state at `revision`; what was before is unknown.
    fn fill(&self, revision: u64, entries: impl Iterator<Item = (Bytes, Bytes, u64)> + Clone) {
        self.views.iter().for_each(|view| view.fill_own(revision, entries.clone()));
        self.fill_own(revision, entries);
    }

    fn fill_own(&self, revision: u64, entries: impl Iterator<Item = (Bytes, Bytes, u64)>) {
        let mut snapshot = Snapshot::default();
        for (key, value, revision) in entries {
            if let Some(entry) = self.entry(value, revision) {
                snapshot.objects.insert(key, entry);
                snapshot.revision = snapshot.revision.max(revision);
            }
        }
        self.snapshot.store(Arc::new(snapshot));
        self.forget_own(revision);
    }

    /// The changes that lead from what is here to the state at `revision`. A key that is gone was deleted no
    /// later than then.
    fn difference(&self, revision: u64, entries: Vec<(Bytes, Bytes, u64)>) -> Vec<Change> {
        let mut old = self.snapshot().objects.clone();
        let mut changes = Vec::new();
        for (key, value, at) in entries {
            let known = old.remove(&key).is_some_and(|entry| entry.object.revision() == at);
            if !known {
                changes.push(Change { revision: at, key, value: Some(value) });
            }
        }
        changes.sort_by_key(|change| change.revision);
        changes.extend(old.keys().map(|key| Change { revision, key: key.clone(), value: None }));
        changes
    }

    /// Takes in what happened, in order.
    fn apply(&self, changes: Vec<Change>) {
        self.received.fetch_add(changes.len() as u64, Ordering::Relaxed);
        self.views.iter().for_each(|view| view.apply_own(changes.clone()));
        self.apply_own(changes);
    }

    fn apply_own(&self, changes: Vec<Change>) {
        let mut hub = self.hub.lock();
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        let mut events = Vec::with_capacity(changes.len());
        for change in changes {
            if change.revision < snapshot.revision {
                continue;
            }
            let Some(event) = self.event(&mut snapshot.objects, change) else { continue };
            snapshot.revision = event.revision;
            let event = Arc::new(event);
            hub.history.push(event.clone());
            events.push(event);
        }
        self.snapshot.store(Arc::new(snapshot));
        for event in &events {
            hub.watchers.dispatch(&self.fields, event);
        }
    }

    fn event(&self, objects: &mut Objects, change: Change) -> Option<Event> {
        let Change { revision, key, value } = change;
        match value {
            Some(value) => {
                let entry = self.entry(value, revision)?;
                let previous = objects.insert(key.clone(), entry.clone());
                Some(Event { revision, key, entry, previous, deleted: false })
            }
            None => {
                let previous = objects.remove(&key)?;
                let object = Arc::new(previous.object.at(revision));
                let entry = Arc::new(Entry { object, fields: previous.fields.clone() });
                Some(Event { revision, key, entry, previous: Some(previous), deleted: true })
            }
        }
    }

    /// Tells watchers how far the cache is.
    fn bookmark(&self, revision: u64) {
        self.views.iter().for_each(|view| view.bookmark(revision));
        self.hub.lock().watchers.bookmark(revision);
    }

    /// Forgets what happened up to `revision`.
    fn forget(&self, revision: u64) {
        self.views.iter().for_each(|view| view.forget(revision));
        self.forget_own(revision);
    }

    fn forget_own(&self, revision: u64) {
        let mut hub = self.hub.lock();
        hub.history.forget(revision);
        hub.pinned.retain(|pinned| pinned.revision > revision);
    }
}
