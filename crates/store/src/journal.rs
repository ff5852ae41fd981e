//! The seam between the engine and what keeps its records: fjall on a disk, or a map for tests.

use std::{ops::ControlFlow, sync::Arc};

use crate::{
    Error, Revision,
    record::{Record, View},
};

/// Where the one writer keeps its records.
pub(crate) trait Journal: Send + 'static {
    /// Appends all records or none, in one commit, and returns when they would survive power loss. After an
    /// error none of them is there, nor will come back, and the next call may succeed.
    fn commit(&mut self, records: &[Record]) -> Result<(), Error>;

    /// Makes `compacted` the compaction point and removes the records of `garbage`: all or nothing.
    fn forget(&mut self, compacted: Revision, garbage: &[Revision]) -> Result<(), Error>;

    /// The compaction point that the last `forget` left.
    fn compacted(&self) -> Result<Revision, Error>;

    /// A way to read records, for any thread.
    fn archive(&self) -> Arc<dyn Archive>;
}

/// Reads committed records. Fails with [`Error::Closed`] once the journal has been dropped.
pub(crate) trait Archive: Send + Sync {
    /// Visits the records with revisions greater than `after`, in order, until the visitor breaks.
    fn scan(&self, after: Revision, visit: &mut dyn FnMut(View<'_>) -> ControlFlow<()>) -> Result<(), Error>;

    /// Visits the record of one revision, if it is there.
    fn get(&self, revision: Revision, visit: &mut dyn FnMut(View<'_>)) -> Result<(), Error>;

    /// What the records take on a disk, in bytes.
    fn bytes(&self) -> u64 {
        0
    }

    /// What an engine opened on this archive should say of records that contradict each other.
    fn corrupt(&self, what: String) -> Error;
}
