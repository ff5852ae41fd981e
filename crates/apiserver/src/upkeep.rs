//! The one background task: feeds the caches, sends bookmarks, forgets the past.
//!
//! Invariant: it ends when the server stops, and restarts the feed with a fresh load if the store's watch
//! breaks, so caches never stay behind silently.

use crate::cache::{Cache, Caches};
use crate::config::Limits;
use gifee_store::{self as store, Store};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// Longest pause before a broken watch of the store is tried again.
const RETRY_MAXIMUM: Duration = Duration::from_secs(10);

/// What only this task may do, since nothing may be fed meanwhile.
pub enum Command {
    /// Fills a cache and puts it in its place.
    Install(Arc<Cache>, oneshot::Sender<Result<(), store::Error>>),
}

/// Runs until `stop`.
pub async fn run(
    caches: Arc<Caches>,
    store: Arc<dyn Store>,
    limits: Limits,
    mut watch: store::Watch,
    mut commands: mpsc::Receiver<Command>,
    stop: CancellationToken,
) {
    let mut bookmarks = interval_at(Instant::now() + limits.bookmark_interval, limits.bookmark_interval);
    bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut aging = Aging { age: limits.history_age, marks: VecDeque::new() };
    loop {
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(Command::Install(cache, done)) = commands.recv() => {
                // Who asked may have gone meanwhile.
                let _ = done.send(caches.install(&cache).await);
                continue;
            }
            _ = bookmarks.tick() => {
                caches.bookmark();
                aging.tick(&caches, &*store).await;
                continue;
            }
            next = watch.next() => next,
        };
        match next {
            Some(Ok(batch)) => caches.apply(batch),
            None => {
                caches.close();
                return;
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "the watch of the store broke; loading everything again");
                let again = tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    again = reload(&caches) => again,
                };
                match again {
                    Some(again) => watch = again,
                    None => return,
                }
            }
        }
    }
}

/// Loads everything again, as often as it takes; None if the store was closed.
async fn reload(caches: &Caches) -> Option<store::Watch> {
    let mut pause = Duration::from_millis(100);
    loop {
        match caches.load().await {
            Ok(watch) => return Some(watch),
            Err(store::Error::Closed) => {
                caches.close();
                return None;
            }
            Err(error) => tracing::warn!(%error, "the store cannot be read"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAXIMUM);
    }
}

/// Which revision was current how long ago.
struct Aging {
    age: Duration,
    marks: VecDeque<(Instant, u64)>,
}

impl Aging {
    /// Compacts the store to the newest revision that is old enough, and the caches with it.
    async fn tick(&mut self, caches: &Caches, store: &dyn Store) {
        let now = Instant::now();
        self.marks.push_back((now, caches.progress()));
        let mut old = None;
        while let Some((at, revision)) = self.marks.front().copied() {
            if now.duration_since(at) < self.age {
                break;
            }
            old = Some(revision);
            self.marks.pop_front();
        }
        let Some(revision) = old else { return };
        caches.forget(revision);
        match store.compact(revision).await {
            Ok(()) | Err(store::Error::Compacted { .. }) => {}
            Err(error) => tracing::warn!(%error, "the store could not be compacted"),
        }
    }
}
