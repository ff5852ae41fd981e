//! Keeps as many pods of a template as a ReplicaSet says, or a ReplicationController.
//!
//! Invariants: never more pods are created than are missing from a view that shows all own writes; a pod
//! is only ever deleted by UID. Answers to upstream's replicaset controller.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use crate::pods::Control;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, Gvr, LabelSelector, Object, ObjectKey, clock};
use gifee_client::{Cache, Change, PatchKind, Queue, Scope};
use gifee_reconcile::pod::Brief;
use gifee_reconcile::{BY_CONTROLLER, Context, Error, Expectations, Outcome, Reconcile, Result};
use gifee_reconcile::{owner, patch, work};
use plan::{Plan, View};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "replicaset-controller";
const WORKERS: usize = 5;

/// What is kept: the two kinds differ in their names, in the form of their selectors, and in what their status counts.
pub struct Kept {
    /// The controller's name.
    pub name: &'static str,
    /// Whose name its events bear.
    pub source: &'static str,
    /// How URLs name them: group and resource.
    pub resource: (&'static str, &'static str),
    /// Kind.
    pub kind: &'static str,
    /// Whether the selector is just a map of labels.
    pub selects_by_map: bool,
    /// Whether the status says how many pods are on their way out.
    pub counts_terminating: bool,
}

const REPLICA_SETS: &Kept = &Kept {
    name: NAME,
    source: NAME,
    resource: ("apps", "replicasets"),
    kind: "ReplicaSet",
    selects_by_map: false,
    counts_terminating: true,
};

impl Kept {
    fn gvr(&self) -> Gvr {
        Gvr::new(self.resource.0, "v1", self.resource.1)
    }

    fn gvk(&self) -> Gvk {
        Gvk::new(self.resource.0, "v1", self.kind)
    }

    fn selector(&self, selector: &Value) -> std::result::Result<LabelSelector, String> {
        let parsed = if self.selects_by_map && selector.is_object() {
            LabelSelector::from_value(&json!({ "matchLabels": selector }))
        } else {
            LabelSelector::from_value(selector)
        };
        parsed.map_err(|why| format!("selector: {why}"))
    }
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    keep(context, REPLICA_SETS)
}

/// Keeps one of the kinds until the context's shutdown.
pub fn keep(context: Context, kept: &'static Kept) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let controller = Arc::new(ReplicaSets::new(context.recording(kept.source), kept));
        controller.sets.synced().await;
        controller.pods.synced().await;
        controller.clone().listen(&queue);
        work(&context, kept.name, queue, controller, WORKERS).await;
    }
    .boxed()
}

struct ReplicaSets {
    kept: &'static Kept,
    context: Context,
    sets: Arc<Cache>,
    pods: Arc<Cache>,
    expected_pods: Expectations,
    expected_sets: Expectations,
}

impl ReplicaSets {
    fn new(context: Context, kept: &'static Kept) -> Self {
        let sets = context.caches.scope(Scope::all(kept.gvr()));
        sets.add_index(BY_CONTROLLER);
        let pods = context.caches.pods();
        Self {
            expected_pods: Expectations::new(pods.clone()),
            expected_sets: Expectations::new(sets.clone()),
            kept,
            context,
            sets,
            pods,
        }
    }

    fn listen(self: Arc<Self>, queue: &Arc<Queue<ObjectKey>>) {
        let sink = queue.clone();
        self.sets.subscribe(move |change| sink.add(change.object().key()));
        let (this, sink) = (self.clone(), queue.clone());
        self.pods.subscribe(move |change| this.pod_changed(change, &sink));
    }

    fn pod_changed(&self, change: &Change<'_>, queue: &Queue<ObjectKey>) {
        for pod in change.sides() {
            match pod.controller() {
                Some(owner) if owner.kind == self.kept.kind && self.controls(owner.api_version) => {
                    queue.add(ObjectKey::new(pod.namespace(), owner.name));
                }
                Some(_) => {}
                // An orphan may be adopted by any set that selects it.
                None => {
                    for set in self.sets.read().namespace(pod.namespace()) {
                        if self.selector(set).is_ok_and(|selector| pod.selected(&selector)) {
                            queue.add(set.key());
                        }
                    }
                }
            }
        }
    }

    fn observe(&self, set: &Arc<Object>, tree: &Value) -> Result<View> {
        let selector = self.kept.selector(&tree["spec"]["selector"]);
        let selector = selector.map_err(|why| Error::invalid(set.key(), why))?;
        let pods = self.pods.read();
        let orphans = format!("/{}", set.namespace());
        let candidates =
            pods.indexed(&BY_CONTROLLER, set.uid()).chain(pods.indexed(&BY_CONTROLLER, &orphans));
        let claims = owner::claim(candidates, set.uid(), set.deleting(), &selector);
        let own = claims.owned.iter().chain(&claims.adopt);
        let briefs = own.map(Brief::read).collect::<Result<Vec<_>>>()?;
        let labels = tree["spec"]["template"]["metadata"]["labels"].as_object();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let replicas = tree["spec"]["replicas"].as_i64().unwrap_or(1);
        let replicas = i32::try_from(replicas).unwrap_or(i32::MAX);
        let surplus =
            briefs.iter().filter(|pod| pod.active()).count() > usize::try_from(replicas).unwrap_or(0);
        Ok(View {
            set: set.clone(),
            replicas,
            minimum_ready_seconds: minimum_ready_seconds(tree),
            template_labels: labels.into_iter().flatten().map(|(k, v)| (k.clone(), text(v))).collect(),
            status: tree["status"].clone(),
            related: if surplus { self.related(set, &pods) } else { HashMap::new() },
            claims,
            pods: briefs,
            failure: None,
            counts_terminating: self.kept.counts_terminating,
        })
    }

