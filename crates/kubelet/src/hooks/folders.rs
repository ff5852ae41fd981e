//! The pod's folders, and a place for the last words of its containers.

use async_trait::async_trait;

use super::{Failed, Ground, Hook, Run, blocking};
use crate::pod::members;

/// The step.
pub(super) struct Folders;

#[async_trait]
impl Hook for Folders {
    fn name(&self) -> &'static str {
        "folders"
    }

    async fn set_up(&self, run: &Run, _: &mut Ground) -> Result<(), Failed> {
        let folder = run.paths.folder();
        let containers: Vec<_> =
            members::members(&run.pod).iter().map(|member| run.paths.container(member.name())).collect();
        blocking("FailedMakePodDataDirectories", move || {
            std::fs::create_dir_all(folder)?;
            containers.iter().try_for_each(std::fs::create_dir_all)
        })
        .await
    }

    async fn purge(&self, run: &Run, _: &mut Ground) -> Result<(), Failed> {
        let logs = run.paths.logs(members::namespace(&run.pod), members::name(&run.pod));
        let folders = [run.paths.folder(), logs];
        blocking("FailedKillPod", move || {
            folders.iter().try_for_each(|folder| gifee_oci::trees::remove(folder))
        })
        .await
    }
}
