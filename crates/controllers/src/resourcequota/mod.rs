//! Counts what is used of quotas.
//!
//! Invariants: only resources that some quota names are watched; a status is written at the version of the quota
//! that it was counted for, so that a charge of the API server in between makes it be counted again; and less than what
//! is charged is only believed of a quota that has been let be for a while, since what was charged may be on its way
//! into the store, or from there to here. Answers to upstream's resource quota controller.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::discovery::Discovery;
use gifee_client::{Cache, Change, PatchKind, Queue, Scope};
use gifee_policy::resources::amounts;
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result, patch, work};
use parking_lot::Mutex;
use plan::{Source, WHOLE, counted, status};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Upstream's name.
pub const NAME: &str = "resourcequota-controller";
const WORKERS: usize = 5;
/// Everything is counted again so often, for what no watch told of: writes that were charged and then failed.
const AGAIN: Duration = Duration::from_secs(300);
/// How long what was charged may take until it is seen: so much later less of it is believed.
const IN_FLIGHT: Duration = Duration::from_millis(500);
/// New objects were charged when they came; what that missed is found so much later, all of them at once.
const AFTER_NEW: Duration = Duration::from_secs(2);

fn quotas() -> Gvr {
    Gvr::core("resourcequotas")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let cache = context.caches.scope(Scope::all(quotas()));
        cache.synced().await;
        let queue = Arc::new(Queue::new());
        let sink = queue.clone();
        cache.subscribe(move |change| {
            if let Some(new) = change.new
                && change.old.is_none_or(|old| asked(old) != asked(new))
            {
                sink.add(new.key());
            }
        });
        let counters = Counters {
            context: context.clone(),
            cache,
            queue: queue.clone(),
            watched: Mutex::default(),
            known: Mutex::default(),
            charged: Mutex::default(),
        };
        work(&context, NAME, queue, Arc::new(counters), WORKERS).await;
    }
    .boxed()
}

/// What a quota asks for, and what its status has taken over of it: a change of what is used alone is our own, or a
/// charge.
fn asked(quota: &Object) -> (Value, Value) {
    let tree = quota.to_value().unwrap_or_default();
    (tree["spec"].clone(), tree["status"]["hard"].clone())
}

struct Counters {
    context: Context,
    cache: Arc<Cache>,
    queue: Arc<Queue<ObjectKey>>,
    /// Watched resources by group and name; at most one per resource that quotas name.
    watched: Mutex<HashMap<(String, String), Arc<Cache>>>,
    /// What the server serves, as of when a name was last unknown.
    known: Mutex<HashMap<(String, String), Gvr>>,
    /// Quotas of which less was counted than is charged: at which version, and when that was found. At most one entry
    /// per quota.
    charged: Mutex<HashMap<ObjectKey, (u64, Instant)>>,
}

impl Counters {
    /// The objects of a resource, watched from now on; None if the server has no such resource.
    async fn watch(&self, group: &str, resource: &str) -> Option<Arc<Cache>> {
        let name = (group.to_owned(), resource.to_owned());
        let watched = self.watched.lock().get(&name).cloned();
        if let Some(cache) = watched {
            cache.synced().await;
            return Some(cache);
        }
        let gvr = if group.is_empty() { Gvr::core(resource) } else { self.discover(&name).await? };
        let whole = WHOLE.contains(&(group, resource));
        let scope = if whole { Scope::all(gvr) } else { Scope::metadata(gvr) };
        let cache = self.context.caches.scope(scope);
        let first = self.watched.lock().insert(name, cache.clone()).is_none();
        cache.synced().await;
        if first {
            let (queue, quotas) = (self.queue.clone(), self.cache.clone());
            cache.subscribe(move |change| {
                let delay = recount(change, whole);
                let Some(delay) = delay else { return };
                for quota in quotas.read().namespace(change.object().namespace()) {
                    queue.add_after(quota.key(), delay);
                }
            });
        }
        Some(cache)
    }

    /// How long it is to be waited until less than what is charged is believed of a version of a quota.
    fn doubted(&self, key: &ObjectKey, revision: u64) -> Duration {
        let mut charged = self.charged.lock();
        let (known, since) = charged.entry(key.clone()).or_insert((revision, Instant::now()));
        if *known != revision {
            (*known, *since) = (revision, Instant::now());
        }
        IN_FLIGHT.saturating_sub(since.elapsed())
    }

    async fn discover(&self, name: &(String, String)) -> Option<Gvr> {
        if let Some(gvr) = self.known.lock().get(name) {
            return Some(gvr.clone());
        }
        let discovery = Discovery::load(&self.context.client).await.ok()?;
        let mut known = self.known.lock();
        for resource in
            discovery.resources.iter().filter(|one| one.namespaced && one.supports(&["list", "watch"]))
        {
            let name = (resource.gvr.group.to_string(), resource.gvr.resource.to_string());
            known.entry(name).or_insert_with(|| resource.gvr.clone());
        }
        known.get(name).cloned()
    }
}

/// When quotas are to be counted again because of a change.
fn recount(change: &Change<'_>, whole: bool) -> Option<Duration> {
    match (change.old, change.new) {
        (_, None) => Some(Duration::ZERO),
        (None, Some(_)) => Some(AFTER_NEW),
        (Some(old), Some(new)) if whole => counted_part(old).ne(&counted_part(new)).then_some(Duration::ZERO),
        _ => None,
    }
}

/// The parts of an object that can change what it counts.
fn counted_part(object: &Object) -> Value {
    let mut tree = object.to_value().unwrap_or_default();
    let status = &mut tree["status"];
    let fields =
        ["phase", "allocatedResources", "currentVolumeAttributesClassName", "modifyVolumeStatus", "resize"];
    let ended = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"));
    let status: Vec<Value> = fields.iter().skip(1).map(|field| status[*field].take()).collect();
    let deleting = tree["metadata"]["deletionTimestamp"].take();
    Value::Array(vec![tree["spec"].take(), status.into(), ended.into(), deleting])
}

#[async_trait]
impl Reconcile<ObjectKey> for Counters {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(quota) = self.cache.get(key) else {
            self.charged.lock().remove(key);
            return Ok(Outcome::Done);
        };
        let tree = quota.to_value().map_err(|error| Error::invalid(key, error))?;
        let names = amounts(&tree["spec"]["hard"]);
        let resources: BTreeSet<(String, String)> = names.keys().filter_map(|name| counted(name)).collect();
        let mut sources = Vec::new();
        for (group, resource) in resources {
            let Some(cache) = self.watch(&group, &resource).await else { continue };
            let objects = cache.read().namespace(&key.namespace).cloned().collect();
            sources.push(Source { group, resource, objects });
        }
        let wanted = status(&tree, &sources, self.context.clock.now().as_second());
        if plan::less(&wanted, &tree["status"]) {
            let rest = self.doubted(key, quota.revision());
            if !rest.is_zero() {
                return Ok(Outcome::After(rest));
            }
        } else {
            self.charged.lock().remove(key);
        }
        if let Some(change) = patch::status(&quota, &tree["status"], &wanted) {
            let outcome = self.context.client.patch_status(&quotas(), key, PatchKind::Merge, change).await;
            match outcome {
                Err(error) if error.is_not_found() => return Ok(Outcome::Done),
                other => drop(other?),
            }
        }
        Ok(Outcome::After(AGAIN))
    }
}
