//! Deletes objects whose owners are gone, and sees to it that owners go before, after or without their
//! dependents, as who deleted them wished.
//!
//! Invariants: an object is deleted only after the server itself said that each of its owners is gone, or
//! after the end of the owner was seen; a cluster at rest is not written to. Answers to upstream's
//! garbagecollector.

mod absent;
pub mod graph;
mod live;
mod monitors;
pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use absent::Absent;
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use gifee_base::{Object, ObjectKey};
use gifee_client::Queue;
use gifee_reconcile::{Context, Outcome, Reconcile, Reference, Result, work};
use graph::{Claim, Effect, Finalizer, Graph, Uid, View};
use live::Target;
use monitors::{Kinds, Monitors};
use parking_lot::Mutex;
use plan::{Plan, Verdict};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Upstream's name.
pub const NAME: &str = "garbage-collector-controller";
const WORKERS: usize = 20;
/// How many dependents of one owner are changed at once.
const CONCURRENT_MAXIMUM: usize = 16;
/// What waits for an owner to be seen is looked at again after as long as it has waited, within these.
const WAIT_MINIMUM: Duration = Duration::from_millis(200);
const WAIT_MAXIMUM: Duration = Duration::from_secs(1000);

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let collector = Arc::new(Collector {
            context: context.clone(),
            queue: queue.clone(),
            graph: Mutex::default(),
            absent: Mutex::default(),
            kinds: Mutex::default(),
            monitors: Mutex::default(),
            waiting: Mutex::default(),
            rediscover: Notify::new(),
        });
        let stop = context.shutdown.clone();
        let started = stop.run_until_cancelled(monitors::start(&collector)).await;
        if started.is_some() {
            let keep = stop.run_until_cancelled(monitors::keep(collector.clone()));
            tokio::join!(work(&context, NAME, queue, collector.clone(), WORKERS), keep);
        }
    }
    .boxed()
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    /// An object that may have to go.
    Object(Uid),
    /// An owner that nobody has seen.
    Owner(Uid),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(uid) => write!(f, "object {uid}"),
            Self::Owner(uid) => write!(f, "owner {uid}"),
        }
    }
}

/// What the server says of an owner.
enum Found {
    /// It is there.
    There(Object),
    /// It is not.
    Absent,
    /// Nobody serves its kind at present.
    Unknown,
    /// An object without a namespace cannot have an owner in one.
    Impossible,
}

/// The controller.
struct Collector {
    context: Context,
    queue: Arc<Queue<Work>>,
    graph: Mutex<Graph>,
    absent: Mutex<Absent>,
    kinds: Kinds,
    monitors: Mutex<Monitors>,
    /// Since when work waits for an owner to be seen; bounded by the objects that refer to unseen owners.
    waiting: Mutex<HashMap<Work, Instant>>,
    /// Resources may have come or gone.
    rediscover: Notify,
}

