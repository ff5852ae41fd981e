//! Watches of who is in the same process: the objects themselves, instead of frames that say them.
//!
//! Invariant: the events are those that the frames would say, in the same order; an object is the one that the watch
//! cache holds, so that a watcher's own cache costs no second copy of it.

use super::watch::Initial;
use crate::body::Body;
use crate::cache::{Next, Subscription, Transition};
use crate::metrics::Running;
use futures_util::Stream;
use gifee_base::{Object, Status};
use http::Response;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Sleep;

/// Objects of the state at the beginning that are taken out of the snapshot together.
const PIECE_OBJECTS: usize = 256;

/// Put into the extensions of a watch by a client in this process that takes objects; see [`Events::of`].
#[derive(Clone, Copy, Debug)]
pub struct AsObjects;

/// One event of a watch.
#[derive(Clone, Debug)]
pub enum Event {
    /// The object is new, or new to the selector.
    Added(Arc<Object>),
    /// The object changed.
    Modified(Arc<Object>),
    /// The object is gone, or no longer selected.
    Deleted(Arc<Object>),
    /// All events up to a revision have been told.
    Bookmark {
        /// The revision.
        revision: u64,
        /// Whether this ends the state at the beginning.
        initial_events_end: bool,
    },
    /// The watch cannot go on.
    Failed(Box<Status>),
}

/// The events of a watch.
pub struct Events {
    pub(super) initial: Option<Initial>,
    pub(super) ready: VecDeque<Event>,
    pub(super) marked: Option<u64>,
    pub(super) subscription: Subscription,
    pub(super) deadline: Pin<Box<Sleep>>,
    pub(super) done: bool,
    pub(super) _watching: Running,
}

#[derive(Clone)]
struct Handover(Arc<Mutex<Option<Events>>>);

impl Events {
    /// The events behind a response to a request that was marked with [`AsObjects`]; None if it answers with bytes,
    /// as a failure and every form but the objects' own JSON and their metadata does.
    pub fn of(response: &mut Response<Body>) -> Option<Self> {
        response.extensions_mut().remove::<Handover>()?.0.lock().take()
    }

    pub(super) fn hand_over(self, response: &mut Response<Body>) {
        response.extensions_mut().insert(Handover(Arc::new(Mutex::new(Some(self)))));
    }

    /// Takes more of the state at the beginning.
    fn refill(&mut self) {
        let Some(initial) = &mut self.initial else { return };
        let ready = &mut self.ready;
        let all = initial.each(|entry| {
            ready.push_back(Event::Added(entry.object.clone()));
            ready.len() < PIECE_OBJECTS
        });
        if all {
            self.initial = None;
        }
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let this = &mut *self;
        if this.done || this.deadline.is_elapsed() {
            return Poll::Ready(None);
        }
        if this.ready.is_empty() {
            this.refill();
        }
        if let Some(event) = this.ready.pop_front() {
            return Poll::Ready(Some(event));
        }
        if let Some(revision) = this.marked.take() {
            return Poll::Ready(Some(Event::Bookmark { revision, initial_events_end: true }));
        }
        let next = match this.subscription.poll_next(context) {
            Poll::Ready(next) => next,
            Poll::Pending => {
                this.done = this.deadline.as_mut().poll(context).is_ready();
                return if this.done { Poll::Ready(None) } else { Poll::Pending };
            }
        };
        let event = match next {
            Next::Event(delivery, transition) => {
                let object = delivery.event.object(transition);
                match transition {
                    Transition::Added => Event::Added(object),
                    Transition::Modified => Event::Modified(object),
                    Transition::Deleted => Event::Deleted(object),
                }
            }
            Next::Bookmark(revision) => Event::Bookmark { revision, initial_events_end: false },
            Next::TooOld(too_old) => {
                this.done = true;
                Event::Failed(Box::new(super::watch::too_slow(too_old)))
            }
            Next::Closed => {
                this.done = true;
                return Poll::Ready(None);
            }
        };
        Poll::Ready(Some(event))
    }
}
