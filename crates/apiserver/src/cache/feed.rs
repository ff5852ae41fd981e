//! All watch caches, and the one task that feeds them from one watch of the store.
//!
//! Invariant: `progress` names a revision up to which every cache holds everything. Keys are
//! `/registry/<group>/<resource>/[<namespace>/]<name>`, with `core` for the core group.

use super::{Cache, CacheLimits, Change, Present, fields::Fields};
use crate::encryption::Encryption;
use arc_swap::ArcSwap;
use bytes::Bytes;
use gifee_base::{Cause, Reason, Status};
use gifee_store::{self as store, Progress, Store};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Where objects are.
pub(super) const ROOT: &[u8] = b"/registry/";
/// Where taken names of allocation ranges are.
pub const RANGES: &str = "/ranges/";
/// How long a read waits for the cache to reach a revision; upstream's figure.
const FRESH_TIMEOUT: Duration = Duration::from_secs(3);

/// `/registry/<group>/<resource>/`
pub fn store_prefix(group: &str, resource: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    format!("/registry/{group}/{resource}/")
}

/// The store key of an object.
pub fn store_key(group: &str, resource: &str, namespace: &str, name: &str) -> Bytes {
    let group = if group.is_empty() { "core" } else { group };
    let parts = [
        "/registry/",
        group,
        "/",
        resource,
        "/",
        namespace,
        if namespace.is_empty() { "" } else { "/" },
        name,
    ];
    let mut key = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| key.extend_from_slice(part.as_bytes()));
    key.into()
}

/// Group and resource under whose name objects are stored.
pub type Storage = (Arc<str>, Arc<str>);

/// What one storage holds and was fed.
pub struct Counts {
    /// Which.
    pub storage: Storage,
    /// Objects.
    pub objects: usize,
    /// Their bytes, estimated.
    pub bytes: usize,
    /// Changes that came from the store.
    pub received: u64,
}

/// The caches of all stored resources.
pub struct Caches {
    store: Arc<dyn Store>,
    encryption: Option<Arc<Encryption>>,
    limits: CacheLimits,
    /// Sorted by group and resource. Readers take no lock; who adds one holds `adding`.
    sorted: ArcSwap<Vec<Arc<Cache>>>,
    adding: Mutex<()>,
    progress: AtomicU64,
    /// Who waits for it, told in the order of their coming.
    moved: Notify,
    request: RwLock<Option<Progress>>,
}

/// The part of a key that names the storage, with its slash, and the rest.
pub(super) fn split(key: &Bytes) -> Option<(&[u8], Bytes)> {
    let rest = key.strip_prefix(ROOT)?;
    let mut slashes = rest.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let end = ROOT.len() + slashes.nth(1)? + 1;
    Some((&key[..end], key.slice(end..)))
}

/// Where a storage is in the sorted list, or where it would be.
fn place(sorted: &[Arc<Cache>], group: &str, resource: &str) -> Result<usize, usize> {
    sorted.binary_search_by(|cache| (&*cache.storage.0, &*cache.storage.1).cmp(&(group, resource)))
}

impl Caches {
    /// Empty caches over a store.
    pub fn new(store: Arc<dyn Store>, encryption: Option<Arc<Encryption>>, limits: CacheLimits) -> Self {
        Self {
            store,
            encryption,
            limits,
            sorted: ArcSwap::default(),
            adding: Mutex::default(),
            progress: AtomicU64::new(0),
            moved: Notify::new(),
            request: RwLock::new(None),
        }
    }

    /// The cache of a storage, made if it is not there yet.
    pub fn of(&self, group: &str, resource: &str, fields: Fields) -> Arc<Cache> {
        let _one_at_a_time = self.adding.lock();
        let sorted = self.sorted.load_full();
        match place(&sorted, group, resource) {
            Ok(index) => sorted[index].clone(),
            Err(index) => {
                let storage = (group.into(), resource.into());
                let cache = Cache::new(storage, fields, None, Vec::new(), self.progress(), self.limits);
                let cache = Arc::new(cache);
                let mut sorted = sorted.to_vec();
                sorted.insert(index, cache.clone());
                self.sorted.store(Arc::new(sorted));
                cache
            }
        }
    }

