//! Deletes Jobs some time after they have ended, if they say so.
//!
//! Invariant: what is deleted was seen to be over its time by a read from the server, and is deleted by UID. Answers to
//! upstream's ttlafterfinished controller.

#[cfg(test)]
mod tests;

use crate::Config;
use crate::job::spec::Status;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::{Cache, DeleteOptions, Propagation, Queue, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result, work};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Upstream's name.
pub const NAME: &str = "ttl-after-finished-controller";
const WORKERS: usize = 5;

fn jobs() -> Gvr {
    Gvr::new("batch", "v1", "jobs")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let jobs = context.caches.scope(Scope::all(jobs()));
        jobs.synced().await;
        let sink = queue.clone();
        jobs.subscribe(move |change| {
            if change.new.is_some_and(|job| job.value_at(&["spec", "ttlSecondsAfterFinished"]).is_some()) {
                sink.add(change.object().key());
            }
        });
        let controller = Finished { context: context.clone(), jobs };
        work(&context, NAME, queue, Arc::new(controller), WORKERS).await;
    }
    .boxed()
}

struct Finished {
    context: Context,
    jobs: Arc<Cache>,
}

/// How long a Job has left, if it is to go: nothing once its time is over.
fn left(job: &Object, now: Timestamp) -> Result<Option<Duration>> {
    let tree: Value = job.to_value().map_err(|error| Error::invalid(job.key(), error))?;
    let ended = Status::read(&tree["status"]).finished_at();
    let (Some(ended), Some(seconds), false) =
        (ended, tree["spec"]["ttlSecondsAfterFinished"].as_i64(), job.deleting())
    else {
        return Ok(None);
    };
    let left = SignedDuration::from_secs(seconds).saturating_sub(now.duration_since(ended));
    Ok(Some(Duration::try_from(left).unwrap_or_default()))
}

#[async_trait]
impl Reconcile<ObjectKey> for Finished {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(job) = self.jobs.get(key) else { return Ok(Outcome::Done) };
        match left(&job, self.context.clock.now())? {
            None => return Ok(Outcome::Done),
            Some(left) if !left.is_zero() => return Ok(Outcome::After(left)),
            Some(_) => {}
        }
        // The time may have been changed since.
        let live = match self.context.client.get(&jobs(), key).await {
            Err(error) if error.is_not_found() => return Ok(Outcome::Done),
            live => live?,
        };
        match left(&live, self.context.clock.now())? {
            None => return Ok(Outcome::Done),
            Some(left) if !left.is_zero() => return Ok(Outcome::After(left)),
            Some(_) => {}
        }
        let options =
            DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::of_uid(live.uid()) };
        match self.context.client.delete(&jobs(), key, &options).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(Outcome::Done),
        }
    }
}
