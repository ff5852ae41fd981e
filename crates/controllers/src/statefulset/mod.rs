//! Keeps numbered pods, each with its own name and storage, and updates them one after the other.
//!
//! Invariants: of each ordinal there is at most one pod, since its name is its ordinal; a step is planned only
//! on a view that shows all own writes; pods are deleted by UID. Answers to upstream's statefulset controller.

pub mod plan;
pub mod pod;
mod status;
#[cfg(test)]
mod tests;
pub mod view;

use crate::Config;
use crate::history::{self, History};
use crate::pods::{self, Control};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::{Cache, Change, PatchKind, Queue, Scope};
use gifee_reconcile::rollout::revision::Revision;
use gifee_reconcile::{BY_CONTROLLER, Context, Error, Expectations, Outcome, Reconcile, Reference, Result};
use gifee_reconcile::{owner, patch, work};
use plan::{Action, Plan, Revisions};
use pod::kind;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use view::{Member, View};

/// Upstream's name.
pub const NAME: &str = "statefulset-controller";
const WORKERS: usize = 5;
const HASH: &str = "controller.kubernetes.io/hash";

fn sets() -> Gvr {
    Gvr::new("apps", "v1", "statefulsets")
}

fn volumes() -> Gvr {
    Gvr::core("persistentvolumeclaims")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let controller = Arc::new(StatefulSets::new(context.recording(NAME)));
        controller.sets.synced().await;
        controller.pods.synced().await;
        controller.volumes.synced().await;
        controller.history.synced().await;
        controller.clone().listen(&queue);
        work(&context, NAME, queue, controller, WORKERS).await;
    }
    .boxed()
}

struct StatefulSets {
    context: Context,
    sets: Arc<Cache>,
    pods: Arc<Cache>,
    volumes: Arc<Cache>,
    expected_pods: Expectations,
    history: Arc<History>,
    expected_sets: Expectations,
    expected_volumes: Expectations,
}

impl StatefulSets {
    fn new(context: Context) -> Self {
        let sets_cache = context.caches.scope(Scope::all(sets()));
        let volumes = context.caches.scope(Scope::all(volumes()));
        let pods = context.caches.pods();
        Self {
            expected_pods: Expectations::new(pods.clone()),
            history: Arc::new(History::new(&context, sets(), kind(), HASH)),
            expected_sets: Expectations::new(sets_cache.clone()),
            expected_volumes: Expectations::new(volumes.clone()),
            sets: sets_cache,
            pods,
            volumes,
            context,
        }
    }

    fn listen(self: Arc<Self>, queue: &Arc<Queue<ObjectKey>>) {
        let sink = queue.clone();
        self.sets.subscribe(move |change| sink.add(change.object().key()));
        self.history.listen(&self.sets, queue);
        let (this, sink) = (self.clone(), queue.clone());
        self.pods.subscribe(move |change| this.pod_changed(change, &sink));
        let (this, sink) = (self.clone(), queue.clone());
        self.volumes.subscribe(move |change| this.volume_changed(change.object(), &sink));
    }

    fn pod_changed(&self, change: &Change<'_>, queue: &Queue<ObjectKey>) {
        for pod in change.sides() {
            match pod.controller() {
                Some(owner) if owner.kind == "StatefulSet" => {
                    queue.add(ObjectKey::new(pod.namespace(), owner.name));
                }
                Some(_) => {}
                // An orphan may be adopted by the set whose name it bears.
                None => {
                    let Some((set, _)) = view::parse(pod.name()) else { continue };
                    let key = ObjectKey::new(pod.namespace(), set);
                    if self.sets.get(&key).is_some() {
                        queue.add(key);
                    }
                }
            }
        }
    }

    /// A claim is named after its template, its set and an ordinal, all of which may have dashes.
    fn volume_changed(&self, claim: &Object, queue: &Queue<ObjectKey>) {
        let Some((mut name, _)) = view::parse(claim.name()) else { return };
        while let Some((_, set)) = name.split_once('-') {
            let key = ObjectKey::new(claim.namespace(), set);
            if self.sets.get(&key).is_some() {
                queue.add(key);
            }
            name = set;
        }
    }

