//! The pod's volumes.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Failed, Ground, Hook, Run, blocking};
use crate::environment::Facts;
use crate::remote::Api;
use crate::volumes;

/// The step.
pub(super) struct Volumes;

#[async_trait]
impl Hook for Volumes {
    fn name(&self) -> &'static str {
        "volumes"
    }

    async fn set_up(&self, run: &Run, ground: &mut Ground) -> Result<(), Failed> {
        if let Some(claim) = &run.claim {
            claim.synced().await.map_err(|why| Failed::new("FailedMount", why))?;
        }
        let (made, mut failed) = set_up(run, ground, false).await;
        ground.volumes = made;
        // Each says so for itself; the last one for the step.
        let Some(last) = failed.pop() else { return Ok(()) };
        for one in failed {
            run.agent.warning(&run.pod, None, one.reason, one.message);
        }
        Err(last)
    }

    async fn tear_down(&self, run: &Run, ground: &mut Ground) -> Result<(), Failed> {
        let paths = run.paths.clone();
        ground.volumes.clear();
        blocking("FailedUnMount", move || volumes::tear_down(&paths)).await
    }
}

/// What was made, and what was not.
pub(crate) type Made = (BTreeMap<String, volumes::Mounted>, Vec<Failed>);

/// Makes the volumes; with `live_only` those whose content follows something.
pub(crate) async fn set_up(run: &Run, ground: &Ground, live_only: bool) -> Made {
    let Some(claim) = &run.claim else { return Default::default() };
    let facts = Facts {
        pod_addresses: ground.addresses.clone(),
        host_addresses: run.agent.config.addresses.clone(),
        services: Vec::new(),
        allocatable: run.agent.allocatable(),
    };
    let context = volumes::Context {
        pod: &run.pod,
        paths: &run.paths,
        sources: claim.as_ref(),
        facts: &facts,
        remote: &Api(&run.agent),
        before: &ground.volumes,
        now: run.agent.clock.now(),
    };
    let (made, failed) = volumes::set_up(&context, live_only).await;
    let say = |(volume, error): (String, volumes::Error)| {
        Failed::new("FailedMount", format!("MountVolume.SetUp failed for volume {volume:?} : {error}"))
    };
    (made, failed.into_iter().map(say).collect())
}
