//! What the runtime knows of sandboxes and containers.
//!
//! Invariant: a cache of the disk and of what shims report; whatever is lost with the process is read again. Changes
//! of a container's phase are seen by everybody who waits for them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::shim;
use crate::spec::{ContainerSpec, SandboxSpec};
use crate::status::{ContainerState, ContainerStatus, Exit, SandboxState, SandboxStatus};

/// Everything known.
#[derive(Default)]
pub(super) struct State {
    pub sandboxes: HashMap<String, Sandbox>,
    pub containers: HashMap<String, Container>,
}

/// A sandbox.
pub(super) struct Sandbox {
    pub folder: PathBuf,
    pub spec: Arc<SandboxSpec>,
    pub created_at: SystemTime,
    pub cgroup: String,
    /// Whether its holder serves; changes once, to `false`.
    pub ready: watch::Sender<bool>,
    /// The number of its holder.
    pub pid: Option<u32>,
    /// Its holder, if it is this process's child.
    pub child: Option<Child>,
}

impl Sandbox {
    pub(super) fn new(folder: PathBuf, record: shim::Sandbox, child: Option<Child>) -> Sandbox {
        Sandbox {
            pid: shim::process::load(&folder.join(shim::PID_FILE)).ok(),
            folder,
            spec: Arc::new(record.spec),
            created_at: record.created_at,
            cgroup: record.cgroup,
            ready: watch::Sender::new(true),
            child,
        }
    }

    pub(super) fn status(&self, id: &str) -> SandboxStatus {
        let ready = *self.ready.borrow();
        SandboxStatus {
            id: id.to_owned(),
            state: if ready { SandboxState::Ready } else { SandboxState::NotReady },
            created_at: self.created_at,
            pid: self.pid.filter(|_| ready),
            spec: self.spec.clone(),
        }
    }
}

/// A container's record on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub spec: ContainerSpec,
    pub created_at: SystemTime,
    pub image_id: String,
    pub cgroup: String,
    pub log_path: Option<PathBuf>,
    pub stop_signal: i32,
}

/// Where a container is in its life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Phase {
    pub pid: Option<u32>,
    pub started_at: Option<SystemTime>,
    pub exit: Option<Exit>,
}

/// A container.
pub(super) struct Container {
    pub sandbox: String,
    pub folder: PathBuf,
    pub spec: Arc<ContainerSpec>,
    pub created_at: SystemTime,
    pub image_id: String,
    pub cgroup: String,
    pub log_path: Option<PathBuf>,
    pub stop_signal: i32,
    pub phase: watch::Sender<Phase>,
}

impl Container {
    pub(super) fn new(sandbox: &str, folder: PathBuf, record: Record, phase: Phase) -> Container {
        Container {
            sandbox: sandbox.to_owned(),
            folder,
            spec: Arc::new(record.spec),
            created_at: record.created_at,
            image_id: record.image_id,
            cgroup: record.cgroup,
            log_path: record.log_path,
            stop_signal: record.stop_signal,
            phase: watch::Sender::new(phase),
        }
    }

    pub(super) fn status(&self, id: &str) -> ContainerStatus {
        let phase = self.phase.borrow().clone();
        let state = match &phase {
            Phase { exit: Some(_), .. } => ContainerState::Exited,
            Phase { started_at: Some(_), .. } => ContainerState::Running,
            _ => ContainerState::Created,
        };
        ContainerStatus {
            id: id.to_owned(),
            sandbox: self.sandbox.clone(),
            state,
            created_at: self.created_at,
            started_at: phase.started_at,
            pid: phase.pid.filter(|_| phase.exit.is_none()),
            exit: phase.exit,
            image_id: self.image_id.clone(),
            log_path: self.log_path.clone(),
            spec: self.spec.clone(),
        }
    }
}

impl State {
    pub(super) fn sandbox(&self, id: &str) -> Result<&Sandbox> {
        self.sandboxes.get(id).ok_or_else(|| Error::NotFound { kind: "sandbox", name: id.to_owned() })
    }

    pub(super) fn container(&self, id: &str) -> Result<&Container> {
        self.containers.get(id).ok_or_else(|| Error::NotFound { kind: "container", name: id.to_owned() })
    }
}