    fn observe(&self, set: &Arc<Object>) -> Result<View> {
        let mut view = View::read(set)?;
        let selector = history::selector(set, &view.tree)?;
        let member = |pod: &Object| {
            let parent = view::parse(pod.name()).map(|(parent, _)| parent);
            pod.selected(&selector) && parent == Some(set.name())
        };
        {
            let pods = self.pods.read();
            let orphans = format!("/{}", set.namespace());
            let candidates =
                pods.indexed(&BY_CONTROLLER, set.uid()).chain(pods.indexed(&BY_CONTROLLER, &orphans));
            view.claims = owner::claim_if(candidates, set.uid(), set.deleting(), member);
        }
        let own = view.claims.owned.iter().chain(&view.claims.adopt);
        view.pods = own.filter_map(|pod| Member::read(pod).transpose()).collect::<Result<_>>()?;
        view.pods.sort_by_key(|member| member.ordinal);
        view.volumes = self.volumes_of(&view);
        Ok(view)
    }

    fn volumes_of(&self, view: &View) -> BTreeMap<String, Arc<Object>> {
        let wanted = view.start..view.start.saturating_add(view.replicas);
        let beyond = view.pods.iter().map(|member| member.ordinal).filter(|one| !view.wants(*one));
        let mut found = BTreeMap::new();
        if view.templates().is_empty() {
            return found;
        }
        for ordinal in wanted.chain(beyond) {
            for template in view.templates() {
                let name = view.claim_name(template, ordinal);
                if let Some(claim) = self.volumes.get(&ObjectKey::new(view.set.namespace(), &name)) {
                    found.insert(name, claim);
                }
            }
        }
        found
    }

    /// The revisions of the set, made or renumbered if need be.
    async fn revisions(&self, view: &View, history: &[Revision]) -> Result<Revisions> {
        let status = view.status();
        let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
        if view.set.deleting() {
            return Ok(Revisions {
                current: text("currentRevision"),
                update: text("updateRevision"),
                collisions: status["collisionCount"].as_i64().unwrap_or_default(),
                ..Revisions::default()
            });
        }
        let update = self.history.ensure(&view.set, &view.tree, history).await?;
        let current = history.iter().find(|one| one.object.name() == text("currentRevision"));
        let (current, current_template) = match current {
            Some(current) => (current.object.name().to_owned(), current.template()),
            None => (update.name.clone(), view.tree["spec"]["template"].clone()),
        };
        Ok(Revisions { current, current_template, update: update.name, collisions: update.collisions })
    }

    async fn apply(&self, view: &View, plan: Plan) -> Result<()> {
        let key = view.set.key();
        let lists = (plan.adopt.as_slice(), plan.release.as_slice());
        self.control(&view.set).claim(&sets(), lists, None).await?;
        let done = self.stages(view, plan.stages).await;
        if let Some(change) = patch::status(&view.set, view.status(), &plan.status) {
            let client = &self.context.client;
            let written = client.patch_status(&sets(), &key, PatchKind::Merge, change).await;
            match written {
                Ok(object) => self.expected_sets.wrote(&key, object.revision()),
                // The first reason says more.
                Err(error) => return done.and(Err(error.into())),
            }
        }
        done
    }

    async fn stages(&self, view: &View, stages: Vec<Vec<Action>>) -> Result<()> {
        for stage in stages {
            pods::batches(stage.into_iter().map(|action| self.act(view, action)).collect()).await?;
        }
        Ok(())
    }

    async fn act(&self, view: &View, action: Action) -> Result<()> {
        let (set, client) = (&view.set, &self.context.client);
        match action {
            Action::Create { pod, claims, going } => self.create(set, &pod, claims, going).await,
            Action::Claim { pod, claims } => self.create_claims(set, pod.name(), claims).await,
            Action::Own { claim, patch } => {
                let object = client.patch(&volumes(), &claim.key(), PatchKind::Merge, patch).await?;
                self.expected_volumes.wrote(&set.key(), object.revision());
                Ok(())
            }
            Action::Repair { pod, patch, claims } => {
                self.create_claims(set, pod.name(), claims).await?;
                let outcome = client.patch(&Gvr::core("pods"), &pod.key(), PatchKind::Merge, patch).await;
                self.record(set, "update", pod.name(), outcome.as_ref().err());
                self.expected_pods.wrote(&set.key(), outcome?.revision());
                Ok(())
            }
            Action::Delete(pod) => match self.control(set).remove(&pod).await {
                Ok(gone) => {
                    if gone {
                        self.record(set, "delete", pod.name(), None::<&Error>);
                    }
                    Ok(())
                }
                Err(error) => {
                    self.record(set, "delete", pod.name(), Some(&error));
                    Err(error.into())
                }
            },
        }
    }

