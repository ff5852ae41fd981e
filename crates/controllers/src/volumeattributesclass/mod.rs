//! Lets an attributes class go when no claim and no volume names it any more.
//!
//! Invariant: the finalizer is taken away only after the API server itself, not a cache, has shown that nobody names
//! the class. Answers to upstream's VolumeAttributesClass protection controller.

#[cfg(test)]
mod tests;

use crate::Config;
use crate::claimprotection::without;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::{Cache, Index, ListOptions, PatchKind, Queue, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result, patch, work};
use serde_json::json;
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "volumeattributesclass-protection-controller";
const FINALIZER: &str = "kubernetes.io/vac-protection";

/// Claims and volumes by the attributes classes that they name.
const BY_CLASS: Index = Index {
    name: "attributes",
    values: |object, add| {
        let mut names: Vec<_> = PLACES.iter().filter_map(|path| object.text_at(path)).collect();
        names.sort_unstable();
        names.dedup();
        names.iter().filter(|name| !name.is_empty()).for_each(|name| add(name));
    },
};

/// Where a claim or a volume names a class.
const PLACES: &[&[&str]] = &[
    &["spec", "volumeAttributesClassName"],
    &["status", "currentVolumeAttributesClassName"],
    &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"],
];

fn classes() -> Gvr {
    Gvr::new("storage.k8s.io", "v1", "volumeattributesclasses")
}

fn users() -> [Gvr; 2] {
    ["persistentvolumeclaims", "persistentvolumes"].map(Gvr::core)
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let cache = context.caches.scope(Scope::all(classes()));
        let users = users().map(|gvr| context.caches.scope(Scope::all(gvr)));
        cache.synced().await;
        for user in &users {
            user.add_index(BY_CLASS);
            user.synced().await;
        }
        let sink = queue.clone();
        cache.subscribe(move |change| {
            if change.new.is_some_and(|class| unsettled(class)) {
                sink.add(change.object().key());
            }
        });
        for user in &users {
            let sink = queue.clone();
            user.subscribe(move |change| {
                // A class may go once the last of those that named it does not any more.
                if let Some(old) = change.old {
                    (BY_CLASS.values)(old, &mut |name| sink.add(ObjectKey::cluster(name)));
                }
            });
        }
        let controller = Arc::new(Classes { context: context.clone(), cache, users });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

/// Whether a class is going and kept, or stays and is not protected.
fn unsettled(class: &Object) -> bool {
    class.deleting() == without(&class.to_value().unwrap_or_default(), FINALIZER).1
}

fn names(user: &Object, class: &str) -> bool {
    PLACES.iter().any(|path| user.text_at(path).is_some_and(|name| name == class))
}

struct Classes {
    context: Context,
    cache: Arc<Cache>,
    users: [Arc<Cache>; 2],
}

impl Classes {
    async fn in_use(&self, class: &str) -> Result<bool> {
        if self.users.iter().any(|users| users.read().indexed(&BY_CLASS, class).next().is_some()) {
            return Ok(true);
        }
        for gvr in users() {
            let live = self.context.client.list_all(&gvr, "", &ListOptions::default()).await?;
            if live.items.iter().any(|user| names(user, class)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Classes {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(class) = self.cache.get(key).filter(|class| unsettled(class)) else {
            return Ok(Outcome::Done);
        };
        let tree = class.to_value().map_err(|error| Error::invalid(key, error))?;
        let (mut finalizers, _) = without(&tree, FINALIZER);
        if !class.deleting() {
            finalizers.push(FINALIZER.into());
        } else if self.in_use(&key.name).await? {
            return Ok(Outcome::Done);
        }
        let change = patch::pinned(&class, json!({ "metadata": { "finalizers": finalizers } }));
        match self.context.client.patch(&classes(), key, PatchKind::Merge, change).await {
            Err(error) if error.is_not_found() => Ok(Outcome::Done),
            other => Ok(other.map(|_| Outcome::Done)?),
        }
    }
}
