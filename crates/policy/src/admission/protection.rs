//! Volumes and claims that are in use stay until they are not.
//!
//! Answers to upstream's `StorageObjectInUseProtection`; the finalizers are taken away by controllers.

use super::{Operation, Request, Rule};
use crate::Lookup;
use gifee_base::Status;
use serde_json::{Value, json};

/// The rule.
pub struct StorageObjectInUseProtection;

impl Rule for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn half(&self) -> super::Half {
        super::Half::Mutates
    }

    fn mutate(&self, request: &Request<'_>, object: &mut Value, _lookup: &dyn Lookup) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.subresource.is_empty() {
            return Ok(());
        }
        let finalizer = match (&*request.gvk.group, request.resource) {
            ("", "persistentvolumeclaims") => "kubernetes.io/pvc-protection",
            ("", "persistentvolumes") => "kubernetes.io/pv-protection",
            _ => return Ok(()),
        };
        let finalizers = &mut object["metadata"]["finalizers"];
        match finalizers.as_array_mut() {
            Some(list) if list.iter().any(|one| one == finalizer) => {}
            Some(list) => list.push(finalizer.into()),
            None => *finalizers = json!([finalizer]),
        }
        Ok(())
    }
}
