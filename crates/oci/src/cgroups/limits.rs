//! Limits, in the words of either version.
//!
//! Invariant: a limit that the caller gives is in force or an error is returned; a limit not given is not touched.
//! Answers to runc's cgroup `fs` and `fs2`, whose conversions between the versions are the de-facto standard.

use std::path::{Path, PathBuf};

use super::hierarchy::{Hierarchies, Version};
use crate::error::{Error, Result};
use crate::spec::Resources;

/// Sets every limit that `resources` gives.
pub(super) fn write(hierarchies: &Hierarchies, path: &str, resources: &Resources) -> Result<()> {
    let at = |controller: &str| {
        hierarchies
            .folder(controller, path)
            .ok_or_else(|| Error::Invalid(format!("this machine has no {controller} control group")))
    };
    let plan = match hierarchies.version() {
        Version::V1 => version_1(resources),
        Version::V2 => version_2(resources),
    };
    for (controller, name, value) in plan {
        let file = at(controller)?.join(&name);
        set(&file, &value)?;
    }
    match (hierarchies.version(), resources.memory_limit) {
        (Version::V1, Some(limit)) => memory_version_1(&at("memory")?, limit),
        (Version::V2, Some(limit)) if limit > 0 => {
            // What may not be in memory may not be in swap either. Kernels without swap have no such file.
            let file = at("memory")?.join("memory.swap.max");
            if file.exists() { set(&file, "0") } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

type Entry = (&'static str, String, String);

fn version_1(resources: &Resources) -> Vec<Entry> {
    let mut plan: Vec<Entry> = Vec::new();
    let mut add = |controller, name: &str, value: Option<String>| {
        if let Some(value) = value {
            plan.push((controller, name.to_owned(), value));
        }
    };
    add("cpu", "cpu.shares", resources.cpu_shares.map(|shares| shares.clamp(2, 262_144).to_string()));
    add("cpu", "cpu.cfs_period_us", resources.cpu_period.filter(|us| *us > 0).map(|us| us.to_string()));
    add(
        "cpu",
        "cpu.cfs_quota_us",
        resources.cpu_quota.map(|us| if us > 0 { us.to_string() } else { "-1".into() }),
    );
    add("pids", "pids.max", resources.pids_limit.map(unlimited("max")));
    add("cpuset", "cpuset.cpus", resources.cpuset_cpus.clone().filter(|list| !list.is_empty()));
    add("cpuset", "cpuset.mems", resources.cpuset_mems.clone().filter(|list| !list.is_empty()));
    for (size, bytes) in &resources.hugepage_limits {
        add("hugetlb", &format!("hugetlb.{size}.limit_in_bytes"), Some(bytes.to_string()));
    }
    plan
}

fn version_2(resources: &Resources) -> Vec<Entry> {
    let mut plan: Vec<Entry> = Vec::new();
    let mut add = |controller, name: &str, value: Option<String>| {
        if let Some(value) = value {
            plan.push((controller, name.to_owned(), value));
        }
    };
    add("cpu", "cpu.weight", resources.cpu_shares.map(|shares| weight(shares).to_string()));
    if resources.cpu_quota.is_some() || resources.cpu_period.is_some() {
        let quota = resources.cpu_quota.filter(|us| *us > 0).map_or("max".to_owned(), |us| us.to_string());
        add(
            "cpu",
            "cpu.max",
            Some(format!("{quota} {}", resources.cpu_period.filter(|us| *us > 0).unwrap_or(100_000))),
        );
    }
    add("memory", "memory.max", resources.memory_limit.map(unlimited("max")));
    add("memory", "memory.min", resources.memory_min.map(|bytes| bytes.max(0).to_string()));
    add("pids", "pids.max", resources.pids_limit.map(unlimited("max")));
    add("cpuset", "cpuset.cpus", resources.cpuset_cpus.clone().filter(|list| !list.is_empty()));
    add("cpuset", "cpuset.mems", resources.cpuset_mems.clone().filter(|list| !list.is_empty()));
    for (size, bytes) in &resources.hugepage_limits {
        add("hugetlb", &format!("hugetlb.{size}.max"), Some(bytes.to_string()));
    }
    for (name, value) in &resources.unified {
        add("unified", name, Some(value.clone()));
    }
    plan
}

fn unlimited(word: &'static str) -> impl Fn(i64) -> String {
    move |limit| if limit > 0 { limit.to_string() } else { word.to_owned() }
}

/// Shares (2–262144, 1024 usual) to weight (1–10000, 100 usual): 2 is 1, 1024 is 100, 262144 is 10000, and a curve
/// through these between them, as every current runtime computes it.
pub(super) fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144) as f64;
    let log = shares.log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

/// The limit with swap may never be below the one without: which is set first depends on the direction.
fn memory_version_1(folder: &Path, limit: i64) -> Result<()> {
    let value = if limit > 0 { limit.to_string() } else { "-1".to_owned() };
    let files: [PathBuf; 2] =
        [folder.join("memory.limit_in_bytes"), folder.join("memory.memsw.limit_in_bytes")];
    let swap = files[1].exists();
    if set(&files[0], &value).is_ok() {
        return if swap { set(&files[1], &value) } else { Ok(()) };
    }
    if swap {
        set(&files[1], &value)?;
    }
    set(&files[0], &value)
}

fn set(file: &Path, value: &str) -> Result<()> {
    std::fs::write(file, value).map_err(|source| Error::System {
        operation: format!("set control group limit {} to {value:?}", file.display()),
        source,
    })
}
