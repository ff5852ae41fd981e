//! One watcher's end of the watch cache.
//!
//! Invariant: it yields every event after its start that its filter lets through, once and in order, or says
//! that it cannot. A watcher that is too slow for its queue goes on from history as long as that reaches.

use super::{Cache, Delivery, Event, Filter, Item, TooOld, Transition};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

/// A running subscription. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    cache: Arc<Cache>,
    id: u64,
    filter: Arc<Filter>,
    bookmarks: bool,
    last: u64,
    replay: std::vec::IntoIter<Arc<Event>>,
    items: mpsc::Receiver<Item>,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// An event.
    Event(Arc<Delivery>, Transition),
    /// Nothing up to this revision was left out.
    Bookmark(u64),
    /// The watcher was too slow, and history does not reach back to where it is.
    TooOld(TooOld),
    /// The server stops.
    Closed,
}

impl Subscription {
    pub(super) fn new(
        cache: Arc<Cache>,
        id: u64,
        filter: Arc<Filter>,
        bookmarks: bool,
        last: u64,
        replay: Vec<Arc<Event>>,
        items: mpsc::Receiver<Item>,
    ) -> Self {
        Self { cache, id, filter, bookmarks, last, replay: replay.into_iter(), items }
    }

    /// The next event.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        loop {
            for event in self.replay.by_ref() {
                self.last = event.revision;
                if let Some(transition) = event.seen_by(&self.filter) {
                    return Poll::Ready(Next::Event(Arc::new(Delivery::new(event)), transition));
                }
            }
            match ready!(self.items.poll_recv(context)) {
                Some(Item::Event(delivery, transition)) => {
                    self.last = delivery.event.revision;
                    return Poll::Ready(Next::Event(delivery, transition));
                }
                Some(Item::Bookmark(revision)) => {
                    self.last = self.last.max(revision);
                    return Poll::Ready(Next::Bookmark(revision));
                }
                None if self.cache.closed() => return Poll::Ready(Next::Closed),
                None => match self.cache.subscribe(&self.filter, self.last, self.bookmarks) {
                    Ok(again) => *self = again,
                    Err(too_old) => return Poll::Ready(Next::TooOld(too_old)),
                },
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.cache.unsubscribe(self.id);
    }
}
