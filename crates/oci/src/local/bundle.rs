//! From a container's specification and its image to what libcontainer and the shim read.
//!
//! Invariant: pure, but for looking up devices. Privileges are not libcontainer's concern here: it gets root with
//! everything, and the shim's last steps take away (see `shim::launch`). Answers to containerd's CRI spec options.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::capabilities::Capabilities;
use crate::cgroups::{Hierarchies, MAKE, READ, Rule, Version, WRITE};
use crate::error::{Error, Result};
use crate::images::{Image, Stack};
use crate::shim::process::Process;
use crate::spec::{ContainerSpec, Device, Mount, PidMode, Propagation, Seccomp};

/// Hidden from containers: what tells of the host, or changes it.
const MASKED_PATHS: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const CGROUPS: &str = "/sys/fs/cgroup";

/// What a bundle is made from.
pub(super) struct Input<'a> {
    pub spec: &'a ContainerSpec,
    pub stack: &'a Stack,
    /// The mounts, all of them with where they are on the host.
    pub mounts: &'a [Mount],
    pub hierarchies: &'a Hierarchies,
    pub cgroup: &'a str,
    pub log: Option<PathBuf>,
    /// Files of the sandbox (`/etc/hostname`, `/dev/shm` and others), below the container's own mounts.
    pub shared: Vec<Mount>,
    pub hostname: String,
    pub pid: PidMode,
    /// The path of the namespace of processes to join.
    pub pid_path: Option<String>,
}

/// What a bundle consists of.
pub(super) struct Bundle {
    /// `config.json`, for libcontainer.
    pub config: Value,
    /// The shim's record.
    pub process: Process,
    /// Devices besides the usual ones; `None`: all.
    pub devices: Option<Vec<Rule>>,
}

/// Makes a bundle.
pub(super) fn build(input: Input<'_>) -> Result<Bundle> {
    let Input { spec, stack, .. } = &input;
    let security = &spec.security;
    let capabilities = match security.privileged {
        true => Capabilities::all(),
        false => Capabilities::changed(&security.capabilities_add, &security.capabilities_drop)?,
    };
    let bidirectional = spec.mounts.iter().any(|mount| mount.propagation == Propagation::Bidirectional);
    if bidirectional && !security.privileged {
        return Err(Error::Invalid("only a privileged container can have bidirectional mounts".to_owned()));
    }
    let image = &stack.image.config;
    let working_dir = spec.working_dir.as_deref().filter(|path| !path.is_empty());
    let process = Process {
        args: arguments(spec, &stack.image)?,
        env: environment(spec, &stack.image, &input.hostname),
        cwd: working_dir.or(image.working_dir.as_deref()).unwrap_or("/").to_owned(),
        user: spec.user.clone(),
        image_user: image.user.clone().filter(|user| !user.is_empty()),
        capabilities,
        no_new_privileges: security.no_new_privileges,
        seccomp: if security.privileged { Seccomp::Unconfined } else { security.seccomp.clone() },
        apparmor_profile: security.apparmor_profile.clone(),
        tty: spec.tty,
        stdin: spec.stdin,
        stdin_once: spec.stdin_once,
        log: input.log.clone(),
        log_rotation: spec.log_rotation,
        cgroup: input.cgroup.to_owned(),
        pid: input.pid.clone(),
        layers_folder: stack.folder.clone(),
        layers: stack.layers.clone(),
        propagating: spec
            .mounts
            .iter()
            .filter(|mount| mount.propagation != Propagation::Private)
            .map(|mount| (mount.container_path.clone(), mount.propagation))
            .collect(),
        host_mount: bidirectional,
    };
    if !process.cwd.starts_with('/') {
        return Err(Error::Invalid(format!("working directory {:?} is not absolute", process.cwd)));
    }
    let (files, devices) = devices(spec)?;
    let mut config = config(&input, files, devices.as_deref())?;
    if bidirectional {
        config["linux"]["rootfsPropagation"] = json!("shared");
    }
    Ok(Bundle { config, process, devices })
}

