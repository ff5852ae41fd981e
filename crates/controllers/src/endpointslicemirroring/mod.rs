//! Mirrors Endpoints that somebody writes for a Service without a selector into EndpointSlices.
//!
//! Invariants: Endpoints of Services with selectors are never mirrored, nor are those that say so; a slice of another
//! keeper is never touched. Answers to upstream's endpointslicemirroring controller.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use crate::endpointslice::{self, BY_SERVICE};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::{Cache, Queue, Scope};
use gifee_reconcile::{Context, Error, Expectations, Outcome, Reconcile, Result, work};
use plan::{MANAGER, View, mirrored};
use serde_json::Value;
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "endpointslice-mirroring-controller";
const WORKERS: usize = 5;

fn slices() -> Gvr {
    Gvr::new("discovery.k8s.io", "v1", "endpointslices")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let endpoints = context.caches.scope(Scope::all(Gvr::core("endpoints")));
        let services = context.caches.scope(Scope::all(Gvr::core("services")));
        let cache = context.caches.scope(Scope::all(slices()));
        cache.add_index(BY_SERVICE);
        for one in [&endpoints, &services, &cache] {
            one.synced().await;
        }
        for one in [&endpoints, &services] {
            let sink = queue.clone();
            one.subscribe(move |change| sink.add(change.object().key()));
        }
        endpointslice::follow(&cache, MANAGER, queue.clone());
        let expected = Expectations::new(cache.clone());
        let mirrors = Mirrors { context: context.clone(), endpoints, services, cache, expected };
        work(&context, NAME, queue, Arc::new(mirrors), WORKERS).await;
    }
    .boxed()
}

struct Mirrors {
    context: Context,
    endpoints: Arc<Cache>,
    services: Arc<Cache>,
    cache: Arc<Cache>,
    expected: Expectations,
}

fn tree(object: &Object) -> Result<Value> {
    object.to_value().map_err(|error| Error::invalid(object.key(), error))
}

impl Mirrors {
    fn observe(&self, key: &ObjectKey) -> Result<View> {
        let slices = endpointslice::own(&self.cache, MANAGER, key)?;
        let service = self.services.get(key).map(|service| tree(&service)).transpose()?;
        let endpoints = match self.endpoints.get(key).filter(|endpoints| !endpoints.deleting()) {
            Some(endpoints) => {
                let tree = tree(&endpoints)?;
                mirrored(&tree, &service.unwrap_or_default()).then_some((endpoints, tree))
            }
            None => None,
        };
        Ok(View { endpoints, slices })
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Mirrors {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        if !self.expected.met(key) {
            return Ok(Outcome::Done);
        }
        let plan = plan::plan(&self.observe(key)?);
        endpointslice::apply(&self.context.client, &self.expected, key, plan).await?;
        Ok(Outcome::Done)
    }
}
