//! The one implementation of [`Store`] with its objects in memory: embedded and in-memory stores differ only
//! in the journal under it.
//!
//! Invariant: one thread decides, commits and publishes all writes, in that order; everyone else reads what
//! was published. Answers to etcd's mvcc store and watchable store.

mod compaction;
mod feed;
mod limits;
mod queue;
mod range;
mod recent;
mod recovery;
mod registrations;
mod state;
mod writer;

use std::{sync::Arc, thread::JoinHandle};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Entry, Error, KEY_BYTES_MAX, Outcome, Page, Range, Revision, Store, VALUE_BYTES_MAX, Watch, Write,
    journal::Journal,
};

pub use limits::Limits;

use parking_lot::Mutex;
use queue::{Command, Queue, Reply};
use state::Shared;
use writer::Writer;

/// A store whose objects are all in memory, in front of a journal. Dropping it closes it: writes that were
/// not yet taken up fail with [`Error::Closed`], watches end, the folder is free for the next to open.
pub struct Engine {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    writer: Option<JoinHandle<()>>,
    /// Who decides writes where they are made, if no thread does.
    inline: Option<Mutex<Writer>>,
}

impl Engine {
    /// Reads all records of the journal and starts the writer.
    pub(crate) fn open(journal: Box<dyn Journal>, limits: Limits) -> Result<Self, Error> {
        let (shared, writer) = recovery::recover(journal, limits)?;
        let queue = Arc::new(Queue::default());
        let thread = {
            let queue = queue.clone();
            std::thread::Builder::new().name("store-writer".into()).spawn(move || writer.run(&queue))
        };
        let thread = thread.map_err(|error| Error::Unavailable { what: format!("no thread: {error}") })?;
        Ok(Self { shared, queue, writer: Some(thread), inline: None })
    }

    /// The same without a thread: each write is decided and committed where it is made, so that what happens does not
    /// depend on threads. Nothing is compacted but on demand.
    pub(crate) fn inline(journal: Box<dyn Journal>, limits: Limits) -> Result<Self, Error> {
        let (shared, writer) = recovery::recover(journal, limits)?;
        Ok(Self { shared, queue: Arc::default(), writer: None, inline: Some(Mutex::new(writer)) })
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        let Some(writer) = &self.inline else { return self.queue.ask(command).await };
        let (reply, answer) = tokio::sync::oneshot::channel();
        writer.lock().at_once(command(reply));
        answer.await.unwrap_or(Err(Error::Closed))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.queue.close();
        if self.inline.is_some() {
            self.shared.state.write().close();
        }
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

#[async_trait]
impl Store for Engine {
    async fn write(&self, write: Write) -> Result<Outcome, Error> {
        let value_bytes = write.value().map_or(0, Bytes::len);
        within("a key", write.key().len(), KEY_BYTES_MAX)?;
        within("a value", value_bytes, VALUE_BYTES_MAX)?;
        self.ask(|reply| Command::Write(write, reply)).await
    }

    async fn get(&self, key: &[u8]) -> Result<(Option<Entry>, Revision), Error> {
        let state = self.shared.state.read();
        state.open()?;
        let found = state.objects.get_key_value(key);
        Ok((found.map(|(key, held)| held.entry(key)), state.revision))
    }

    async fn range(&self, range: Range) -> Result<Page, Error> {
        range::read(&self.shared, range).await
    }

    async fn watch(&self, start: Bytes, end: Bytes, after: Revision) -> Result<Watch, Error> {
        feed::watch(&self.shared, start, end, after)
    }

    async fn revision(&self) -> Result<Revision, Error> {
        let state = self.shared.state.read();
        state.open()?;
        Ok(state.revision)
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.ask(|reply| Command::Compact(revision, reply)).await
    }

    fn bytes(&self) -> u64 {
        self.shared.archive.bytes()
    }
}

fn within(what: &'static str, size: usize, limit: usize) -> Result<(), Error> {
    if size <= limit { Ok(()) } else { Err(Error::TooLarge { what, size, limit }) }
}