impl Collector {
    fn perform(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Examine(uid) => self.queue.add(Work::Object(uid)),
                Effect::Verify(uid) => self.queue.add(Work::Owner(uid)),
                Effect::Gone(claim) => self.absent.lock().add(claim),
                Effect::Misplaced { dependent, owner } => self.report_misplaced(&dependent, &owner),
            }
        }
    }

    fn report_misplaced(&self, dependent: &str, owner: &str) {
        let Some(view) = self.graph.lock().view(dependent) else { return };
        let Some((claim, _)) = view.owners.iter().find(|(claim, _)| *claim.uid == *owner) else { return };
        let reference = Reference {
            api_version: view.kind.api_version.clone(),
            kind: view.kind.kind.clone(),
            namespace: view.key.namespace.to_string(),
            name: view.key.name.to_string(),
            uid: view.uid.to_string(),
            ..Reference::default()
        };
        let namespace = &view.key.namespace;
        let message = format!(
            "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in namespace {namespace:?}",
            claim.named.api_version, claim.named.kind, claim.name, claim.uid
        );
        self.context.events.warning(reference, "OwnerRefInvalidNamespace", message);
    }

    /// Asks the server for an owner, unless it is known to be gone.
    async fn find(&self, claim: &Claim) -> Result<Found> {
        if self.absent.lock().has(claim) {
            return Ok(Found::Absent);
        }
        let name = (claim.named.api_version.to_string(), claim.named.kind.to_string());
        let Some((gvr, namespaced)) = self.kinds.lock().get(&name).cloned() else {
            return Ok(Found::Unknown);
        };
        if namespaced && claim.namespace.is_empty() {
            return Ok(Found::Impossible);
        }
        let namespace = if namespaced { claim.namespace.clone() } else { "".into() };
        let key = ObjectKey::new(&namespace, &claim.name);
        let target = Target { client: &self.context.client, gvr: &gvr, key: &key, uid: &claim.uid };
        Ok(match target.get().await? {
            Some(owner) => Found::There(owner),
            None => {
                self.absent.lock().add(Claim { namespace, ..claim.clone() });
                Found::Absent
            }
        })
    }

    /// Looks for an owner that nobody has seen: one that was there before its watch began will be seen, one
    /// that is gone will not, and one that came and went in between must be asked for until it is gone.
    async fn verify(&self, owner: &Uid) -> Result<Outcome> {
        let claims = self.graph.lock().claims(owner);
        let mut waits = false;
        for (claim, dependents) in claims {
            match self.find(&claim).await? {
                Found::Absent => dependents.into_iter().for_each(|uid| self.queue.add(Work::Object(uid))),
                Found::There(_) => waits = true,
                Found::Unknown => {
                    self.rediscover.notify_one();
                    waits = true;
                }
                Found::Impossible => {}
            }
        }
        Ok(self.waited(Work::Owner(owner.clone()), waits))
    }

    fn waited(&self, work: Work, waits: bool) -> Outcome {
        let mut waiting = self.waiting.lock();
        if !waits {
            waiting.remove(&work);
            return Outcome::Done;
        }
        let since = waiting.entry(work).or_insert_with(Instant::now);
        Outcome::After(since.elapsed().clamp(WAIT_MINIMUM, WAIT_MAXIMUM))
    }

    /// What the owners of an object are; none if that cannot be told now, or never can.
    async fn judge(&self, view: &View) -> Result<Result<Vec<Verdict>, Outcome>> {
        let mut verdicts = Vec::with_capacity(view.owners.len());
        let work = || Work::Object(view.uid.clone());
        for (claim, _) in &view.owners {
            verdicts.push(match self.find(claim).await? {
                Found::Absent => Verdict::Absent,
                Found::There(owner) if owner.deleting() && Finalizer::of(&owner) == Finalizer::Foreground => {
                    Verdict::Waiting
                }
                Found::There(_) => Verdict::Solid,
                Found::Impossible => return Ok(Err(self.waited(work(), false))),
                Found::Unknown => {
                    self.rediscover.notify_one();
                    return Ok(Err(self.waited(work(), true)));
                }
            });
        }
        self.waited(work(), false);
        Ok(Ok(verdicts))
    }

    async fn examine(&self, uid: &Uid) -> Result<Outcome> {
        let view = self.graph.lock().view(uid);
        let Some(view) = view else {
            self.waited(Work::Object(uid.clone()), false);
            return Ok(Outcome::Done);
        };
        let verdicts = match plan::judges_owners(&view) {
            true => match self.judge(&view).await? {
                Ok(verdicts) => verdicts,
                Err(outcome) => return Ok(outcome),
            },
            false => Vec::new(),
        };
        let (client, gvr) = (&self.context.client, &view.kind.gvr);
        let target = Target { client, gvr, key: &view.key, uid: &view.uid };
        match plan::plan(&view, &verdicts) {
            Plan::Nothing => {}
            Plan::Orphan(dependents) => {
                self.orphan(&view.uid, dependents).await?;
                target.finish(Finalizer::Orphan).await?;
            }
            Plan::Wait(dependents) => {
                let graph = self.graph.lock();
                for dependent in dependents.into_iter().filter(|uid| !graph.waiting(uid)) {
                    self.queue.add(Work::Object(dependent));
                }
            }
            Plan::Finish => target.finish(Finalizer::Foreground).await?,
            Plan::Release(owners) => target.release(&owners).await?,
            Plan::Delete { propagation, unblock } => {
                tracing::debug!(kind = view.kind.kind, key = %view.key, "deleting what has no owner left");
                target.delete(&view, propagation, unblock).await?;
            }
        }
        Ok(Outcome::Done)
    }

    /// Lets all dependents forget an owner.
    async fn orphan(&self, owner: &Uid, dependents: Vec<Uid>) -> Result<()> {
        let views: Vec<View> = {
            let graph = self.graph.lock();
            dependents.iter().filter_map(|uid| graph.view(uid)).collect()
        };
        let release = |view: View| async move {
            let (client, gvr) = (&self.context.client, &view.kind.gvr);
            let target = Target { client, gvr, key: &view.key, uid: &view.uid };
            target.release(std::slice::from_ref(owner)).await
        };
        let outcomes = stream::iter(views).map(release).buffer_unordered(CONCURRENT_MAXIMUM);
        outcomes.collect::<Vec<Result<()>>>().await.into_iter().collect()
    }
}

#[async_trait]
impl Reconcile<Work> for Collector {
    async fn reconcile(&self, key: &Work) -> Result<Outcome> {
        match key {
            Work::Object(uid) => self.examine(uid).await,
            Work::Owner(uid) => self.verify(uid).await,
        }
    }
}
