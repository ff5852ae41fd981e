//! The caches of a process under one identity: one watch per resource, shared by all who read it.

use crate::codec::gvr;
use gifee_base::Object;
use gifee_client::cache::BY_OWNER;
use gifee_client::{Cache, Client, Index, Scope};
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Objects by the UID of the owner that controls them; those without one by `/namespace`.
pub const BY_CONTROLLER: Index = Index {
    name: "controller",
    values: |object, add| match object.controller() {
        Some(owner) => add(owner.uid),
        None => add(&format!("/{}", object.namespace())),
    },
};

/// Pods by the node that they are bound to; unbound ones by the empty string.
pub const BY_NODE: Index = Index { name: "node", values: |object, add| add(&node_name(object)) };

/// Pods by `NAMESPACE/CLAIM` of each claim of a volume that they use, ended or not.
pub const BY_CLAIM: Index = Index {
    name: "claim",
    values: |object, add| {
        for claim in crate::pod::claims(object) {
            add(&format!("{}/{claim}", object.namespace()));
        }
    },
};

fn node_name(object: &Object) -> Cow<'_, str> {
    object.text_at(&["spec", "nodeName"]).unwrap_or_default()
}

/// Caches by scope, started when first asked for, kept until the shutdown.
pub struct Caches {
    client: Client,
    shutdown: CancellationToken,
    /// At most one per scope that the code asks for.
    started: Mutex<HashMap<Scope, Arc<Cache>>>,
}

impl Caches {
    /// None started yet.
    pub fn new(client: Client, shutdown: CancellationToken) -> Arc<Self> {
        Arc::new(Self { client, shutdown, started: Mutex::default() })
    }

    /// The cache of a scope.
    pub fn scope(&self, scope: Scope) -> Arc<Cache> {
        let mut started = self.started.lock();
        if let Some(cache) = started.get(&scope) {
            return cache.clone();
        }
        let cache = Cache::start(self.client.clone(), scope.clone(), self.shutdown.clone());
        started.insert(scope, cache.clone());
        cache
    }

    /// The cache of all objects of a type.
    pub fn of<K: Resource>(&self) -> Arc<Cache> {
        self.scope(Scope::all(gvr::<K>()))
    }

    /// The cache of all objects of a type, with an index.
    pub fn indexed<K: Resource>(&self, index: Index) -> Arc<Cache> {
        let cache = self.of::<K>();
        cache.add_index(index);
        cache
    }

    /// The cache of all pods, with [`BY_NODE`], [`BY_CONTROLLER`] and [`BY_OWNER`].
    pub fn pods(&self) -> Arc<Cache> {
        let cache = self.of::<Pod>();
        for index in [BY_NODE, BY_CONTROLLER, BY_OWNER] {
            cache.add_index(index);
        }
        cache
    }
}
