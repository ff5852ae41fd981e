//! Keeps one pod on each node that a DaemonSet is for, and updates them node by node.
//!
//! Invariants: a pod is tied to its node and bound by the scheduler; a step is planned only on a view that
//! shows all own writes; pods are deleted by UID. Answers to upstream's daemon controller.

mod backoff;
pub mod node;
pub mod plan;
mod status;
#[cfg(test)]
mod tests;
pub mod view;

use crate::Config;
use crate::history::{self, Current, History, REVISION_HASH};
use crate::pods::Control;
use async_trait::async_trait;
use backoff::Backoffs;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, LabelSelector, Object, ObjectKey};
use gifee_client::{Cache, Change, PatchKind, Queue, Scope};
use gifee_reconcile::pod::Brief;
use gifee_reconcile::rollout::revision::Revision;
use gifee_reconcile::{BY_CONTROLLER, Context, Expectations, Outcome, Reconcile, Reference, Result};
use gifee_reconcile::{owner, patch, work};
use node::{Node, Nodes, Place, Verdict};
use parking_lot::RwLock;
use plan::{Plan, kind};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use view::View;

/// Upstream's name.
pub const NAME: &str = "daemonset-controller";
const WORKERS: usize = 2;

fn sets() -> Gvr {
    Gvr::new("apps", "v1", "daemonsets")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let controller = Arc::new(DaemonSets::new(context.recording(NAME)));
        controller.sets.synced().await;
        controller.pods.synced().await;
        controller.node_cache.synced().await;
        controller.history.synced().await;
        controller.clone().listen(&queue);
        work(&context, NAME, queue, controller, WORKERS).await;
    }
    .boxed()
}

struct DaemonSets {
    context: Context,
    sets: Arc<Cache>,
    pods: Arc<Cache>,
    node_cache: Arc<Cache>,
    /// As many as there are nodes.
    nodes: RwLock<Nodes>,
    /// What each set asks of nodes; as many as there are sets.
    places: RwLock<HashMap<ObjectKey, Arc<Place>>>,
    expected_pods: Expectations,
    history: Arc<History>,
    expected_sets: Expectations,
    backoffs: Backoffs,
}

impl DaemonSets {
    fn new(context: Context) -> Self {
        let sets_cache = context.caches.scope(Scope::all(sets()));
        let pods = context.caches.pods();
        Self {
            expected_pods: Expectations::new(pods.clone()),
            history: Arc::new(History::new(&context, sets(), kind(), REVISION_HASH)),
            expected_sets: Expectations::new(sets_cache.clone()),
            node_cache: context.caches.scope(Scope::all(Gvr::core("nodes"))),
            nodes: RwLock::default(),
            places: RwLock::default(),
            backoffs: Backoffs::default(),
            sets: sets_cache,
            pods,
            context,
        }
    }

    fn listen(self: Arc<Self>, queue: &Arc<Queue<ObjectKey>>) {
        let (this, sink) = (self.clone(), queue.clone());
        self.node_cache.subscribe(move |change| this.node_changed(change, &sink));
        let (this, sink) = (self.clone(), queue.clone());
        self.sets.subscribe(move |change| {
            this.set_changed(change);
            sink.add(change.object().key());
        });
        self.history.listen(&self.sets, queue);
        let (this, sink) = (self.clone(), queue.clone());
        self.pods.subscribe(move |change| this.pod_changed(change, &sink));
    }

    fn set_changed(&self, change: &Change<'_>) {
        let key = change.object().key();
        let place = change.new.and_then(|set| set.to_value().ok());
        let mut places = self.places.write();
        match place {
            Some(tree) => places.insert(key, Arc::new(Place::read(&tree["spec"]["template"]))),
            None => places.remove(&key),
        };
    }

    /// Brings the sets to which a node is now something else. Its heartbeats are nothing to them.
    fn node_changed(&self, change: &Change<'_>, queue: &Queue<ObjectKey>) {
        let new = change.new.and_then(|node| Node::read(node).ok()).map(Arc::new);
        let name = change.object().name();
        let old = {
            let mut nodes = self.nodes.write();
            if nodes.get(name) == new.as_ref() && new.is_some() {
                return;
            }
            match &new {
                Some(node) => nodes.insert(name.to_owned(), node.clone()),
                None => nodes.remove(name),
            }
        };
        let nothing = Verdict { run: false, stay: false };
        for (key, place) in self.places.read().iter() {
            let of = |node: &Option<Arc<Node>>| node.as_ref().map_or(nothing, |node| place.verdict(node));
            if of(&old) != of(&new) {
                queue.add(key.clone());
            }
        }
    }

