//! Reads everything once.

use std::sync::Arc;

use gifee_oci::cgroups;
use gifee_oci::status::Stats;
use jiff::Timestamp;

use super::{ContainerUsage, Figures, PodUsage, Sample, machine};
use crate::agent::Agent;
use crate::labels;
use crate::pod::{members, qos};
use crate::worker::Shown;

/// Links of pods have no network of their own to tell of: what goes over them is told of the pods.
const INNER: [&str; 3] = ["veth", "gf", "docker"];

/// Figures of now, without rates.
pub(super) async fn sample(agent: &Agent) -> Sample {
    let root = agent.config.cgroup_root.clone();
    let outer = tokio::task::spawn_blocking(move || {
        let all_pods = cgroups::stats(&root).unwrap_or_default();
        (machine::stats(), machine::own(), all_pods, machine::interfaces("self"), machine::boot_seconds())
    });
    let ((stats, available), own, all_pods, mut network, boot) = outer.await.unwrap_or_default();
    network.retain(|one| !INNER.iter().any(|prefix| one.name.starts_with(prefix)));
    let boot = Timestamp::from_second(boot).unwrap_or_default();
    let figures = |stats, started| Figures { stats, cpu_rate: None, started };
    let mailboxes: Vec<_> = agent.pods.lock().values().cloned().collect();
    let (mut pods, mut failed) = (Vec::new(), false);
    for shown in mailboxes.iter().filter_map(|mailbox| mailbox.shown()) {
        match pod(agent, shown).await {
            Ok(usage) => pods.extend(usage),
            Err(()) => failed = true,
        }
    }
    let name = |one: &PodUsage| {
        let pod = &one.shown.pod;
        (members::namespace(pod).to_owned(), members::name(pod).to_owned())
    };
    pods.sort_by_cached_key(name);
    Sample {
        at: agent.clock.now(),
        machine: figures(stats, boot),
        memory_available: available,
        network,
        agent: figures(own, agent.started),
        all_pods: figures(all_pods, agent.started),
        pods,
        failed,
    }
}

/// Figures of a pod; none if nothing of it runs.
async fn pod(agent: &Agent, shown: Arc<Shown>) -> Result<Option<PodUsage>, ()> {
    let (mut containers, mut process, mut started) = (Vec::new(), None, None);
    for (name, runs) in &shown.containers {
        let Some((id, _, _)) = runs.iter().find(|(_, _, running)| *running) else { continue };
        let Ok(status) = agent.runtime.container(id).await else { continue };
        let stats = match agent.runtime.stats(id).await {
            Ok(stats) => stats,
            // It ended a moment ago.
            Err(error) if error.is_not_found() => continue,
            Err(_) => return Err(()),
        };
        let since = labels::timestamp(status.started_at.unwrap_or(status.created_at));
        process = process.or(status.pid);
        started = started.into_iter().chain([since]).min();
        containers.push(ContainerUsage {
            name: name.clone(),
            id: id.clone(),
            image: status.spec.image.clone(),
            figures: Figures { stats, cpu_rate: None, started: since },
        });
    }
    let Some(started) = started else { return Ok(None) };
    let cgroup = qos::cgroup(&agent.config.cgroup_root, &shown.pod);
    let path = cgroup.clone();
    let process = process.filter(|_| !members::host_network(&shown.pod));
    let read = tokio::task::spawn_blocking(move || {
        let network = process.map(|process| machine::interfaces(&process.to_string()));
        (cgroups::stats(&path), network.unwrap_or_default())
    });
    let Ok((stats, network)) = read.await else { return Err(()) };
    let stats = stats.unwrap_or_else(|_| sum(&containers));
    let figures = Figures { stats, cpu_rate: None, started: start_time(&shown).unwrap_or(started) };
    Ok(Some(PodUsage { shown, cgroup, figures, containers, network }))
}

/// When the agent took the pod on.
fn start_time(shown: &Shown) -> Option<Timestamp> {
    let time = shown.pod.status.as_ref()?.start_time.as_ref()?;
    Some(time.0)
}

/// What containers use together, where the pod has no group of its own.
fn sum(containers: &[ContainerUsage]) -> Stats {
    containers.iter().fold(Stats::default(), |mut all, one| {
        let stats = &one.figures.stats;
        all.cpu_nanos += stats.cpu_nanos;
        all.memory_usage += stats.memory_usage;
        all.memory_working_set += stats.memory_working_set;
        all.memory_rss += stats.memory_rss;
        all.memory_swap += stats.memory_swap;
        all.page_faults += stats.page_faults;
        all.major_page_faults += stats.major_page_faults;
        all.pids += stats.pids;
        all
    })
}
