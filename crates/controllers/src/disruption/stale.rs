//! Pods that were to be taken away and were not: after two minutes they say so no longer.
//!
//! Answers to the stale pod disruptions of upstream's disruption controller.

use super::condition::KIND;
use async_trait::async_trait;
use gifee_base::{Gvr, Object, ObjectKey, clock};
use gifee_client::{Cache, PatchKind, Queue};
use gifee_reconcile::pod::Brief;
use gifee_reconcile::{Context, Outcome, Reconcile, Result};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const STALE_SECONDS: i64 = 120;

/// Looks after the condition of pods.
pub(super) struct Stale {
    /// What it writes with.
    pub context: Context,
    /// All pods.
    pub pods: Arc<Cache>,
}

impl Stale {
    pub(super) fn listen(&self, queue: &Arc<Queue<ObjectKey>>) {
        let sink = queue.clone();
        self.pods.subscribe(move |change| {
            // Few pods have the condition at all, so that nothing is decoded for the others.
            if let Some(pod) = change.new.filter(|pod| !pod.deleting() && mentions(pod)) {
                sink.add(pod.key());
            }
        });
    }
}

fn mentions(pod: &Object) -> bool {
    memchr::memmem::find(pod.raw(), KIND.as_bytes()).is_some()
}

#[async_trait]
impl Reconcile<ObjectKey> for Stale {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(pod) = self.pods.get(key).filter(|pod| !pod.deleting()) else { return Ok(Outcome::Done) };
        let brief = Brief::read(&pod)?;
        let Some(condition) = brief.condition(KIND).filter(|one| one.status == "True") else {
            return Ok(Outcome::Done);
        };
        if brief.terminal() {
            return Ok(Outcome::Done);
        }
        let now = self.context.clock.now();
        let since = condition.last_transition_time.map_or(0, |since| since.as_second());
        let left = u64::try_from(since + STALE_SECONDS - now.as_second()).unwrap_or_default();
        if left > 0 {
            return Ok(Outcome::After(Duration::from_secs(left)));
        }
        let condition = json!({ "type": KIND, "status": "False", "reason": null, "message": null,
            "observedGeneration": pod.generation(), "lastTransitionTime": clock::format_time(now) });
        let change = json!({ "metadata": { "uid": pod.uid() }, "status": { "conditions": [condition] } });
        let outcome =
            self.context.client.patch_status(&Gvr::core("pods"), key, PatchKind::Strategic, change).await;
        match outcome {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error.into()),
            _ => Ok(Outcome::Done),
        }
    }
}
