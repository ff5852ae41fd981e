//! How the caches come to be: at the start, and again if the watch of the store broke.
//!
//! Invariant: at the start they are filled as of a moment ago and then told what happened since, so that watches
//! of before a restart resume; later they are told the difference, so that no watcher misses a state.

use super::Cache;
use super::feed::{Caches, ROOT, split};
use bytes::Bytes;
use gifee_store::{self as store, Batch, Entry, Range};
use std::collections::HashMap;
use std::sync::Arc;

/// Entries read at once.
const PAGE: usize = 2_000;
/// How many revisions of the past are told again at the start.
const REPLAYED: u64 = 10_000;
/// How often a past that is just being compacted is looked for.
const ATTEMPTS: usize = 3;

type Entries = Vec<(Bytes, Bytes, u64)>;

impl Caches {
    /// Fills the caches and gives the watch that goes on from there.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn load(&self) -> Result<store::Watch, store::Error> {
        if self.progress() > 0 { self.reload().await } else { self.start().await }
    }

    /// Everything under a prefix, now or at a revision, and which revision that is.
    pub(super) async fn everything(
        &self,
        prefix: &[u8],
        revision: Option<u64>,
    ) -> Result<(Vec<Entry>, u64), store::Error> {
        let prefix = Bytes::copy_from_slice(prefix);
        let mut range = Range { revision, limit: PAGE, ..Range::prefix(prefix) };
        let mut all = Vec::new();
        loop {
            let page = self.store().range(range.clone()).await?;
            all.extend(page.entries);
            match all.last() {
                Some(last) if page.more => {
                    range.start = store::successor(&last.key);
                    range.revision = Some(page.revision);
                }
                _ => return Ok((all, page.revision)),
            }
        }
    }

    /// The state of some revisions ago, or of as long ago as the store remembers.
    async fn past(&self) -> Result<(Vec<Entry>, u64), store::Error> {
        let now = self.store().revision().await?;
        let mut from = now.saturating_sub(REPLAYED).max(1);
        for _ in 0..ATTEMPTS {
            match self.everything(ROOT, Some(from)).await {
                Err(store::Error::Compacted { oldest }) if oldest <= now => from = oldest.max(from + 1),
                Err(store::Error::Compacted { .. } | store::Error::FutureRevision { .. }) => break,
                outcome => return outcome,
            }
        }
        self.everything(ROOT, None).await
    }

    async fn start(&self) -> Result<store::Watch, store::Error> {
        let (then, from) = self.past().await?;
        let (now, until) = self.everything(ROOT, None).await?;
        // What is the same as now shares the allocations of now.
        let now: HashMap<Bytes, Entry> = now.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
        let then = then.into_iter().map(|entry| match now.get(&entry.key) {
            Some(same) if same.revision == entry.revision => same.clone(),
            _ => entry,
        });
        let filled = self.by_cache(then.collect());
        for cache in self.all().iter() {
            let entries = filled.iter().find(|(one, _)| Arc::ptr_eq(one, cache));
            let entries = entries.map_or(&[][..], |(_, entries)| entries);
            cache.fill(from, entries.iter().cloned());
        }
        drop(filled);
        let mut watch = self.store().watch(ROOT.into(), store::prefix_end(ROOT), from).await?;
        self.reached(from, Some(watch.progress()));
        while self.progress() < until {
            watch.progress().request();
            match watch.next().await {
                Some(Ok(batch)) => self.apply(shared(batch, &now)),
                Some(Err(error)) => return Err(error),
                None => return Err(store::Error::Closed),
            }
        }
        Ok(watch)
    }

    /// Tells the caches what they missed.
    async fn reload(&self) -> Result<store::Watch, store::Error> {
        let (now, revision) = self.everything(ROOT, None).await?;
        let watch = self.store().watch(ROOT.into(), store::prefix_end(ROOT), revision).await?;
        let filled = self.by_cache(now);
        for cache in self.all().iter() {
            let entries = filled.iter().find(|(one, _)| Arc::ptr_eq(one, cache));
            let entries = entries.map(|(_, entries)| entries.clone()).unwrap_or_default();
            // Each has its own snapshot to tell the difference from.
            for view in &cache.views {
                view.apply_own(view.difference(revision, entries.clone()));
            }
            cache.apply_own(cache.difference(revision, entries));
        }
        self.reached(revision, Some(watch.progress()));
        Ok(watch)
    }

    fn by_cache(&self, entries: Vec<Entry>) -> Vec<(Arc<Cache>, Entries)> {
        let mut all: Vec<(Arc<Cache>, Entries)> = Vec::new();
        let mut prefix = Bytes::new();
        for entry in entries {
            let Some((own, key)) = split(&entry.key) else { continue };
            // Keys come in order, so each storage comes once.
            if all.is_empty() || *own != *prefix {
                prefix = entry.key.slice(..own.len());
                all.push((self.by_prefix(own), Vec::new()));
            }
            if let (Some((_, entries)), Some(value)) = (all.last_mut(), self.open(&entry.key, entry.value)) {
                entries.push((key, value, entry.revision));
            }
        }
        all
    }
}

/// The batch, with the allocations of what is still there now.
fn shared(mut batch: Batch, now: &HashMap<Bytes, Entry>) -> Batch {
    for event in &mut batch.events {
        let same = now.get(&event.key).filter(|entry| entry.revision == event.revision);
        if let (store::Change::Put { value, .. }, Some(same)) = (&mut event.change, same) {
            *value = same.value.clone();
        }
    }
    batch
}
