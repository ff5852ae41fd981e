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
        let mut all = Vec::new();
        self.any(group, resource, namespace, &mut |object| {
            all.push(object.clone());
            false
        });
        all
    }

    fn any(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        meets: &mut dyn FnMut(&Arc<Object>) -> bool,
    ) -> bool {
        let Some(cache) = self.find(group, resource) else { return false };
        let snapshot = cache.snapshot();
        if snapshot.objects.is_empty() {
            return false;
        }
        if namespace.is_empty() {
            return snapshot.objects.values().any(|entry| meets(&entry.object));
        }
        let start = cache_key(namespace, "");
        let range: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Included(&start), Bound::Unbounded);
        let found = snapshot.objects.range::<_, [u8]>(range).take_while(|(key, _)| key.starts_with(&start));
        found.into_iter().any(|(_, entry)| meets(&entry.object))
    }

    fn version(&self, group: &str, resource: &str) -> u64 {
        self.find(group, resource).map_or(0, |cache| cache.revision())
    }
}
