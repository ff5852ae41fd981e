//! The revisioned byte store under the API server, behind one trait.
//!
//! It knows keys, bytes and revisions, and nothing of Kubernetes. Its semantics are those that
//! kube-apiserver needs of etcd: one global revision that every write raises, compare-and-swap per key,
//! ranges at a revision, and watches that resume from a revision until history is compacted.
//!
//! Invariant: what a caller was told is durable. A write is visible to reads and watches, and
//! acknowledged, only after it survives power loss; memory never holds what the disk does not.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod contract;
pub mod embedded;
mod engine;
mod error;
mod journal;
pub mod load;
pub mod memory;
mod record;
mod watch;

use async_trait::async_trait;
use bytes::Bytes;

pub use engine::{Engine, Limits};
pub use error::Error;
pub use watch::{Batch, Change, Event, Feed, Progress, Watch};

/// A point in the history of the whole store. Every successful write has one of its own, greater than
/// those of all writes before it. Gaps are allowed; an empty store may start anywhere above zero.
pub type Revision = u64;

/// The longest key that a store accepts, in bytes.
pub const KEY_BYTES_MAX: usize = 4 * 1024;

/// The longest value that a store accepts, in bytes. etcd's default request limit is the same 1.5 MiB.
pub const VALUE_BYTES_MAX: usize = 3 * 512 * 1024;

/// One key as it was at some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The value: the very allocation that the writer handed in, as long as the process lives.
    pub value: Bytes,
    /// The revision of the write that put this value.
    pub revision: Revision,
    /// The revision of the write that created the key (again, after its last deletion).
    pub created: Revision,
}

/// One conditional write of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Puts the value if the key is absent.
    Create {
        /// The key.
        key: Bytes,
        /// Its first value.
        value: Bytes,
    },
    /// Replaces the value if the key is present at exactly the expected revision.
    Update {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// [`Entry::revision`] as the caller last saw it.
        expected: Revision,
    },
    /// Removes the key if it is present, and at the expected revision if one is given.
    Delete {
        /// The key.
        key: Bytes,
        /// [`Entry::revision`] as the caller last saw it; `None` deletes whatever is there.
        expected: Option<Revision>,
    },
}

impl Write {
    /// The key that is written.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Create { key, .. } | Self::Update { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    /// The value that is put; `None` for a deletion.
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Create { value, .. } | Self::Update { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }
}

/// What became of a write that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable and visible, at this revision of its own.
    Done(Revision),
    /// Its condition did not hold and nothing changed. Carries what is there instead: the entry that
    /// exists or has another revision, or `None` when the key is absent.
    Conflict(Option<Entry>),
}

/// A question for the keys of `[start, end)`, in key order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first key, inclusive.
    pub start: Bytes,
    /// The key to stop before. Empty means no upper bound.
    pub end: Bytes,
    /// At most so many entries; 0 means all. To go on, ask again at [`Page::revision`] with `start` set to
    /// the last key and a zero byte ([`successor`]).
    pub limit: usize,
    /// As it was at this revision; `None` means now (linearizable).
    pub revision: Option<Revision>,
}

impl Range {
    /// All keys that begin with `prefix`, now, without a limit.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let end = prefix_end(&start);
        Self { start, end, limit: 0, revision: None }
    }
}

/// The answer to a [`Range`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries in key order.
    pub entries: Vec<Entry>,
    /// The revision at which the range was read: the one asked for, or the store's current one.
    pub revision: Revision,
    /// Whether the limit cut the range short.
    pub more: bool,
    /// How many keys the range holds at that revision, those beyond the limit included.
    pub count: u64,
}

/// A store of keys with one global revision. All implementations pass the suite in [`contract`].
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Decides one conditional write and makes it durable. Dropping the future does not undo the write.
    ///
    /// After [`Error::Disk`] or [`Error::Full`] the write is not visible and will not become so.
    async fn write(&self, write: Write) -> Result<Outcome, Error>;

    /// The entry now (linearizable), and the store's revision at that moment.
    async fn get(&self, key: &[u8]) -> Result<(Option<Entry>, Revision), Error>;

    /// The keys of a range, now or at a revision. [`Error::Compacted`] if that revision is older than
    /// the compaction point, [`Error::FutureRevision`] if it is yet to come.
    async fn range(&self, range: Range) -> Result<Page, Error>;

    /// Events of the keys in `[start, end)` (empty `end`: no upper bound) with a revision greater than
    /// `after`, in revision order, none missing and none twice. `after` may be yet to come.
    /// [`Error::Compacted`], here or from [`Watch::next`], if they are no longer all there.
    async fn watch(&self, start: Bytes, end: Bytes, after: Revision) -> Result<Watch, Error>;

    /// The current revision: at least that of every write acknowledged before the call (linearizable).
    async fn revision(&self) -> Result<Revision, Error>;

    /// Forgets history: afterwards ranges below `revision` and watches after less than it are
    /// [`Error::Compacted`]. [`Error::Compacted`] if it is at or below the present compaction point,
    /// [`Error::FutureRevision`] if it is yet to come.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;

    /// What it takes on its disk, in bytes; 0 if it has none or cannot say.
    fn bytes(&self) -> u64 {
        0
    }
}

/// The least key that is greater than every key beginning with `prefix`: the exclusive end of a prefix
/// range. Empty, meaning no upper bound, if there is none.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|byte| *byte != 0xff) {
        None => Bytes::new(),
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        }
    }
}

/// The least key greater than `key`: where the next page starts.
pub fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}
