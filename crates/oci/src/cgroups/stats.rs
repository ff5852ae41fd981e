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
        Version::V1 => {
            let text = file(&memory, "memory.stat");
            let usage = number(&file(&memory, "memory.usage_in_bytes"));
            Stats {
                cpu_nanos: hierarchies
                    .folder("cpuacct", path)
                    .map_or(0, |at| number(&file(&at, "cpuacct.usage"))),
                memory_usage: usage,
                memory_working_set: usage.saturating_sub(field(&text, "total_inactive_file")),
                memory_rss: field(&text, "total_rss"),
                memory_limit: limit(&file(&memory, "memory.limit_in_bytes")),
                page_faults: field(&text, "total_pgfault"),
                major_page_faults: field(&text, "total_pgmajfault"),
                ..Stats::default()
            }
        }
        Version::V2 => {
            let text = file(&memory, "memory.stat");
            let usage = number(&file(&memory, "memory.current"));
            Stats {
                cpu_nanos: field(&file(&memory, "cpu.stat"), "usage_usec") * 1000,
                memory_usage: usage,
                memory_working_set: usage.saturating_sub(field(&text, "inactive_file")),
                memory_rss: field(&text, "anon"),
                memory_limit: limit(&file(&memory, "memory.max")),
                page_faults: field(&text, "pgfault"),
                major_page_faults: field(&text, "pgmajfault"),
                ..Stats::default()
            }
        }
    };
    stats.pids = hierarchies.folder("pids", path).map_or(0, |at| number(&file(&at, "pids.current")));
    stats.oom_kills = oom_kills(hierarchies, path);
    Ok(stats)
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
