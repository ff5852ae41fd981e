//! What decisions may look at besides the request: the server's objects as its caches have them.

use gifee_base::{Object, ObjectKey};
use std::sync::Arc;

/// Read access to the newest cached objects; never blocks on I/O.
pub trait Lookup: Send + Sync {
    /// An object.
    fn get(&self, group: &str, resource: &str, key: &ObjectKey) -> Option<Arc<Object>>;
    /// All objects of a resource, or those of one namespace if it is not empty.
    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Object>>;
    /// A number that changes whenever an object of the resource changes: what a compiled form is cached by.
    fn version(&self, group: &str, resource: &str) -> u64;
}