    fn pod_changed(&self, change: &Change<'_>, queue: &Queue<ObjectKey>) {
        for pod in change.sides() {
            match pod.controller() {
                Some(owner) if owner.kind == "DaemonSet" => {
                    queue.add(ObjectKey::new(pod.namespace(), owner.name));
                }
                Some(_) => {}
                // An orphan may be adopted by any set that selects it.
                None => {
                    for set in self.sets.read().namespace(pod.namespace()) {
                        let selector = set.value_at(&["spec", "selector"]);
                        let selector = selector.and_then(|bytes| serde_json::from_slice(bytes).ok());
                        let selector = selector.and_then(|value| LabelSelector::from_value(&value).ok());
                        if selector.is_some_and(|selector| pod.selected(&selector)) {
                            queue.add(set.key());
                        }
                    }
                }
            }
        }
    }

    /// The view without the revision.
    fn observe(&self, set: &Arc<Object>, selector: &LabelSelector) -> Result<View> {
        let mut view = View::read(set)?;
        {
            let pods = self.pods.read();
            let orphans = format!("/{}", set.namespace());
            let candidates =
                pods.indexed(&BY_CONTROLLER, set.uid()).chain(pods.indexed(&BY_CONTROLLER, &orphans));
            view.claims = owner::claim(candidates, set.uid(), set.deleting(), selector);
        }
        for (name, node) in self.nodes.read().iter() {
            view.spots.entry(name.clone()).or_default().verdict = Some(view.place.verdict(node));
        }
        let (key, of) = (set.key(), Self::incarnation(&view));
        let own: Vec<_> = view.claims.owned.iter().chain(&view.claims.adopt).cloned().collect();
        for pod in own {
            let brief = Brief::read(&pod)?;
            // What has ended and goes is nobody's business any more.
            if brief.terminal() && brief.deleted.is_some() {
                continue;
            }
            if let Some(node) = node::target(&pod) {
                if brief.status.phase == "Failed" {
                    let until = self.backoffs.until(&key, (set.uid(), of), &node);
                    view.spots.entry(node.clone()).or_default().backoff = until;
                }
                view.spots.entry(node).or_default().pods.push(brief);
            }
        }
        Ok(view)
    }

    fn control<'a>(&'a self, set: &'a Object) -> Control<'a> {
        Control { context: &self.context, owner: set, kind: kind(), expected: &self.expected_pods }
    }

    fn incarnation(view: &View) -> i64 {
        view.status()["observedGeneration"].as_i64().unwrap_or_default()
    }

    async fn apply(&self, view: &View, plan: Plan, current: &Current) -> Result<()> {
        let set = &view.set;
        let control = self.control(set);
        let lists = (plan.adopt.as_slice(), plan.release.as_slice());
        control.claim(&sets(), lists, None).await?;
        self.tell(view, &plan);
        let template = if plan.create.is_empty() { json!(null) } else { plan::template(view) };
        let bodies = plan.create.iter().map(|node| Bytes::from(plan::pod(&template, node).to_string()));
        let created = control.create(&bodies.collect::<Vec<_>>()).await.1;
        let deletions = plan.delete.iter().map(|pod| control.delete(pod));
        let deleted = crate::calls::all(deletions.collect()).await;
        let mut status = plan.status;
        if current.collisions > 0 {
            status["collisionCount"] = current.collisions.into();
        }
        let done = created.and(deleted);
        if let Some(change) = patch::status(set, view.status(), &status) {
            let client = &self.context.client;
            match client.patch_status(&sets(), &set.key(), PatchKind::Merge, change).await {
                Ok(object) => self.expected_sets.wrote(&set.key(), object.revision()),
                // The first reason says more.
                Err(error) => return done.and(Err(error.into())),
            }
        }
        done
    }

