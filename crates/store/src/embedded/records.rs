//! The journal on fjall.
//!
//! Invariant: what a failed commit may have left in fjall's files is cut off before anything else is
//! written, so that it neither comes back nor, unwritten as it may be on the disk, hides what follows it.
//! fjall refuses all work after a failure; so each is followed by closing and opening it anew.

use std::{
    fs::File,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parking_lot::RwLock;

use super::{disk_error, tail, tail_error};
use crate::{
    Error, Revision,
    journal::{Archive, Journal},
    record::{Record, View},
};

/// What fjall may cache of blocks that it reads back; only catching up from old history reads any.
const CACHE_BYTES: u64 = 256 * 1024;
/// How much is in fjall's memory before it goes to a table: the one place where values are twice in memory.
const MEMTABLE_BYTES: u64 = 4 * 1024 * 1024;
/// The size of a table after merging, which bounds how long one merge takes; levels grow from four of it.
const TABLE_BYTES: u64 = 8 * 1024 * 1024;
const BLOCK_BYTES: u32 = 16 * 1024;
/// The least that fjall allows.
const JOURNALS_BYTES: u64 = 64 * 1024 * 1024;
const OPEN_FILES: usize = 64;

/// How often a commit is tried that finds the database closed by a failure in the background.
const ATTEMPTS: u32 = 3;

const KEYSPACE: &str = "records";
/// What stands at revision 0: this format's number and the compaction point.
const FORMAT: u8 = 1;

struct Tree {
    database: Database,
    records: Keyspace,
}

pub(super) struct Records {
    reader: Arc<Reader>,
    path: PathBuf,
    /// fjall's number for its next batch, after the last that is known to be durable.
    durable: u64,
    compacted: Revision,
    /// Locked while this lives. The last to be dropped.
    _lock: File,
}

struct Reader {
    folder: PathBuf,
    /// `None` while closed after a failure, and in the end.
    tree: RwLock<Option<Tree>>,
}

/// Creates an empty database.
pub(super) fn create(folder: &Path, path: &Path) -> Result<(), Error> {
    let tree = open_tree(folder, path)?;
    let mut batch = tree.database.batch().durability(Some(PersistMode::SyncAll));
    batch.insert(&tree.records, key(0), meta(0));
    batch.commit().map_err(|error| disk_error(folder, "create its records", error))
}

impl Records {
    pub fn open(folder: &Path, path: PathBuf, lock: File) -> Result<Self, Error> {
        let tree = open_tree(folder, &path)?;
        let failed = |error| disk_error(folder, "read its compaction point", error);
        let compacted = match tree.records.get(key(0)).map_err(failed)?.as_deref() {
            Some([FORMAT, compacted @ ..]) => compacted.try_into().map(Revision::from_le_bytes).ok(),
            _ => None,
        };
        let Some(compacted) = compacted else {
            let what = "its records are of a format that this program does not know".into();
            return Err(Error::Corrupt { path: folder.into(), what });
        };
        let durable = tree.database.seqno();
        let reader = Arc::new(Reader { folder: folder.into(), tree: RwLock::new(Some(tree)) });
        Ok(Self { reader, path, durable, compacted, _lock: lock })
    }

    /// Commits one batch, durably.
    fn append(
        &mut self,
        operation: &'static str,
        fill: &dyn Fn(&Keyspace, &mut fjall::OwnedWriteBatch),
    ) -> Result<(), Error> {
        let mut attempts = 0;
        loop {
            self.ready()?;
            attempts += 1;
            let error = match self.try_append(fill) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            // At once, so that even a crash right now does not bring back what is now refused.
            if let Err(error) = self.reopen() {
                tracing::error!(%error, "the store's records stay closed until the next write");
            }
            match error {
                // The background failed just now, and nothing was written here.
                fjall::Error::Poisoned if attempts < ATTEMPTS => {}
                fjall::Error::Poisoned if self.is_full() => {
                    return Err(Error::Full { path: self.reader.folder.clone() });
                }
                error => return Err(disk_error(&self.reader.folder, operation, error)),
            }
        }
    }

    fn try_append(
        &mut self,
        fill: &dyn Fn(&Keyspace, &mut fjall::OwnedWriteBatch),
    ) -> Result<(), fjall::Error> {
        let tree = self.reader.tree.read();
        let Some(Tree { database, records }) = &*tree else { return Err(fjall::Error::Poisoned) };
        let mut batch = database.batch().durability(Some(PersistMode::SyncData));
        fill(records, &mut batch);
        batch.commit()?;
        self.durable = database.seqno();
        Ok(())
    }

    /// Whether the background cannot write a table for want of space.
    fn is_full(&self) -> bool {
        let space = rustix::fs::statvfs(&self.reader.folder);
        space.is_ok_and(|space| space.f_bavail * space.f_frsize < 2 * MEMTABLE_BYTES)
    }

    /// Opens the database again if it has failed, in a commit or on its own in the background.
    fn ready(&mut self) -> Result<(), Error> {
        let failed = match &*self.reader.tree.read() {
            None => true,
            // Does nothing but say whether there was a failure.
            Some(tree) => tree.database.persist(PersistMode::Buffer).is_err(),
        };
        if failed { self.reopen() } else { Ok(()) }
    }

    fn reopen(&mut self) -> Result<(), Error> {
        let folder = &self.reader.folder;
        let mut tree = self.reader.tree.write();
        *tree = None;
        tail::cut(&self.path, self.durable).map_err(|error| tail_error(folder, error))?;
        *tree = Some(open_tree(folder, &self.path)?);
        tracing::info!(path = %folder.display(), "opened the store's records again after a failure");
        Ok(())
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // Watches may still hold the reader; the folder must be free all the same.
        *self.reader.tree.write() = None;
    }
}

impl Journal for Records {
    fn commit(&mut self, records: &[Record]) -> Result<(), Error> {
        self.append("commit a write", &|keyspace, batch| {
            let mut bytes = Vec::new();
            for record in records {
                bytes.clear();
                record.view().encode(&mut bytes);
                batch.insert(keyspace, key(record.revision), bytes.as_slice());
            }
        })
    }

    fn forget(&mut self, compacted: Revision, garbage: &[Revision]) -> Result<(), Error> {
        self.append("compact history", &|keyspace, batch| {
            batch.insert(keyspace, key(0), meta(compacted));
            for revision in garbage {
                batch.remove(keyspace, key(*revision));
            }
        })?;
        self.compacted = compacted;
        Ok(())
    }

    fn compacted(&self) -> Result<Revision, Error> {
        Ok(self.compacted)
    }

    fn archive(&self) -> Arc<dyn Archive> {
        self.reader.clone()
    }
}

impl Reader {
    fn read<T>(&self, read: impl FnOnce(&Keyspace) -> Result<T, fjall::Error>) -> Result<T, Error> {
        let tree = self.tree.read();
        let tree = tree.as_ref().ok_or(Error::Closed)?;
        read(&tree.records).map_err(|error| disk_error(&self.folder, "read history", error))
    }

    fn decode<'a>(&self, revision: Revision, bytes: &'a [u8]) -> Result<View<'a>, Error> {
        View::decode(revision, bytes)
            .ok_or_else(|| self.corrupt(format!("the record of revision {revision} is not one")))
    }
}

