//! Lets a volume go when no claim is bound to it any more.
//!
//! Invariant: a volume that is bound keeps its finalizer. Answers to upstream's PV protection controller.

#[cfg(test)]
mod tests;

use crate::Config;
use crate::claimprotection::without;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::{Cache, PatchKind, Queue, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result, patch, work};
use serde_json::{Value, json};
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "persistentvolume-protection-controller";
const FINALIZER: &str = "kubernetes.io/pv-protection";

fn volumes() -> Gvr {
    Gvr::core("persistentvolumes")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let cache = context.caches.scope(Scope::all(volumes()));
        cache.synced().await;
        let sink = queue.clone();
        cache.subscribe(move |change| {
            if change.new.is_some_and(|volume| plan(volume).is_some()) {
                sink.add(change.object().key());
            }
        });
        let controller = Arc::new(Volumes { context: context.clone(), cache });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

/// The finalizers that a volume is to have, if others than it has.
fn plan(volume: &Object) -> Option<Vec<Value>> {
    let tree = volume.to_value().ok()?;
    let (mut rest, protected) = without(&tree, FINALIZER);
    match (volume.deleting(), protected) {
        (true, true) if tree["status"]["phase"] != "Bound" => Some(rest),
        (false, false) => {
            rest.push(FINALIZER.into());
            Some(rest)
        }
        _ => None,
    }
}

struct Volumes {
    context: Context,
    cache: Arc<Cache>,
}

#[async_trait]
impl Reconcile<ObjectKey> for Volumes {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(volume) = self.cache.get(key) else { return Ok(Outcome::Done) };
        let Some(finalizers) = plan(&volume) else { return Ok(Outcome::Done) };
        let change = patch::pinned(&volume, json!({ "metadata": { "finalizers": finalizers } }));
        match self.context.client.patch(&volumes(), key, PatchKind::Merge, change).await {
            Err(error) if error.is_not_found() => Ok(Outcome::Done),
            other => other.map(|_| Outcome::Done).map_err(Error::from),
        }
    }
}
