//! Removes requests for certificates that nobody will look at again.
//!
//! Invariant: each request is looked at when its time comes, not by lists in intervals. Answers to upstream's
//! `csrcleaner` controller.

#[cfg(test)]
mod tests;

use crate::Config;
use crate::certificate::{Request, requests};
use async_trait::async_trait;
use base64::Engine;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::ObjectKey;
use gifee_client::{Cache, DeleteOptions, Queue, Scope};
use gifee_reconcile::{Context, Outcome, Reconcile, Result, work};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "certificatesigningrequest-cleaner-controller";
/// How long what was decided stays; upstream's figure.
const DECIDED: SignedDuration = SignedDuration::from_hours(1);
/// How long what was not decided stays; upstream's figure.
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let requests = context.caches.scope(Scope::all(requests()));
        requests.synced().await;
        let sink = queue.clone();
        requests.subscribe(move |change| sink.add(change.object().key()));
        let controller = Arc::new(Cleaner { context: context.clone(), requests });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

struct Cleaner {
    context: Context,
    requests: Arc<Cache>,
}

/// When the certificate of a request ends.
fn expiry(request: &Request) -> Option<Timestamp> {
    let pem = base64::engine::general_purpose::STANDARD.decode(&request.status.certificate).ok()?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&pem).ok()?;
    let certificate = block.parse_x509().ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

/// When a request goes; None: not yet known.
fn plan(request: &Request) -> Option<Timestamp> {
    let issued = !request.status.certificate.is_empty();
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let mut ends: Vec<Timestamp> = Vec::new();
    if request.status.conditions.is_empty() {
        ends.extend(time(&request.metadata.creation_timestamp).map(|at| at + PENDING));
    }
    for condition in &request.status.conditions {
        let decided = condition.last_update_time.as_deref().and_then(time).map(|at| at + DECIDED);
        match condition.kind.as_str() {
            "Approved" if issued => {
                ends.extend(decided);
                ends.extend(expiry(request));
            }
            "Denied" | "Failed" => ends.extend(decided),
            _ => {}
        }
    }
    ends.into_iter().min()
}

#[async_trait]
impl Reconcile<ObjectKey> for Cleaner {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(object) = self.requests.get(key) else { return Ok(Outcome::Done) };
        let Some(at) = plan(&Request::read(&object)) else { return Ok(Outcome::Done) };
        let left = at.duration_since(self.context.clock.now());
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
