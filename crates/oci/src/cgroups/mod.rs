//! Control groups of version 1 and 2 by path.
//!
//! Invariant: a path means the same group in every hierarchy, and nothing outside of that path is written, except
//! that version 2's controllers are switched on along it. Answers to the kubelet's cgroup manager and to what
//! runc's and containerd's cgroup libraries offer around a container.

mod devices;
mod hierarchy;
mod limits;
mod stats;
#[cfg(test)]
mod tests;

pub(crate) use devices::{MAKE, READ, Rule, WRITE, usual};
pub use hierarchy::{Hierarchies, Version};

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::error::{Error, Result};
use crate::spec::Resources;
use crate::status::Stats;

/// How often removal kills what is left and tries again, a millisecond longer each time: two seconds in all.
const REMOVE_ATTEMPTS: u64 = 60;

/// Creates the group at `path` (such as `/kubepods/burstable`) with its parents, in every hierarchy, and sets
/// `resources`. Succeeds if it exists.
pub fn create(path: &str, resources: &Resources) -> Result<()> {
    let hierarchies = hierarchy::mounted()?;
    for folder in hierarchies.folders(path)? {
        hierarchies.make(&folder)?;
    }
    limits::write(hierarchies, path, resources)
}

/// Changes limits of an existing group.
pub fn update(path: &str, resources: &Resources) -> Result<()> {
    limits::write(hierarchy::mounted()?, path, resources)
}

/// Lets the group use these devices, besides the usual ones, and no others. Version 1 has files for that, which
/// libcontainer writes: then this does nothing.
pub(crate) fn restrict_devices(path: &str, rules: &[Rule]) -> Result<()> {
    let hierarchies = hierarchy::mounted()?;
    if hierarchies.version() == Version::V1 {
        return Ok(());
    }
    let all: Vec<Rule> = usual().into_iter().chain(rules.iter().copied()).collect();
    for folder in hierarchies.folders(path)? {
        devices::restrict(&folder, &all).map_err(Error::system(format!("restrict devices of {path}")))?;
    }
    Ok(())
}

/// Kills whatever runs in the group and in those below it, and removes them. Blocks up to two seconds. Also succeeds
/// if there is none.
pub fn remove(path: &str) -> Result<()> {
    for folder in hierarchy::mounted()?.folders(path)? {
        remove_folder(&folder)?;
    }
    Ok(())
}

/// Whether the group exists.
pub fn exists(path: &str) -> Result<bool> {
    Ok(hierarchy::mounted()?.folders(path)?.iter().any(|folder| folder.exists()))
}

/// The groups right below `path`, by name.
pub fn children(path: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for folder in hierarchy::mounted()?.folders(path)? {
        names
            .extend(subfolders(&folder).iter().filter_map(|sub| Some(sub.file_name()?.to_str()?.to_owned())));
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Moves a process into the group, in every hierarchy. Takes about ten milliseconds: the kernel waits until no fork
/// is under way anywhere.
pub fn enter(path: &str, pid: Pid) -> Result<()> {
    for folder in hierarchy::mounted()?.folders(path)? {
        let file = folder.join("cgroup.procs");
        std::fs::write(&file, pid.as_raw_nonzero().to_string()).map_err(Error::io("write to", file))?;
    }
    Ok(())
}

/// Moves the calling process, which has one thread, into the group. With version 1 that can be said in a way that
/// needs no waiting.
pub(crate) fn enter_alone(path: &str) -> Result<()> {
    let hierarchies = hierarchy::mounted()?;
    if hierarchies.version() == Version::V2 {
        return enter(path, rustix::process::getpid());
    }
    for folder in hierarchies.folders(path)? {
        let file = folder.join("tasks");
        std::fs::write(&file, "0").map_err(Error::io("write to", file))?;
    }
    Ok(())
}

/// The processes in the group and in those below it.
pub fn processes(path: &str) -> Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for folder in hierarchy::mounted()?.folders(path)? {
        collect(&folder, &mut pids);
    }
    pids.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
    pids.dedup();
    Ok(pids)
}

/// Sends `SIGKILL` to everything in the group and in those below it; returns how many were found.
pub fn kill(path: &str) -> Result<usize> {
    let mut found = 0;
    for folder in hierarchy::mounted()?.folders(path)? {
        found += kill_folder(&folder);
    }
    Ok(found)
}

/// Figures of the group.
pub fn stats(path: &str) -> Result<Stats> {
    stats::read(hierarchy::mounted()?, path)
}

/// How often the kernel killed a process of the group (or, with version 2, below it) for want of memory.
pub fn oom_kills(path: &str) -> u64 {
    hierarchy::mounted().map(|hierarchies| stats::oom_kills(hierarchies, path)).unwrap_or(0)
}

/// Which hierarchies this machine has.
pub fn hierarchies() -> Result<&'static Hierarchies> {
    hierarchy::mounted()
}

fn collect(folder: &Path, pids: &mut Vec<Pid>) {
    if let Ok(text) = std::fs::read_to_string(folder.join("cgroup.procs")) {
        pids.extend(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)));
    }
    for sub in subfolders(folder) {
        collect(&sub, pids);
    }
}

fn kill_folder(folder: &Path) -> usize {
    let mut pids = Vec::new();
    collect(folder, &mut pids);
    // Version 2 kills the whole tree at once, so that nothing can fork its way out.
    if !pids.is_empty() && std::fs::write(folder.join("cgroup.kill"), "1").is_err() {
        for pid in &pids {
            let _ = rustix::process::kill_process(*pid, Signal::KILL);
        }
    }
    pids.len()
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_folder(folder: &Path) -> Result<()> {
    for sub in subfolders(folder) {
        remove_folder(&sub)?;
    }
    for attempt in 0.. {
        match std::fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            // Version 1 has no event for a group that became empty: what was killed takes a moment to be gone.
            Err(_) if attempt < REMOVE_ATTEMPTS => {
                kill_folder(folder);
                std::thread::sleep(Duration::from_millis(attempt));
            }
            Err(error) => return Err(Error::io("remove control group", folder)(error)),
        }
    }
    Ok(())
}
