//! The store of tests: the same engine on a disk that is a map, which outlives the engine, fails when told
//! to, and can be held still.
//!
//! Invariant: it differs from the embedded store in nothing but the journal.

use std::{
    collections::BTreeMap,
    io,
    ops::ControlFlow,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};

use crate::{
    Engine, Error, Limits, Revision,
    journal::{Archive, Journal},
    record::{Record, View},
};

/// A new, empty store in memory.
pub fn open() -> Engine {
    Disk::default().open(Limits::default()).expect("an empty map has no contradictions")
}

/// How a [`Disk`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// As if no space were left.
    Full,
    /// As if the device had failed.
    Broken,
}

/// A disk in memory. Engines opened on it one after another find what was acknowledged by those before.
#[derive(Clone, Default)]
pub struct Disk {
    contents: Arc<Mutex<Contents>>,
    /// Held by whoever keeps the disk still; every commit takes it for a moment.
    still: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Contents {
    records: BTreeMap<Revision, Record>,
    compacted: Revision,
    /// How many more operations succeed before this begins.
    fault: Option<(usize, Fault)>,
}

impl Disk {
    /// Opens a store on this disk.
    pub fn open(&self, limits: Limits) -> Result<Engine, Error> {
        Engine::open(Box::new(Mounted { disk: self.clone(), open: Arc::new(AtomicBool::new(true)) }), limits)
    }

    /// Opens a store on this disk that has no thread: what happens in it depends on nothing but the order of calls.
    ///
    /// # Errors
    /// If records contradict each other.
    pub fn open_inline(&self, limits: Limits) -> Result<Engine, Error> {
        let mounted = Mounted { disk: self.clone(), open: Arc::new(AtomicBool::new(true)) };
        Engine::inline(Box::new(mounted), limits)
    }

    /// Another disk with the same contents.
    #[must_use]
    pub fn copy(&self) -> Self {
        let contents = self.contents.lock();
        let copied =
            Contents { records: contents.records.clone(), compacted: contents.compacted, fault: None };
        Self { contents: Arc::new(Mutex::new(copied)), still: Arc::default() }
    }

    /// Lets everything fail from now on, or nothing any more.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.contents.lock().fault = fault.map(|fault| (0, fault));
    }

    /// Lets so many operations succeed, and all after them fail.
    pub fn fail_after(&self, operations: usize, fault: Fault) {
        self.contents.lock().fault = Some((operations, fault));
    }

    /// Keeps commits from ending until what is returned is dropped.
    pub fn hold(&self) -> Still<'_> {
        Still { _held: self.still.lock() }
    }

    /// How many records there are: those of present objects and of history.
    pub fn record_count(&self) -> usize {
        self.contents.lock().records.len()
    }
}

/// A disk that is held still.
pub struct Still<'a> {
    _held: MutexGuard<'a, ()>,
}

impl Contents {
    fn works(&mut self, operation: &'static str) -> Result<(), Error> {
        let path = PathBuf::from("memory");
        match &mut self.fault {
            None => Ok(()),
            Some((operations @ 1.., _)) => {
                *operations -= 1;
                Ok(())
            }
            Some((0, Fault::Full)) => Err(Error::Full { path }),
            Some((0, Fault::Broken)) => {
                let source = Arc::new(io::Error::other("the device failed"));
                Err(Error::Disk { path, operation, source })
            }
        }
    }
}

/// A disk as one engine sees it: gone when that engine is.
struct Mounted {
    disk: Disk,
    open: Arc<AtomicBool>,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.open.store(false, Ordering::Release);
    }
}

impl Journal for Mounted {
    fn commit(&mut self, records: &[Record]) -> Result<(), Error> {
        let _still = self.disk.still.lock();
        let mut contents = self.disk.contents.lock();
        contents.works("commit a write")?;
        contents.records.extend(records.iter().map(|record| (record.revision, record.clone())));
        Ok(())
    }

    fn forget(&mut self, compacted: Revision, garbage: &[Revision]) -> Result<(), Error> {
        let _still = self.disk.still.lock();
        let mut contents = self.disk.contents.lock();
        contents.works("compact history")?;
        contents.compacted = compacted;
        for revision in garbage {
            contents.records.remove(revision);
        }
        Ok(())
    }

    fn compacted(&self) -> Result<Revision, Error> {
        Ok(self.disk.contents.lock().compacted)
    }

    fn archive(&self) -> Arc<dyn Archive> {
        Arc::new(Shelf { contents: self.disk.contents.clone(), open: self.open.clone() })
    }
}

struct Shelf {
    contents: Arc<Mutex<Contents>>,
    open: Arc<AtomicBool>,
}

impl Shelf {
    fn contents(&self) -> Result<MutexGuard<'_, Contents>, Error> {
        let mut contents = self.contents.lock();
        contents.works("read history")?;
        if self.open.load(Ordering::Acquire) { Ok(contents) } else { Err(Error::Closed) }
    }
}

impl Archive for Shelf {
    fn scan(&self, after: Revision, visit: &mut dyn FnMut(View<'_>) -> ControlFlow<()>) -> Result<(), Error> {
        for record in self.contents()?.records.range(after + 1..).map(|(_, record)| record) {
            if visit(record.view()).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn get(&self, revision: Revision, visit: &mut dyn FnMut(View<'_>)) -> Result<(), Error> {
        if let Some(record) = self.contents()?.records.get(&revision) {
            visit(record.view());
        }
        Ok(())
    }

    fn corrupt(&self, what: String) -> Error {
        Error::Corrupt { path: "memory".into(), what }
    }
}
