//! Rolls a Deployment's pod template out through ReplicaSets.
//!
//! Invariant: a step is planned only on a view that shows all own writes, so that two steps never add up
//! beyond surge or unavailable. Rolling back is kubectl's: it puts an old set's template into the
//! deployment, and the set is found again by it. Answers to upstream's deployment controller.

pub mod plan;
mod revision;
mod scale;
mod status;
pub mod template;
#[cfg(test)]
mod tests;
pub mod view;

use crate::Config;
use crate::pods::{self, Control};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, LabelSelector, Object, ObjectKey};
use gifee_client::{Cache, Change, DeleteOptions, PatchKind, Queue, Scope};
use gifee_reconcile::pod::{Brief, terminal};
use gifee_reconcile::{BY_CONTROLLER, Context, Error, Expectations, Outcome, Reconcile, Reference, Result};
use gifee_reconcile::{owner, patch, work};
use plan::{Plan, kind};
use serde_json::{Value, json};
use std::sync::Arc;
use view::{Set, Strategy, View};

/// Upstream's name.
pub const NAME: &str = "deployment-controller";
const WORKERS: usize = 5;

fn deployments() -> Gvr {
    Gvr::new("apps", "v1", "deployments")
}

fn sets() -> Gvr {
    Gvr::new("apps", "v1", "replicasets")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let controller = Arc::new(Deployments::new(context.recording(NAME)));
        controller.deployments.synced().await;
        controller.sets.synced().await;
        controller.pods.synced().await;
        controller.clone().listen(&queue);
        work(&context, NAME, queue, controller, WORKERS).await;
    }
    .boxed()
}

struct Deployments {
    context: Context,
    deployments: Arc<Cache>,
    sets: Arc<Cache>,
    pods: Arc<Cache>,
    expected_sets: Expectations,
    expected_deployments: Expectations,
}

impl Deployments {
    fn new(context: Context) -> Self {
        let deployments = context.caches.scope(Scope::all(deployments()));
        let sets = context.caches.scope(Scope::all(sets()));
        sets.add_index(BY_CONTROLLER);
        Self {
            expected_sets: Expectations::new(sets.clone()),
            expected_deployments: Expectations::new(deployments.clone()),
            pods: context.caches.pods(),
            context,
            deployments,
            sets,
        }
    }

    fn listen(self: Arc<Self>, queue: &Arc<Queue<ObjectKey>>) {
        let sink = queue.clone();
        self.deployments.subscribe(move |change| sink.add(change.object().key()));
        let (this, sink) = (self.clone(), queue.clone());
        self.sets.subscribe(move |change| this.set_changed(change, &sink));
        let (this, sink) = (self.clone(), queue.clone());
        self.pods.subscribe(move |change| this.pod_changed(change, &sink));
    }

    fn set_changed(&self, change: &Change<'_>, queue: &Queue<ObjectKey>) {
        for set in change.sides() {
            match set.controller() {
                Some(owner) if owner.kind == "Deployment" => {
                    queue.add(ObjectKey::new(set.namespace(), owner.name));
                }
                Some(_) => {}
                None => {
                    for deployment in self.deployments.read().namespace(set.namespace()) {
                        queue.add(deployment.key());
                    }
                }
            }
        }
    }

    /// Only the end of a pod matters, and only to a deployment that waits for it; every other change of a
    /// pod shows in the status of its set.
    fn pod_changed(&self, change: &Change<'_>, queue: &Queue<ObjectKey>) {
        let Some(pod) = change.old else { return };
        let Some(owner) = pod.controller().filter(|owner| owner.kind == "ReplicaSet") else { return };
        if change.new.is_some_and(|new| !terminal(&new.text_at(&["status", "phase"]).unwrap_or_default())) {
            return;
        }
        let set = self.sets.get(&ObjectKey::new(pod.namespace(), owner.name));
        if let Some(deployment) = set.as_ref().and_then(|set| set.controller()) {
            queue.add(ObjectKey::new(pod.namespace(), deployment.name));
        }
    }

