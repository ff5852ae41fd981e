//! Deletes pods that nobody else will ever finish: those of nodes that are gone or out of service, those
//! that were deleted before they had a node, and ended ones beyond a number.
//!
//! Invariant: every pod that is looked at was told of by a watch; a node counts as gone only after it was
//! missing for a while and the server itself does not know it. Answers to upstream's podgc controller.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::{Config, calls, disruption};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::{Cache, Change, DeleteOptions, Error as ClientError, PatchKind, Queue, Scope};
use gifee_reconcile::{BY_NODE, Context, Outcome, Reconcile, Result, work};
use parking_lot::Mutex;
use plan::Pod;
use serde::Deserialize;
use serde_json::json;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Upstream's name.
pub const NAME: &str = "pod-garbage-collector-controller";
const WORKERS: usize = 2;

/// When things are too many or too long.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// More ended pods than this are deleted.
    ended_maximum: usize,
    /// A node must be missing for this long.
    quarantine: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { ended_maximum: 12_500, quarantine: Duration::from_secs(40) }
    }
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// A pod that is being deleted.
    Pod(ObjectKey),
    /// The pods of a node that is not there.
    Node(String),
    /// All ended pods.
    Ended,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => key.fmt(f),
            Self::Node(name) => write!(f, "node {name}"),
            Self::Ended => f.write_str("ended pods"),
        }
    }
}

fn nodes() -> Gvr {
    Gvr::core("nodes")
}

fn pods() -> Gvr {
    Gvr::core("pods")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    run_limited(context, Limits::default()).boxed()
}

async fn run_limited(context: Context, limits: Limits) {
    let controller = Arc::new(Collector {
        nodes: context.caches.scope(Scope::all(nodes())),
        pods: context.caches.pods(),
        context: context.clone(),
        limits,
        out_of_service: Mutex::default(),
        ended: Mutex::default(),
    });
    controller.nodes.synced().await;
    controller.pods.synced().await;
    let queue = controller.clone().listen();
    work(&context, NAME, queue, controller, WORKERS).await;
}

struct Collector {
    context: Context,
    limits: Limits,
    nodes: Arc<Cache>,
    pods: Arc<Cache>,
    /// Nodes that are not ready and that somebody declared out of service.
    out_of_service: Mutex<HashSet<String>>,
    /// Pods that have ended; bounded by the number of pods.
    ended: Mutex<HashSet<ObjectKey>>,
}

