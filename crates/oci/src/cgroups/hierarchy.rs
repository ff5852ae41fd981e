//! Where control groups are mounted.
//!
//! Invariant: found once per process from the mount table; each controller belongs to exactly one hierarchy.
//! Answers to runc's and libcgroups' look-up of subsystems.

use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{Error, Result};

/// Which interface the controllers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller, also with an empty unified one beside them.
    V1,
    /// One for all.
    V2,
}

/// The mounted hierarchies.
#[derive(Clone, Debug)]
pub struct Hierarchies {
    version: Version,
    /// Mount point, and the controllers bound to it; names of named hierarchies are left out.
    mounts: Vec<(PathBuf, Vec<String>)>,
}

/// The machine's hierarchies.
pub(super) fn mounted() -> Result<&'static Hierarchies> {
    static FOUND: OnceLock<Option<Hierarchies>> = OnceLock::new();
    FOUND
        .get_or_init(|| Hierarchies::parse(&std::fs::read_to_string("/proc/self/mountinfo").ok()?))
        .as_ref()
        .ok_or_else(|| Error::Invalid("no control group hierarchy with controllers is mounted".to_owned()))
}

impl Hierarchies {
    /// Reads `/proc/self/mountinfo`.
    pub(super) fn parse(mountinfo: &str) -> Option<Hierarchies> {
        let mut v1: Vec<(PathBuf, Vec<String>)> = Vec::new();
        let mut v2 = None;
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut right = right.split(' ');
            match (right.next(), right.nth(1)) {
                (Some("cgroup2"), _) => v2 = v2.or(Some(point)),
                (Some("cgroup"), Some(options)) if !options.contains("name=") => {
                    let known = options.split(',').filter(|word| CONTROLLERS.contains(word));
                    let controllers: Vec<String> = known.map(str::to_owned).collect();
                    let again = v1.iter().any(|(_, bound)| *bound == controllers);
                    if !controllers.is_empty() && !again {
                        v1.push((point, controllers));
                    }
                }
                _ => {}
            }
        }
        if v1.iter().any(|(_, bound)| bound.iter().any(|name| name == "memory" || name == "cpu")) {
            return Some(Hierarchies { version: Version::V1, mounts: v1 });
        }
        v2.map(|point| Hierarchies { version: Version::V2, mounts: vec![(point, Vec::new())] })
    }

    /// Which interface the controllers have.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The group's folder in each hierarchy.
    pub(super) fn folders(&self, path: &str) -> Result<Vec<PathBuf>> {
        let relative = relative(path)?;
        Ok(self.mounts.iter().map(|(point, _)| point.join(relative)).collect())
    }

    /// For a container's `/sys/fs/cgroup`: names in it, and the group's folder that belongs there.
    pub(crate) fn view(&self, path: &str) -> Result<Vec<(String, PathBuf)>> {
        let relative = relative(path)?;
        let mut view = Vec::new();
        for (point, bound) in &self.mounts {
            let together = point.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let mut names = bound.clone();
            if !names.contains(&together) {
                names.push(together);
            }
            view.extend(names.into_iter().map(|name| (name, point.join(relative))));
        }
        Ok(view)
    }

    /// The group's folder where `controller` is.
    pub(super) fn folder(&self, controller: &str, path: &str) -> Option<PathBuf> {
        let relative = relative(path).ok()?;
        let mut mounts = self.mounts.iter();
        mounts
            .find(|(_, bound)| self.version == Version::V2 || bound.iter().any(|name| name == controller))
            .map(|(point, _)| point.join(relative))
    }

    /// Creates a folder below a mount point, with its parents.
    pub(super) fn make(&self, folder: &Path) -> Result<()> {
        let Some((point, _)) = self.mounts.iter().find(|(point, _)| folder.starts_with(point)) else {
            return Err(Error::Invalid(format!("{folder:?} is not in a control group hierarchy")));
        };
        let mut at = point.clone();
        for part in folder.strip_prefix(point).unwrap_or(folder).components() {
            if self.version == Version::V2 {
                enable_controllers(&at);
            }
            let parent = at.clone();
            at.push(part);
            match std::fs::create_dir(&at) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create control group", at)(error)),
            }
            // Also one that was there: whoever made it a moment ago may not have come to this yet, or have died.
            if self.version == Version::V1 {
                inherit_cpuset(&parent, &at);
            }
        }
        Ok(())
    }
}

const CONTROLLERS: [&str; 13] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "rdma",
];

/// A group of version 1's cpuset starts without processors, and takes no process until it has some.
fn inherit_cpuset(parent: &Path, folder: &Path) {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let Ok(own) = std::fs::read_to_string(folder.join(name)) else { return };
        if !own.trim().is_empty() {
            continue;
        }
        if let Ok(value) = std::fs::read_to_string(parent.join(name)) {
            let _ = std::fs::write(folder.join(name), value.trim());
        }
    }
}

/// Controllers that cannot be switched on (they are in use elsewhere, or this is not the root's namespace) are left.
fn enable_controllers(folder: &Path) {
    let Ok(available) = std::fs::read_to_string(folder.join("cgroup.controllers")) else { return };
    let enabled = std::fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
    for name in available.split_whitespace().filter(|name| !enabled.split_whitespace().any(|on| on == *name))
    {
        let _ = std::fs::write(folder.join("cgroup.subtree_control"), format!("+{name}"));
    }
}

fn relative(path: &str) -> Result<&Path> {
    let relative = Path::new(path.trim_start_matches('/'));
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || relative.as_os_str().is_empty() {
        return Err(Error::Invalid(format!("{path:?} is not the path of a control group")));
    }
    Ok(relative)
}