fn config(input: &Input<'_>, devices: Vec<Value>, rules: Option<&[Rule]>) -> Result<Value> {
    let Input { spec, .. } = input;
    let security = &spec.security;
    let all = Capabilities::all().names();
    let rlimits: Vec<Value> = spec
        .rlimits
        .iter()
        .map(|limit| {
            let name = limit.name.to_ascii_uppercase();
            let name = format!("RLIMIT_{}", name.trim_start_matches("RLIMIT_"));
            json!({"type": name, "soft": limit.soft, "hard": limit.hard})
        })
        .collect();
    let mut process = json!({
        "terminal": spec.tty,
        "user": {"uid": 0, "gid": 0},
        "args": ["container"],
        "cwd": "/",
        "capabilities": {"bounding": all, "effective": all, "permitted": all, "inheritable": [], "ambient": []},
        "rlimits": rlimits,
    });
    if let Some(score) = spec.oom_score_adj {
        process["oomScoreAdj"] = json!(score.max(least_score()));
    }
    let rules = match rules {
        None => vec![json!({"allow": true, "access": "rwm"})],
        Some(rules) => {
            let refused = json!({"allow": false, "access": "rwm"});
            std::iter::once(refused).chain(rules.iter().map(rule)).collect()
        }
    };
    let paths = |given: &Option<Vec<String>>, default: &[&str]| match given {
        _ if security.privileged => Vec::new(),
        Some(paths) => paths.clone(),
        None => default.iter().map(|path| (*path).to_owned()).collect(),
    };
    let mut readonly_paths = paths(&security.readonly_paths, &READONLY_PATHS);
    if !security.privileged {
        readonly_paths.push(CGROUPS.to_owned());
    }
    let linux = json!({
        "namespaces": namespaces(input),
        "cgroupsPath": input.cgroup,
        "resources": {"devices": rules},
        "devices": devices,
        "maskedPaths": paths(&security.masked_paths, &MASKED_PATHS),
        "readonlyPaths": readonly_paths,
    });
    Ok(json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": security.readonly_rootfs},
        "process": process,
        "mounts": mounts(input)?,
        "linux": linux,
    }))
}

/// The network, IPC and host name namespaces are the shim's, which forks the container.
fn namespaces(input: &Input<'_>) -> Vec<Value> {
    let mut namespaces = vec![json!({"type": "mount"})];
    match (&input.pid, &input.pid_path) {
        (PidMode::Container, _) => namespaces.push(json!({"type": "pid"})),
        (_, Some(path)) => namespaces.push(json!({"type": "pid", "path": path})),
        _ => {}
    }
    if input.hierarchies.version() == Version::V2 && !input.spec.security.privileged {
        namespaces.push(json!({"type": "cgroup"}));
    }
    namespaces
}

/// A command replaces the image's entry point and arguments, arguments alone replace its arguments.
fn arguments(spec: &ContainerSpec, image: &Image) -> Result<Vec<String>> {
    let none = Vec::new();
    let entrypoint = image.config.entrypoint.as_ref().unwrap_or(&none);
    let cmd = image.config.cmd.as_ref().unwrap_or(&none);
    let (first, rest) = match (spec.command.is_empty(), spec.args.is_empty()) {
        (false, _) => (&spec.command, &spec.args),
        (true, false) => (entrypoint, &spec.args),
        (true, true) => (entrypoint, cmd),
    };
    let all: Vec<String> = first.iter().chain(rest).cloned().collect();
    if all.is_empty() {
        return Err(Error::Invalid("no command specified".to_owned()));
    }
    Ok(all)
}

fn environment(spec: &ContainerSpec, image: &Image, hostname: &str) -> Vec<(String, String)> {
    let mut env = BTreeMap::from([("HOSTNAME".to_owned(), hostname.to_owned())]);
    let own = image.config.env.iter().flatten().filter_map(|entry| entry.split_once('='));
    env.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    env.extend(spec.env.iter().cloned());
    env.into_iter().collect()
}

fn mounts(input: &Input<'_>) -> Result<Vec<Value>> {
    let privileged = input.spec.security.privileged;
    let access = if privileged { "rw" } else { "ro" };
    let mount = |destination: &str, kind: &str, options: &[&str]| {
        (PathBuf::from(destination), json!({"type": kind, "source": kind, "options": options}))
    };
    let mut all = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
    ];
    all.extend(cgroup_mounts(input, access)?);
    // Shallow ones first, so that nothing hides what was mounted before; the caller's order otherwise.
    let mut given: Vec<&Mount> = input.shared.iter().chain(input.mounts).collect();
    given.sort_by_key(|mount| mount.container_path.components().count());
    for mount in given {
        // A later mount on the same place takes it over.
        all.retain(|(destination, _)| *destination != mount.container_path);
        let mut options = vec!["rbind"];
        options.push(match mount.propagation {
            Propagation::Private => "rprivate",
            Propagation::HostToContainer => "rslave",
            Propagation::Bidirectional => "rshared",
        });
        options.push(if mount.readonly || mount.recursive_read_only { "ro" } else { "rw" });
        if mount.recursive_read_only {
            options.push("rro");
        }
        let entry = json!({"type": "bind", "source": mount.host_path, "options": options});
        all.push((mount.container_path.clone(), entry));
    }
    let finish = |(destination, mut entry): (PathBuf, Value)| {
        entry["destination"] = json!(destination);
        entry
    };
    Ok(all.into_iter().map(finish).collect())
}

