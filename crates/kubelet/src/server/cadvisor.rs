//! `/metrics/cadvisor`: figures under the names that dashboards and alerts know.
//!
//! Answers to cAdvisor's Prometheus collector, as far as it tells of CPU, memory, network, disk and processes.

use std::sync::Arc;

use gifee_base::Status;
use http::Response;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;

use super::Body;
use super::exposition::{Exposition, seconds, since_epoch};
use crate::agent::Agent;
use crate::pod::{members, qos};
use crate::usage::{self, Figures, Interface, PodUsage, Sample};

/// The values of `container`, `id`, `image`, `name`, `namespace`, `pod`.
type Identity<'a> = [&'a str; 6];

const LABELS: Identity<'static> = ["container", "id", "image", "name", "namespace", "pod"];

/// A family of control groups: name, kind, help, a further label, and its value.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    label: Option<(&'static str, &'static str)>,
    value: fn(&Figures) -> f64,
}

const fn family(
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Figures) -> f64,
) -> Family {
    Family { name, kind, help, label: None, value }
}

#[expect(clippy::cast_precision_loss, reason = "counts this large are not counted one by one")]
fn count(number: u64) -> f64 {
    number as f64
}

const FAMILIES: &[Family] = &[
    family(
        "container_cpu_cfs_periods_total",
        "counter",
        "Number of elapsed enforcement period intervals.",
        |one| count(one.stats.cpu_periods),
    ),
    family(
        "container_cpu_cfs_throttled_periods_total",
        "counter",
        "Number of throttled period intervals.",
        |one| count(one.stats.cpu_throttled_periods),
    ),
    family(
        "container_cpu_cfs_throttled_seconds_total",
        "counter",
        "Total time duration the container has been throttled.",
        |one| seconds(one.stats.cpu_throttled_nanos),
    ),
    family(
        "container_cpu_system_seconds_total",
        "counter",
        "Cumulative system cpu time consumed in seconds.",
        |one| seconds(one.stats.cpu_system_nanos),
    ),
    Family {
        name: "container_cpu_usage_seconds_total",
        kind: "counter",
        help: "Cumulative cpu time consumed in seconds.",
        label: Some(("cpu", "total")),
        value: |one| seconds(one.stats.cpu_nanos),
    },
    family(
        "container_cpu_user_seconds_total",
        "counter",
        "Cumulative user cpu time consumed in seconds.",
        |one| seconds(one.stats.cpu_user_nanos),
    ),
    family("container_memory_cache", "gauge", "Number of bytes of page cache memory.", |one| {
        count(one.stats.memory_cache)
    }),
    family("container_memory_mapped_file", "gauge", "Size of memory mapped files in bytes.", |one| {
        count(one.stats.memory_mapped)
    }),
    family("container_memory_rss", "gauge", "Size of RSS in bytes.", |one| count(one.stats.memory_rss)),
    family("container_memory_swap", "gauge", "Container swap usage in bytes.", |one| {
        count(one.stats.memory_swap)
    }),
    family(
        "container_memory_usage_bytes",
        "gauge",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        |one| count(one.stats.memory_usage),
    ),
    family("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", |one| {
        count(one.stats.memory_working_set)
    }),
    family(
        "container_oom_events_total",
        "counter",
        "Count of out of memory events observed for the container",
        |one| count(one.stats.oom_kills),
    ),
    family("container_processes", "gauge", "Number of processes running inside the container.", |one| {
        count(one.stats.pids)
    }),
];

/// A family of network interfaces: name, help, and its value.
type Wire = (&'static str, &'static str, fn(&Interface) -> u64);

const WIRES: [Wire; 8] = [
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", |one| one.received[0]),
    (
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        |one| one.received[2],
    ),
    (
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        |one| one.received[3],
    ),
    ("container_network_receive_packets_total", "Cumulative count of packets received", |one| {
        one.received[1]
    }),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", |one| one.sent[0]),
    (
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        |one| one.sent[2],
    ),
    (
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        |one| one.sent[3],
    ),
    ("container_network_transmit_packets_total", "Cumulative count of packets transmitted", |one| {
        one.sent[1]
    }),
];

/// What a container was asked to have: name, help, and its value.
type Wanted = (&'static str, &'static str, fn(&Container) -> i64);

/// Microseconds of a period of the CPU quota.
const PERIOD: i64 = 100_000;

const WANTED: [Wanted; 4] = [
    ("container_spec_cpu_period", "CPU period of the container.", |_| PERIOD),
    ("container_spec_cpu_quota", "CPU quota of the container.", |one| {
        qos::limit(one, "cpu").milli() * PERIOD / 1000
    }),
    ("container_spec_cpu_shares", "CPU share of the container.", |one| {
        (qos::request(one, "cpu").milli() * 1024 / 1000).max(2)
    }),
    ("container_spec_memory_limit_bytes", "Memory limit for the container.", |one| {
        qos::limit(one, "memory").value()
    }),
];

