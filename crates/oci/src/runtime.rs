//! The seam between a node agent and whatever runs containers.
//!
//! Invariant: nothing here names an implementation; ids are the runtime's; every call may be repeated after a
//! crash of the caller (`stop…` and `remove…` succeed on what is already gone). Answers to CRI's `RuntimeService`
//! and `ImageService`.

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{broadcast, mpsc};

use crate::error::Result;
use crate::images::{Auth, Image, Progress};
use crate::spec::{ContainerSpec, ExecSpec, Resources, SandboxSpec, Size, Stop};
use crate::status::{ContainerStatus, DiskUsage, Event, ExecResult, SandboxStatus, Stats};

/// Runs sandboxes and containers.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Creates a sandbox and its holder; it is `Ready` when this returns.
    async fn create_sandbox(&self, spec: SandboxSpec) -> Result<SandboxStatus>;

    /// Kills what still runs in it and ends its holder. Also succeeds if it is stopped or gone.
    async fn stop_sandbox(&self, sandbox: &str) -> Result<()>;

    /// Stops it, removes its containers and leaves nothing of it behind. Also succeeds if it is gone.
    async fn remove_sandbox(&self, sandbox: &str) -> Result<()>;

    /// Creates a container, with its file system, from an image that is present; nothing runs yet. Returns its id.
    async fn create_container(&self, sandbox: &str, spec: ContainerSpec) -> Result<String>;

    /// Starts a created container; when this returns, its program has been executed.
    async fn start_container(&self, container: &str) -> Result<()>;

    /// Asks it to end, waits for the grace period, then kills everything in it; returns when it has ended.
    /// Also succeeds if it has ended, or is gone.
    async fn stop_container(&self, container: &str, stop: Stop) -> Result<()>;

    /// Sends a signal to its first process.
    async fn signal_container(&self, container: &str, signal: &str) -> Result<()>;

    /// Kills it if it runs, and removes everything but its log. Also succeeds if it is gone.
    async fn remove_container(&self, container: &str) -> Result<()>;

    /// Changes limits of a container.
    async fn update_container(&self, container: &str, resources: &Resources) -> Result<()>;

    /// Begins its log file anew, after the caller has moved it away.
    async fn reopen_log(&self, container: &str) -> Result<()>;

    /// Runs a program in a running container, with streams. The program is killed when the session is dropped.
    async fn exec(&self, container: &str, spec: ExecSpec) -> Result<Session>;

    /// Runs a program in a running container and collects what it writes. It is killed at the timeout
    /// ([`crate::Error::Timeout`]); `None` waits as long as it runs.
    async fn exec_sync(
        &self,
        container: &str,
        args: &[String],
        timeout: Option<Duration>,
    ) -> Result<ExecResult>;

    /// Connects to the streams of a container's first process.
    async fn attach(&self, container: &str, stdin: bool) -> Result<Session>;

    /// All sandboxes.
    async fn sandboxes(&self) -> Result<Vec<SandboxStatus>>;

    /// One sandbox.
    async fn sandbox(&self, sandbox: &str) -> Result<SandboxStatus>;

    /// All containers.
    async fn containers(&self) -> Result<Vec<ContainerStatus>>;

    /// One container.
    async fn container(&self, container: &str) -> Result<ContainerStatus>;

    /// What happens from now on. The queue holds 1,024 events; a receiver that lags is told so, and lists again.
    fn events(&self) -> broadcast::Receiver<Event>;

    /// Figures of a container.
    async fn stats(&self, container: &str) -> Result<Stats>;

    /// Disk use of a container's writable layer. Walks it: not for hot paths.
    async fn disk_usage(&self, container: &str) -> Result<DiskUsage>;
}

/// Pulls, lists and removes images.
#[async_trait]
pub trait ImageService: Send + Sync {
    /// Makes an image present, from its registry. `progress` is called often and must be quick.
    async fn pull(&self, reference: &str, auth: Option<Auth>, progress: Progress) -> Result<Image>;

    /// Imports an OCI layout or Docker archive (tar, also gzip- or zstd-compressed). `name` is required if the
    /// archive names none, and wins if it does.
    async fn import_archive(&self, path: &Path, name: Option<&str>) -> Result<Vec<Image>>;

    /// Imports a tar (also compressed) of a root file system as a one-layer image.
    async fn import_rootfs(
        &self,
        path: &Path,
        name: &str,
        config: crate::images::ProcessConfig,
    ) -> Result<Image>;

    /// All images.
    async fn list(&self) -> Result<Vec<Image>>;

    /// The image that a reference or id stands for, if it is present.
    async fn inspect(&self, reference: &str) -> Result<Option<Image>>;

    /// Removes a name, or, given an id, the image with all its names; then whatever nothing uses any more.
    /// Also succeeds if there is none.
    async fn remove(&self, reference: &str) -> Result<()>;

    /// Disk use of all images.
    async fn disk_usage(&self) -> Result<DiskUsage>;
}

/// A stream into a process.
pub type Input = Pin<Box<dyn AsyncWrite + Send>>;
/// A stream out of a process.
pub type Output = Pin<Box<dyn AsyncRead + Send>>;

/// A program that runs in a container, or an attachment to one that does.
///
/// Dropping `exit` ends the session: an exec's program is killed, an attachment is undone.
pub struct Session {
    /// Standard input, if asked for; shutting it down is end-of-file.
    pub stdin: Option<Input>,
    /// Standard output, or the terminal's.
    pub stdout: Option<Output>,
    /// Standard error; `None` with a terminal.
    pub stderr: Option<Output>,
    /// New sizes of the terminal; `None` without one. The queue holds 8.
    pub resize: Option<mpsc::Sender<Size>>,
    /// Ends with the program, with its exit code (see [`crate::status::Exit::code`]).
    pub exit: BoxFuture<'static, Result<i32>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("stdin", &self.stdin.is_some())
            .field("stderr", &self.stderr.is_some())
            .field("tty", &self.resize.is_some())
            .finish()
    }
}
