//! Says of each PodDisruptionBudget how many of its pods may be taken away now.
//!
//! Invariants: a budget whose pods cannot be counted allows nothing; a status is written at the version of the budget
//! that it was counted for, so that an eviction in between makes it be counted again. Answers to upstream's disruption
//! controller.

mod condition;
pub mod plan;
mod stale;
#[cfg(test)]
mod tests;

pub(crate) use condition::condition;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, Gvr, LabelSelector, Object, ObjectKey, Owner};
use gifee_client::discovery::Discovery;
use gifee_client::{Cache, Change, PatchKind, Queue, Scope};
use gifee_reconcile::pod::Brief;
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Reference, Result, patch, work};
use parking_lot::Mutex;
use plan::{Scales, View};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "disruption-controller";
const WORKERS: usize = 5;

fn budgets() -> Gvr {
    Gvr::new("policy", "v1", "poddisruptionbudgets")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let context = context.recording("controllermanager");
        let scope = |group, resource| context.caches.scope(Scope::all(Gvr::new(group, "v1", resource)));
        let controller = Arc::new(Budgets {
            budgets: context.caches.scope(Scope::all(budgets())),
            pods: context.caches.pods(),
            scaled: [
                ("ReplicationController", scope("", "replicationcontrollers")),
                ("ReplicaSet", scope("apps", "replicasets")),
                ("Deployment", scope("apps", "deployments")),
                ("StatefulSet", scope("apps", "statefulsets")),
            ],
            known: Mutex::default(),
            context: context.clone(),
        });
        controller.budgets.synced().await;
        controller.pods.synced().await;
        for (_, cache) in &controller.scaled {
            cache.synced().await;
        }
        controller.clone().listen(&queue);
        let (stale, pods) = (Arc::new(Queue::new()), controller.pods.clone());
        let forgotten = Arc::new(stale::Stale { context: context.clone(), pods });
        forgotten.listen(&stale);
        futures_util::future::join(
            work(&context, NAME, queue, controller, WORKERS),
            work(&context, NAME, stale, forgotten, 1),
        )
        .await;
    }
    .boxed()
}

