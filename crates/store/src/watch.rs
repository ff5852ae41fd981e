//! What a watch delivers. Answers to etcd's Watch: ordered, without gaps, resumable, with progress on
//! request so that a cache can tell it has seen everything up to a revision.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Error, Revision};

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The revision of the write.
    pub revision: Revision,
    /// The key.
    pub key: Bytes,
    /// What happened to it.
    pub change: Change,
}

/// What a write did to its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A value was put.
    Put {
        /// The new value.
        value: Bytes,
        /// The revision that created the key; equal to the event's own for a creation.
        created: Revision,
        /// The value before and its revision; `None` for a creation.
        previous: Option<(Bytes, Revision)>,
    },
    /// The key was removed.
    Delete {
        /// The last value.
        previous: Bytes,
        /// The revision of that value.
        previous_revision: Revision,
    },
}

/// Some events of a watch, perhaps none, and how far the watch has come with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The events, in revision order.
    pub events: Vec<Event>,
    /// Every event of the range up to and including this revision has now been delivered. Never goes back.
    pub revision: Revision,
}

/// What an implementation supplies behind a [`Watch`].
#[async_trait]
pub trait Feed: Send {
    /// As [`Watch::next`]; cancel-safe.
    async fn next(&mut self) -> Option<Result<Batch, Error>>;
}

/// A running watch. Dropping it ends it.
pub struct Watch {
    feed: Box<dyn Feed>,
    progress: Progress,
}

impl Watch {
    /// A watch fed by `feed`; `request` is called when someone asks for progress.
    pub fn new(feed: Box<dyn Feed>, request: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { feed, progress: Progress { request } }
    }

    /// The next events, as many as are there (bounded), or progress without events. After an error the
    /// watch has ended; `None` means the store was closed. Cancel-safe: a dropped future loses no event.
    ///
    /// A watch that has caught up with the present says so once by a batch, even if it is empty.
    pub async fn next(&mut self) -> Option<Result<Batch, Error>> {
        self.feed.next().await
    }

    /// A handle to ask this watch for progress, from anywhere.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// Asks a watch where it is.
#[derive(Clone)]
pub struct Progress {
    request: Arc<dyn Fn() + Send + Sync>,
}

impl Progress {
    /// Makes the watch deliver, soon, a batch whose revision is at least the store's at this moment.
    /// Several requests before it does are answered by one batch. Never blocks.
    pub fn request(&self) {
        (self.request)();
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}
