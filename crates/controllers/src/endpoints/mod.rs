//! Keeps the Endpoints of each service with a selector.
//!
//! Answers to upstream's endpoints controller.

pub mod plan;
pub(crate) mod service;
#[cfg(test)]
pub(crate) mod tests;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, ObjectKey};
use gifee_client::{Cache, DeleteOptions, PatchKind, Queue, Scope};
use gifee_reconcile::{Context, Error, Expectations, Outcome, Reconcile, Result, work};
use plan::{Plan, View};
use service::{Service, Services};
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "endpoints-controller";
const WORKERS: usize = 5;

fn endpoints() -> Gvr {
    Gvr::core("endpoints")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let services = Services::new(&context);
        let cache = context.caches.scope(Scope::all(endpoints()));
        cache.synced().await;
        services.listen(&queue).await;
        let sink = queue.clone();
        cache.subscribe(move |change| sink.add(change.object().key()));
        let expected = Expectations::new(cache.clone());
        let controller = Arc::new(Endpoints { context: context.clone(), services, cache, expected });
        work(&context, NAME, queue, controller, WORKERS).await;
    }
    .boxed()
}

struct Endpoints {
    context: Context,
    services: Arc<Services>,
    cache: Arc<Cache>,
    expected: Expectations,
}

impl Endpoints {
    /// Endpoints of a service that is gone are deleted, unless they were never a service's.
    async fn orphaned(&self, key: &ObjectKey) -> Result<()> {
        self.expected.forget(key);
        let Some(present) = self.cache.get(key) else { return Ok(()) };
        if present.label("endpoints.kubernetes.io/managed-by").is_none() {
            return Ok(());
        }
        match self.context.client.delete(&endpoints(), key, &DeleteOptions::of_uid(present.uid())).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Endpoints {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(object) = self.services.services.get(key) else {
            self.orphaned(key).await?;
            return Ok(Outcome::Done);
        };
        if !self.expected.met(key) {
            return Ok(Outcome::Done);
        }
        let Some(service) = Service::read(&object)? else { return Ok(Outcome::Done) };
        let present = match self.cache.get(key) {
            Some(object) => {
                let tree = object.to_value().map_err(|error| Error::invalid(key, error))?;
                Some((object, tree))
            }
            None => None,
        };
        let view = View { pods: self.services.selected(&object)?, service, present };
        let client = &self.context.client;
        let outcome = match plan::plan(&view) {
            Plan::Rest => return Ok(Outcome::Done),
            Plan::Create(body) => client.create(&endpoints(), &key.namespace, body).await,
            Plan::Patch(change) => client.patch(&endpoints(), key, PatchKind::Merge, change).await,
        };
        match outcome {
            Ok(object) => self.expected.wrote(key, object.revision()),
            Err(error) if crate::pods::namespace_terminating(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Outcome::Done)
    }
}
