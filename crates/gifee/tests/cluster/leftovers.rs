//! What a cluster has in the kernel and on the disk, to see that nothing of it is left.

use std::fs;
use std::path::{Path, PathBuf};

/// Everything that belongs to an instance with a data directory, a line each.
pub fn of(instance: &str, data_dir: &Path) -> Vec<String> {
    let mut found = mounts(data_dir);
    let group = format!("gifee-{instance}");
    for (pid, command) in processes(&group, data_dir) {
        found.push(format!("process {pid}: {command}"));
    }
    for entry in fs::read_dir("/sys/class/net").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&format!("gf{instance}-")) {
            found.push(format!("link {name}"));
        }
    }
    for folder in hierarchies() {
        let path = folder.join(&group);
        if path.exists() {
            found.push(format!("control group {}", path.display()));
        }
    }
    found
}

/// Roots of control group hierarchies, of either version.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let below = fs::read_dir(root).unwrap().flatten().map(|entry| entry.path());
    std::iter::once(root.to_owned()).chain(below.filter(|path| path.is_dir())).collect()
}

fn mounts(data_dir: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .filter(|point| Path::new(point).starts_with(data_dir))
        .map(|point| format!("mount {point}"))
        .collect()
}

/// Processes in a control group, or with a folder in their arguments.
pub fn processes(group: &str, folder: &Path) -> Vec<(u32, String)> {
    let folder = folder.to_string_lossy().into_owned();
    let inside = format!("/{group}/");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        // A process may end while it is looked at.
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let groups = String::from_utf8_lossy(&read("cgroup")).into_owned();
        let contained = groups.lines().any(|line| format!("{line}/").contains(&inside));
        if contained || command.contains(&folder) {
            found.push((pid, command));
        }
    }
    found
}
