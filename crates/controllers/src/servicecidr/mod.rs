//! Says which ranges of Service addresses can be used, and keeps one that is deleted while its addresses are in use.
//!
//! Invariant: the finalizer is taken away only when no address would be left outside of all ranges, and so long after
//! the deletion that all who allocate have seen it. Answers to upstream's ServiceCIDR controller.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::{Cache, PatchKind, Queue, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result, patch, work};
use plan::{MANAGED_BY, MANAGER, Plan, Range, plan};
use serde_json::json;
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "service-cidr-controller";

fn ranges() -> Gvr {
    Gvr::new("networking.k8s.io", "v1", "servicecidrs")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let ranges = context.caches.scope(Scope::all(ranges()));
        let addresses =
            context.caches.scope(Scope::metadata(Gvr::new("networking.k8s.io", "v1", "ipaddresses")));
        ranges.synced().await;
        addresses.synced().await;
        let (sink, all) = (queue.clone(), ranges.clone());
        ranges.subscribe(move |change| {
            sink.add(change.object().key());
            // A range that comes may let another go.
            if change.old.is_none() {
                deleting(&all, &sink);
            }
        });
        let (sink, all) = (queue.clone(), ranges.clone());
        addresses.subscribe(move |change| {
            if change.new.is_none() || change.old.is_none() {
                deleting(&all, &sink);
            }
        });
        let controller = Arc::new(Ranges { context: context.clone(), ranges, addresses });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

/// Brings the ranges that are going.
fn deleting(ranges: &Cache, queue: &Queue<ObjectKey>) {
    for range in ranges.read().all().filter(|range| range.deleting()) {
        queue.add(range.key());
    }
}

struct Ranges {
    context: Context,
    ranges: Arc<Cache>,
    addresses: Arc<Cache>,
}

#[async_trait]
impl Reconcile<ObjectKey> for Ranges {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(object) = self.ranges.get(key) else { return Ok(Outcome::Done) };
        let tree = object.to_value().map_err(|error| Error::invalid(key, error))?;
        let others: Vec<Range> = self
            .ranges
            .read()
            .all()
            .filter(|other| other.name() != &*key.name)
            .filter_map(|other: &Arc<Object>| other.to_value().ok())
            .map(|tree| Range::read(&tree))
            .collect();
        let addresses: Vec<std::net::IpAddr> = match object.deleting() {
            false => Vec::new(),
            true => {
                let addresses = self.addresses.read();
                let managed = addresses.all().filter(|one| one.label(MANAGED_BY) == Some(MANAGER));
                managed.filter_map(|one| one.name().parse().ok()).collect()
            }
        };
        let client = &self.context.client;
        match plan(&tree, &others, &addresses, self.context.clock.now()) {
            Plan::Nothing => {}
            Plan::Wait(left) => return Ok(Outcome::After(left)),
            Plan::Finalizers(finalizers) => {
                let change = patch::pinned(&object, json!({ "metadata": { "finalizers": finalizers } }));
                match client.patch(&ranges(), key, PatchKind::Merge, change).await {
                    Err(error) if error.is_not_found() => {}
                    other => drop(other?),
                }
            }
            Plan::Ready(conditions) => {
                let change = patch::pinned(&object, json!({ "status": { "conditions": conditions } }));
                client.patch_status(&ranges(), key, PatchKind::Merge, change).await?;
            }
        }
        Ok(Outcome::Done)
    }
}