struct Budgets {
    context: Context,
    budgets: Arc<Cache>,
    pods: Arc<Cache>,
    /// The built-in kinds that have a scale, by kind.
    scaled: [(&'static str, Arc<Cache>); 4],
    /// Other kinds with a scale, as of when one was last unknown; at most one per kind that controls pods.
    known: Mutex<HashMap<(String, String), Option<Gvr>>>,
}

/// Of no selector: nothing; of an empty one: everything.
fn selector(budget: &Value) -> std::result::Result<Option<LabelSelector>, String> {
    match &budget["spec"]["selector"] {
        Value::Null => Ok(None),
        selector => LabelSelector::from_value(selector).map(Some).map_err(|why| format!("selector: {why}")),
    }
}

fn tree(object: &Object) -> Result<Value> {
    object.to_value().map_err(|error| Error::invalid(object.key(), error))
}

impl Budgets {
    fn listen(self: Arc<Self>, queue: &Arc<Queue<ObjectKey>>) {
        let sink = queue.clone();
        self.budgets.subscribe(move |change| sink.add(change.object().key()));
        let (this, sink) = (self.clone(), queue.clone());
        self.pods.subscribe(move |change| this.pod_changed(change, &sink));
        for (_, cache) in &self.scaled {
            let (this, sink) = (self.clone(), queue.clone());
            cache.subscribe(move |change| {
                // Another scale may mean another count for every budget of the namespace.
                if change.old.is_none_or(|old| old.generation() != change.object().generation()) {
                    for budget in this.budgets.read().namespace(change.object().namespace()) {
                        sink.add(budget.key());
                    }
                }
            });
        }
    }

    fn pod_changed(&self, change: &Change<'_>, queue: &Queue<ObjectKey>) {
        for budget in self.budgets.read().namespace(change.object().namespace()) {
            let Ok(Some(selector)) = tree(budget).map_or(Ok(None), |tree| selector(&tree)) else { continue };
            if change.sides().any(|pod| pod.selected(&selector)) {
                queue.add(budget.key());
            }
        }
    }

    fn selected(&self, budget: &Object, tree: &Value) -> Result<Vec<Brief>> {
        let selector = selector(tree).map_err(|why| Error::invalid(budget.key(), why))?;
        let Some(selector) = selector else { return Ok(Vec::new()) };
        let pods = self.pods.read();
        let selected = pods.namespace(budget.namespace()).filter(|pod| pod.selected(&selector));
        selected.map(Brief::read).collect()
    }

    /// How many pods their controllers want, or why that cannot be said.
    async fn scales(&self, pods: &[Brief]) -> std::result::Result<Scales, String> {
        let mut scales = Scales::default();
        let mut seen = BTreeSet::new();
        for pod in pods {
            let Some(owner) = pod.object.controller() else {
                scales.unmanaged.push(pod.object.name().to_owned());
                continue;
            };
            if !seen.insert(owner.uid.to_owned()) {
                continue;
            }
            let found =
                self.scale(pod.object.namespace(), &owner).await.map_err(|error| error.to_string())?;
            let Some((uid, count)) = found else {
                return Err(format!("found no controllers for pod {:?}", pod.object.name()));
            };
            scales.wanted.insert(uid, count);
        }
        Ok(scales)
    }

    /// UID and replicas of what scales the pods of an owner.
    async fn scale(&self, namespace: &str, owner: &Owner<'_>) -> Result<Option<(String, i64)>> {
        let group = gifee_base::gvk::split_api_version(owner.api_version).0;
        let built_in = if owner.kind == "ReplicationController" { group.is_empty() } else { group == "apps" };
        let cache = self.scaled.iter().find(|(kind, _)| *kind == owner.kind && built_in);
        let Some((_, cache)) = cache else { return self.other(namespace, owner).await };
        let Some(object) = cache.get(&ObjectKey::new(namespace, owner.name)) else { return Ok(None) };
        if object.uid() != owner.uid {
            return Ok(None);
        }
        // A set of a Deployment is scaled by it.
        if owner.kind == "ReplicaSet"
            && let Some(above) = object.controller().filter(|above| above.kind == "Deployment")
            && let Some(deployment) = self.scaled[2].1.get(&ObjectKey::new(namespace, above.name))
            && deployment.uid() == above.uid
        {
            return Ok(Some(replicas(&deployment)?));
        }
        Ok(Some(replicas(&object)?))
    }

    /// By the scale subresource of any kind that has one.
    async fn other(&self, namespace: &str, owner: &Owner<'_>) -> Result<Option<(String, i64)>> {
        let name = (owner.api_version.to_owned(), owner.kind.to_owned());
        let known = self.known.lock().get(&name).cloned();
        let gvr = match known {
            Some(gvr) => gvr,
            None => {
                let discovery = Discovery::load(&self.context.client).await?;
                let (group, version) = gifee_base::gvk::split_api_version(owner.api_version);
                let found = discovery.kind(&Gvk::new(group, version, owner.kind));
                let scaled = found.filter(|one| one.subresources.iter().any(|part| part == "scale"));
                let gvr = scaled.map(|one| one.gvr.clone());
                // What has no scale today may have one tomorrow.
                if gvr.is_some() {
                    self.known.lock().insert(name, gvr.clone());
                }
                gvr
            }
        };
        let Some(gvr) = gvr else {
            let why = format!("{} does not implement the scale subresource", owner.kind);
            return Err(Error::invalid(owner.name, why));
        };
        let key = ObjectKey::new(namespace, owner.name);
        match self.context.client.get_subresource(&gvr, &key, "scale").await {
            Ok(scale) if scale.uid() == owner.uid => {
                let tree = tree(&scale)?;
                Ok(Some((owner.uid.to_owned(), tree["spec"]["replicas"].as_i64().unwrap_or_default())))
            }
            Ok(_) => Ok(None),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn tell(&self, budget: &Object, view: &View) {
        let about = Reference::new(budget, &Gvk::new("policy", "v1", "PodDisruptionBudget"));
        if view.pods.is_empty() {
            self.context.events.normal(about.clone(), "NoPods", "No matching pods found");
        }
        if let Err(why) = &view.scales {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            self.context.events.warning(about.clone(), "CalculateExpectedPodCountFailed", message);
        }
        if view.scales.as_ref().is_ok_and(|scales| !scales.unmanaged.is_empty()) {
            let message = format!(
                "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
                crate::horizontalpodautoscaling::metrics::shown(&view.budget["spec"]["selector"])
            );
            self.context.events.warning(about, "UnmanagedPods", message);
        }
    }
}

fn replicas(object: &Object) -> Result<(String, i64)> {
    Ok((object.uid().to_owned(), tree(object)?["spec"]["replicas"].as_i64().unwrap_or(1)))
}

#[async_trait]
impl Reconcile<ObjectKey> for Budgets {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(budget) = self.budgets.get(key).filter(|budget| !budget.deleting()) else {
            return Ok(Outcome::Done);
        };
        let tree = tree(&budget)?;
        let pods = self.selected(&budget, &tree)?;
        let scales = if plan::by_number(&tree) { Ok(Scales::default()) } else { self.scales(&pods).await };
        let view = View { generation: budget.generation(), budget: tree, pods, scales };
        let plan = plan::plan(&view, self.context.clock.now());
        if let Some(change) = patch::status(&budget, &view.budget["status"], &plan.status) {
            self.tell(&budget, &view);
            let outcome = self.context.client.patch_status(&budgets(), key, PatchKind::Merge, change).await;
            match outcome {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        match &view.scales {
            Err(why) => Err(Error::invalid(key, why)),
            Ok(_) => Ok(plan.again.map_or(Outcome::Done, Outcome::After)),
        }
    }
}
