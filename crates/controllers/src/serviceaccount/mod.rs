//! Gives every namespace its service account `default`.
//!
//! Answers to upstream's serviceaccount controller.

#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::{Cache, Queue, Scope};
use gifee_reconcile::{Context, Outcome, Reconcile, Result, work};
use serde_json::{Value, json};
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "serviceaccount-controller";
/// The service account that every namespace has.
const DEFAULT: &str = "default";

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let namespaces = context.caches.scope(Scope::all(Gvr::core("namespaces")));
        let accounts = context.caches.scope(Scope::metadata(Gvr::core("serviceaccounts")));
        namespaces.synced().await;
        accounts.synced().await;
        let sink = queue.clone();
        namespaces.subscribe(move |change| sink.add(change.object().key()));
        let sink = queue.clone();
        accounts.subscribe(move |change| {
            // One that came needs nothing.
            if change.new.is_none() && change.object().name() == DEFAULT {
                sink.add(ObjectKey::cluster(change.object().namespace()));
            }
        });
        let controller = Arc::new(ServiceAccounts { context: context.clone(), namespaces, accounts });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

struct ServiceAccounts {
    context: Context,
    namespaces: Arc<Cache>,
    accounts: Arc<Cache>,
}

/// The service account to create, if one is missing.
fn plan(namespace: &Object, present: bool) -> Option<Value> {
    if namespace.deleting() || present {
        return None;
    }
    Some(json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": DEFAULT, "namespace": namespace.name() },
    }))
}

#[async_trait]
impl Reconcile<ObjectKey> for ServiceAccounts {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(Outcome::Done) };
        let present = self.accounts.get(&ObjectKey::new(&key.name, DEFAULT)).is_some();
        let Some(body) = plan(&namespace, present) else { return Ok(Outcome::Done) };
        match self.context.client.create(&Gvr::core("serviceaccounts"), &key.name, body).await {
            // The namespace is on its way out, or somebody was faster.
            Err(error) if error.is_already_exists() || error.is_not_found() => Ok(Outcome::Done),
            Err(error) if crate::pods::namespace_terminating(&error) => Ok(Outcome::Done),
            other => Ok(other.map(|_| Outcome::Done)?),
        }
    }
}
