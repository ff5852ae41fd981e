//! The last step of every write: a tree becomes bytes in the store, at the expected revision or not at all.
//!
//! Invariant: bytes are encoded once, here; store, cache and response share them.

use super::Write;
use crate::cache::{store_failed, store_key};
use crate::kinds::Resource;
use crate::server::Server;
use bytes::Bytes;
use gifee_base::{Object, Status};
use gifee_store::{self as store, Entry, Outcome};
use serde_json::Value;
use std::sync::Arc;

/// What became of a conditional write.
pub enum Committed {
    /// The object as it is now.
    Done(Arc<Object>),
    /// What is there instead.
    Conflict(Option<Arc<Object>>),
}

/// The stored form of a tree in this version's kind.
pub fn stored_form(resource: &Resource, mut value: Value) -> Value {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
        metadata.remove("selfLink");
    }
    match &resource.kind.conversion {
        Some(conversion) => (conversion.to_stored)(value),
        None => value,
    }
}

impl Server {
    /// An entry of the store as an object.
    pub(crate) fn stored(&self, key: &[u8], entry: Entry) -> Result<Arc<Object>, Status> {
        let value = match &self.config.encryption {
            None => entry.value,
            Some(encryption) => encryption.open(key, &entry.value).map_err(Status::internal)?,
        };
        Object::stored(value, entry.revision).map(Arc::new).map_err(Status::internal)
    }

    fn sealed(&self, resource: &Resource, key: &[u8], value: &Bytes) -> Bytes {
        let (group, name) = &resource.kind.storage;
        match &self.config.encryption {
            Some(encryption) if encryption.covers(group, name) => encryption.seal(key, value),
            _ => value.clone(),
        }
    }
}

impl Write<'_> {
    fn key(&self, namespace: &str, name: &str) -> Bytes {
        let (group, resource) = &self.resource.kind.storage;
        store_key(group, resource, namespace, name)
    }

    async fn commit(
        &self,
        key: Bytes,
        raw: Option<&Bytes>,
        write: store::Write,
    ) -> Result<Committed, Status> {
        let outcome = self.server.config.store.write(write).await.map_err(store_failed)?;
        Ok(match outcome {
            Outcome::Done(revision) => Committed::Done(self.seen(&key, raw, revision).await?),
            Outcome::Conflict(None) => Committed::Conflict(None),
            Outcome::Conflict(Some(entry)) => Committed::Conflict(Some(self.server.stored(&key, entry)?)),
        })
    }

    /// Waits until the caches have seen a write, so that whoever is told of it finds it: the next request, the
    /// admission of what depends on it. What the cache made of it is what is answered.
    async fn seen(&self, key: &Bytes, raw: Option<&Bytes>, revision: u64) -> Result<Arc<Object>, Status> {
        let caches = &self.server.caches;
        if caches.progress() < revision && caches.reach(revision).await.is_err() {
            // The write is done, whatever became of the feed.
            tracing::warn!(revision, "the caches are far behind the store");
        }
        let Some(raw) = raw else {
            let none = Object::stored(Bytes::from_static(b"{}"), revision);
            return none.map(Arc::new).map_err(Status::internal);
        };
        if let Some(cache) = &self.resource.cache
            && let Some(entry) = key.get(cache.prefix_len()..).and_then(|key| cache.get(key))
            && entry.object.revision() == revision
        {
            return Ok(entry.object.clone());
        }
        Object::stored(raw.clone(), revision).map(Arc::new).map_err(Status::internal)
    }

    /// Puts a new object.
    pub(super) async fn insert(&self, namespace: &str, name: &str, raw: &Bytes) -> Result<Committed, Status> {
        let key = self.key(namespace, name);
        let value = self.server.sealed(self.resource, &key, raw);
        self.commit(key.clone(), Some(raw), store::Write::Create { key, value }).await
    }

    /// Replaces the object if it is still at `expected`.
    pub(super) async fn replace(
        &self,
        namespace: &str,
        name: &str,
        raw: &Bytes,
        expected: u64,
    ) -> Result<Committed, Status> {
        let key = self.key(namespace, name);
        let value = self.server.sealed(self.resource, &key, raw);
        self.commit(key.clone(), Some(raw), store::Write::Update { key, value, expected }).await
    }

    /// Removes the object if it is still at `expected`; the outcome bears the revision of the deletion.
    pub(super) async fn remove(
        &self,
        namespace: &str,
        name: &str,
        expected: u64,
    ) -> Result<Committed, Status> {
        let key = self.key(namespace, name);
        self.commit(key.clone(), None, store::Write::Delete { key, expected: Some(expected) }).await
    }
}