    /// Whether an API version is of the group, whatever its version.
    fn controls(&self, api_version: &str) -> bool {
        gifee_base::gvk::split_api_version(api_version).0 == self.kept.resource.0
    }

    fn selector(&self, set: &Object) -> Result<LabelSelector> {
        #[derive(serde::Deserialize)]
        struct Set {
            spec: Spec,
        }
        #[derive(serde::Deserialize)]
        struct Spec {
            #[serde(default)]
            selector: Value,
        }
        let read: Set =
            serde_json::from_slice(set.raw()).map_err(|error| Error::invalid(set.key(), error))?;
        self.kept.selector(&read.spec.selector).map_err(|why| Error::invalid(set.key(), why))
    }

    /// Active pods by node, of all sets that share this set's owner.
    fn related(&self, set: &Object, pods: &gifee_client::cache::Snapshot<'_>) -> HashMap<String, usize> {
        let sets = self.sets.read();
        let siblings: Vec<String> = match set.controller() {
            Some(owner) => {
                sets.indexed(&BY_CONTROLLER, owner.uid).map(|sibling| sibling.uid().to_owned()).collect()
            }
            None => vec![set.uid().to_owned()],
        };
        let mut related = HashMap::new();
        for uid in siblings {
            for pod in pods.indexed(&BY_CONTROLLER, &uid).filter_map(|pod| Brief::read(pod).ok()) {
                if pod.active() {
                    *related.entry(pod.spec.node_name).or_default() += 1;
                }
            }
        }
        related
    }

    /// Adopts and releases, then creates or deletes, then writes the status.
    async fn apply(&self, mut view: View, tree: &Value, plan: Plan) -> Result<()> {
        let key = view.set.key();
        let claims = (plan.adopt.as_slice(), plan.release.as_slice());
        self.control(&view.set).claim(&self.kept.gvr(), claims, None).await?;
        let managed = match (plan.create, plan.delete.len()) {
            (0, 0) => Ok(()),
            (0, _) => self.delete(&view.set, &plan.delete).await,
            (count, _) => self.create(&view.set, &tree["spec"]["template"], count).await,
        };
        let mut status = plan.status;
        if let Err(error) = &managed {
            let reason = if plan.create > 0 { "FailedCreate" } else { "FailedDelete" };
            view.failure = Some((reason, error.to_string()));
            status = plan::status(&view, self.context.clock.now());
        }
        if let Some(change) = patch::status(&view.set, &view.status, &status) {
            let object =
                self.context.client.patch_status(&self.kept.gvr(), &key, PatchKind::Merge, change).await?;
            self.expected_sets.wrote(&key, object.revision());
        }
        managed
    }

    async fn create(&self, set: &Object, template: &Value, count: usize) -> Result<()> {
        let body = Bytes::from(pod(set, &self.kept.gvk(), template).to_string());
        self.control(set).create(&vec![body; count]).await.1
    }

    async fn delete(&self, set: &Object, pods: &[Arc<Object>]) -> Result<()> {
        let control = self.control(set);
        crate::calls::all(pods.iter().map(|pod| control.delete(pod)).collect()).await
    }

    fn control<'a>(&'a self, set: &'a Object) -> Control<'a> {
        Control { context: &self.context, owner: set, kind: self.kept.gvk(), expected: &self.expected_pods }
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for ReplicaSets {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(set) = self.sets.get(key) else {
            self.expected_pods.forget(key);
            self.expected_sets.forget(key);
            return Ok(Outcome::Done);
        };
        if !self.expected_pods.met(key) || !self.expected_sets.met(key) {
            return Ok(Outcome::Done);
        }
        let tree = set.to_value().map_err(|error| Error::invalid(key, error))?;
        let view = self.observe(&set, &tree)?;
        let plan = plan::plan(&view, self.context.clock.now());
        let again = plan.again;
        self.apply(view, &tree, plan).await?;
        Ok(again.map_or(Outcome::Done, Outcome::After))
    }
}

pub(crate) fn minimum_ready_seconds(tree: &Value) -> i32 {
    tree["spec"]["minReadySeconds"]
        .as_i64()
        .and_then(|seconds| i32::try_from(seconds).ok())
        .unwrap_or_default()
}

/// The pod that a template makes for its owner. The template is copied as it is, so that fields that are
/// newer than this code survive.
pub(crate) fn pod(set: &Object, kind: &Gvk, template: &Value) -> Value {
    let mut metadata = json!({
        "generateName": format!("{}-", set.name()),
        "namespace": set.namespace(),
        "ownerReferences": [owner::controller_reference(set, kind)],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if !template["metadata"][field].is_null() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] })
}

/// `metadata.creationTimestamp`
pub(crate) fn created(tree: &Value) -> Option<jiff::Timestamp> {
    tree["metadata"]["creationTimestamp"].as_str().and_then(clock::parse_time)
}
