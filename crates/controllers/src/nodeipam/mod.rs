//! Gives each node a range for the addresses of its pods.
//!
//! Invariants: one worker gives, on a cache that shows all it gave, so that no two nodes get one range; a node that has
//! one keeps it, whoever gave it. Without a range of the cluster nothing is given. Answers to upstream's node IPAM
//! controller with the range allocator.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, Gvr, Object, ObjectKey};
use gifee_client::{Cache, PatchKind, Queue, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Reference, Result, patch, work};
use ipnet::IpNet;
use parking_lot::Mutex;
use plan::Range;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Upstream's name.
pub const NAME: &str = "node-ipam-controller";
/// Who its events are from.
const COMPONENT: &str = "cidrAllocator";
/// How long to wait for what was written to come back; a stale view meets a conflict at the node, not at the range.
const SHOWN: Duration = Duration::from_secs(30);

fn nodes() -> Gvr {
    Gvr::core("nodes")
}

/// Runs until the context's shutdown; without a range it has nothing to do.
pub fn run(context: Context, config: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let cut = |range| Range::new(range, config.node_prefix);
        let ranges: Vec<Range> =
            config.cluster_ranges.iter().filter_map(|range| range.parse().ok()).map(cut).collect();
        let queue = Arc::new(Queue::new());
        let cache = context.caches.scope(Scope::all(nodes()));
        if !ranges.is_empty() {
            cache.synced().await;
            let sink = queue.clone();
            cache.subscribe(move |change| {
                if change.new.is_some_and(|node| lacks(node)) {
                    sink.add(change.object().key());
                }
            });
        }
        let last = Mutex::new(vec![None; ranges.len()]);
        let allocator = Allocator { context: context.recording(COMPONENT), cache, ranges, last };
        work(&context, NAME, queue, Arc::new(allocator), 1).await;
    }
    .boxed()
}

fn lacks(node: &Object) -> bool {
    !node.deleting() && node.text_at(&["spec", "podCIDR"]).is_none_or(|range| range.is_empty())
}

struct Allocator {
    context: Context,
    cache: Arc<Cache>,
    /// One of each family.
    ranges: Vec<Range>,
    /// The number that was given last, of each range.
    last: Mutex<Vec<Option<u32>>>,
}

impl Allocator {
    fn used(&self) -> HashSet<IpNet> {
        let nodes = self.cache.read();
        let read = |node: &Arc<Object>| -> Vec<IpNet> {
            let all: Vec<Value> = node
                .value_at(&["spec", "podCIDRs"])
                .and_then(|all| serde_json::from_slice(all).ok())
                .unwrap_or_default();
            let one = node.text_at(&["spec", "podCIDR"]).map(|one| one.into_owned());
            let all = all.iter().filter_map(Value::as_str).map(str::to_owned).chain(one);
            all.filter_map(|range| range.parse().ok()).collect()
        };
        nodes.all().flat_map(read).collect()
    }

    /// A part of each range, with its number; none if one is used up.
    fn free(&self) -> Option<Vec<(IpNet, u32)>> {
        let used = self.used();
        let last = self.last.lock();
        self.ranges.iter().zip(&*last).map(|(range, last)| range.free(&used, *last)).collect()
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Allocator {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(node) = self.cache.get(key).filter(|node| lacks(node)) else { return Ok(Outcome::Done) };
        let Some(free) = self.free() else {
            let message = format!("Node {} status is now: CIDRNotAvailable", key.name);
            let reference = Reference::new(&node, &Gvk::new("", "v1", "Node"));
            self.context.events.normal(reference, "CIDRNotAvailable", message);
            return Err(Error::invalid(format!("node {key}"), "all ranges for pods' addresses are given"));
        };
        let ranges: Vec<String> = free.iter().map(|(range, _)| range.to_string()).collect();
        let change = json!({ "spec": { "podCIDR": ranges[0], "podCIDRs": ranges } });
        let change = patch::pinned(&node, change);
        match self.context.client.patch(&nodes(), key, PatchKind::Merge, change).await {
            Err(error) if error.is_not_found() => {}
            other => {
                let written = other?;
                *self.last.lock() = free.iter().map(|(_, number)| Some(*number)).collect();
                let _ = tokio::time::timeout(SHOWN, self.cache.reached(written.revision())).await;
            }
        }
        Ok(Outcome::Done)
    }
}
