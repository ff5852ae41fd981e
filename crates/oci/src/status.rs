//! What the runtime answers: states, events, figures.
//!
//! Invariant: an exit code, once answered, never changes, whatever happens to the agent. Answers to CRI's
//! `PodSandboxStatus`, `ContainerStatus`, `ContainerEventResponse` and `ContainerStats`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::spec::{ContainerSpec, SandboxSpec};

/// State of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxState {
    /// Its holder runs; containers can be created.
    Ready,
    /// Stopped, or its holder died (a reboot, a crash): it can only be removed.
    NotReady,
}

/// A sandbox as it is.
#[derive(Clone, Debug)]
pub struct SandboxStatus {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its state.
    pub state: SandboxState,
    /// When it was created.
    pub created_at: SystemTime,
    /// The process that holds it.
    pub pid: Option<u32>,
    /// What it was created from.
    pub spec: Arc<SandboxSpec>,
}

/// State of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Not started yet.
    Created,
    /// Its first process runs.
    Running,
    /// Its first process ended.
    Exited,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; 128 + signal number for a signal. 255 if it is not known, 128 if it could not be started.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed one of its processes for want of memory.
    pub oom_killed: bool,
    /// When it ended.
    pub finished_at: SystemTime,
    /// Why it is not an ordinary exit: the error that kept it from starting, a holder that died.
    pub message: Option<String>,
}

impl Exit {
    /// CRI's word for it: `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`.
    pub fn reason(&self) -> &'static str {
        match self {
            Exit { oom_killed: true, .. } => "OOMKilled",
            Exit { code: 128, message: Some(_), .. } => "StartError",
            Exit { message: Some(_), .. } => "ContainerStatusUnknown",
            Exit { code: 0, .. } => "Completed",
            _ => "Error",
        }
    }
}

/// A container as it is.
#[derive(Clone, Debug)]
pub struct ContainerStatus {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The sandbox it is in.
    pub sandbox: String,
    /// Its state.
    pub state: ContainerState,
    /// When it was created.
    pub created_at: SystemTime,
    /// When its first process was started.
    pub started_at: Option<SystemTime>,
    /// How it ended; there exactly in the state `Exited`.
    pub exit: Option<Exit>,
    /// The number of its first process on the host.
    pub pid: Option<u32>,
    /// Digest of the image's configuration: the image id.
    pub image_id: String,
    /// Where its log is written.
    pub log_path: Option<PathBuf>,
    /// What it was created from.
    pub spec: Arc<ContainerSpec>,
}

/// Something happened to a container.
#[derive(Clone, Debug)]
pub struct Event {
    /// The container.
    pub container: String,
    /// Its sandbox.
    pub sandbox: String,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was created.
    Created,
    /// Its first process was started.
    Started,
    /// Its first process ended.
    Exited(Exit),
    /// It was removed.
    Removed,
    /// The holder of its sandbox ended: `container` is empty.
    SandboxLost,
}

/// How a program that was run in a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecResult {
    /// What it wrote, at most 16 MiB; the rest is dropped.
    pub stdout: Vec<u8>,
    /// What it wrote, at most 16 MiB; the rest is dropped.
    pub stderr: Vec<u8>,
    /// As in [`Exit::code`].
    pub exit_code: i32,
}

/// Figures of a control group, and of a container's writable layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// CPU time used, nanoseconds.
    pub cpu_nanos: u64,
    /// CPU time used outside of the kernel, nanoseconds.
    pub cpu_user_nanos: u64,
    /// CPU time used in the kernel, nanoseconds.
    pub cpu_system_nanos: u64,
    /// Periods of the CPU quota that have passed.
    pub cpu_periods: u64,
    /// Periods of them in which the quota was used up.
    pub cpu_throttled_periods: u64,
    /// Time that was waited for a next period, nanoseconds.
    pub cpu_throttled_nanos: u64,
    /// Bytes charged, page cache included.
    pub memory_usage: u64,
    /// Bytes charged without the inactive page cache: what eviction looks at.
    pub memory_working_set: u64,
    /// Anonymous memory, bytes.
    pub memory_rss: u64,
    /// Page cache, bytes.
    pub memory_cache: u64,
    /// Files mapped into memory, bytes.
    pub memory_mapped: u64,
    /// Bytes that were moved to swap.
    pub memory_swap: u64,
    /// Limit in bytes; `None` without one.
    pub memory_limit: Option<u64>,
    /// Page faults.
    pub page_faults: u64,
    /// Major page faults.
    pub major_page_faults: u64,
    /// Tasks.
    pub pids: u64,
    /// Times that the kernel killed a process here for want of memory.
    pub oom_kills: u64,
}

/// Disk use of a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes allocated.
    pub bytes: u64,
    /// Files, folders, links.
    pub inodes: u64,
}
