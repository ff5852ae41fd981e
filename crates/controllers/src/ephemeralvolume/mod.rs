//! Makes the claims of pods' own volumes.
//!
//! Invariant: a claim is made in the pod's name and for it alone: one of that name that somebody else made is never
//! used. Answers to upstream's ephemeral volume controller.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, Gvr, Object, ObjectKey};
use gifee_client::{Cache, Queue, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Reference, Result, work};
use plan::{Step, has_own, plan};
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "ephemeral-volume-controller";
/// Who its events are from.
const COMPONENT: &str = "ephemeral_volume";
const WORKERS: usize = 5;

fn claims() -> Gvr {
    Gvr::core("persistentvolumeclaims")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let (pods, claims) = (context.caches.pods(), context.caches.scope(Scope::all(claims())));
        pods.synced().await;
        claims.synced().await;
        let sink = queue.clone();
        pods.subscribe(move |change| {
            // What volumes a pod has never changes.
            if let (None, Some(pod)) = (change.old, change.new)
                && has_own(pod)
            {
                sink.add(pod.key());
            }
        });
        let sink = queue.clone();
        claims.subscribe(move |change| {
            if let Some(owner) = change.object().controller().filter(|_| change.new.is_none())
                && owner.kind == "Pod"
            {
                sink.add(ObjectKey::new(change.object().namespace(), owner.name));
            }
        });
        let controller = Arc::new(Volumes { context: context.recording(COMPONENT), pods, claims });
        work(&context, NAME, queue, controller, WORKERS).await;
    }
    .boxed()
}

struct Volumes {
    context: Context,
    pods: Arc<Cache>,
    claims: Arc<Cache>,
}

impl Volumes {
    fn complain(&self, pod: &Object, volume: &str, why: &str) -> Error {
        let message = format!("ephemeral volume {volume}: {why}");
        let reference = Reference::new(pod, &Gvk::new("", "v1", "Pod"));
        self.context.events.warning(reference, "FailedBinding", message.as_str());
        Error::invalid(format!("pod {}", pod.key()), message)
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Volumes {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(pod) = self.pods.get(key).filter(|pod| has_own(pod) && !pod.deleting()) else {
            return Ok(Outcome::Done);
        };
        let tree = pod.to_value().map_err(|error| Error::invalid(key, error))?;
        let steps = plan(&tree, |name| self.claims.get(&ObjectKey::new(&key.namespace, name)));
        for step in steps {
            match step {
                Step::Create { volume, claim } => {
                    let name = claim["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                    match self.context.client.create(&claims(), &key.namespace, claim).await {
                        // The cache has yet to show it; whose it is, the next look will say.
                        Err(error) if error.is(gifee_base::Reason::AlreadyExists) => return Err(error.into()),
                        Err(error) => {
                            return Err(self.complain(&pod, &volume, &format!("create PVC {name}: {error}")));
                        }
                        Ok(_) => {}
                    }
                }
                Step::Foreign { volume, why } => return Err(self.complain(&pod, &volume, &why)),
            }
        }
        Ok(Outcome::Done)
    }
}
