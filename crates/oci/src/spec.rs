//! What a caller asks for: sandboxes, containers, execs, as plain data.
//!
//! Invariant: every field has a meaning without Kubernetes, and every default is the one that CRI gives it.
//! Answers to the messages of CRI's `runtime.v1` (`PodSandboxConfig`, `ContainerConfig`, `LinuxContainer…`),
//! so that an implementation which talks to a CRI endpoint only renames.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A sandbox: what containers that belong together share (network, ipc, host name, control group parent).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxSpec {
    /// For people; need not be unique.
    pub name: String,
    /// Opaque to the runtime, given back by `list`.
    pub labels: BTreeMap<String, String>,
    /// Opaque to the runtime, given back by `list`.
    pub annotations: BTreeMap<String, String>,
    /// Host name in the sandbox's own UTS namespace; `None` keeps the host's (and its UTS namespace).
    pub hostname: Option<String>,
    /// The network namespace.
    pub network: Network,
    /// The process namespace of its containers.
    pub pid: PidMode,
    /// Whether containers use the host's IPC namespace (and its `/dev/shm`).
    pub host_ipc: bool,
    /// Kernel parameters of the sandbox's namespaces, `net.ipv4.ip_forward` or `net/ipv4/ip_forward`.
    pub sysctls: BTreeMap<String, String>,
    /// The control group that holds the sandbox's ones, for example `/kubepods/burstable/pod1234`. Created if it
    /// does not exist; never removed here (see [`crate::cgroups::remove`]).
    pub cgroup_parent: String,
    /// Absolute folder that containers' `log_path` is relative to. Created if missing.
    pub log_directory: PathBuf,
    /// Bytes of the sandbox's `/dev/shm`; 0 stands for 64 MiB.
    pub shm_bytes: u64,
    /// What its containers find in `/etc/resolv.conf`; `None`: what the host has there.
    pub dns: Option<Dns>,
}

/// Name resolution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses.
    pub servers: Vec<String>,
    /// Domains that are tried.
    pub searches: Vec<String>,
    /// Such as `ndots:5`.
    pub options: Vec<String>,
}

/// The network namespace of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Network {
    /// The host's.
    #[default]
    Host,
    /// The one that is mounted at this path (see [`crate::netns::create`]); the caller removes it.
    Path(PathBuf),
}

/// The process namespace of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PidMode {
    /// Its own: its first process has the number 1.
    #[default]
    Container,
    /// One for all containers of the sandbox.
    Sandbox,
    /// That of the host.
    Host,
    /// That of another container of the same sandbox (only in a [`ContainerSpec`]).
    Target(String),
}

/// A container in a sandbox.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// For people; need not be unique.
    pub name: String,
    /// Opaque to the runtime, given back by `list`.
    pub labels: BTreeMap<String, String>,
    /// Opaque to the runtime, given back by `list`.
    pub annotations: BTreeMap<String, String>,
    /// Reference (`nginx`, `registry/name@sha256:…`) or image id (`sha256:…`). It must have been pulled.
    pub image: String,
    /// Replaces the image's entry point, and drops the image's arguments, if not empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments, if not empty.
    pub args: Vec<String>,
    /// Set over the image's environment, in this order.
    pub env: Vec<(String, String)>,
    /// Replaces the image's working directory. Created in the container if missing.
    pub working_dir: Option<String>,
    /// Mounted in this order, after the standard ones.
    pub mounts: Vec<Mount>,
    /// Host devices to make available.
    pub devices: Vec<Device>,
    /// The user of the first process.
    pub user: User,
    /// Privileges.
    pub security: Security,
    /// Limits of its control group.
    pub resources: Resources,
    /// Limits of its processes.
    pub rlimits: Vec<Rlimit>,
    /// `-1000..=1000`.
    pub oom_score_adj: Option<i32>,
    /// `None`: as the sandbox says.
    pub pid: Option<PidMode>,
    /// Log file, relative to the sandbox's log folder; `None` drops the output.
    pub log_path: Option<PathBuf>,
    /// When log files are put aside.
    pub log_rotation: LogRotation,
    /// Give it a terminal: one output stream, and a size.
    pub tty: bool,
    /// Keep its standard input open for `attach`; without it, it reads end-of-file at once.
    pub stdin: bool,
    /// Close standard input when the first attached session ends.
    pub stdin_once: bool,
    /// Overrides the image's; name (`SIGTERM`, `TERM`) or number.
    pub stop_signal: Option<String>,
}

/// A folder or file of the host in a container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// On the host: must exist. Symbolic links are followed.
    pub host_path: PathBuf,
    /// In the container; created if missing, never outside of its root.
    pub container_path: PathBuf,
    /// Read-only (this mount; those below it only with `recursive_read_only`).
    pub readonly: bool,
    /// Read-only including every mount below it.
    pub recursive_read_only: bool,
    /// Whether later mounts below it are seen by the other side.
    pub propagation: Propagation,
    /// What this image holds, read-only, instead of something of the host. It must have been pulled.
    pub image: Option<String>,
    /// The part of the image that is mounted; all of it if it is empty. Links lead where they do in the image.
    pub image_sub_path: PathBuf,
}