    /// A cache that is in no place yet: `views` show the same objects in other forms.
    pub fn apart(
        &self,
        storage: Storage,
        fields: Fields,
        present: Arc<dyn Present>,
        views: Vec<Arc<Cache>>,
    ) -> Arc<Cache> {
        Arc::new(Cache::new(storage, fields, Some(present), views, self.progress(), self.limits))
    }

    /// Puts a cache in the place of a storage's, whose watches end.
    pub fn put(&self, cache: &Arc<Cache>) {
        let _one_at_a_time = self.adding.lock();
        let mut sorted = self.sorted.load().to_vec();
        match place(&sorted, &cache.storage.0, &cache.storage.1) {
            Ok(index) => std::mem::replace(&mut sorted[index], cache.clone()).close(),
            Err(index) => sorted.insert(index, cache.clone()),
        }
        self.sorted.store(Arc::new(sorted));
    }

    /// Ends the watches of a storage that is served no more, and forgets it.
    pub fn take_away(&self, group: &str, resource: &str) {
        let _one_at_a_time = self.adding.lock();
        let mut sorted = self.sorted.load().to_vec();
        if let Ok(index) = place(&sorted, group, resource) {
            sorted.remove(index).close();
        }
        self.sorted.store(Arc::new(sorted));
    }

