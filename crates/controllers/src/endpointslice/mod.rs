//! Keeps the EndpointSlices of each service with a selector.
//!
//! Invariants: a slice of another keeper is never touched; what a service has is never planned on a view
//! that lacks an own write. Slices of a deleted service are the garbage collector's. Answers to upstream's
//! endpointslice controller.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use crate::endpoints::service::{Service, Services};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::{Cache, Client, DeleteOptions, Index, PatchKind, Queue, Scope};
use gifee_reconcile::pod::Brief;
use gifee_reconcile::{Context, Error, Expectations, Outcome, Reconcile, Result, work};
use plan::{MANAGED_BY, MANAGER, Plan, SERVICE_NAME, View};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "endpointslice-controller";
const WORKERS: usize = 5;
const ZONE: &str = "topology.kubernetes.io/zone";

/// Slices by `namespace/service`.
pub const BY_SERVICE: Index = Index {
    name: "service",
    values: |slice, add| {
        if let Some(service) = slice.label(SERVICE_NAME) {
            add(&format!("{}/{service}", slice.namespace()));
        }
    },
};

fn slices() -> Gvr {
    Gvr::new("discovery.k8s.io", "v1", "endpointslices")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let services = Services::new(&context);
        let cache = context.caches.scope(Scope::all(slices()));
        cache.add_index(BY_SERVICE);
        let nodes = context.caches.scope(Scope::all(Gvr::core("nodes")));
        cache.synced().await;
        nodes.synced().await;
        services.listen(&queue).await;
        follow(&cache, MANAGER, queue.clone());
        let expected = Expectations::new(cache.clone());
        let controller = Arc::new(Slices { context: context.clone(), services, cache, nodes, expected });
        work(&context, NAME, queue, controller, WORKERS).await;
    }
    .boxed()
}

struct Slices {
    context: Context,
    services: Arc<Services>,
    cache: Arc<Cache>,
    nodes: Arc<Cache>,
    expected: Expectations,
}

impl Slices {
    fn observe(&self, key: &ObjectKey, service: Service) -> Result<View> {
        let pods = self.services.selected(&service.object)?;
        let slices = own(&self.cache, MANAGER, key)?;
        Ok(View { zones: self.zones(&pods), service, pods, slices })
    }

    fn zones(&self, pods: &[Brief]) -> BTreeMap<String, String> {
        let nodes = self.nodes.read();
        let zone = |name: &str| Some(nodes.get("", name)?.label(ZONE)?.to_owned());
        let names = pods.iter().map(|pod| &pod.spec.node_name);
        names.filter_map(|name| Some((name.clone(), zone(name)?))).collect()
    }
}

/// Brings the Service or Endpoints whose slices change, of one keeper's slices.
pub(crate) fn follow(cache: &Cache, manager: &'static str, queue: Arc<Queue<ObjectKey>>) {
    cache.subscribe(move |change| {
        for slice in change.sides().filter(|slice| slice.label(MANAGED_BY) == Some(manager)) {
            if let Some(service) = slice.label(SERVICE_NAME) {
                queue.add(ObjectKey::new(slice.namespace(), service));
            }
        }
    });
}

/// The slices that a keeper has for a Service or Endpoints, with their trees.
///
/// # Errors
/// If one of them cannot be read.
pub(crate) fn own(cache: &Cache, manager: &str, key: &ObjectKey) -> Result<Vec<(Arc<Object>, Value)>> {
    let cache = cache.read();
    let own = cache
        .indexed(&BY_SERVICE, &key.to_string())
        .filter(|slice| slice.label(MANAGED_BY) == Some(manager) && !slice.deleting());
    own.map(|slice| {
        let tree = slice.to_value().map_err(|error| Error::invalid(slice.key(), error))?;
        Ok((slice.clone(), tree))
    })
    .collect()
}

/// Makes the slices of an object what a plan says.
pub(crate) async fn apply(
    client: &Client,
    expected: &Expectations,
    key: &ObjectKey,
    plan: Plan,
) -> Result<()> {
    // New endpoints first, so that none is missing in between.
    for body in plan.create {
        match client.create(&slices(), &key.namespace, body).await {
            Ok(slice) => expected.wrote(key, slice.revision()),
            Err(error) if crate::pods::namespace_terminating(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    for (slice, change) in plan.change {
        let slice = client.patch(&slices(), &slice.key(), PatchKind::Merge, change).await?;
        expected.wrote(key, slice.revision());
    }
    for slice in plan.delete {
        expected.deleting(key, &slice.key(), slice.uid());
        match client.delete(&slices(), &slice.key(), &DeleteOptions::of_uid(slice.uid())).await {
            Err(error) if !error.is_not_found() => {
                expected.kept(key, slice.uid());
                return Err(error.into());
            }
            _ => {}
        }
    }
    Ok(())
}

#[async_trait]
impl Reconcile<ObjectKey> for Slices {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(object) = self.services.services.get(key) else {
            self.expected.forget(key);
            return Ok(Outcome::Done);
        };
        if object.deleting() || !self.expected.met(key) {
            return Ok(Outcome::Done);
        }
        if let Some(service) = Service::read(&object)? {
            let plan = plan::plan(&self.observe(key, service)?);
            apply(&self.context.client, &self.expected, key, plan).await?;
        }
        Ok(Outcome::Done)
    }
}