/// Mount propagation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// None.
    #[default]
    Private,
    /// Mounts made on the host appear in the container.
    HostToContainer,
    /// And the other way round; only for privileged containers.
    Bidirectional,
}

/// A device of the host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// On the host.
    pub host_path: PathBuf,
    /// In the container.
    pub container_path: PathBuf,
    /// Of `r`, `w`, `m` (make).
    pub permissions: String,
}

/// The user of a process. Ids win over names; an empty value stands for what the image says, else root.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// Numeric user.
    pub uid: Option<u32>,
    /// Numeric group; `None`: the primary group of the user in the image's `/etc/passwd`, else 0.
    pub gid: Option<u32>,
    /// In the image's `USER` syntax: `user`, `uid`, `user:group`.
    pub name: Option<String>,
    /// Groups in addition to the primary one.
    pub supplemental_groups: Vec<u32>,
    /// Do not add the groups that the image's `/etc/group` gives to the user.
    pub strict_groups: bool,
}

/// Privileges of a container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// All capabilities, all devices, no system-call filter, nothing masked.
    pub privileged: bool,
    /// Root file system read-only.
    pub readonly_rootfs: bool,
    /// Programs cannot gain privileges (`allowPrivilegeEscalation: false`).
    pub no_new_privileges: bool,
    /// Added to the default set: `NET_ADMIN`, `CAP_NET_ADMIN`, `ALL`.
    pub capabilities_add: Vec<String>,
    /// Taken from the default set before adding; `ALL` takes all.
    pub capabilities_drop: Vec<String>,
    /// System-call filter.
    pub seccomp: Seccomp,
    /// Name of a loaded AppArmor profile.
    pub apparmor_profile: Option<String>,
    /// Hidden paths; `None`: the default ones of `/proc` and `/sys` (`procMount: Default`).
    pub masked_paths: Option<Vec<String>>,
    /// Read-only paths; `None`: the default ones.
    pub readonly_paths: Option<Vec<String>>,
}

/// The system-call filter of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Seccomp {
    /// None.
    #[default]
    Unconfined,
    /// The runtime's own profile.
    RuntimeDefault,
    /// A profile in Docker's JSON format, in a file of the host.
    Localhost(PathBuf),
}

/// Limits of a control group. `None` leaves a value alone (or at the kernel's default).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Relative weight, 2–262144; 1024 per CPU requested.
    pub cpu_shares: Option<u64>,
    /// Microseconds per period; -1 is no limit.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// Bytes; 0 or less is no limit.
    pub memory_limit: Option<i64>,
    /// Bytes that the kernel does not take back under pressure (version 2 only).
    pub memory_min: Option<i64>,
    /// Number of tasks; -1 is no limit.
    pub pids_limit: Option<i64>,
    /// `0-3,7`.
    pub cpuset_cpus: Option<String>,
    /// `0-1`.
    pub cpuset_mems: Option<String>,
    /// Page size (`2MB`) to bytes.
    pub hugepage_limits: BTreeMap<String, u64>,
    /// Files of version 2, written as they are: `memory.high` and others.
    pub unified: BTreeMap<String, String>,
}

/// A process limit, `RLIMIT_NOFILE` or `nofile`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Rlimit {
    /// Its name.
    pub name: String,
    /// What is enforced.
    pub soft: u64,
    /// How far a process may raise it.
    pub hard: u64,
}

/// When a container's log file is put aside and a new one begun.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct LogRotation {
    /// Size at which it happens; 0 never.
    pub max_bytes: u64,
    /// Files kept, the current one included; at least 2.
    pub max_files: u32,
}

impl Default for LogRotation {
    /// The kubelet's: 10 MiB, 5 files.
    fn default() -> LogRotation {
        LogRotation { max_bytes: 10 << 20, max_files: 5 }
    }
}

/// A program to run in a container next to its first process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecSpec {
    /// Program and arguments; the program is looked up in the container's `PATH`.
    pub args: Vec<String>,
    /// Added to the container's environment.
    pub env: Vec<(String, String)>,
    /// `None`: the container's.
    pub working_dir: Option<String>,
    /// Give it a terminal; `stdout` then carries both outputs.
    pub tty: bool,
    /// Connect standard input.
    pub stdin: bool,
    /// First size of the terminal.
    pub size: Option<Size>,
}

/// Size of a terminal, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// How a container is asked to end.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// First signal; `None`: the container's stop signal.
    pub signal: Option<String>,
    /// Time between the first signal and `SIGKILL` to everything in the container; zero kills at once.
    pub grace: Duration,
}
