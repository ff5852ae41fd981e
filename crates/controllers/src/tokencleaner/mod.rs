//! Removes bootstrap tokens that have expired.
//!
//! Answers to upstream's `tokencleaner` controller.

use crate::Config;
use async_trait::async_trait;
use base64::Engine;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{FieldSelector, Gvr, Object, ObjectKey};
use gifee_client::{Cache, DeleteOptions, Queue, Scope};
use gifee_reconcile::{Context, Outcome, Reconcile, Result, work};
use jiff::Timestamp;
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "token-cleaner-controller";

/// The Secrets of bootstrap tokens.
pub(crate) fn scope() -> Scope {
    let fields = FieldSelector::parse("type=bootstrap.kubernetes.io/token").unwrap_or_default();
    Scope { fields, namespace: "kube-system".into(), ..Scope::all(Gvr::core("secrets")) }
}

/// A value of a bootstrap token.
pub(crate) fn text(secret: &Object, key: &str) -> String {
    let value = secret.to_value().unwrap_or_default();
    let bytes = value["data"][key]
        .as_str()
        .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let secrets = context.caches.scope(scope());
        secrets.synced().await;
        let sink = queue.clone();
        secrets.subscribe(move |change| sink.add(change.object().key()));
        let controller = Arc::new(Cleaner { context: context.clone(), secrets });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

struct Cleaner {
    context: Context,
    secrets: Arc<Cache>,
}

#[async_trait]
impl Reconcile<ObjectKey> for Cleaner {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(secret) = self.secrets.get(key) else { return Ok(Outcome::Done) };
        let expiration = text(&secret, "expiration");
        if expiration.is_empty() {
            return Ok(Outcome::Done);
        }
        // What is no time has expired.
        let at = expiration.parse::<Timestamp>().unwrap_or(Timestamp::MIN);
        let left = at.duration_since(self.context.clock.now());
        if let Ok(left) = std::time::Duration::try_from(left)
            && !left.is_zero()
        {
            return Ok(Outcome::After(left));
        }
        let options = DeleteOptions::of_uid(secret.uid());
        match self.context.client.delete(&Gvr::core("secrets"), key, &options).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error.into()),
            _ => Ok(Outcome::Done),
        }
    }
}
