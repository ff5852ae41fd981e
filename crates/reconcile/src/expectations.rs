//! What a controller wrote and has not yet seen in its cache.
//!
//! Invariant: while expectations of a key are unmet, its view is stale and must not be planned on. Writes
//! are known by their resource version, which a cache reaches in order; deletions by UID, since an object
//! deleted at once leaves no version behind. After five minutes an expectation counts as met, so that one
//! that was never told cannot stop a controller. Answers to `ControllerExpectations`.

use gifee_base::ObjectKey;
use gifee_client::Cache;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const TIMEOUT: Duration = Duration::from_secs(300);

struct Entry {
    revision: u64,
    deletions: Vec<(ObjectKey, String)>,
    since: Instant,
}

/// Expectations about the objects of one cache, by the key of the object they are for. At most one entry
/// per key.
pub struct Expectations {
    cache: Arc<Cache>,
    entries: Mutex<HashMap<ObjectKey, Entry>>,
}

impl Expectations {
    /// About the objects of a cache.
    pub fn new(cache: Arc<Cache>) -> Self {
        Self { cache, entries: Mutex::default() }
    }

    /// A create, update or patch was committed at a resource version.
    pub fn wrote(&self, key: &ObjectKey, revision: u64) {
        self.with(key, |entry| entry.revision = entry.revision.max(revision));
    }

    /// An object is about to be deleted. Say so before the call, and [`Expectations::kept`] if it fails.
    pub fn deleting(&self, key: &ObjectKey, object: &ObjectKey, uid: &str) {
        self.with(key, |entry| entry.deletions.push((object.clone(), uid.to_owned())));
    }

    /// An object was not deleted after all.
    pub fn kept(&self, key: &ObjectKey, uid: &str) {
        self.with(key, |entry| entry.deletions.retain(|(_, one)| one != uid));
    }

    fn with(&self, key: &ObjectKey, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.entries.lock();
        let entry = entries.entry(key.clone()).or_insert_with(|| Entry {
            revision: 0,
            deletions: Vec::new(),
            since: Instant::now(),
        });
        entry.since = Instant::now();
        change(entry);
    }

    /// Whether the cache shows all that was written for a key. When the missing event comes, its handler
    /// brings the key back.
    pub fn met(&self, key: &ObjectKey) -> bool {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(key) else { return true };
        let gone = |object: &ObjectKey, uid: &str| {
            self.cache.get(object).is_none_or(|object| object.uid() != uid || object.deleting())
        };
        entry.deletions.retain(|(object, uid)| !gone(object, uid));
        let met = entry.deletions.is_empty() && self.cache.revision() >= entry.revision;
        let expired = entry.since.elapsed() > TIMEOUT;
        if met || expired {
            entries.remove(key);
        }
        met || expired
    }

    /// Whether something is expected for a key, seen or not.
    pub fn waits(&self, key: &ObjectKey) -> bool {
        self.entries.lock().contains_key(key)
    }

    /// Forgets a key whose object is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.entries.lock().remove(key);
    }
}
