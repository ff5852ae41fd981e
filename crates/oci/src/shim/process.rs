//! What the holder of a sandbox knows about a container: files that the agent writes and the shim reads.
//!
//! Invariant: everything that runs in a container, the first program and every exec, is derived from one record.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::capabilities::Capabilities;
use crate::error::{Error, Result};
use crate::spec::{LogRotation, PidMode, Propagation, Seccomp, User};

/// Name of the record in a container's folder.
pub(crate) const PROCESS_FILE: &str = "process.json";
/// Name of the record of a container's end in its folder.
pub(crate) const EXIT_FILE: &str = "exit.json";
/// Name of the record of a container's start in its folder.
pub(crate) const START_FILE: &str = "start.json";
/// Name of a sandbox's record in its folder.
pub(crate) const SANDBOX_FILE: &str = "sandbox.json";
/// Name of the folder of containers in a sandbox's folder.
pub(crate) const CONTAINERS: &str = "containers";
/// Name of the socket in a sandbox's folder.
pub(crate) const SOCKET: &str = "shim.sock";

/// How programs run in a container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Process {
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub user: User,
    /// The image's `USER`.
    pub image_user: Option<String>,
    pub capabilities: Capabilities,
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    pub apparmor_profile: Option<String>,
    pub tty: bool,
    pub stdin: bool,
    pub stdin_once: bool,
    pub log: Option<PathBuf>,
    pub log_rotation: LogRotation,
    /// Control group.
    pub cgroup: String,
    pub pid: PidMode,
    /// Folder of layers, and the names in it, top first.
    pub layers_folder: PathBuf,
    pub layers: Vec<String>,
    /// Where mounts are that others may see the mounts below of, or whose mounts below it may see.
    #[serde(default)]
    pub propagating: Vec<(PathBuf, Propagation)>,
    /// Mount the root file system on the host, so that mounts can propagate out of the container.
    pub host_mount: bool,
}

/// A container's start, as recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub pid: u32,
    pub started_at: std::time::SystemTime,
}

/// Reads a record.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::io("read", path)(error.into()))
}

/// Replaces a record at once; whoever reads sees the old or the new one. It is not synced: after a loss of power the
/// containers it tells of are gone with it.
pub(crate) fn save<T: Serialize>(path: &Path, record: &T) -> Result<()> {
    let bytes = serde_json::to_vec(record).map_err(|error| Error::io("write", path)(error.into()))?;
    let beside = path.with_extension("tmp");
    std::fs::write(&beside, bytes).map_err(Error::io("write", &beside))?;
    std::fs::rename(&beside, path).map_err(Error::io("write", path))
}
