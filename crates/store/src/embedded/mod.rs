//! The default store: a folder on a local disk, owned by one process.
//!
//! `lock` is locked by that process; `records/` is a fjall database with one keyspace, the journal. Its keys
//! are revisions, so the keyspace only ever grows at its end, a commit is one append and one `fdatasync`, and
//! flushed tables never overlap except through compaction.
//!
//! Invariant: after a crash the folder opens with every acknowledged write, and of those that were not
//! acknowledged either all of a commit or nothing.

mod records;
mod tail;

#[cfg(test)]
mod tests;

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::Arc,
};

use crate::{Engine, Error, Limits};

/// Opens the store in the folder, which is created if need be. [`Error::Locked`] if another process has it.
pub fn open(folder: &Path, limits: Limits) -> Result<Engine, Error> {
    let failed = |operation| move |error| disk_error(folder, operation, error);
    // Secrets are in here.
    let created = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    created.map_err(failed("create its folder"))?;
    let lock = File::create(folder.join("lock")).map_err(failed("create its lock file"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::Locked { path: folder.into() }),
        Err(TryLockError::Error(error)) => return Err(disk_error(folder, "lock its folder", error)),
    }
    let path = folder.join("records");
    if !path.try_exists().map_err(failed("find its records"))? {
        create(folder, &path)?;
    }
    tail::mend(&path).map_err(|error| tail_error(folder, error))?;
    let records = records::Records::open(folder, path, lock)?;
    Engine::open(Box::new(records), limits)
}

/// Creates the database aside and moves it into place whole: a crash on the way leaves nothing half made.
fn create(folder: &Path, path: &Path) -> Result<(), Error> {
    let failed = |error| disk_error(folder, "create its records", error);
    let aside = folder.join("records.new");
    if aside.try_exists().map_err(failed)? {
        fs::remove_dir_all(&aside).map_err(failed)?;
    }
    records::create(folder, &aside)?;
    fs::rename(&aside, path).map_err(failed)?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn tail_error(folder: &Path, error: tail::Error) -> Error {
    match error {
        tail::Error::Corrupt(what) => Error::Corrupt { path: folder.into(), what },
        tail::Error::Disk(error) => disk_error(folder, "read its journal", error),
    }
}

/// The error of a failed operation: `Full` if that is what is at the bottom of it.
fn disk_error(
    folder: &Path,
    operation: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            return Error::Full { path: folder.into() };
        }
        cause = error.source();
    }
    Error::Disk { path: folder.into(), operation, source: Arc::new(error) }
}
