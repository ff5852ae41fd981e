//! Ends, and a year later deletes, tokens in Secrets that were once made for every account and that nobody uses.
//!
//! Invariant: a token is deleted only if it was not used for a year, then was marked, and was not used for another
//! year. Looks once a day, since use is written down by the day. Answers to upstream's legacy service-account token
//! cleaner.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::{Cache, DeleteOptions, PatchKind, Queue, Scope};
use gifee_policy::authenticate::legacy::{INVALID_SINCE, day};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result, patch, work};
use plan::{Plan, View, plan};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Upstream's name.
pub const NAME: &str = "legacy-serviceaccount-token-cleaner-controller";
const AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

fn secrets() -> Gvr {
    Gvr::core("secrets")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let caches = &context.caches;
        let secrets = caches.scope(crate::tokens::scope());
        let accounts = caches.scope(Scope::all(Gvr::core("serviceaccounts")));
        let pods = caches.pods();
        for cache in [&secrets, &accounts, &pods] {
            cache.synced().await;
        }
        let queue = Arc::new(Queue::new());
        queue.add(ObjectKey::new("kube-system", "kube-apiserver-legacy-service-account-token-tracking"));
        let controller = Arc::new(Cleaner { context: context.clone(), secrets, accounts, pods });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

struct Cleaner {
    context: Context,
    secrets: Arc<Cache>,
    accounts: Arc<Cache>,
    pods: Arc<Cache>,
}

impl Cleaner {
    fn mounted(&self, namespace: &str, secret: &str) -> bool {
        let quoted = format!("\"{secret}\"");
        let names = |pod: &Arc<Object>| {
            pod.value_at(&["spec", "volumes"])
                .is_some_and(|volumes| memchr::memmem::find(volumes, quoted.as_bytes()).is_some())
        };
        self.pods.read().namespace(namespace).any(names)
    }

    async fn clean(&self, object: &Object, tracked_since: &str) -> Result<()> {
        let tree = object.to_value().map_err(|error| Error::invalid(object.key(), error))?;
        let account = tree["metadata"]["annotations"]["kubernetes.io/service-account.name"].as_str();
        let account = account.and_then(|name| self.accounts.get(&ObjectKey::new(object.namespace(), name)));
        let view = View {
            account: account.and_then(|account| account.to_value().ok()).unwrap_or(Value::Null),
            mounted: self.mounted(object.namespace(), object.name()),
            tracked_since,
            secret: &tree,
        };
        let now = self.context.clock.now();
        let client = &self.context.client;
        match plan(&view, now) {
            Plan::Keep => Ok(()),
            Plan::Mark => {
                let label = json!({ "metadata": { "labels": { INVALID_SINCE: day(now.as_second()) } } });
                let change = patch::pinned(object, label);
                client.patch(&secrets(), &object.key(), PatchKind::Merge, change).await?;
                Ok(())
            }
            Plan::Delete => {
                let options = DeleteOptions::of_uid(object.uid());
                match client.delete(&secrets(), &object.key(), &options).await {
                    Err(error) if !error.is_not_found() => Err(error.into()),
                    _ => Ok(()),
                }
            }
        }
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Cleaner {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let since = match self.context.client.get(&Gvr::core("configmaps"), key).await {
            Ok(tracking) => tracking.text_at(&["data", "since"]).map(|since| since.into_owned()),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(since) = since {
            let secrets: Vec<Arc<Object>> = self.secrets.read().all().cloned().collect();
            for secret in secrets {
                self.clean(&secret, &since).await?;
            }
        }
        Ok(Outcome::After(AGAIN))
    }
}
