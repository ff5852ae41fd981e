//! What every store must do: one suite that all implementations run, written from etcd's documented
//! semantics of revisions, transactions, ranges, watches and compaction.
//!
//! Invariant: a case assumes nothing of a store but the trait: revisions may have gaps and start anywhere.
//! A case fails by panicking with what it saw.

mod ranges;
mod watches;
mod writes;

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{Batch, Entry, Error, Event, Outcome, Range, Revision, Store, Watch, Write};

/// One case: given an empty store, ends or panics.
pub type Case = fn(Arc<dyn Store>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// All cases by name, for tests that want to report each by itself.
pub const CASES: &[(&str, Case)] = &[
    ("create puts a key once", |store| Box::pin(writes::create(store))),
    ("update needs the current revision", |store| Box::pin(writes::update(store))),
    ("delete with and without a revision", |store| Box::pin(writes::delete(store))),
    ("a key created again is new", |store| Box::pin(writes::create_again(store))),
    ("revisions rise with each write and only then", |store| Box::pin(writes::revisions(store))),
    ("keys and values are any bytes", |store| Box::pin(writes::any_bytes(store))),
    ("big values fit and bigger ones are refused", |store| Box::pin(writes::big_values(store))),
    ("of concurrent creates one wins", |store| Box::pin(writes::concurrent_creates(store))),
    ("no concurrent update is lost", |store| Box::pin(writes::concurrent_updates(store))),
    ("a range has its start and not its end", |store| Box::pin(ranges::edges(store))),
    ("a range without keys is empty", |store| Box::pin(ranges::empty(store))),
    ("a limit cuts a range and the count does not", |store| Box::pin(ranges::limits(store))),
    ("pages at a revision are one consistent list", |store| Box::pin(ranges::pages(store))),
    ("every revision can be read as it was", |store| Box::pin(ranges::past(store))),
    ("a future revision cannot be read", |store| Box::pin(ranges::future(store))),
    ("compaction ends the past before it", |store| Box::pin(ranges::compaction(store))),
    ("a watch tells all that happened since", |store| Box::pin(watches::since(store))),
    ("a watch resumes after any event", |store| Box::pin(watches::resume(store))),
    ("a watch follows live", |store| Box::pin(watches::live(store))),
    ("a watch keeps to its range", |store| Box::pin(watches::edges(store))),
    ("a watch may wait for a future revision", |store| Box::pin(watches::future(store))),
    ("a watch from before compaction is refused", |store| Box::pin(watches::compacted(store))),
    ("compaction does not disturb a watch", |store| Box::pin(watches::compaction(store))),
    ("a watch says on request how far it is", |store| Box::pin(watches::progress(store))),
    ("a slow watch misses nothing", |store| Box::pin(watches::slow(store))),
    ("an impatient reader loses nothing", |store| Box::pin(watches::cancelled(store))),
    ("watches see concurrent writes in one order", |store| Box::pin(watches::order(store))),
];

/// Runs all cases, each on a new, empty store.
pub async fn run(make: &dyn Fn() -> Arc<dyn Store>) {
    for (name, case) in CASES {
        eprintln!("contract: {name}");
        case(make()).await;
    }
}

/// How long anything may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(30);

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn write(store: &dyn Store, write: Write) -> Outcome {
    let outcome = tokio::time::timeout(PATIENCE, store.write(write.clone())).await;
    match outcome.unwrap_or_else(|_| panic!("{write:?} hangs")) {
        Ok(outcome) => outcome,
        Err(error) => panic!("{write:?} failed: {error}"),
    }
}

/// Creates a key that must be absent.
async fn create(store: &dyn Store, key: &str, value: &str) -> Revision {
    done(write(store, Write::Create { key: bytes(key), value: bytes(value) }).await)
}

/// Updates a key that must be at the expected revision.
async fn update(store: &dyn Store, key: &str, value: &str, expected: Revision) -> Revision {
    done(write(store, Write::Update { key: bytes(key), value: bytes(value), expected }).await)
}

/// Deletes a key that must be present.
async fn delete(store: &dyn Store, key: &str) -> Revision {
    done(write(store, Write::Delete { key: bytes(key), expected: None }).await)
}

fn done(outcome: Outcome) -> Revision {
    match outcome {
        Outcome::Done(revision) => revision,
        Outcome::Conflict(entry) => panic!("an unexpected conflict with {entry:?}"),
    }
}

fn entry(key: &str, value: &str, revision: Revision, created: Revision) -> Entry {
    Entry { key: bytes(key), value: bytes(value), revision, created }
}

async fn get(store: &dyn Store, key: &str) -> Option<Entry> {
    expect("get", store.get(key.as_bytes()).await).0
}

async fn revision(store: &dyn Store) -> Revision {
    expect("revision", store.revision().await)
}

fn expect<T>(what: &str, result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| panic!("{what} failed: {error}"))
}

fn range(start: &str, end: &str) -> Range {
    Range { start: bytes(start), end: bytes(end), limit: 0, revision: None }
}

async fn keys(store: &dyn Store, range: Range) -> Vec<String> {
    let page = expect("range", store.range(range).await);
    page.entries.iter().map(|entry| text(&entry.key)).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn watch(store: &dyn Store, start: &str, end: &str, after: Revision) -> Watch {
    expect("watch", store.watch(bytes(start), bytes(end), after).await)
}

/// The next batch, which must come.
async fn next(watch: &mut Watch) -> Batch {
    let next = tokio::time::timeout(PATIENCE, watch.next()).await;
    match next.unwrap_or_else(|_| panic!("the watch hangs")) {
        Some(batch) => expect("watch", batch),
        None => panic!("the watch ended"),
    }
}

/// All events up to a revision that the store has reached, and perhaps some after it.
async fn until(watch: &mut Watch, revision: Revision) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut reached = 0;
    watch.progress().request();
    while reached < revision {
        let batch = next(watch).await;
        assert!(batch.revision >= reached, "progress goes back from {reached} to {}", batch.revision);
        for event in batch.events {
            let last = events.last().map_or(reached, |last| last.revision.max(reached));
            assert!(event.revision > last, "revision {} comes after {last}", event.revision);
            events.push(event);
        }
        let last = events.last().map_or(0, |last| last.revision);
        assert!(batch.revision >= last, "progress {} is behind event {last}", batch.revision);
        reached = batch.revision;
    }
    events
}

/// How a watch ends that cannot go on.
async fn end(mut watch: Watch) -> Error {
    loop {
        let next = tokio::time::timeout(PATIENCE, watch.next()).await;
        match next.unwrap_or_else(|_| panic!("the watch hangs")) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return error,
            None => panic!("the watch ended without an error"),
        }
    }
}
