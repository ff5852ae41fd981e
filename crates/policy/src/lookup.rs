//! What decisions may look at besides the request: the server's objects as its caches have them.

use gifee_base::{Gvk, Object, ObjectKey};
use std::sync::Arc;

/// Read access to the newest cached objects; never blocks on I/O.
pub trait Lookup: Send + Sync {
    /// An object.
    fn get(&self, group: &str, resource: &str, key: &ObjectKey) -> Option<Arc<Object>>;
    /// All objects of a resource, or those of one namespace if it is not empty.
    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Object>>;
    /// Whether an object of those that [`Lookup::list`] gives meets a condition; no more are looked at than need be.
    fn any(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        meets: &mut dyn FnMut(&Arc<Object>) -> bool,
    ) -> bool {
        self.list(group, resource, namespace).iter().any(meets)
    }
    /// A number that changes whenever an object of the resource changes: what a compiled form is cached by.
    fn version(&self, group: &str, resource: &str) -> u64;
    /// The resource of a kind, and whether it is in namespaces, if there is such a kind.
    fn resource_of(&self, _kind: &Gvk) -> Option<(String, bool)> {
        None
    }
}

#[cfg(test)]
pub mod tests {
    //! A world of a few objects.

    use super::*;
    use serde_json::Value;
    use std::collections::BTreeMap;

    /// Objects by group, resource, namespace and name.
    #[derive(Default)]
    pub struct World(BTreeMap<(String, String, String, String), Arc<Object>>);

    impl World {
        /// Adds an object.
        pub fn add(&mut self, group: &str, resource: &str, mut value: Value) {
            let object = Object::stored(Object::encode(&mut value), 1).unwrap();
            let key = (group.into(), resource.into(), object.namespace().into(), object.name().into());
            self.0.insert(key, Arc::new(object));
        }
    }

    impl Lookup for World {
        fn get(&self, group: &str, resource: &str, key: &ObjectKey) -> Option<Arc<Object>> {
            let key = (group.into(), resource.into(), key.namespace.to_string(), key.name.to_string());
            self.0.get(&key).cloned()
        }

        fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Object>> {
            let all = self.0.iter().filter(|((g, r, n, _), _)| {
                g == group && r == resource && (namespace.is_empty() || n == namespace)
            });
            all.map(|(_, object)| object.clone()).collect()
        }

        fn version(&self, _group: &str, _resource: &str) -> u64 {
            self.0.len() as u64
        }
    }
}
