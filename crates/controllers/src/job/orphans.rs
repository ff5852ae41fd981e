//! Lets go of pods that no Job will count: those of Jobs that are gone or have ended, and those that were orphaned.

use super::{Jobs, finished, spec::Spec};
use async_trait::async_trait;
use gifee_base::ObjectKey;
use gifee_client::Cache;
use gifee_reconcile::pod::Brief;
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result};
use serde::Deserialize;
use std::sync::Arc;

/// Lets go of orphans.
pub struct Orphans {
    context: Context,
    jobs: Arc<Cache>,
    pods: Arc<Cache>,
}

impl Orphans {
    pub(super) fn new(jobs: &Jobs) -> Self {
        Self { context: jobs.context.clone(), jobs: jobs.jobs.clone(), pods: jobs.pods.clone() }
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Orphans {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(pod) = self.pods.get(key).filter(|pod| pod.finalizers() > 0) else {
            return Ok(Outcome::Done);
        };
        if let Some(owner) = pod.controller() {
            if (owner.kind, owner.api_version) != ("Job", "batch/v1") {
                return Ok(Outcome::Done);
            }
            let job = self.jobs.get(&ObjectKey::new(pod.namespace(), owner.name));
            if let Some(job) = job.filter(|job| job.uid() == owner.uid) {
                let bytes = job.value_at(&["spec"]).unwrap_or(b"{}");
                let mut reader = serde_json::Deserializer::from_slice(bytes);
                let spec = Spec::deserialize(&mut reader).map_err(|error| Error::invalid(key, error))?;
                if spec.managed_elsewhere() || !finished(&job) {
                    return Ok(Outcome::Done);
                }
            }
        }
        if Brief::read(&pod)?.finalizers.iter().any(|one| one == super::view::TRACKING) {
            super::apply::free(&self.context, &pod, false).await?;
        }
        Ok(Outcome::Done)
    }
}
