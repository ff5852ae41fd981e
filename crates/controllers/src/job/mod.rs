//! Runs the pods of Jobs to completion, and counts each of them exactly once.
//!
//! Invariant: each write leaves a state from which a controller that knows nothing else goes on: a pod bears a
//! finalizer until it is counted, the status names whom it is about to count. Answers to upstream's job controller.

mod apply;
pub mod backoff;
pub mod indexes;
pub mod orphans;
pub mod plan;
pub mod policy;
pub mod spec;
#[cfg(test)]
mod tests;
pub mod track;
pub mod view;

use crate::Config;
use crate::pods::Control;
use async_trait::async_trait;
use backoff::Backoff;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, Gvr, LabelSelector, Object, ObjectKey};
use gifee_client::{Cache, Change, Queue, Scope};
use gifee_reconcile::{BY_CONTROLLER, Context, Error, Expectations, Outcome, Reconcile, Reference, Result};
use gifee_reconcile::{owner, work};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use spec::{Spec, Status};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use view::View;

/// Upstream's name.
pub const NAME: &str = "job-controller";
const WORKERS: usize = 5;
/// What happens to pods within this time is looked at together.
const BATCH: Duration = Duration::from_millis(50);
/// Delays of the retries of a Job.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

fn jobs() -> Gvr {
    Gvr::new("batch", "v1", "jobs")
}

fn job() -> Gvk {
    Gvk::new("batch", "v1", "Job")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let (queue, orphans) = (Arc::new(Queue::with_backoff(RETRY.0, RETRY.1)), Arc::new(Queue::new()));
        let controller = Arc::new(Jobs::new(context.recording(NAME)));
        controller.jobs.synced().await;
        controller.pods.synced().await;
        controller.clone().listen(&queue, &orphans);
        let freed = Arc::new(orphans::Orphans::new(&controller));
        tokio::join!(
            work(&context, NAME, queue, controller, WORKERS),
            work(&context, NAME, orphans, freed, WORKERS)
        );
    }
    .boxed()
}

/// What is known of a Job that no object says.
#[derive(Default)]
struct Memory {
    /// Of which Job of the name.
    uid: String,
    backoff: Backoff,
    /// UIDs of pods that were let go, until the cache shows it; unlike other expectations never given up, since such a
    /// pod must not be counted again.
    released: HashSet<String>,
}

struct Jobs {
    context: Context,
    jobs: Arc<Cache>,
    pods: Arc<Cache>,
    expected_pods: Expectations,
    expected_jobs: Expectations,
    /// At most one per Job that has not ended.
    memories: Mutex<HashMap<ObjectKey, Memory>>,
}

impl Jobs {
    fn new(context: Context) -> Self {
        let jobs = context.caches.scope(Scope::all(jobs()));
        let pods = context.caches.pods();
        Self {
            expected_pods: Expectations::new(pods.clone()),
            expected_jobs: Expectations::new(jobs.clone()),
            context,
            jobs,
            pods,
            memories: Mutex::default(),
        }
    }

    fn listen(self: Arc<Self>, queue: &Arc<Queue<ObjectKey>>, orphans: &Arc<Queue<ObjectKey>>) {
        let (this, sink, freed) = (self.clone(), queue.clone(), orphans.clone());
        self.jobs.subscribe(move |change| this.job_changed(change, &sink, &freed));
        let (this, sink, freed) = (self.clone(), queue.clone(), orphans.clone());
        self.pods.subscribe(move |change| this.pod_changed(change, &sink, &freed));
    }

    fn job_changed(&self, change: &Change<'_>, queue: &Queue<ObjectKey>, orphans: &Queue<ObjectKey>) {
        let job = change.object();
        match change.old.zip(change.new) {
            Some((old, new)) if old.generation() == new.generation() => queue.add_after(job.key(), BATCH),
            _ => queue.add(job.key()),
        }
        // Nobody else looks after the pods of a Job that is gone or has ended.
        if change.new.is_none_or(|job| finished(job)) {
            let pods = self.pods.read();
            let own = pods.indexed(&BY_CONTROLLER, job.uid());
            own.filter(|pod| pod.finalizers() > 0).for_each(|pod| orphans.add(pod.key()));
        }
    }