impl Archive for Reader {
    fn bytes(&self) -> u64 {
        let tree = self.tree.read();
        tree.as_ref().and_then(|tree| tree.database.disk_space().ok()).unwrap_or_default()
    }

    fn scan(&self, after: Revision, visit: &mut dyn FnMut(View<'_>) -> ControlFlow<()>) -> Result<(), Error> {
        let visited = self.read(|keyspace| {
            for item in keyspace.range(key(after.saturating_add(1))..) {
                let (at, bytes) = item.into_inner()?;
                let Ok(at) = <[u8; 8]>::try_from(&*at) else {
                    return Ok(Err(self.corrupt("a key is not a revision".into())));
                };
                match self.decode(Revision::from_be_bytes(at), &bytes) {
                    Err(error) => return Ok(Err(error)),
                    Ok(view) if visit(view).is_break() => break,
                    Ok(_) => {}
                }
            }
            Ok(Ok(()))
        });
        visited?
    }

    fn get(&self, revision: Revision, visit: &mut dyn FnMut(View<'_>)) -> Result<(), Error> {
        if let Some(bytes) = self.read(|keyspace| keyspace.get(key(revision)))? {
            visit(self.decode(revision, &bytes)?);
        }
        Ok(())
    }

    fn corrupt(&self, what: String) -> Error {
        Error::Corrupt { path: self.folder.clone(), what }
    }
}

fn open_tree(folder: &Path, path: &Path) -> Result<Tree, Error> {
    let open = || {
        let database = Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNALS_BYTES)
            .max_cached_files(Some(OPEN_FILES))
            // One: with more of them, the first spins while another compacts.
            .worker_threads(1)
            // Batches are verified by compressing them again, which is only right for one compressor.
            .journal_compression(CompressionType::None)
            .open()?;
        let records = database.keyspace(KEYSPACE, || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .data_block_size_policy(fjall::config::BlockSizePolicy::all(BLOCK_BYTES))
                // Who asks for a revision knows that it is there.
                .filter_policy(fjall::config::FilterPolicy::disabled())
                .compaction_strategy(Arc::new(
                    fjall::compaction::Leveled::default().with_table_target_size(TABLE_BYTES),
                ))
        })?;
        Ok(Tree { database, records })
    };
    open().map_err(|error: fjall::Error| match error {
        fjall::Error::Locked => Error::Locked { path: folder.into() },
        fjall::Error::InvalidVersion(_) | fjall::Error::JournalRecovery(_) | fjall::Error::Unrecoverable => {
            Error::Corrupt { path: folder.into(), what: error.to_string() }
        }
        error => disk_error(folder, "open its records", error),
    })
}

/// Big endian, so that the order of keys is that of revisions.
fn key(revision: Revision) -> [u8; 8] {
    revision.to_be_bytes()
}

fn meta(compacted: Revision) -> [u8; 9] {
    let mut meta = [FORMAT; 9];
    meta[1..].copy_from_slice(&compacted.to_le_bytes());
    meta
}
