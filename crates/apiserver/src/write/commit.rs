//! The last step of every write: a tree becomes bytes in the store, at the expected revision or not at all.
//!
//! Invariant: bytes are encoded once, here; store, cache and response share them.

use super::Write;
use crate::cache::{Cache, store_failed, store_key};
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
    if let (Some(custom), None) = (&resource.kind.custom, &resource.converter)
        && *resource.api_version != *custom.stored_api_version
    {
        value["apiVersion"] = (&*custom.stored_api_version).into();
        // Of what is written in another version, what the stored one does not know is lost.
        let forms = resource.forms.as_ref();
        if let Some(schema) = forms.and_then(|forms| forms.get(&*custom.stored_api_version)) {
            schema.prune(&mut value);
        }
    }
    match &resource.kind.conversion {
        Some(conversion) => (conversion.to_stored)(value),
        None => value,
    }
}

/// The object that stored bytes would be shown as.
///
/// # Errors
/// If they are no object's.
pub fn shown(resource: &Resource, raw: Bytes, revision: u64) -> Result<Arc<Object>, Status> {
    let raw = match &resource.cache {
        Some(cache) => cache.shown(raw),
        None => raw,
    };
    Object::stored(raw, revision).map(Arc::new).map_err(Status::internal)
}

impl Server {
    /// An entry of the store as an object.
    pub(crate) fn stored(&self, cache: &Cache, key: &[u8], entry: Entry) -> Result<Arc<Object>, Status> {
        let value = cache.shown(self.opened(key, entry.value)?);
        Object::stored(value, entry.revision).map(Arc::new).map_err(Status::internal)
    }

    fn opened(&self, key: &[u8], value: Bytes) -> Result<Bytes, Status> {
        match &self.config.encryption {
            None => Ok(value),
            Some(encryption) => encryption.open(key, &value).map_err(Status::internal),
        }
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
            Outcome::Conflict(Some(entry)) => {
                let cache = self.resource.cache.as_ref().ok_or_else(Status::no_such_path)?;
                let newer = self.server.stored(cache, &key, entry)?;
                Committed::Conflict(Some(self.resource.shown(&self.server.outbound, newer).await?))
            }
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
            return self.resource.shown(&self.server.outbound, entry.object.clone()).await;
        }
        let object = shown(self.resource, raw.clone(), revision)?;
        self.resource.shown(&self.server.outbound, object).await
    }

    /// Whether a change to these bytes changes nothing, neither in what is shown nor in the store: an object that was
    /// stored in another form is written anew, which is how objects migrate.
    pub(super) async fn unchanged(
        &self,
        namespace: &str,
        name: &str,
        raw: &Bytes,
        current: &Object,
    ) -> Result<bool, Status> {
        let cache = self.resource.cache.as_ref().filter(|cache| cache.presents());
        let Some(cache) = cache else { return Ok(*raw == *current.raw()) };
        if cache.shown(raw.clone()) != *current.raw() {
            return Ok(false);
        }
        let key = self.key(namespace, name);
        let (entry, _) = self.server.config.store.get(&key).await.map_err(store_failed)?;
        let Some(entry) = entry.filter(|entry| entry.revision == current.revision()) else {
            return Ok(false);
        };
        let stored = self.resource.to_stored(&self.server.outbound, raw).await?;
        Ok(self.server.opened(&key, entry.value)? == stored)
    }

    /// Puts a new object.
    pub(super) async fn insert(&self, namespace: &str, name: &str, raw: &Bytes) -> Result<Committed, Status> {
        let key = self.key(namespace, name);
        let raw = &self.resource.to_stored(&self.server.outbound, raw).await?;
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
        let raw = &self.resource.to_stored(&self.server.outbound, raw).await?;
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
