//! The watchers of one resource, indexed so that an event costs those that may want it.
//!
//! Invariant: nobody waits for a watcher. One whose queue is full leaves the index and goes on from history.

use super::{Delivery, Entry, Event, Filter, Transition, fields::Fields};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// What a watcher is sent.
#[derive(Clone, Debug)]
pub enum Item {
    /// An event, and what it is to this watcher.
    Event(Arc<Delivery>, Transition),
    /// Everything up to this revision has been sent.
    Bookmark(u64),
}

/// One watcher.
#[derive(Debug)]
pub struct Watcher {
    /// Its number.
    pub id: u64,
    /// What it wants.
    pub filter: Arc<Filter>,
    /// Events up to here are not for it.
    pub after: u64,
    /// Whether it wants bookmarks.
    pub bookmarks: bool,
    /// Its queue.
    pub queue: mpsc::Sender<Item>,
}

/// Where a watcher stands in the index: by the most selective thing it asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// One object, by namespace and name.
    Object(Box<str>, Box<str>),
    /// Objects with this value of the indexed field.
    Field(Box<str>),
    /// Objects of one namespace.
    Namespace(Box<str>),
    /// All objects.
    Everywhere,
}

/// All watchers of a resource.
#[derive(Debug, Default)]
pub struct Watchers {
    places: HashMap<Place, Vec<Watcher>>,
    of_watcher: HashMap<u64, Place>,
    next: u64,
    /// How many there are, for who does not want to wait for the others.
    count: Arc<AtomicUsize>,
}

impl Watchers {
    /// Adds a watcher and gives its number.
    pub fn insert(
        &mut self,
        fields: &Fields,
        filter: Arc<Filter>,
        after: u64,
        bookmarks: bool,
        queue: mpsc::Sender<Item>,
    ) -> u64 {
        self.next += 1;
        let id = self.next;
        let place = place(fields, &filter);
        self.of_watcher.insert(id, place.clone());
        self.places.entry(place).or_default().push(Watcher { id, filter, after, bookmarks, queue });
        self.count.store(self.of_watcher.len(), Ordering::Relaxed);
        id
    }

    /// How many there are, as it changes.
    pub fn count(&self) -> Arc<AtomicUsize> {
        self.count.clone()
    }

    /// How many may be told of an object. Those that are indexed by a field are not among them, as upstream has it.
    pub fn interested(&self, namespace: &str, name: &str) -> usize {
        let at = |place: Place| self.places.get(&place).map_or(0, Vec::len);
        let mut count = at(Place::Everywhere);
        if !namespace.is_empty() {
            count += at(Place::Namespace(namespace.into()));
        }
        if !name.is_empty() {
            count += at(Place::Object(namespace.into(), name.into()));
        }
        count
    }

    /// Removes a watcher, if it is still there.
    pub fn remove(&mut self, id: u64) {
        let Some(place) = self.of_watcher.remove(&id) else { return };
        self.count.store(self.of_watcher.len(), Ordering::Relaxed);
        if let Some(list) = self.places.get_mut(&place) {
            list.retain(|watcher| watcher.id != id);
            if list.is_empty() {
                self.places.remove(&place);
            }
        }
    }

    /// Sends an event to those that want it.
    pub fn dispatch(&mut self, fields: &Fields, event: &Arc<Event>) {
        if self.of_watcher.is_empty() {
            return;
        }
        let mut delivery = None;
        let mut full = Vec::new();
        let mut offer = |list: Option<&Vec<Watcher>>| {
            for watcher in list.into_iter().flatten() {
                if event.revision <= watcher.after {
                    continue;
                }
                let Some(transition) = event.seen_by(&watcher.filter) else { continue };
                let delivery = delivery.get_or_insert_with(|| Arc::new(Delivery::new(event.clone())));
                if watcher.queue.try_send(Item::Event(delivery.clone(), transition)).is_err() {
                    full.push(watcher.id);
                }
            }
        };
        offer(self.places.get(&Place::Everywhere));
        if self.places.len() > 1 || !self.places.contains_key(&Place::Everywhere) {
            let object = &event.entry.object;
            let (namespace, name) = (object.namespace(), object.name());
            if !namespace.is_empty() {
                offer(self.places.get(&Place::Namespace(namespace.into())));
            }
            offer(self.places.get(&Place::Object(namespace.into(), name.into())));
            if let Some(index) = fields.indexed() {
                let of = |entry: &Entry| Place::Field(entry.field(fields, index).into());
                let now = of(&event.entry);
                offer(self.places.get(&now));
                if let Some(before) = event.previous.as_ref().map(|previous| of(previous))
                    && before != now
                {
                    offer(self.places.get(&before));
                }
            }
        }
        for id in full {
            self.remove(id);
        }
    }

    /// Tells those that want to know that all events up to `revision` have been sent.
    pub fn bookmark(&mut self, revision: u64) {
        let mut full = Vec::new();
        for watcher in self.places.values().flatten() {
            let gone = if watcher.bookmarks && watcher.after <= revision {
                watcher.queue.try_send(Item::Bookmark(revision)).is_err()
            } else {
                watcher.queue.is_closed()
            };
            if gone {
                full.push(watcher.id);
            }
        }
        for id in full {
            self.remove(id);
        }
    }

    /// Ends all.
    pub fn clear(&mut self) {
        self.places.clear();
        self.of_watcher.clear();
        self.count.store(0, Ordering::Relaxed);
    }
}

fn place(fields: &Fields, filter: &Filter) -> Place {
    if let Some(name) = filter.pinned_name()
        && (!filter.namespaced() || !filter.namespace().is_empty())
    {
        return Place::Object(filter.namespace().into(), name.into());
    }
    if let Some(value) = fields.indexed().and_then(|index| filter.pinned_field(index)) {
        return Place::Field(value.into());
    }
    if filter.namespace().is_empty() {
        Place::Everywhere
    } else {
        Place::Namespace(filter.namespace().into())
    }
}
