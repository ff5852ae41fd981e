//! The control group of the pod, which holds those of its containers.

use async_trait::async_trait;
use gifee_oci::cgroups;

use super::{Failed, Ground, Hook, Run, blocking};
use crate::pod::qos;

/// The step.
pub(super) struct ControlGroup;

#[async_trait]
impl Hook for ControlGroup {
    fn name(&self) -> &'static str {
        "control group"
    }

    async fn set_up(&self, run: &Run, ground: &mut Ground) -> Result<(), Failed> {
        let path = qos::cgroup(&run.agent.config.cgroup_root, &run.pod);
        let resources = qos::pod_resources(&run.pod, run.agent.config.pod_pids_limit);
        let lost = ground.sandbox.is_none() && !ground.dead.is_empty();
        blocking("FailedCreatePodContainer", move || {
            if lost {
                // Whatever a dead sandbox left running is held by nobody.
                cgroups::kill(&path)?;
            }
            cgroups::create(&path, &resources)
        })
        .await
    }

    async fn tear_down(&self, run: &Run, _: &mut Ground) -> Result<(), Failed> {
        let path = qos::cgroup(&run.agent.config.cgroup_root, &run.pod);
        blocking("FailedKillPod", move || cgroups::remove(&path)).await
    }
}
