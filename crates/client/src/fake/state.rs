//! The objects of a fake server and the log of their changes.

use crate::discovery::Resource;
use gifee_base::{Gvr, ObjectKey, Status, clock};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One change, with the state before it.
#[derive(Clone)]
pub(super) struct Logged {
    pub(super) revision: u64,
    pub(super) gvr: Gvr,
    pub(super) old: Option<Value>,
    pub(super) new: Option<Value>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) revision: u64,
    pub(super) compacted: u64,
    pub(super) kinds: Vec<Resource>,
    pub(super) log: Vec<Logged>,
    objects: BTreeMap<(Gvr, ObjectKey), Value>,
    uids: u64,
}

impl State {
    pub(super) fn get(&self, gvr: &Gvr, key: &ObjectKey) -> Option<&Value> {
        self.objects.get(&(gvr.clone(), key.clone()))
    }

    pub(super) fn found(&self, gvr: &Gvr, key: &ObjectKey) -> Result<&Value, Status> {
        self.get(gvr, key).ok_or_else(|| Status::not_found(&gvr.group, &gvr.resource, &key.name))
    }

    pub(super) fn list(&self, gvr: &Gvr, namespace: &str) -> impl Iterator<Item = &Value> {
        let start = (gvr.clone(), ObjectKey::new(namespace, ""));
        self.objects
            .range(start..)
            .take_while(move |((one, key), _)| {
                one == gvr && (namespace.is_empty() || &*key.namespace == namespace)
            })
            .map(|(_, object)| object)
    }

    /// Stores an object at the next revision; one that did not change keeps its own.
    pub(super) fn put(&mut self, gvr: &Gvr, mut object: Value, now: Timestamp) -> Value {
        let key = key_of(&object);
        let old = self.get(gvr, &key).cloned();
        if object["metadata"]["uid"].as_str().unwrap_or_default().is_empty() {
            self.uids += 1;
            object["metadata"]["uid"] = format!("uid-{}", self.uids).into();
        }
        if object["metadata"]["creationTimestamp"].is_null() {
            object["metadata"]["creationTimestamp"] = clock::format_time(now).into();
        }
        if object["metadata"]["generation"].is_null() {
            object["metadata"]["generation"] = 1.into();
        }
        if let Some(old) = &old {
            object["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
            if *old == object {
                return object;
            }
        }
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.objects.insert((gvr.clone(), key), object.clone());
        self.log.push(Logged { revision: self.revision, gvr: gvr.clone(), old, new: Some(object.clone()) });
        object
    }

    pub(super) fn remove(&mut self, gvr: &Gvr, key: &ObjectKey) -> Option<Value> {
        let mut old = self.objects.remove(&(gvr.clone(), key.clone()))?;
        self.revision += 1;
        old["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.log.push(Logged {
            revision: self.revision,
            gvr: gvr.clone(),
            old: Some(old.clone()),
            new: None,
        });
        Some(old)
    }

    /// A name for `generateName`; distinct, and the same in every run.
    pub(super) fn generate(&mut self, base: &str) -> String {
        self.uids += 1;
        format!("{base}{:05}", self.uids)
    }
}

pub(super) fn key_of(object: &Value) -> ObjectKey {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    ObjectKey::new(text("namespace"), text("name"))
}

/// What a list answers.
pub(super) fn list_body(kind: &Resource, items: Vec<Value>, revision: u64, token: Option<String>) -> Value {
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    if let Some(token) = token {
        metadata["continue"] = token.into();
    }
    json!({
        "kind": format!("{}List", kind.gvk.kind), "apiVersion": kind.gvk.api_version(),
        "metadata": metadata, "items": items,
    })
}