    fn pod_changed(&self, change: &Change<'_>, queue: &Queue<ObjectKey>, orphans: &Queue<ObjectKey>) {
        let held = change.new.filter(|pod| pod.finalizers() > 0);
        for pod in change.sides() {
            match pod.controller() {
                Some(owner) if owner.kind == "Job" => {
                    let key = ObjectKey::new(pod.namespace(), owner.name);
                    let live = self.jobs.get(&key).filter(|job| job.uid() == owner.uid);
                    if held.is_some_and(|pod| pod.deleting()) && live.is_none_or(|job| finished(&job)) {
                        orphans.add(pod.key());
                    }
                    queue.add_after(key, BATCH);
                }
                Some(_) => {}
                // An orphan is nobody's to count, and may be adopted by any Job that selects it.
                None => {
                    if held.is_some() {
                        orphans.add(pod.key());
                    }
                    for job in self.jobs.read().namespace(pod.namespace()) {
                        if selector(job).is_ok_and(|selector| pod.selected(&selector)) {
                            queue.add_after(job.key(), BATCH);
                        }
                    }
                }
            }
        }
    }

    fn observe(&self, job: &Arc<Object>, spec: Spec, status: Status) -> Result<View> {
        let selector = LabelSelector::from_value(&spec.selector);
        let selector = selector.map_err(|why| Error::invalid(job.key(), format!("selector: {why}")))?;
        let pods = self.pods.read();
        let orphans = format!("/{}", job.namespace());
        let candidates =
            pods.indexed(&BY_CONTROLLER, job.uid()).chain(pods.indexed(&BY_CONTROLLER, &orphans));
        let claims = owner::claim(candidates, job.uid(), job.deleting(), &selector);
        drop(pods);
        let mut memories = self.memories.lock();
        let memory = memories.entry(job.key()).or_default();
        if memory.uid != job.uid() {
            *memory = Memory { uid: job.uid().to_owned(), ..Memory::default() };
        }
        View::new(job.clone(), spec, status, claims, memory.backoff, &mut memory.released)
    }

    fn forget(&self, key: &ObjectKey) {
        self.memories.lock().remove(key);
    }

    fn control<'a>(&'a self, job: &'a Object) -> Control<'a> {
        Control { context: &self.context, owner: job, kind: self::job(), expected: &self.expected_pods }
    }
}

/// Whether a Job has come to an end.
fn finished(job: &Object) -> bool {
    #[derive(Deserialize)]
    struct Condition<'a> {
        r#type: std::borrow::Cow<'a, str>,
        status: std::borrow::Cow<'a, str>,
    }
    let Some(bytes) = job.value_at(&["status", "conditions"]) else { return false };
    let conditions: Vec<Condition<'_>> = serde_json::from_slice(bytes).unwrap_or_default();
    conditions.iter().any(|one| (one.r#type == "Complete" || one.r#type == "Failed") && one.status == "True")
}

fn selector(job: &Object) -> Result<LabelSelector> {
    let bytes = job.value_at(&["spec", "selector"]).unwrap_or(b"null");
    let tree: Value = serde_json::from_slice(bytes).map_err(|error| Error::invalid(job.key(), error))?;
    LabelSelector::from_value(&tree).map_err(|why| Error::invalid(job.key(), why))
}

#[async_trait]
impl Reconcile<ObjectKey> for Jobs {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(object) = self.jobs.get(key) else {
            self.expected_pods.forget(key);
            self.expected_jobs.forget(key);
            self.forget(key);
            return Ok(Outcome::Done);
        };
        if finished(&object) {
            self.forget(key);
            return Ok(Outcome::Done);
        }
        if !self.expected_pods.met(key) || !self.expected_jobs.met(key) {
            return Ok(Outcome::Done);
        }
        let mut tree = object.to_value().map_err(|error| Error::invalid(key, error))?;
        let spec = Spec::deserialize(tree["spec"].take()).map_err(|error| Error::invalid(key, error))?;
        if spec.managed_elsewhere() {
            return Ok(Outcome::Done);
        }
        if !spec.known() {
            let message = "Skipped Job sync because completion mode is unknown";
            let about = Reference::new(&object, &job());
            self.context.events.warning(about, "UnknownCompletionMode", message);
            return Ok(Outcome::Done);
        }
        let old = tree["status"].take();
        let view = self.observe(&object, spec, Status::read(&old))?;
        if view.unknown && self.pods.revision() < object.revision() {
            return Ok(Outcome::After(RETRY.0));
        }
        let plan = plan::plan(&view, self.context.clock.now());
        self.apply(&view, &plan, old).await?;
        Ok(plan.again.map_or(Outcome::Done, Outcome::After))
    }
}