    fn observe(&self, object: &Arc<Object>) -> Result<View> {
        let mut view = View::read(object)?;
        let selector = LabelSelector::from_value(&view.selector)
            .map_err(|why| Error::invalid(object.key(), format!("selector: {why}")))?;
        {
            let sets = self.sets.read();
            let orphans = format!("/{}", object.namespace());
            let candidates =
                sets.indexed(&BY_CONTROLLER, object.uid()).chain(sets.indexed(&BY_CONTROLLER, &orphans));
            view.claims = owner::claim(candidates, object.uid(), object.deleting(), &selector);
        }
        let own = view.claims.owned.iter().chain(&view.claims.adopt);
        view.sets = own.map(Set::read).collect::<Result<_>>()?;
        view.sets
            .sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.object.name().cmp(b.object.name())));
        if view.strategy == Strategy::Recreate {
            let pods = self.pods.read();
            let running = |set: &&Set| {
                pods.indexed(&BY_CONTROLLER, set.object.uid())
                    .any(|pod| Brief::read(pod).is_ok_and(|pod| !pod.terminal()))
            };
            view.running = view.sets.iter().filter(running).map(|set| set.object.uid().to_owned()).collect();
        }
        Ok(view)
    }

    async fn apply(&self, view: &View, plan: &Plan) -> Result<()> {
        let (client, key) = (&self.context.client, view.object.key());
        let lists = (plan.adopt.as_slice(), plan.release.as_slice());
        let control = Control {
            context: &self.context,
            owner: &view.object,
            kind: kind(),
            expected: &self.expected_sets,
        };
        control.claim_any(&sets(), &deployments(), lists, None).await?;
        if let Some(body) = &plan.create {
            self.create(view, body).await?;
        }
        for change in &plan.change {
            let set = change.set.key();
            let object = client.patch(&sets(), &set, PatchKind::Merge, &change.patch).await?;
            self.expected_sets.wrote(&key, object.revision());
            if let Some((from, to)) = change.scaled {
                self.record_scale(view, &set.name, from, to);
            }
        }
        for set in &plan.delete {
            self.expected_sets.deleting(&key, &set.key(), set.uid());
            match client.delete(&sets(), &set.key(), &DeleteOptions::of_uid(set.uid())).await {
                Err(error) if !error.is_not_found() => {
                    self.expected_sets.kept(&key, set.uid());
                    return Err(error.into());
                }
                _ => {}
            }
        }
        let mut status = patch::status(&view.object, &view.status, &plan.status);
        if let Some(annotate) = &plan.annotate {
            // By way of the status: what is wanted has not changed, and neither does its generation.
            let object = client.patch_status(&deployments(), &key, PatchKind::Merge, annotate).await?;
            self.expected_deployments.wrote(&key, object.revision());
            // The status goes on top of the annotation just written.
            if let Some(status) = &mut status {
                *status = patch::pinned(&object, std::mem::take(status));
            }
        }
        if let Some(status) = status {
            let object = client.patch_status(&deployments(), &key, PatchKind::Merge, status).await?;
            self.expected_deployments.wrote(&key, object.revision());
        }
        Ok(())
    }

    async fn create(&self, view: &View, body: &Value) -> Result<()> {
        let key = view.object.key();
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        match self.context.client.create(&sets(), &key.namespace, body).await {
            Ok(object) => {
                self.expected_sets.wrote(&key, object.revision());
                let replicas = body["spec"]["replicas"].as_i64().and_then(|count| i32::try_from(count).ok());
                self.record_scale(view, name, 0, replicas.unwrap_or_default());
                Ok(())
            }
            Err(error) if error.is_already_exists() => self.collided(view, name, body).await,
            // The namespace is going away, and the deployment with it.
            Err(error) if pods::namespace_terminating(&error) => Ok(()),
            Err(error) => {
                let reference = Reference::new(&view.object, &kind());
                let message = format!("Failed to create new replica set {name:?}: {error}");
                self.context.events.warning(reference, status::CREATE_FAILED, &*message);
                let status = status::not_created(view, message, self.context.clock.now());
                let change = status.and_then(|new| patch::status(&view.object, &view.status, &new));
                if let Some(change) = change {
                    let client = &self.context.client;
                    let object = client.patch_status(&deployments(), &key, PatchKind::Merge, change).await?;
                    self.expected_deployments.wrote(&key, object.revision());
                }
                Err(error.into())
            }
        }
    }

    /// The name is taken: by the very set, which the cache did not show yet, or by another, and then the
    /// next name must differ.
    async fn collided(&self, view: &View, name: &str, body: &Value) -> Result<()> {
        let (client, key) = (&self.context.client, view.object.key());
        let taken = client.get(&sets(), &ObjectKey::new(&key.namespace, name)).await?;
        let tree = taken.to_value().map_err(|error| Error::invalid(name, error))?;
        let same = template::same(&tree["spec"]["template"], &body["spec"]["template"]);
        if owner::controls(view.object.uid(), &taken) && same {
            self.expected_sets.wrote(&key, taken.revision());
            return Ok(());
        }
        let count = view.status["collisionCount"].as_i64().unwrap_or_default() + 1;
        let change = patch::pinned(&view.object, json!({ "status": { "collisionCount": count } }));
        let object = client.patch_status(&deployments(), &key, PatchKind::Merge, change).await?;
        self.expected_deployments.wrote(&key, object.revision());
        Err(Error::invalid(
            &key,
            format!("replica set {name} belongs to something else; taking another name"),
        ))
    }

    fn record_scale(&self, view: &View, set: &str, from: i32, to: i32) {
        if from == to {
            return;
        }
        let direction = if to > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {set} from {from} to {to}");
        self.context.events.normal(Reference::new(&view.object, &kind()), "ScalingReplicaSet", message);
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Deployments {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(deployment) = self.deployments.get(key) else {
            self.expected_sets.forget(key);
            self.expected_deployments.forget(key);
            return Ok(Outcome::Done);
        };
        if !self.expected_sets.met(key) || !self.expected_deployments.met(key) {
            return Ok(Outcome::Done);
        }
        let view = self.observe(&deployment)?;
        if view.selector.as_object().is_none_or(serde_json::Map::is_empty) {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.context.events.warning(Reference::new(&deployment, &kind()), "SelectingAll", message);
            return Ok(Outcome::Done);
        }
        let plan = plan::plan(&view, self.context.clock.now());
        self.apply(&view, &plan).await?;
        Ok(plan.again.map_or(Outcome::Done, Outcome::After))
    }
}
