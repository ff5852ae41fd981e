//! Quality of service and control groups: what requests and limits mean to the kernel.
//!
//! Answers to `v1/helper/qos`, the kubelet's `cm` helpers and `GetContainerOOMScoreAdjust`.

use std::collections::BTreeMap;

use gifee_base::Quantity as Amount;
use gifee_oci::spec::Resources;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::members;

/// Microseconds in which a CPU quota is given.
const PERIOD: i64 = 100_000;

/// The three classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Limits of CPU and memory everywhere, equal to the requests.
    Guaranteed,
    /// Something in between.
    Burstable,
    /// Neither requests nor limits.
    BestEffort,
}

impl Class {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Guaranteed => "Guaranteed",
            Class::Burstable => "Burstable",
            Class::BestEffort => "BestEffort",
        }
    }
}

type List = BTreeMap<String, Quantity>;

/// An amount of a list; zero if it is missing or not a quantity.
pub fn amount(list: Option<&List>, name: &str) -> Amount {
    list.and_then(|list| list.get(name)).and_then(|text| text.0.parse().ok()).unwrap_or(Amount::ZERO)
}

/// A request; a limit without one is one.
pub fn request(container: &Container, name: &str) -> Amount {
    let resources = container.resources.as_ref();
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let request = amount(requests, name);
    if request.is_zero() { limit(container, name) } else { request }
}

/// A limit; zero if there is none.
pub fn limit(container: &Container, name: &str) -> Amount {
    let resources = container.resources.as_ref();
    amount(resources.and_then(|resources| resources.limits.as_ref()), name)
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = members::spec(pod);
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// The class of a pod: what its status says, since it never changes, else computed.
pub fn class(pod: &Pod) -> Class {
    match pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
        Some("Guaranteed") => return Class::Guaranteed,
        Some("Burstable") => return Class::Burstable,
        Some("BestEffort") => return Class::BestEffort,
        _ => {}
    }
    let (mut any, mut guaranteed) = (false, true);
    for container in containers(pod) {
        for name in ["cpu", "memory"] {
            let (request, limit) = (request(container, name), limit(container, name));
            any |= !request.is_zero() || !limit.is_zero();
            guaranteed &= !limit.is_zero() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => Class::BestEffort,
        (true, true) => Class::Guaranteed,
        (true, false) => Class::Burstable,
    }
}

/// The control group of a pod under the agent's own one.
pub fn cgroup(root: &str, pod: &Pod) -> String {
    let uid = members::uid(pod);
    match class(pod) {
        Class::Guaranteed => format!("{root}/pod{uid}"),
        Class::Burstable => format!("{root}/burstable/pod{uid}"),
        Class::BestEffort => format!("{root}/besteffort/pod{uid}"),
    }
}

fn shares(milli: i64) -> u64 {
    u64::try_from(milli.saturating_mul(1024) / 1000).unwrap_or(0).clamp(2, 262_144)
}

fn quota(milli: i64) -> Option<i64> {
    (milli > 0).then(|| (milli.saturating_mul(PERIOD) / 1000).max(1000))
}

fn resources(cpu_request: i64, cpu_limit: i64, memory_limit: i64) -> Resources {
    Resources {
        cpu_shares: Some(shares(cpu_request)),
        cpu_quota: quota(cpu_limit),
        cpu_period: quota(cpu_limit).map(|_| PERIOD.unsigned_abs()),
        memory_limit: (memory_limit > 0).then_some(memory_limit),
        ..Resources::default()
    }
}

/// The limits of one container.
pub fn container_resources(container: &Container) -> Resources {
    let mut own = resources(
        request(container, "cpu").milli(),
        limit(container, "cpu").milli(),
        limit(container, "memory").value(),
    );
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    for (name, value) in limits.into_iter().flatten() {
        let Some(size) = name.strip_prefix("hugepages-") else { continue };
        let bytes = value.0.parse::<Amount>().map_or(0, |amount| amount.value());
        own.hugepage_limits.insert(size.replace("Mi", "MB").replace("Gi", "GB"), bytes.unsigned_abs());
    }
    own
}

/// The limits of a pod: the sum of its containers' ones, none if one container has none. Init containers, which run
/// alone, count where they ask for more.
pub fn pod_resources(pod: &Pod, pids: Option<i64>) -> Resources {
    let spec = members::spec(pod);
    let sum = |get: &dyn Fn(&Container) -> i64| -> (i64, bool) {
        let mut bounded = true;
        let mut add = |container: &Container| {
            let value = get(container);
            bounded &= value > 0;
            value
        };
        let mut total: i64 = spec.containers.iter().map(&mut add).sum();
        let mut beside = 0;
        for container in spec.init_containers.iter().flatten() {
            let value = add(container);
            if container.restart_policy.as_deref() == Some("Always") {
                beside += value;
                total += value;
            } else {
                total = total.max(value + beside);
            }
        }
        (total, bounded)
    };
    let (cpu, _) = sum(&|container| request(container, "cpu").milli());
    let (cpu_limit, cpu_bounded) = sum(&|container| limit(container, "cpu").milli());
    let (memory, memory_bounded) = sum(&|container| limit(container, "memory").value());
    let bounded = |value: i64, bounded: bool| if bounded { value } else { 0 };
    Resources {
        pids_limit: pids,
        ..resources(cpu, bounded(cpu_limit, cpu_bounded), bounded(memory, memory_bounded))
    }
}

/// How soon the kernel picks a container when memory runs out.
pub fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity: i64) -> i32 {
    const CRITICAL: i32 = 2_000_000_000;
    if members::spec(pod).priority.unwrap_or(0) >= CRITICAL {
        return -997;
    }
    match class(pod) {
        Class::Guaranteed => -997,
        Class::BestEffort => 1000,
        Class::Burstable => {
            let request = i128::from(request(container, "memory").value());
            let share = 1000 - 1000 * request / i128::from(memory_capacity.max(1));
            i32::try_from(share.clamp(3, 999)).unwrap_or(999)
        }
    }
}
