//! Pods that use more of the disk than they may.
//!
//! Answers to `localStorageEviction`.

use std::sync::Arc;

use gifee_base::Quantity;
use k8s_openapi::api::core::v1::{Pod, Volume};

use crate::agent::Agent;
use crate::pod::{members, qos};
use crate::worker::Shown;

const STORAGE: &str = "ephemeral-storage";

/// The limit of a volume on disk; none for others.
fn volume_limit(volume: &Volume) -> Option<Quantity> {
    let source = volume.empty_dir.as_ref().filter(|source| on_disk(source.medium.as_deref()))?;
    source.size_limit.as_ref()?.0.parse().ok().filter(|limit: &Quantity| limit.value() > 0)
}

fn on_disk(medium: Option<&str>) -> bool {
    medium.unwrap_or_default().is_empty()
}

/// Whether anything of a pod is limited: the others are not walked.
pub(super) fn limited(pod: &Pod) -> bool {
    let spec = members::spec(pod);
    spec.volumes.iter().flatten().any(|volume| volume_limit(volume).is_some())
        || members::members(pod).iter().any(|one| !qos::limit(&one.container, STORAGE).is_zero())
}

/// What parts of a pod take of the disk.
pub(super) struct Taken {
    /// By containers, with their logs.
    pub containers: Vec<(String, i64)>,
    /// By volumes that end with the pod.
    pub volumes: Vec<(String, i64)>,
}

impl Taken {
    /// All of it.
    pub(super) fn total(&self) -> i64 {
        self.containers.iter().chain(&self.volumes).map(|(_, bytes)| *bytes).fold(0, i64::saturating_add)
    }
}

/// Looks, at most once a minute at each folder.
pub(super) async fn taken(agent: &Agent, shown: &Arc<Shown>) -> Taken {
    let pod = &shown.pod;
    let logs = shown.paths.logs(members::namespace(pod), members::name(pod));
    let bytes = |usage: gifee_oci::status::DiskUsage| i64::try_from(usage.bytes).unwrap_or(i64::MAX);
    let mut containers = Vec::new();
    for (name, runs) in &shown.containers {
        let mut used = bytes(agent.meter.folder_usage(&logs.join(name)).await);
        for (id, ..) in runs {
            let walk = agent.runtime.disk_usage(id);
            let walked = agent.meter.disk_usage(id, async { walk.await.unwrap_or_default() }).await;
            used = used.saturating_add(bytes(walked));
        }
        containers.push((name.clone(), used));
    }
    let mut volumes = Vec::new();
    for volume in members::spec(pod).volumes.iter().flatten() {
        if volume.empty_dir.as_ref().is_some_and(|source| on_disk(source.medium.as_deref())) {
            let folder = shown.paths.volume("emptyDir", &volume.name);
            volumes.push((volume.name.clone(), bytes(agent.meter.folder_usage(&folder).await)));
        }
    }
    Taken { containers, volumes }
}

/// What a pod takes too much of, in upstream's words.
pub(super) fn exceeded(pod: &Pod, taken: &Taken) -> Option<String> {
    let used = |list: &[(String, i64)], name: &str| {
        list.iter().find(|(one, _)| one == name).map_or(0, |(_, bytes)| *bytes)
    };
    for volume in members::spec(pod).volumes.iter().flatten() {
        if let Some(limit) = volume_limit(volume)
            && used(&taken.volumes, &volume.name) > limit.value()
        {
            let name = &volume.name;
            return Some(format!("Usage of EmptyDir volume {name:?} exceeds the limit \"{limit}\". "));
        }
    }
    let all = members::members(pod);
    let limits: Vec<(&str, Quantity)> = all
        .iter()
        .map(|one| (one.name(), qos::limit(&one.container, STORAGE)))
        .filter(|(_, limit)| !limit.is_zero())
        .collect();
    let total = limits.iter().map(|(_, limit)| limit.value()).fold(0, i64::saturating_add);
    if !limits.is_empty() && limits.len() == all.len() && taken.total() > total {
        let total = Quantity::from_units(total, gifee_base::quantity::Format::BinarySi);
        let words = "Pod ephemeral local storage usage exceeds the total limit of containers";
        return Some(format!("{words} {total}. "));
    }
    let over = limits.iter().find(|(name, limit)| used(&taken.containers, name) > limit.value());
    over.map(|(name, limit)| {
        format!("Container {name} exceeded its local ephemeral storage limit \"{limit}\". ")
    })
}
