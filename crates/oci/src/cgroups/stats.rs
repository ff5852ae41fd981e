//! Figures, out of either version's files.
//!
//! Invariant: a file that is missing counts as zero, so that a group that is going away is not an error. Answers to
//! cAdvisor's and containerd's metrics: the working set is the usage less inactive file pages.

use std::path::Path;

use super::hierarchy::{Hierarchies, Version};
use crate::error::{Error, Result};
use crate::status::Stats;

pub(super) fn read(hierarchies: &Hierarchies, path: &str) -> Result<Stats> {
    let memory = hierarchies
        .folder("memory", path)
        .filter(|folder| folder.exists())
        .ok_or_else(|| Error::NotFound { kind: "control group", name: path.to_owned() })?;
    let mut stats = match hierarchies.version() {
        Version::V1 => first(hierarchies, path, &memory),
        Version::V2 => second(&memory),
    };
    stats.pids = hierarchies.folder("pids", path).map_or(0, |at| number(&file(&at, "pids.current")));
    stats.oom_kills = oom_kills(hierarchies, path);
    Ok(stats)
}

/// Figures of version 1.
fn first(hierarchies: &Hierarchies, path: &str, memory: &Path) -> Stats {
    let text = file(memory, "memory.stat");
    let usage = number(&file(memory, "memory.usage_in_bytes"));
    let quota = hierarchies.folder("cpu", path).map(|at| file(&at, "cpu.stat")).unwrap_or_default();
    let used = |name: &str| hierarchies.folder("cpuacct", path).map_or(0, |at| number(&file(&at, name)));
    Stats {
        cpu_nanos: used("cpuacct.usage"),
        cpu_user_nanos: used("cpuacct.usage_user"),
        cpu_system_nanos: used("cpuacct.usage_sys"),
        cpu_periods: field(&quota, "nr_periods"),
        cpu_throttled_periods: field(&quota, "nr_throttled"),
        cpu_throttled_nanos: field(&quota, "throttled_time"),
        memory_usage: usage,
        memory_working_set: usage.saturating_sub(field(&text, "total_inactive_file")),
        memory_rss: field(&text, "total_rss"),
        memory_cache: field(&text, "total_cache"),
        memory_mapped: field(&text, "total_mapped_file"),
        memory_swap: field(&text, "total_swap"),
        memory_limit: limit(&file(memory, "memory.limit_in_bytes")),
        page_faults: field(&text, "total_pgfault"),
        major_page_faults: field(&text, "total_pgmajfault"),
        ..Stats::default()
    }
}

/// Figures of version 2, where everything is in one folder.
fn second(folder: &Path) -> Stats {
    let text = file(folder, "memory.stat");
    let cpu = file(folder, "cpu.stat");
    let usage = number(&file(folder, "memory.current"));
    Stats {
        cpu_nanos: field(&cpu, "usage_usec") * 1000,
        cpu_user_nanos: field(&cpu, "user_usec") * 1000,
        cpu_system_nanos: field(&cpu, "system_usec") * 1000,
        cpu_periods: field(&cpu, "nr_periods"),
        cpu_throttled_periods: field(&cpu, "nr_throttled"),
        cpu_throttled_nanos: field(&cpu, "throttled_usec") * 1000,
        memory_usage: usage,
        memory_working_set: usage.saturating_sub(field(&text, "inactive_file")),
        memory_rss: field(&text, "anon"),
        memory_cache: field(&text, "file"),
        memory_mapped: field(&text, "file_mapped"),
        memory_swap: number(&file(folder, "memory.swap.current")),
        memory_limit: limit(&file(folder, "memory.max")),
        page_faults: field(&text, "pgfault"),
        major_page_faults: field(&text, "pgmajfault"),
        ..Stats::default()
    }
}

pub(super) fn oom_kills(hierarchies: &Hierarchies, path: &str) -> u64 {
    let Some(folder) = hierarchies.folder("memory", path) else { return 0 };
    let name = match hierarchies.version() {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    };
    field(&file(&folder, name), "oom_kill")
}

fn file(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_default()
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

/// The value of `name` in lines of `name value`.
fn field(text: &str, name: &str) -> u64 {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.map_or(0, number)
}

/// Version 1 shows "no limit" as a number near the largest page-aligned one.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 62)
}