    async fn create(
        &self,
        set: &Object,
        pod: &Value,
        claims: Vec<Value>,
        going: Option<String>,
    ) -> Result<()> {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let mut ready = self.create_claims(set, name, claims).await;
        if let Some(claim) = going {
            ready = ready.and(Err(Error::invalid(set.key(), format!("pvc {claim} is being deleted"))));
        }
        if let Err(error) = ready {
            self.record(set, "create", name, Some(&error));
            return Err(error);
        }
        match self.context.client.create(&Gvr::core("pods"), set.namespace(), pod).await {
            Ok(created) => {
                self.expected_pods.wrote(&set.key(), created.revision());
                self.record(set, "create", name, None::<&Error>);
                Ok(())
            }
            // The namespace is going away, and the set with it.
            Err(error) if pods::namespace_terminating(&error) => Ok(()),
            Err(error) => {
                if !error.is_already_exists() {
                    self.record(set, "create", name, Some(&error));
                }
                Err(error.into())
            }
        }
    }

    async fn create_claims(&self, set: &Object, pod: &str, claims: Vec<Value>) -> Result<()> {
        let events = &self.context.events;
        let mut outcome = Ok(());
        for claim in claims {
            let name = claim["metadata"]["name"].as_str().unwrap_or_default();
            let reference = Reference::new(set, &kind());
            match self.context.client.create(&volumes(), set.namespace(), &claim).await {
                Ok(created) => {
                    self.expected_volumes.wrote(&set.key(), created.revision());
                    let message =
                        format!("create Claim {name} Pod {pod} in StatefulSet {} success", set.name());
                    events.normal(reference, "SuccessfulCreate", message);
                }
                // A cache that lags; its event brings the set back.
                Err(error) if error.is_already_exists() => {}
                Err(error) => {
                    let message = format!(
                        "create Claim {name} for Pod {pod} in StatefulSet {} failed error: {error}",
                        set.name()
                    );
                    events.warning(reference, "FailedCreate", message);
                    outcome = outcome
                        .and(Err(Error::invalid(set.key(), format!("failed to create PVC {name}: {error}"))));
                }
            }
        }
        outcome
    }

    fn control<'a>(&'a self, set: &'a Object) -> Control<'a> {
        Control { context: &self.context, owner: set, kind: kind(), expected: &self.expected_pods }
    }

    fn record(&self, set: &Object, verb: &str, pod: &str, error: Option<&impl std::fmt::Display>) {
        let (events, reference) = (&self.context.events, Reference::new(set, &kind()));
        let title = match verb {
            "create" => "Create",
            "delete" => "Delete",
            _ => "Update",
        };
        let of = format!("{verb} Pod {pod} in StatefulSet {}", set.name());
        match error {
            None => events.normal(reference, &format!("Successful{title}"), format!("{of} successful")),
            Some(error) => {
                events.warning(reference, &format!("Failed{title}"), format!("{of} failed error: {error}"));
            }
        }
    }

    /// Revisions beyond the limit that no pod is of.
    fn surplus(view: &View, revisions: &Revisions, history: &[Revision]) -> Vec<Arc<Object>> {
        let live = |name: &str| {
            name == revisions.current
                || name == revisions.update
                || view.pods.iter().any(|member| member.revision() == name)
        };
        let old: Vec<_> = history.iter().filter(|one| !live(one.object.name())).collect();
        let surplus = old.len().saturating_sub(view.history_limit);
        old.into_iter().take(surplus).map(|one| one.object.clone()).collect()
    }

    fn forget(&self, key: &ObjectKey) {
        for expected in
            [&self.expected_sets, &self.expected_volumes, &self.expected_pods, &self.history.expected]
        {
            expected.forget(key);
        }
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for StatefulSets {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(set) = self.sets.get(key) else {
            self.forget(key);
            return Ok(Outcome::Done);
        };
        let all = [&self.expected_sets, &self.expected_volumes, &self.expected_pods, &self.history.expected];
        if !all.iter().all(|expected| expected.met(key)) {
            return Ok(Outcome::Done);
        }
        let view = self.observe(&set)?;
        let selector = history::selector(&set, &view.tree)?;
        let (claims, history) = self.history.observe(&set, &selector)?;
        self.history.claim(&set, &claims).await?;
        let revisions = self.revisions(&view, &history).await?;
        let plan = plan::plan(&view, &revisions, self.context.clock.now());
        let again = plan.again;
        self.apply(&view, plan).await?;
        if !set.deleting() {
            self.history.delete(&set, &Self::surplus(&view, &revisions, &history)).await?;
        }
        Ok(again.map_or(Outcome::Done, Outcome::After))
    }
}