/// Whether a node is not ready and somebody declared it out of service.
fn out_of_service(node: &Object) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Node {
        spec: Spec,
        status: Status,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Spec {
        taints: Option<Vec<Taint>>,
    }
    #[derive(Deserialize)]
    struct Taint {
        key: String,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        conditions: Option<Vec<Condition>>,
    }
    #[derive(Deserialize)]
    struct Condition {
        r#type: String,
        status: String,
    }
    let node: Node = serde_json::from_slice(node.raw()).unwrap_or_default();
    let mut taints = node.spec.taints.into_iter().flatten();
    let mut conditions = node.status.conditions.into_iter().flatten();
    taints.any(|taint| taint.key == "node.kubernetes.io/out-of-service")
        && !conditions.any(|condition| condition.r#type == "Ready" && condition.status == "True")
}

impl Collector {
    fn listen(self: Arc<Self>) -> Arc<Queue<Key>> {
        let queue = Arc::new(Queue::new());
        let (this, sink) = (self.clone(), queue.clone());
        self.nodes.subscribe(move |change| this.node_changed(change, &sink));
        let (this, sink) = (self.clone(), queue.clone());
        self.pods.subscribe(move |change| this.pod_changed(change, &sink));
        queue
    }

    fn node_changed(&self, change: &Change<'_>, queue: &Queue<Key>) {
        let name = change.object().name();
        if change.new.is_none() {
            queue.add_after(Key::Node(name.to_owned()), self.limits.quarantine);
        }
        let out = change.new.is_some_and(|node| out_of_service(node));
        let mut known = self.out_of_service.lock();
        if !out {
            known.remove(name);
        } else if known.insert(name.to_owned()) {
            drop(known);
            for pod in self.pods.read().indexed(&BY_NODE, name).filter(|pod| pod.deleting()) {
                queue.add(Key::Pod(pod.key()));
            }
        }
    }

    fn pod_changed(&self, change: &Change<'_>, queue: &Queue<Key>) {
        let key = change.object().key();
        let Some(pod) = change.new else {
            self.ended.lock().remove(&key);
            return;
        };
        // Every change of every pod comes by here: no more is read than is needed.
        let node = pod.text_at(&["spec", "nodeName"]).unwrap_or_default();
        if pod.deleting() && (node.is_empty() || self.out_of_service.lock().contains(&*node)) {
            queue.add(Key::Pod(key.clone()));
        }
        if !node.is_empty() && self.nodes.read().get("", &node).is_none() {
            queue.add_after(Key::Node(node.into_owned()), self.limits.quarantine);
        }
        let phase = pod.text_at(&["status", "phase"]).unwrap_or_default();
        let mut ended = self.ended.lock();
        if !plan::ended(&phase) {
            ended.remove(&key);
        } else if ended.insert(key) && ended.len() > self.limits.ended_maximum {
            queue.add(Key::Ended);
        }
    }

    /// Ends a deleted pod that has no node, or one whose agent will not answer.
    async fn end_deleted(&self, key: &ObjectKey) -> Result<()> {
        let Some(object) = self.pods.get(key).filter(|pod| pod.deleting()) else { return Ok(()) };
        let pod = Pod::read(&object)?;
        if pod.node.is_empty() || self.out_of_service.lock().contains(pod.node.as_str()) {
            self.end(&pod, None).await?;
        }
        Ok(())
    }

    /// Ends all pods of a node that is gone.
    async fn end_orphans(&self, node: &str) -> Result<()> {
        if self.nodes.read().get("", node).is_some() {
            return Ok(());
        }
        let orphans: Vec<Pod> =
            self.pods.read().indexed(&BY_NODE, node).map(Pod::read).collect::<Result<_>>()?;
        if orphans.iter().all(|pod| plan::end(pod) == plan::Plan::default()) {
            return Ok(());
        }
        match self.context.client.get(&nodes(), &ObjectKey::cluster(node)).await {
            Err(error) if error.is_not_found() => {}
            other => return Ok(other.map(|_| ())?),
        }
        tracing::info!(node, pods = orphans.len(), "deleting the pods of a node that is gone");
        let reason = Some(("DeletionByPodGC", "PodGC: node no longer exists"));
        calls::all(orphans.iter().map(|pod| self.end(pod, reason)).collect()).await
    }

    /// Ends as many pods as have ended too many.
    async fn end_excess(&self) -> Result<()> {
        let keys: Vec<ObjectKey> = self.ended.lock().iter().cloned().collect();
        let ended: Vec<Pod> = keys
            .iter()
            .filter_map(|key| self.pods.get(key))
            .map(|pod| Pod::read(&pod))
            .collect::<Result<_>>()?;
        let excess = plan::excess(ended, self.limits.ended_maximum);
        calls::all(excess.iter().map(|pod| self.end(pod, None)).collect()).await
    }

    async fn end(&self, pod: &Pod, reason: Option<(&str, &str)>) -> Result<(), ClientError> {
        let (client, key, plan) = (&self.context.client, pod.object.key(), plan::end(pod));
        if plan.fail {
            let mut status = json!({ "phase": "Failed", "observedGeneration": pod.object.generation() });
            let now = self.context.clock.now();
            let condition = reason.and_then(|(reason, message)| {
                disruption::condition(&pod.object, reason, message, now).ok().flatten()
            });
            if let Some(condition) = condition {
                status["conditions"] = json!([condition]);
            }
            let change = json!({ "metadata": { "uid": pod.object.uid() }, "status": status });
            match client.patch_status(&pods(), &key, PatchKind::Strategic, change).await {
                Err(error) if error.is_not_found() => return Ok(()),
                other => other?,
            };
        }
        if plan.delete {
            let options =
                DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::of_uid(pod.object.uid()) };
            match client.delete(&pods(), &key, &options).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Reconcile<Key> for Collector {
    async fn reconcile(&self, key: &Key) -> Result<Outcome> {
        match key {
            Key::Pod(key) => self.end_deleted(key).await?,
            Key::Node(name) => self.end_orphans(name).await?,
            Key::Ended => self.end_excess().await?,
        }
        Ok(Outcome::Done)
    }
}
