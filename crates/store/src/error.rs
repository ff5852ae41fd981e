//! What can go wrong in a store. Conflicts are not errors: they are [`crate::Outcome::Conflict`].

use std::{path::PathBuf, sync::Arc};

use crate::Revision;

/// A failed operation of a store. Cheap to clone: one failed commit fails all writes grouped in it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The revision asked for is older than the history that is kept.
    #[error("the required revision has been compacted; the oldest available is {oldest}")]
    Compacted {
        /// The compaction point: ranges at it and watches after it still work.
        oldest: Revision,
    },
    /// The revision asked for has not happened yet.
    #[error("the required revision {requested} is a future revision; the current one is {current}")]
    FutureRevision {
        /// What was asked for.
        requested: Revision,
        /// Where the store is.
        current: Revision,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// No space is left for the write. Nothing of it is kept; it can be tried again once there is space.
    #[error("no space left on the device of the store at {path}")]
    Full {
        /// The folder of the store.
        path: PathBuf,
    },
    /// The disk refused. A write that failed so has no effect.
    #[error("the store at {path} could not {operation}")]
    Disk {
        /// The folder of the store.
        path: PathBuf,
        /// What was tried: "commit a write", "read history".
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// Another process has the folder open.
    #[error("the store at {path} is in use by another process")]
    Locked {
        /// The folder of the store.
        path: PathBuf,
    },
    /// A key or value above the limit.
    #[error("{what} of {size} bytes is too large; the limit is {limit}")]
    TooLarge {
        /// "a key" or "a value".
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// What is on the disk contradicts itself. Nothing is repaired silently.
    #[error("the store at {path} is corrupt: {what}")]
    Corrupt {
        /// The folder of the store.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// A remote store cannot be reached or did not answer as it should. The write may have happened.
    #[error("the store is unavailable: {what}")]
    Unavailable {
        /// What was seen.
        what: String,
    },
}
