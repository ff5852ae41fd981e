//! Lets a claim of a volume go when no pod uses it any more.
//!
//! Invariant: the finalizer is taken away only after the API server itself, not a cache, has shown that no pod uses
//! the claim. Answers to upstream's PVC protection controller.

#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::{Cache, ListOptions, PatchKind, Queue, Scope};
use gifee_reconcile::{BY_CLAIM, Context, Error, Outcome, Reconcile, Result, patch, pod, work};
use serde_json::{Value, json};
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "persistentvolumeclaim-protection-controller";
const FINALIZER: &str = "kubernetes.io/pvc-protection";

fn claims() -> Gvr {
    Gvr::core("persistentvolumeclaims")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let cache = context.caches.scope(Scope::all(claims()));
        let pods = context.caches.pods();
        pods.add_index(BY_CLAIM);
        cache.synced().await;
        pods.synced().await;
        let sink = queue.clone();
        cache.subscribe(move |change| {
            if change.new.is_some_and(|claim| unsettled(claim)) {
                sink.add(change.object().key());
            }
        });
        let sink = queue.clone();
        pods.subscribe(move |change| {
            let pod = change.object();
            if change.new.is_none() || !uses_anything(pod) {
                for claim in pod::claims(pod) {
                    sink.add(ObjectKey::new(pod.namespace(), &claim));
                }
            }
        });
        let controller = Arc::new(Claims { context: context.clone(), cache, pods });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

/// The finalizers of an object other than ours, and whether ours is there.
pub(crate) fn without(tree: &Value, ours: &str) -> (Vec<Value>, bool) {
    let all = tree["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let rest: Vec<Value> = all.iter().filter(|one| **one != ours).cloned().collect();
    let there = rest.len() < all.len();
    (rest, there)
}

/// Whether a claim is going and kept, or stays and is not protected.
fn unsettled(claim: &Object) -> bool {
    let there = without(&claim.to_value().unwrap_or_default(), FINALIZER).1;
    claim.deleting() == there
}

/// Whether a pod's volumes are or will be mounted somewhere: it has a node, and has not ended.
fn uses_anything(pod: &Object) -> bool {
    let text = |path: &[&str]| pod.text_at(path).unwrap_or_default();
    let placed = !text(&["spec", "nodeName"]).is_empty();
    placed && !matches!(&*text(&["status", "phase"]), "Succeeded" | "Failed")
}

struct Claims {
    context: Context,
    cache: Arc<Cache>,
    pods: Arc<Cache>,
}

impl Claims {
    async fn in_use(&self, key: &ObjectKey) -> Result<bool> {
        let uses =
            |pod: &Object| uses_anything(pod) && pod::claims(pod).iter().any(|claim| **claim == *key.name);
        if self.pods.read().indexed(&BY_CLAIM, &key.to_string()).any(|pod| uses_anything(pod)) {
            return Ok(true);
        }
        let live =
            self.context.client.list_all(&Gvr::core("pods"), &key.namespace, &ListOptions::default()).await?;
        Ok(live.items.iter().any(uses))
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Claims {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(claim) = self.cache.get(key).filter(|claim| unsettled(claim)) else {
            return Ok(Outcome::Done);
        };
        let tree = claim.to_value().map_err(|error| Error::invalid(key, error))?;
        let (mut finalizers, _) = without(&tree, FINALIZER);
        if claim.deleting() {
            if self.in_use(key).await? {
                return Ok(Outcome::Done);
            }
        } else {
            finalizers.push(FINALIZER.into());
        }
        let change = patch::pinned(&claim, json!({ "metadata": { "finalizers": finalizers } }));
        match self.context.client.patch(&claims(), key, PatchKind::Merge, change).await {
            Err(error) if error.is_not_found() => Ok(Outcome::Done),
            other => Ok(other.map(|_| Outcome::Done)?),
        }
    }
}
