//! Removes PodCertificateRequests that are older than any node agent waits for.
//!
//! Answers to upstream's `pcrcleaner` controller.

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, ObjectKey};
use gifee_client::{Cache, DeleteOptions, Queue, Scope};
use gifee_reconcile::{Context, Outcome, Reconcile, Result, work};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "podcertificaterequest-cleaner-controller";
/// How long a request stays; upstream's figure.
const AGE: SignedDuration = SignedDuration::from_mins(30);

fn requests() -> Gvr {
    Gvr::new("certificates.k8s.io", "v1", "podcertificaterequests")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let cache = context.caches.scope(Scope::all(requests()));
        cache.synced().await;
        let sink = queue.clone();
        cache.subscribe(move |change| {
            if change.old.is_none() {
                sink.add(change.object().key());
            }
        });
        let controller = Arc::new(Cleaner { context: context.clone(), cache });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

struct Cleaner {
    context: Context,
    cache: Arc<Cache>,
}

#[derive(serde::Deserialize)]
struct Created {
    metadata: Metadata,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    creation_timestamp: Timestamp,
}

#[async_trait]
impl Reconcile<ObjectKey> for Cleaner {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(object) = self.cache.get(key) else { return Ok(Outcome::Done) };
        let Ok(created) = object.decode::<Created>() else { return Ok(Outcome::Done) };
        let left = (created.metadata.creation_timestamp + AGE).duration_since(self.context.clock.now());
        if let Ok(left) = std::time::Duration::try_from(left)
            && !left.is_zero()
        {
            return Ok(Outcome::After(left));
        }
        match self.context.client.delete(&requests(), key, &DeleteOptions::of_uid(object.uid())).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(Outcome::Done),
        }
    }
}
