//! A claim that names no storage class gets the default one.
//!
//! Answers to upstream's `DefaultStorageClass`. Also what finds the default among annotated classes.

use super::{Operation, Request, Rule};
use crate::Lookup;
use gifee_base::{Object, Status};
use serde_json::Value;
use std::sync::Arc;

const GROUP: &str = "storage.k8s.io";
const ANNOTATIONS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// The rule.
pub struct DefaultStorageClass;

impl Rule for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn half(&self) -> super::Half {
        super::Half::Mutates
    }

    fn mutate(&self, request: &Request<'_>, claim: &mut Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if !request.is("", "persistentvolumeclaims") || request.operation != Operation::Create {
            return Ok(());
        }
        let named = claim["spec"]["storageClassName"].is_string()
            || claim["metadata"]["annotations"].get(OLD_CLASS).is_some();
        if !named && let Some(class) = annotated(lookup, GROUP, "storageclasses", &ANNOTATIONS) {
            claim["spec"]["storageClassName"] = class.into();
        }
        Ok(())
    }
}

/// The name of the class that an annotation marks; of several the youngest, then the first by name.
pub(super) fn annotated(lookup: &dyn Lookup, group: &str, resource: &str, keys: &[&str]) -> Option<String> {
    youngest(lookup.list(group, resource, ""), keys)
}

/// The name of the storage class of claims that name none.
pub fn default_storage_class(classes: impl IntoIterator<Item = Arc<Object>>) -> Option<String> {
    youngest(classes, &ANNOTATIONS)
}

fn youngest(classes: impl IntoIterator<Item = Arc<Object>>, keys: &[&str]) -> Option<String> {
    let mut found: Vec<(String, String)> = Vec::new();
    for class in classes {
        let metadata = class.to_value().unwrap_or_default()["metadata"].take();
        if keys.iter().any(|key| metadata["annotations"][*key] == "true") {
            let since = metadata["creationTimestamp"].as_str().unwrap_or_default();
            found.push((since.to_owned(), class.name().to_owned()));
        }
    }
    found.sort_by(|(since, name), (other_since, other)| other_since.cmp(since).then(name.cmp(other)));
    found.into_iter().next().map(|(_, name)| name)
}