    /// Fills a cache with what the store had as of where the feed is, and puts it in its place. Only the task that
    /// also follows may call it: nothing may be fed meanwhile.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn install(&self, cache: &Arc<Cache>) -> Result<(), store::Error> {
        let revision = self.progress();
        let prefix = Bytes::from(store_prefix(&cache.storage.0, &cache.storage.1));
        let (entries, _) = self.everything(&prefix, (revision > 0).then_some(revision)).await?;
        let filled = entries.into_iter().filter_map(|entry| {
            let (_, key) = split(&entry.key)?;
            Some((key, self.open(&entry.key, entry.value)?, entry.revision))
        });
        let filled: Vec<_> = filled.collect();
        cache.fill(revision, filled.into_iter());
        self.put(cache);
        Ok(())
    }

    /// What the store has of a resource, before the caches are filled.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn stored(&self, group: &str, resource: &str) -> Result<Vec<serde_json::Value>, store::Error> {
        let prefix = store_prefix(group, resource);
        let (entries, _) = self.everything(prefix.as_bytes(), None).await?;
        let opened = entries.into_iter().filter_map(|entry| self.open(&entry.key, entry.value));
        Ok(opened.filter_map(|bytes| serde_json::from_slice(&bytes).ok()).collect())
    }

    /// The cache of a storage, if there is one.
    pub fn find(&self, group: &str, resource: &str) -> Option<Arc<Cache>> {
        let sorted = self.sorted.load();
        place(&sorted, group, resource).ok().map(|index| sorted[index].clone())
    }

    /// All caches.
    pub(super) fn all(&self) -> Arc<Vec<Arc<Cache>>> {
        self.sorted.load_full()
    }

    /// The cache of the storage that a key begins with; made without selectable fields if no row has claimed it.
    pub(super) fn by_prefix(&self, prefix: &[u8]) -> Arc<Cache> {
        let text = std::str::from_utf8(prefix).unwrap_or_default();
        let mut parts = text.split('/').skip(2);
        let group = parts.next().filter(|group| *group != "core").unwrap_or_default();
        let resource = parts.next().unwrap_or_default();
        self.find(group, resource).unwrap_or_else(|| self.of(group, resource, Fields::default()))
    }

    /// Says how far the caches are, and how to ask the watch for more.
    pub(super) fn reached(&self, revision: u64, request: Option<Progress>) {
        if request.is_some() {
            *self.request.write() = request;
        }
        if self.progress.fetch_max(revision, Ordering::AcqRel) < revision {
            self.moved.notify_waiters();
        }
    }

    /// The store.
    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(super) fn open(&self, key: &[u8], value: Bytes) -> Option<Bytes> {
        let Some(encryption) = &self.encryption else { return Some(value) };
        match encryption.open(key, &value) {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::error!(key = %String::from_utf8_lossy(key), %error, "a stored object cannot be read");
                None
            }
        }
    }

    /// Everything up to this revision is in the caches.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Acquire)
    }

    /// Waits until everything that was acknowledged before the call is in the caches, and gives the revision.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn fresh(&self) -> Result<u64, Status> {
        let revision = self.store.revision().await.map_err(store_failed)?;
        if self.progress() >= revision {
            return Ok(self.progress());
        }
        self.reach(revision).await
    }

    /// Waits until the caches have reached a revision.
    ///
    /// # Errors
    /// 504 with the cause ResourceVersionTooLarge if they do not.
    pub async fn reach(&self, revision: u64) -> Result<u64, Status> {
        if self.progress() < revision
            && let Some(request) = &*self.request.read()
        {
            request.request();
        }
        let reached = async {
            loop {
                let mut moved = std::pin::pin!(self.moved.notified());
                // It counts as waiting before it looks, so that no move is missed.
                moved.as_mut().enable();
                let now = self.progress();
                if now >= revision {
                    return now;
                }
                moved.await;
            }
        };
        let reached = tokio::time::timeout(FRESH_TIMEOUT, reached).await;
        reached.map_err(|_| too_large(revision, self.progress()))
    }

    /// Takes in one batch of the watch.
    pub fn apply(&self, batch: store::Batch) {
        // Nearly always one or two resources, so a list finds them faster than a map.
        let mut by_cache: Vec<(Arc<Cache>, Vec<Change>)> = Vec::new();
        for event in batch.events {
            let Some((prefix, key)) = split(&event.key) else { continue };
            let value = match event.change {
                store::Change::Put { value, .. } => match self.open(&event.key, value) {
                    Some(value) => Some(value),
                    None => continue,
                },
                store::Change::Delete { .. } => None,
            };
            let change = Change { revision: event.revision, key, value };
            let cache = self.by_prefix(prefix);
            match by_cache.iter_mut().find(|(one, _)| Arc::ptr_eq(one, &cache)) {
                Some((_, changes)) => changes.push(change),
                None => by_cache.push((cache, vec![change])),
            }
        }
        for (cache, changes) in by_cache {
            cache.apply(changes);
        }
        self.reached(batch.revision, None);
    }

    /// Sends bookmarks to all watchers that want them. Only the task that also follows may call it: it must
    /// not overtake events.
    pub fn bookmark(&self) {
        let revision = self.progress();
        for cache in self.all().iter() {
            cache.bookmark(revision);
        }
    }

    /// Forgets the past up to a revision.
    pub fn forget(&self, revision: u64) {
        for cache in self.all().iter() {
            cache.forget(revision);
        }
    }

    /// How many objects each storage holds, and how many bytes they have about, as some of them say.
    pub fn counts(&self) -> Vec<Counts> {
        /// Objects by which the size of all is estimated.
        const MEASURED: usize = 8;
        let caches = self.all();
        let count = |cache: &Arc<Cache>| {
            let objects = &cache.snapshot().objects;
            let some: usize = objects.values().take(MEASURED).map(|entry| entry.object.raw().len()).sum();
            let bytes = some * objects.len() / objects.len().clamp(1, MEASURED);
            let received = cache.received.load(Ordering::Relaxed);
            Counts { storage: cache.storage.clone(), objects: objects.len(), bytes, received }
        };
        caches.iter().map(count).collect()
    }

    /// Ends all watches.
    pub fn close(&self) {
        for cache in self.all().iter() {
            cache.close();
        }
    }
}

/// A failed store, as the API says it.
pub fn store_failed(error: store::Error) -> Status {
    match error {
        store::Error::Closed => Status::unavailable("the server is stopping"),
        store::Error::TooLarge { .. } => Status::new(Reason::RequestEntityTooLarge, error.to_string()),
        error => {
            tracing::error!(%error, "the store failed");
            Status::internal(error)
        }
    }
}

fn too_large(requested: u64, current: u64) -> Status {
    let message = format!("Too large resource version: {requested}, current: {current}");
    let mut status = Status::timeout(&message, 1);
    if let Some(details) = &mut status.details {
        details.causes.push(Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        });
    }
    status
}
