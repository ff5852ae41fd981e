//! Events of the past and their encoded forms.
//!
//! Invariant: an event is encoded once per form, whoever and however many watch it.

use super::{Entry, Filter};
use bytes::Bytes;
use gifee_base::Object;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    /// Revision of the change.
    pub revision: u64,
    /// Key of the object under its resource.
    pub key: Bytes,
    /// The object after the change; of a deletion, as it last was, at the deletion's revision.
    pub entry: Arc<Entry>,
    /// The object before; None for a creation.
    pub previous: Option<Arc<Entry>>,
    /// Whether it is gone.
    pub deleted: bool,
}

/// What an event is to one watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It is new to the watcher.
    Added,
    /// The watcher saw it before.
    Modified,
    /// The watcher does not see it any more.
    Deleted,
}

impl Transition {
    /// The type of the watch event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

impl Event {
    /// What the event is to who watches with `filter`; None: nothing.
    pub fn seen_by(&self, filter: &Filter) -> Option<Transition> {
        if filter.is_everything() {
            return Some(match (self.deleted, &self.previous) {
                (true, _) => Transition::Deleted,
                (false, None) => Transition::Added,
                (false, Some(_)) => Transition::Modified,
            });
        }
        let now = !self.deleted && filter.matches(&self.entry);
        let before = self.previous.as_ref().is_some_and(|previous| filter.matches(previous));
        match (before, now) {
            (false, true) => Some(Transition::Added),
            (true, true) => Some(Transition::Modified),
            (true, false) => Some(Transition::Deleted),
            (false, false) => None,
        }
    }

    /// The object to show: of one that only left a selection, the last that was seen, at this revision.
    pub fn object(&self, transition: Transition) -> Arc<Object> {
        match (&self.previous, transition, self.deleted) {
            (Some(previous), Transition::Deleted, false) => Arc::new(previous.object.at(self.revision)),
            _ => self.entry.object.clone(),
        }
    }

    /// Bytes that only this event holds on to.
    pub fn weight(&self) -> usize {
        128 + self.previous.as_ref().map_or(0, |previous| previous.object.raw().len() + 384)
    }
}

/// The name of a form other than the object's own JSON: a number the reader chooses.
pub type Form = u64;

/// An event on its way to watchers, with what has been encoded of it so far.
#[derive(Debug)]
pub struct Delivery {
    /// The event.
    pub event: Arc<Event>,
    json: [OnceLock<Bytes>; 3],
    others: Mutex<Vec<(Form, Transition, Bytes)>>,
}

impl Delivery {
    /// Nothing encoded yet.
    pub fn new(event: Arc<Event>) -> Self {
        Self { event, json: Default::default(), others: Mutex::default() }
    }

    /// The watch frame with the object's JSON as stored.
    pub fn json(&self, transition: Transition) -> &Bytes {
        self.json[transition as usize].get_or_init(|| {
            let object = self.event.object(transition);
            let mut out = Vec::with_capacity(object.written_len() + 40);
            write_frame(&mut out, transition.as_str(), |out| object.write(out));
            out.into()
        })
    }

    /// The watch frame in another form, made by `encode` if nobody did before.
    pub fn other(&self, form: Form, transition: Transition, encode: impl FnOnce(&Object) -> Bytes) -> Bytes {
        let mut others = self.others.lock();
        if let Some((_, _, frame)) = others.iter().find(|(f, t, _)| (*f, *t) == (form, transition)) {
            return frame.clone();
        }
        let frame = encode(&self.event.object(transition));
        others.push((form, transition, frame.clone()));
        frame
    }
}

/// `{"type":"…","object":…}` and a line feed.
pub fn write_frame(out: &mut Vec<u8>, kind: &str, object: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    object(out);
    out.extend_from_slice(b"}\n");
}
