//! The caches as policy and hooks see them.

use crate::cache::Caches;
use gifee_base::{Object, ObjectKey};
use gifee_policy::Lookup;
use std::ops::Bound;
use std::sync::Arc;

/// The key of an object under its resource.
pub fn cache_key(namespace: &str, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(namespace.len() + 1 + name.len());
    if !namespace.is_empty() {
        key.extend_from_slice(namespace.as_bytes());
        key.push(b'/');
    }
    key.extend_from_slice(name.as_bytes());
    key
}

impl Lookup for Caches {
    fn get(&self, group: &str, resource: &str, key: &ObjectKey) -> Option<Arc<Object>> {
        let entry = self.find(group, resource)?.get(&cache_key(&key.namespace, &key.name))?;
        Some(entry.object.clone())
    }

    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Object>> {
        let Some(cache) = self.find(group, resource) else { return Vec::new() };
        let snapshot = cache.snapshot();
        if snapshot.objects.is_empty() {
            return Vec::new();
        }
        if namespace.is_empty() {
            return snapshot.objects.values().map(|entry| entry.object.clone()).collect();
        }
        let start = cache_key(namespace, "");
        let range: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(&start), Bound::Unbounded);
        let found = snapshot.objects.range::<_, [u8]>(range).take_while(|(key, _)| key.starts_with(&start));
        found.map(|(_, entry)| entry.object.clone()).collect()
    }

    fn version(&self, group: &str, resource: &str) -> u64 {
        self.find(group, resource).map_or(0, |cache| cache.revision())
    }
}
