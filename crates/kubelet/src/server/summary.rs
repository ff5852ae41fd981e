//! `/stats/summary`: figures of node, pods and containers as one document.
//!
//! Invariant: CPU and memory cost reading some files in the kernel's memory; disks are looked at only if they are asked
//! for, and walked at most once a minute. Answers to `pkg/kubelet/server/stats` and `k8s.io/kubelet/pkg/apis/stats`.

use std::path::PathBuf;
use std::sync::Arc;

use gifee_base::Status;
use gifee_base::clock::format_time;
use gifee_oci::status::DiskUsage;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Volume;
use serde_json::{Value, json};

use super::{Body, respond, routes};
use crate::agent::Agent;
use crate::pod::members;
use crate::usage::{self, ContainerUsage, Figures, Interface, PodUsage, Room, Sample};
use crate::volumes;

pub(super) async fn answer(agent: Arc<Agent>, request: Request<Incoming>) -> Result<Response<Body>, Status> {
    let brief = routes::query(&request).flag(&["only_cpu_and_memory"]);
    let sample = agent.meter.sample(&agent, true).await;
    let mut pods = Vec::with_capacity(sample.pods.len());
    for pod in &sample.pods {
        pods.push(if brief { basics(pod, sample.at) } else { whole(&agent, pod, sample.at).await });
    }
    let mut node = machine(&agent, &sample);
    if !brief {
        node["network"] = network(&sample.network, sample.at);
        let (used, most) = usage::processes();
        node["rlimit"] = json!({"time": format_time(sample.at), "maxpid": most, "curproc": used});
        let room = usage::room(&agent.config.root);
        node["fs"] = disk(room, room.used, room.inodes.saturating_sub(room.inodes_free), sample.at);
        let images = agent.images.service().disk_usage();
        let images = agent.meter.disk_usage("images", async { images.await.unwrap_or_default() }).await;
        let images = disk(room, images.bytes, images.inodes, sample.at);
        node["runtime"] = json!({"imageFs": images.clone(), "containerFs": images});
    }
    let text = json!({"node": node, "pods": pods}).to_string();
    Ok(respond(StatusCode::OK, "application/json", text))
}

fn machine(agent: &Agent, sample: &Sample) -> Value {
    let named = |name: &str, figures: &Figures| {
        let mut value = figures_of(figures, sample.at, None);
        value["name"] = name.into();
        value
    };
    let mut node = figures_of(&sample.machine, sample.at, Some(sample.memory_available));
    node["nodeName"] = agent.config.node_name.as_str().into();
    node["systemContainers"] = json!([named("kubelet", &sample.agent), named("pods", &sample.all_pods)]);
    node
}

/// CPU, memory and swap.
pub(super) fn figures_of(figures: &Figures, at: Timestamp, available: Option<u64>) -> Value {
    let (stats, time) = (&figures.stats, format_time(at));
    let mut cpu = json!({"time": time, "usageCoreNanoSeconds": stats.cpu_nanos});
    if let Some(rate) = figures.cpu_rate {
        cpu["usageNanoCores"] = rate.into();
    }
    let mut memory = json!({
        "time": time, "usageBytes": stats.memory_usage, "workingSetBytes": stats.memory_working_set,
        "rssBytes": stats.memory_rss, "pageFaults": stats.page_faults,
        "majorPageFaults": stats.major_page_faults
    });
    let left = stats.memory_limit.map(|limit| limit.saturating_sub(stats.memory_working_set));
    if let Some(available) = available.or(left) {
        memory["availableBytes"] = available.into();
    }
    json!({
        "startTime": format_time(figures.started), "cpu": cpu, "memory": memory,
        "swap": {"time": time, "swapUsageBytes": stats.memory_swap}
    })
}

fn container(one: &ContainerUsage, at: Timestamp) -> Value {
    let mut value = figures_of(&one.figures, at, None);
    value["name"] = one.name.as_str().into();
    value
}

/// A pod without disks and network.
fn basics(pod: &PodUsage, at: Timestamp) -> Value {
    let mut value = figures_of(&pod.figures, at, None);
    let meta = &pod.shown.pod;
    value["podRef"] = json!({
        "name": members::name(meta), "namespace": members::namespace(meta), "uid": members::uid(meta)
    });
    value["containers"] = pod.containers.iter().map(|one| container(one, at)).collect();
    value
}

async fn whole(agent: &Agent, pod: &PodUsage, at: Timestamp) -> Value {
    let mut value = basics(pod, at);
    let room = usage::room(&agent.config.root);
    let mut total = DiskUsage::default();
    let mut add = |usage: DiskUsage| {
        total.bytes += usage.bytes;
        total.inodes += usage.inodes;
        disk(room, usage.bytes, usage.inodes, at)
    };
    let meta = &pod.shown.pod;
    let logs = pod.shown.paths.logs(members::namespace(meta), members::name(meta));
    for (index, one) in pod.containers.iter().enumerate() {
        let walk = agent.runtime.disk_usage(&one.id);
        let written = agent.meter.disk_usage(&one.id, async { walk.await.unwrap_or_default() }).await;
        value["containers"][index]["rootfs"] = add(written);
        value["containers"][index]["logs"] = add(agent.meter.folder_usage(&logs.join(&one.name)).await);
    }
    let mut all = Vec::new();
    for volume in members::spec(meta).volumes.iter().flatten() {
        let mut shown = match place(pod, volume) {
            // A file system of its own knows what is in it, and takes nothing of the disk.
            Some((path, true)) => {
                let room = usage::room(&path);
                disk(room, room.used, room.inodes.saturating_sub(room.inodes_free), at)
            }
            Some((path, false)) => add(agent.meter.folder_usage(&path).await),
            None => continue,
        };
        shown["name"] = volume.name.as_str().into();
        all.push(shown);
    }
    if !all.is_empty() {
        value["volume"] = all.into();
    }
    value["ephemeral-storage"] = disk(room, total.bytes, total.inodes, at);
    if !pod.network.is_empty() {
        value["network"] = network(&pod.network, at);
    }
    value["process_stats"] = json!({"process_count": pod.figures.stats.pids});
    value
}

/// Where a volume of a pod is, if it is the pod's alone, and whether it is a file system of its own.
fn place(pod: &PodUsage, volume: &Volume) -> Option<(PathBuf, bool)> {
    let kind = volumes::find(volume)?.name();
    let paths = &pod.shown.paths;
    let found = [paths.volume(kind, &volume.name), paths.memory_volume(kind, &volume.name)];
    let path = found.into_iter().find(|path| path.exists())?;
    let memory = volume.empty_dir.as_ref().is_some_and(|source| source.medium.as_deref() == Some("Memory"));
    Some((path, memory))
}

fn disk(room: Room, used: u64, inodes_used: u64, at: Timestamp) -> Value {
    json!({
        "time": format_time(at), "availableBytes": room.available, "capacityBytes": room.capacity,
        "usedBytes": used, "inodesFree": room.inodes_free, "inodes": room.inodes, "inodesUsed": inodes_used
    })
}

/// The first interface stands for all.
fn network(interfaces: &[Interface], at: Timestamp) -> Value {
    let shown = |one: &Interface| {
        json!({"name": one.name, "rxBytes": one.received[0], "rxErrors": one.received[2],
            "txBytes": one.sent[0], "txErrors": one.sent[2]})
    };
    let mut value = interfaces.first().map(shown).unwrap_or_else(|| json!({}));
    value["time"] = format_time(at).into();
    value["interfaces"] = interfaces.iter().map(shown).collect();
    value
}