pub(super) async fn answer(agent: Arc<Agent>) -> Result<Response<Body>, Status> {
    let sample = agent.meter.sample(&agent, false).await;
    let mut out = exposed(&sample, &agent.config.cgroup_root);
    for (name, help, value) in [
        ("machine_cpu_cores", "Number of logical CPU cores.", agent.machine.cpus),
        ("machine_memory_bytes", "Amount of memory installed on the machine.", agent.machine.memory_bytes),
    ] {
        out.family(name, "gauge", help);
        out.sample(name, &[], value, None);
    }
    let room = usage::room(&agent.config.root);
    for (name, help, value) in [
        (
            "container_fs_limit_bytes",
            "Number of bytes that can be consumed by the container on this filesystem.",
            room.capacity,
        ),
        (
            "container_fs_usage_bytes",
            "Number of bytes that are consumed by the container on this filesystem.",
            room.used,
        ),
    ] {
        out.family(name, "gauge", help);
        let labels = [
            ("container", ""),
            ("device", "root"),
            ("id", "/"),
            ("image", ""),
            ("name", ""),
            ("namespace", ""),
            ("pod", ""),
        ];
        out.sample(name, &labels, value, Some(sample.at));
    }
    Ok(out.answer())
}

/// Everything that is in a sample.
pub(super) fn exposed(sample: &Sample, root: &str) -> Exposition {
    let mut out = Exposition::default();
    for family in FAMILIES {
        out.family(family.name, family.kind, family.help);
        each(sample, root, &mut |identity, figures| {
            put(&mut out, family.name, identity, family.label, (family.value)(figures), Some(sample.at));
        });
    }
    for (name, help, value) in [
        ("container_last_seen", "Last time a container was seen by the exporter", None),
        (
            "container_start_time_seconds",
            "Start time of the container since unix epoch in seconds.",
            Some(()),
        ),
    ] {
        out.family(name, "gauge", help);
        each(sample, root, &mut |identity, figures| {
            let at = value.map_or(sample.at, |()| figures.started);
            put(&mut out, name, identity, None, since_epoch(at), Some(sample.at));
        });
    }
    for (name, help, value) in WIRES {
        out.family(name, "counter", help);
        let mut tell = |identity: &Identity<'_>, interfaces: &[Interface]| {
            for one in interfaces {
                let label = Some(("interface", &*one.name));
                put(&mut out, name, identity, label, count(value(one)), Some(sample.at));
            }
        };
        tell(&["", "/", "", "", "", ""], &sample.network);
        for pod in &sample.pods {
            tell(&identity_of(pod), &pod.network);
        }
    }
    for (name, help, value) in WANTED {
        out.family(name, "gauge", help);
        for pod in &sample.pods {
            let all = members::members(&pod.shown.pod);
            for one in &pod.containers {
                let Some(member) = all.iter().find(|member| member.name() == one.name) else { continue };
                let wanted = value(&member.container);
                if name == "container_spec_cpu_quota" && wanted == 0 {
                    continue;
                }
                let [_, _, _, _, namespace, pod_name] = identity_of(pod);
                let id = format!("{}/{}", pod.cgroup, one.id);
                let identity = [&*one.name, &id, &one.image, &one.id, namespace, pod_name];
                put(&mut out, name, &identity, None, wanted, None);
            }
        }
    }
    out
}

fn identity_of(pod: &PodUsage) -> Identity<'_> {
    let meta = &pod.shown.pod;
    ["", &pod.cgroup, "", "", members::namespace(meta), members::name(meta)]
}

/// All control groups, with what their labels say.
fn each(sample: &Sample, root: &str, tell: &mut dyn FnMut(&Identity<'_>, &Figures)) {
    tell(&["", "/", "", "", "", ""], &sample.machine);
    tell(&["", root, "", "", "", ""], &sample.all_pods);
    for pod in &sample.pods {
        let identity = identity_of(pod);
        tell(&identity, &pod.figures);
        for one in &pod.containers {
            let id = format!("{}/{}", pod.cgroup, one.id);
            tell(&[&one.name, &id, &one.image, &one.id, identity[4], identity[5]], &one.figures);
        }
    }
}

fn put(
    out: &mut Exposition,
    name: &str,
    identity: &Identity<'_>,
    further: Option<(&str, &str)>,
    value: impl std::fmt::Display,
    at: Option<Timestamp>,
) {
    let mut labels: Vec<(&str, &str)> = LABELS.into_iter().zip(identity.iter().copied()).collect();
    labels.extend(further);
    labels.sort_unstable();
    out.sample(name, &labels, value, at);
}