/// The container's own groups. Of version 1 every hierarchy is mounted by itself: libcontainer would leave them
/// writable, and with them the container's limits and devices.
fn cgroup_mounts(input: &Input<'_>, access: &str) -> Result<Vec<(PathBuf, Value)>> {
    let place = PathBuf::from(CGROUPS);
    if input.hierarchies.version() == Version::V2 {
        let options = ["nosuid", "noexec", "nodev", "relatime", access];
        return Ok(vec![(place, json!({"type": "cgroup", "source": "cgroup", "options": options}))]);
    }
    let options = ["nosuid", "noexec", "nodev", "mode=755", "size=1m"];
    let mut mounts = vec![(place.clone(), json!({"type": "tmpfs", "source": "tmpfs", "options": options}))];
    for (name, folder) in input.hierarchies.view(input.cgroup)? {
        let options = ["bind", "rprivate", "nosuid", "noexec", "nodev", access];
        mounts.push((place.join(name), json!({"type": "bind", "source": folder, "options": options})));
    }
    Ok(mounts)
}

/// Device files to create, and which devices may be used: `None` is all. The usual ones (`null`, `tty` and so on) come
/// along by themselves.
fn devices(spec: &ContainerSpec) -> Result<(Vec<Value>, Option<Vec<Rule>>)> {
    let mut files = Vec::new();
    if spec.security.privileged {
        collect_devices(Path::new("/dev"), &mut files);
        return Ok((files, None));
    }
    let mut rules = Vec::new();
    for device in &spec.devices {
        let Device { host_path, container_path, permissions } = device;
        let (file, number) = describe(host_path, container_path)?
            .ok_or_else(|| Error::Invalid(format!("{host_path:?} is not a device")))?;
        let granted = [('r', READ), ('w', WRITE), ('m', MAKE)].into_iter();
        let granted = granted.filter(|(letter, _)| permissions.is_empty() || permissions.contains(*letter));
        rules.push(Rule { access: granted.map(|(_, bit)| bit).sum(), ..number });
        files.push(file);
    }
    Ok((files, Some(rules)))
}

fn rule(rule: &Rule) -> Value {
    let letters = [(READ, 'r'), (WRITE, 'w'), (MAKE, 'm')].into_iter();
    let access: String =
        letters.filter(|(bit, _)| rule.access & bit != 0).map(|(_, letter)| letter).collect();
    let kind = if rule.kind == Some(b'b') { "b" } else { "c" };
    json!({"allow": true, "type": kind, "major": rule.major, "minor": rule.minor, "access": access})
}

fn describe(host: &Path, container: &Path) -> Result<Option<(Value, Rule)>> {
    let about = std::fs::metadata(host).map_err(Error::io("look up device", host))?;
    let kind = match about.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => return Ok(None),
    };
    let (major, minor) = (rustix::fs::major(about.rdev()), rustix::fs::minor(about.rdev()));
    let file = json!({
        "type": kind, "path": container, "major": major, "minor": minor,
        "fileMode": about.mode() & 0o7777, "uid": about.uid(), "gid": about.gid(),
    });
    let kind = kind.as_bytes().first().copied();
    Ok(Some((file, Rule { kind, major: Some(major), minor: Some(minor), access: 0 })))
}

/// All devices of the host but those that containers have of their own.
fn collect_devices(folder: &Path, files: &mut Vec<Value>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && !["pts", "shm", "fd", "mqueue"].iter().any(|own| name == *own) {
            collect_devices(&path, files);
        } else if (kind.is_char_device() || kind.is_block_device())
            && !["console", "ptmx", "null", "zero", "full", "tty", "urandom", "random"]
                .iter()
                .any(|own| name == *own)
            && let Ok(Some((device, _))) = describe(&path, &path)
        {
            files.push(device);
        }
    }
}

/// The least score that this process may give: without the right to lower scores, its own. A container that cannot be
/// protected is better than none.
fn least_score() -> i32 {
    static LEAST: std::sync::OnceLock<i32> = std::sync::OnceLock::new();
    const SYS_RESOURCE: u64 = 1 << 24;
    *LEAST.get_or_init(|| {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let effective =
            effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(u64::MAX);
        if effective & SYS_RESOURCE != 0 {
            return -1000;
        }
        read("/proc/self/oom_score_adj").trim().parse().unwrap_or(0)
    })
}