    /// Tells of pods that have ended, and counts their failures.
    fn tell(&self, view: &View, plan: &Plan) {
        let (set, events) = (&view.set, &self.context.events);
        let going: BTreeSet<&str> = plan.delete.iter().map(|pod| pod.uid()).collect();
        for ended in plan.ended.iter().filter(|ended| going.contains(ended.pod.uid())) {
            let (pod, node) = (ended.pod.key(), &ended.node);
            let reference = Reference::new(set, &kind());
            if ended.failed {
                let of = (set.uid(), Self::incarnation(view));
                self.backoffs.failed(&set.key(), of, node, self.context.clock.now());
                let message = format!("Found failed daemon pod {pod} on node {node}, will try to kill it");
                events.warning(reference, "FailedDaemonPod", message);
            } else {
                let message =
                    format!("Found succeeded daemon pod {pod} on node {node}, will try to delete it");
                events.normal(reference, "SucceededDaemonPod", message);
            }
        }
    }

    /// Gives the pods of revisions that say the same the one that stays, and removes the others.
    async fn unify(&self, view: &View, current: &Current) -> Result<()> {
        for duplicate in &current.duplicates {
            let hash = self.history.hash_of(&duplicate.object);
            for pod in view.claims.owned.iter().filter(|pod| pod.label(REVISION_HASH) == Some(&*hash)) {
                let labels = json!({ "metadata": { "labels": { REVISION_HASH: current.hash } } });
                let change = patch::pinned(pod, labels);
                let client = &self.context.client;
                let object = client.patch(&Gvr::core("pods"), &pod.key(), PatchKind::Merge, change).await?;
                self.expected_pods.wrote(&view.set.key(), object.revision());
            }
            self.history.delete(&view.set, std::slice::from_ref(&duplicate.object)).await?;
        }
        Ok(())
    }

    /// Revisions beyond the limit that no pod is of.
    fn surplus(&self, view: &View, current: &Current, revisions: &[Revision]) -> Vec<Arc<Object>> {
        let gone = |one: &&Revision| {
            let name = one.object.name();
            name != current.name && !current.duplicates.iter().any(|other| other.object.name() == name)
        };
        let old: Vec<&Revision> = revisions.iter().filter(gone).collect();
        let surplus = old.len().saturating_sub(view.history_limit);
        let pods = || view.claims.owned.iter().chain(&view.claims.adopt);
        let live = |one: &&Revision| {
            let hash = self.history.hash_of(&one.object);
            pods().any(|pod| pod.label(REVISION_HASH) == Some(&*hash))
        };
        let dead = old.into_iter().filter(|one| surplus > 0 && !live(one));
        dead.take(surplus).map(|one| one.object.clone()).collect()
    }

    fn forget(&self, key: &ObjectKey) {
        for expected in [&self.expected_sets, &self.expected_pods, &self.history.expected] {
            expected.forget(key);
        }
        self.backoffs.forget(key);
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for DaemonSets {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(set) = self.sets.get(key) else {
            self.forget(key);
            return Ok(Outcome::Done);
        };
        let all = [&self.expected_sets, &self.expected_pods, &self.history.expected];
        // What a set that is being deleted still has, the garbage collector takes, history and all.
        if set.deleting() || !all.iter().all(|expected| expected.met(key)) {
            return Ok(Outcome::Done);
        }
        let tree = set.to_value().map_err(|error| gifee_reconcile::Error::invalid(key, error))?;
        if tree["spec"]["selector"].as_object().is_none_or(serde_json::Map::is_empty) {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.context.events.warning(Reference::new(&set, &kind()), "SelectingAll", message);
            return Ok(Outcome::Done);
        }
        let selector = history::selector(&set, &tree)?;
        let (claims, revisions) = self.history.observe(&set, &selector)?;
        self.history.claim(&set, &claims).await?;
        let current = self.history.ensure(&set, &tree, &revisions).await?;
        let mut view = self.observe(&set, &selector)?;
        view.hash.clone_from(&current.hash);
        self.unify(&view, &current).await?;
        let plan = plan::plan(&view, self.context.clock.now());
        let again = plan.again;
        self.apply(&view, plan, &current).await?;
        self.history.delete(&set, &self.surplus(&view, &current, &revisions)).await?;
        Ok(again.map_or(Outcome::Done, Outcome::After))
    }
}
