//! `/metrics` of the agent itself, `/metrics/resource` and `/metrics/probes`.
//!
//! Answers to `pkg/kubelet/metrics/collectors/resource_metrics.go` and to the metrics of `pkg/kubelet/prober`.

use std::sync::Arc;

use gifee_base::Status;
use http::Response;
use jiff::Timestamp;

use super::Body;
use super::exposition::{Exposition, seconds, since_epoch};
use crate::agent::Agent;
use crate::pod::members;
use crate::usage::{Figures, Sample};
use crate::worker::Shown;

/// A family: name, kind, help, and its value.
type Family = (&'static str, &'static str, &'static str, fn(&Figures) -> f64);

#[expect(clippy::cast_precision_loss, reason = "no memory has as many bytes")]
fn bytes(bytes: u64) -> f64 {
    bytes as f64
}

/// Families of containers. Start times are said without a time of their own.
const CONTAINERS: [Family; 4] = [
    (
        "container_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        |figures| seconds(figures.stats.cpu_nanos),
    ),
    (
        "container_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the container in bytes",
        |figures| bytes(figures.stats.memory_working_set),
    ),
    (
        "container_start_time_seconds",
        "gauge",
        "[STABLE] Start time of the container since unix epoch in seconds",
        |figures| since_epoch(figures.started),
    ),
    (
        "container_swap_usage_bytes",
        "gauge",
        "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems",
        |figures| bytes(figures.stats.memory_swap),
    ),
];

/// Families of the node.
const NODE: [Family; 3] = [
    (
        "node_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
        |figures| seconds(figures.stats.cpu_nanos),
    ),
    (
        "node_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the node in bytes",
        |figures| bytes(figures.stats.memory_working_set),
    ),
    (
        "node_swap_usage_bytes",
        "gauge",
        "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems",
        |figures| bytes(figures.stats.memory_swap),
    ),
];

/// Families of pods.
const PODS: [Family; 3] = [
    (
        "pod_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        |figures| seconds(figures.stats.cpu_nanos),
    ),
    (
        "pod_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the pod in bytes",
        |figures| bytes(figures.stats.memory_working_set),
    ),
    (
        "pod_swap_usage_bytes",
        "gauge",
        "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems",
        |figures| bytes(figures.stats.memory_swap),
    ),
];

/// `/metrics/resource`.
pub(super) async fn resource(agent: Arc<Agent>) -> Result<Response<Body>, Status> {
    let sample = agent.meter.sample(&agent, false).await;
    Ok(resources(&sample).answer())
}

pub(super) fn resources(sample: &Sample) -> Exposition {
    let mut out = Exposition::default();
    for (name, kind, help, value) in CONTAINERS {
        if sample.pods.is_empty() {
            break;
        }
        out.family(name, kind, help);
        let at = timed(name, sample.at);
        for pod in &sample.pods {
            let (namespace, pod_name) = (members::namespace(&pod.shown.pod), members::name(&pod.shown.pod));
            for container in &pod.containers {
                let labels = [("container", &*container.name), ("namespace", namespace), ("pod", pod_name)];
                out.sample(name, &labels, value(&container.figures), at);
            }
        }
    }
    for (name, kind, help, value) in NODE {
        out.family(name, kind, help);
        out.sample(name, &[], value(&sample.machine), Some(sample.at));
    }
    for (name, kind, help, value) in PODS {
        if sample.pods.is_empty() {
            break;
        }
        out.family(name, kind, help);
        for pod in &sample.pods {
            let labels =
                [("namespace", members::namespace(&pod.shown.pod)), ("pod", members::name(&pod.shown.pod))];
            out.sample(name, &labels, value(&pod.figures), Some(sample.at));
        }
    }
    let (name, help) = (
        "resource_scrape_error",
        "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
    );
    out.family(name, "gauge", help);
    out.sample(name, &[], i32::from(sample.failed), None);
    out
}

fn timed(name: &str, at: Timestamp) -> Option<Timestamp> {
    (name != "container_start_time_seconds").then_some(at)
}

/// `/metrics`.
pub(super) async fn own(agent: Arc<Agent>) -> Result<Response<Body>, Status> {
    let mailboxes: Vec<_> = agent.pods.lock().values().cloned().collect();
    let shown: Vec<Arc<Shown>> = mailboxes.iter().filter_map(|mailbox| mailbox.shown()).collect();
    let runs = |one: &Arc<Shown>| one.containers.values().flatten().filter(|(_, _, runs)| *runs).count();
    let containers: usize = shown.iter().map(runs).sum();
    let pods = shown.iter().filter(|one| runs(one) > 0).count();
    let mut out = Exposition::default();
    out.family("kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.");
    out.sample("kubelet_node_name", &[("node", &agent.config.node_name)], 1, None);
    let help = "[BETA] Number of containers currently running";
    out.family("kubelet_running_containers", "gauge", help);
    out.sample("kubelet_running_containers", &[("container_state", "running")], containers, None);
    let help = "[BETA] Number of pods that have a running pod sandbox";
    out.family("kubelet_running_pods", "gauge", help);
    out.sample("kubelet_running_pods", &[], pods, None);
    Ok(out.answer())
}

/// `/metrics/probes`.
pub(super) async fn probes(agent: Arc<Agent>) -> Result<Response<Body>, Status> {
    let name = "prober_probe_total";
    let help =
        "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.";
    let mut out = Exposition::default();
    let mailboxes: Vec<_> = agent.pods.lock().values().cloned().collect();
    out.family(name, "counter", help);
    for mailbox in &mailboxes {
        let Some(shown) = mailbox.shown() else { continue };
        for ((container, kind), tries) in mailbox.tries() {
            for (result, count) in [("failed", tries.failed), ("successful", tries.successful)] {
                if count == 0 {
                    continue;
                }
                let labels = [
                    ("container", &*container),
                    ("namespace", members::namespace(&shown.pod)),
                    ("pod", members::name(&shown.pod)),
                    ("pod_uid", members::uid(&shown.pod)),
                    ("probe_type", kind.as_str()),
                    ("result", result),
                ];
                out.sample(name, &labels, count, None);
            }
        }
    }
    Ok(out.answer())
}
