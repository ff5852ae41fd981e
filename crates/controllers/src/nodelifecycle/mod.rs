//! Watches over the health of nodes: says which are lost, and taints those that are not well.
//!
//! Invariant: a node is judged by signs of life that arrive, and by one timer per node that fires when the
//! next sign is overdue; nothing is listed. A condition turns into its taint by one reconcile, within
//! milliseconds. Answers to upstream's nodelifecycle controller.

pub mod node;
pub mod plan;
#[cfg(test)]
mod tests;

use crate::{Config, calls};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, Gvr, Object, ObjectKey, clock};
use gifee_client::{Cache, Change, PatchKind, Queue, Scope};
use gifee_reconcile::health::{Permit, Shift, Signs, Zones};
use gifee_reconcile::pod::Brief;
use gifee_reconcile::{BY_NODE, Context, Outcome, Reconcile, Reference, Result, patch, work};
use node::Node;
use parking_lot::Mutex;
use plan::{Plan, Timing, View};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Upstream's name.
pub const NAME: &str = "node-lifecycle-controller";
/// Who its events are from.
const COMPONENT: &str = "node-controller";
const LEASES: &str = "kube-node-lease";
const WORKERS: usize = 8;
const SHOWN: Duration = Duration::from_secs(5);

fn nodes() -> Gvr {
    Gvr::core("nodes")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    run_timed(context, Timing::default()).boxed()
}

async fn run_timed(context: Context, timing: Timing) {
    let queue = Arc::new(Queue::new());
    let controller = Arc::new(Nodes::new(context.recording(COMPONENT), timing, queue.clone()));
    controller.nodes.synced().await;
    controller.leases.synced().await;
    controller.pods.synced().await;
    controller.clone().listen();
    work(&context, NAME, queue, controller, WORKERS).await;
}

/// What is known of the health of all nodes.
#[derive(Default)]
struct Health {
    signs: Signs,
    zones: Zones,
}

impl Health {
    /// Notes what a Node says; whether it was not known before.
    fn observe(&mut self, node: &Node) -> bool {
        // The change to Unknown is this controller's own, and brings no heartbeat.
        let heartbeat = node.condition("Ready").and_then(|ready| ready["lastHeartbeatTime"].as_str());
        self.signs.observe(
            node.object.name(),
            node.object.uid(),
            heartbeat.unwrap_or_default(),
            Instant::now(),
        )
    }

    /// Notes a change of a Lease of the name of a node.
    fn lease_changed(&mut self, change: &Change<'_>) {
        let Some(lease) = change.new else { return self.signs.unlease(change.object().name()) };
        let at = lease.text_at(&["spec", "renewTime"]).and_then(|text| clock::parse_time(&text));
        self.signs.renewed(lease.name(), at, Instant::now());
    }
}

struct Nodes {
    context: Context,
    timing: Timing,
    queue: Arc<Queue<ObjectKey>>,
    nodes: Arc<Cache>,
    leases: Arc<Cache>,
    pods: Arc<Cache>,
    health: Mutex<Health>,
}

impl Nodes {
    fn new(context: Context, timing: Timing, queue: Arc<Queue<ObjectKey>>) -> Self {
        let leases = Gvr::new("coordination.k8s.io", "v1", "leases");
        Self {
            nodes: context.caches.scope(Scope::all(nodes())),
            leases: context.caches.scope(Scope { namespace: LEASES.into(), ..Scope::all(leases) }),
            pods: context.caches.pods(),
            health: Mutex::default(),
            context,
            timing,
            queue,
        }
    }

    fn listen(self: Arc<Self>) {
        // All zones are known before the first node is judged, or it would seem to be the only one.
        let known: Vec<_> = self.nodes.read().all().cloned().collect();
        for node in known.iter().filter_map(|object| Node::read(object).ok()) {
            self.note(&node, self.timing.readiness(&node, Duration::ZERO));
        }
        let this = self.clone();
        self.leases.subscribe(move |change| this.health.lock().lease_changed(change));
        let this = self.clone();
        self.nodes.subscribe(move |change| this.queue.add(change.object().key()));
    }

    /// Counts the node in its zone, and looks at the others again if that changes what holds for them.
    fn note(&self, node: &Node, ready: Option<&str>) {
        let shift = {
            let zones = &mut self.health.lock().zones;
            match node.excluded_from_disruption() {
                true => zones.remove(node.object.name()),
                false => zones.set(node.object.name(), &node.zone(), ready == Some("True")),
            }
        };
        self.shifted(shift);
    }

    fn shifted(&self, shift: Shift) {
        if shift == Shift::Recovered {
            tracing::info!("some nodes are ready again: evictions go on");
            self.health.lock().signs.excuse(Instant::now());
        }
        if shift != Shift::None {
            for node in self.nodes.read().all() {
                self.queue.add(node.key());
            }
        }
    }

