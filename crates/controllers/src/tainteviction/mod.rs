//! Deletes pods that do not tolerate a NoExecute taint of their node, at once or after the time for which
//! they tolerate it.
//!
//! Invariant: while no node has such a taint, a change of a pod costs one look into an empty table. The
//! time of a pod begins when this controller first sees the taint, as upstream's does. Answers to
//! upstream's tainteviction controller.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::{Config, disruption};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, Gvr, Object, ObjectKey};
use gifee_client::{Cache, Change, DeleteOptions, PatchKind, Queue, Scope};
use gifee_reconcile::pod::Brief;
use gifee_reconcile::{BY_NODE, Context, Error, Outcome, Reconcile, Reference, Result, work};
use parking_lot::Mutex;
use plan::{Plan, Taint, plan};
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Upstream's name.
pub const NAME: &str = "taint-eviction-controller";
const WORKERS: usize = 8;

fn pods() -> Gvr {
    Gvr::core("pods")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let nodes = context.caches.scope(Scope::all(Gvr::core("nodes")));
        let pods = context.caches.pods();
        nodes.synced().await;
        pods.synced().await;
        let controller = Arc::new(Evictions {
            context: context.recording(NAME),
            pods: pods.clone(),
            taints: Mutex::default(),
            waiting: Mutex::default(),
        });
        let (this, sink) = (controller.clone(), queue.clone());
        nodes.subscribe(move |change| this.node_changed(change, &sink));
        let (this, sink) = (controller.clone(), queue.clone());
        pods.subscribe(move |change| this.pod_changed(change, &sink));
        work(&context, NAME, queue, controller, WORKERS).await;
    }
    .boxed()
}

/// A pod on a node with NoExecute taints.
struct Waiting {
    uid: String,
    since: Instant,
    evicted: bool,
}

struct Evictions {
    context: Context,
    pods: Arc<Cache>,
    /// NoExecute taints of the nodes that have any.
    taints: Mutex<HashMap<String, Arc<[Taint]>>>,
    /// Pods that wait for their end, and those that were told of it; bounded by the number of pods.
    waiting: Mutex<HashMap<ObjectKey, Waiting>>,
}

fn taints(node: &Object) -> Vec<Taint> {
    #[derive(Deserialize)]
    struct Node {
        spec: Option<Spec>,
    }
    #[derive(Deserialize)]
    struct Spec {
        taints: Option<Vec<Taint>>,
    }
    let node: Option<Node> = serde_json::from_slice(node.raw()).ok();
    let mut taints = node.and_then(|node| node.spec?.taints).unwrap_or_default();
    taints.retain(|taint| taint.effect == "NoExecute");
    taints
}

impl Evictions {
    fn node_changed(&self, change: &Change<'_>, queue: &Queue<ObjectKey>) {
        let name = change.object().name();
        let new = change.new.map(|node| taints(node)).unwrap_or_default();
        {
            let mut known = self.taints.lock();
            if known.get(name).map_or(&[][..], |taints| taints) == new {
                return;
            }
            if new.is_empty() {
                known.remove(name);
            } else {
                known.insert(name.to_owned(), new.into());
            }
        }
        for pod in self.pods.read().indexed(&BY_NODE, name) {
            queue.add(pod.key());
        }
    }

    fn pod_changed(&self, change: &Change<'_>, queue: &Queue<ObjectKey>) {
        // Whoever waits here does so because of a taint; a node whose taints went has freed its pods.
        if !self.taints.lock().is_empty() || !self.waiting.lock().is_empty() {
            queue.add(change.object().key());
        }
    }

    /// Since when a pod has borne the taints of its node, and whether it was evicted for them.
    fn bear(&self, pod: &Object) -> (Instant, bool) {
        let fresh = || Waiting { uid: pod.uid().to_owned(), since: Instant::now(), evicted: false };
        let mut waiting = self.waiting.lock();
        let entry = waiting.entry(pod.key()).or_insert_with(fresh);
        if entry.uid != pod.uid() {
            *entry = fresh();
        }
        (entry.since, entry.evicted)
    }

    /// Forgets a pod that may stay or is gone.
    fn release(&self, key: &ObjectKey, reference: impl FnOnce(&Waiting) -> Reference) {
        let Some(entry) = self.waiting.lock().remove(key) else { return };
        if !entry.evicted {
            let message = format!("Cancelling deletion of Pod {key}");
            self.context.events.normal(reference(&entry), "TaintManagerEviction", message);
        }
    }

    async fn evict(&self, pod: &Object) -> Result<()> {
        let key = pod.key();
        let message = "Taint manager: deleting due to NoExecute taint";
        if !evict(&self.context, pod, "DeletionByTaintManager", message).await? {
            return Ok(());
        }
        if let Some(entry) = self.waiting.lock().get_mut(&key) {
            entry.evicted = true;
        }
        let message = format!("Marking for deletion Pod {key}");
        self.context.events.normal(Reference::new(pod, &kind()), "TaintManagerEviction", message);
        Ok(())
    }
}

/// Says in a pod's status why it goes, and deletes it; whether it was still there.
pub(crate) async fn evict(context: &Context, pod: &Object, reason: &str, message: &str) -> Result<bool> {
    let (client, key) = (&context.client, pod.key());
    let condition = disruption::condition(pod, reason, message, context.clock.now())
        .map_err(|error| Error::invalid(&key, error))?;
    if let Some(condition) = condition {
        let change = json!({ "metadata": { "uid": pod.uid() }, "status": { "conditions": [condition] } });
        match client.patch_status(&pods(), &key, PatchKind::Strategic, change).await {
            Err(error) if error.is_not_found() => return Ok(false),
            other => drop(other?),
        }
    }
    match client.delete(&pods(), &key, &DeleteOptions::of_uid(pod.uid())).await {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(true),
    }
}

fn kind() -> Gvk {
    Gvk::new("", "v1", "Pod")
}

#[async_trait]
impl Reconcile<ObjectKey> for Evictions {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(object) = self.pods.get(key) else {
            self.release(key, |entry| Reference {
                api_version: "v1".into(),
                kind: "Pod".into(),
                namespace: key.namespace.to_string(),
                name: key.name.to_string(),
                uid: entry.uid.clone(),
                ..Reference::default()
            });
            return Ok(Outcome::Done);
        };
        let pod = Brief::read(&object)?;
        let taints = self.taints.lock().get(&pod.spec.node_name).cloned().unwrap_or_default();
        // A pod that is being deleted is on its way already.
        if object.deleting() {
            self.waiting.lock().remove(key);
            return Ok(Outcome::Done);
        }
        let verdict = match plan(&taints, &pod.spec.tolerations, Duration::ZERO) {
            Plan::Stay => Plan::Stay,
            _ => {
                let (since, evicted) = self.bear(&object);
                if evicted {
                    return Ok(Outcome::Done);
                }
                plan(&taints, &pod.spec.tolerations, since.elapsed())
            }
        };
        match verdict {
            Plan::Stay => self.release(key, |_| Reference::new(&object, &kind())),
            Plan::Evict => self.evict(&object).await?,
            Plan::Wait(left) => return Ok(Outcome::After(left)),
        }
        Ok(Outcome::Done)
    }
}