    fn observe(&self, object: &Arc<Object>) -> Result<View> {
        let node = Node::read(object)?;
        let name = object.name();
        let fresh = self.health.lock().observe(&node);
        if fresh {
            let message = format!("Node {name} event: Registered Node {name} in Controller");
            self.context.events.normal(reference(name, object.uid()), "RegisteredNode", message);
        }
        let silent = self.health.lock().signs.silent(name, Instant::now());
        let ready = self.timing.readiness(&node, silent);
        self.note(&node, ready);
        let mut health = self.health.lock();
        let permit = match plan::needs_permit(&node, ready) {
            _ if health.zones.all_down() => Permit::Never,
            true => health.zones.take(&node.zone(), Instant::now()),
            false => Permit::Held,
        };
        drop(health);
        let pods = match ready {
            Some("Unknown") => {
                self.pods.read().indexed(&BY_NODE, name).map(Brief::read).collect::<Result<_>>()?
            }
            _ => Vec::new(),
        };
        Ok(View { node, timing: self.timing, silent, permit, pods })
    }

    async fn apply(&self, view: &View, plan: &Plan) -> Result<()> {
        let (client, key) = (&self.context.client, view.node.object.key());
        let mut current = None;
        if !plan.conditions.is_empty() {
            let change = json!({ "status": { "conditions": plan.conditions } });
            let change = patch::pinned(&view.node.object, change);
            current = Some(client.patch_status(&nodes(), &key, PatchKind::Strategic, change).await?);
        }
        if plan.lost {
            let message = format!("Node {} status is now: NodeNotReady", key.name);
            let reference = reference(&key.name, view.node.object.uid());
            self.context.events.normal(reference, "NodeNotReady", message);
        }
        let mut change = json!({});
        if let Some(taints) = &plan.taints {
            let taints = if taints.is_empty() { Value::Null } else { json!(taints) };
            change["spec"]["taints"] = taints;
        }
        if !plan.labels.is_empty() {
            change["metadata"]["labels"] = plan.labels.clone().into();
        }
        if change != json!({}) {
            let change = patch::pinned(current.as_ref().unwrap_or(&view.node.object), change);
            current = Some(client.patch(&nodes(), &key, PatchKind::Merge, change).await?);
        }
        if let Some(written) = current {
            shown(&self.nodes, &written).await;
        }
        calls::all(plan.unready.iter().map(|pod| self.mark_unready(pod)).collect()).await
    }

    /// Nobody answers for the pod, so that nothing should be sent to it.
    async fn mark_unready(&self, pod: &Arc<Object>) -> Result<(), gifee_client::Error> {
        let now = clock::format_time(self.context.clock.now());
        let condition = json!({
            "type": "Ready", "status": "False", "lastTransitionTime": now,
            "observedGeneration": pod.generation(),
        });
        let change = json!({ "metadata": { "uid": pod.uid() }, "status": { "conditions": [condition] } });
        let (client, pods) = (&self.context.client, Gvr::core("pods"));
        match client.patch_status(&pods, &pod.key(), PatchKind::Strategic, change).await {
            Err(error) if error.is_not_found() => return Ok(()),
            other => shown(&self.pods, &other?).await,
        }
        let reference = Reference::new(pod, &Gvk::new("", "v1", "Pod"));
        self.context.events.warning(reference, "NodeNotReady", "Node is not ready");
        Ok(())
    }

    fn forget(&self, name: &str) {
        let (uid, shift) = {
            let mut health = self.health.lock();
            (health.signs.forget(name), health.zones.remove(name))
        };
        self.shifted(shift);
        if let Some(uid) = uid {
            let message = format!("Node {name} event: Removing Node {name} from Controller");
            self.context.events.normal(reference(name, &uid), "RemovingNode", message);
        }
    }
}

/// Waits until a cache shows what was written, so that the next view is not older; not for ever, since a
/// stale view does no harm: what is written on it meets a conflict.
async fn shown(cache: &Cache, written: &Object) {
    let _ = tokio::time::timeout(SHOWN, cache.reached(written.revision())).await;
}

fn reference(name: &str, uid: &str) -> Reference {
    Reference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        ..Reference::default()
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Nodes {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(object) = self.nodes.get(key) else {
            self.forget(&key.name);
            return Ok(Outcome::Done);
        };
        let view = self.observe(&object)?;
        let plan = plan::plan(&view, self.context.clock.now());
        let outcome = self.apply(&view, &plan).await;
        if outcome.is_err() && view.permit == Permit::Now {
            self.health.lock().zones.give_back(&view.node.zone());
        }
        outcome.map(|()| plan.again.map_or(Outcome::Done, Outcome::After))
    }
}
