//! The built-in [`Runtime`]: sandboxes held by shims, found again on disk.
//!
//! Layout: `ROOT/sandboxes/ID/` with `sandbox.json`, `shim.sock` and `containers/ID/` with `container.json`,
//! `config.json`, `process.json`, `start.json`, `exit.json`, `upper`, `work`, `rootfs`.
//!
//! Invariant: what is on disk is enough to go on: opening the same folder again, after whatever end of the process
//! before, adopts every sandbox whose holder lives and touches nothing that runs. Answers to containerd.

mod bundle;
mod connection;
mod lifecycle;
mod session;
mod spawn;
mod state;
mod volumes;
mod watch;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rustix::fs::FlockOperation;
use tokio::sync::broadcast;

use self::connection::{Answer, Connection};
use self::spawn::Executable;
use self::state::State;
use crate::error::{Error, Result};
use crate::images::ImageStore;
use crate::runtime::{Runtime, Session};
use crate::shim::protocol::Request;
use crate::spec::{ContainerSpec, ExecSpec, Resources, SandboxSpec, Stop};
use crate::status::{ContainerStatus, DiskUsage, Event, ExecResult, SandboxStatus, Stats};
use crate::{cgroups, disk, signals};

/// Events that wait for a slow receiver.
const EVENTS: usize = 1024;

/// Settings of the built-in runtime.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of sandboxes and containers. Must support overlayfs on top (not itself an overlay).
    pub root: PathBuf,
    /// The program that becomes a shim: one whose `main` begins with [`crate::shim::main`]. Usually
    /// `/proc/self/exe`.
    pub executable: PathBuf,
    /// Where images are.
    pub images: ImageStore,
}

/// The built-in [`Runtime`].
#[derive(Clone)]
pub struct Local(Arc<Inner>);

struct Inner {
    root: PathBuf,
    executable: Executable,
    images: ImageStore,
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
    boot: String,
    _lock: File,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Local").field(&self.0.root).finish()
    }
}

impl Local {
    /// Opens the folder (only one process can) and adopts what runs. Must be called within a Tokio runtime.
    pub async fn open(config: Config) -> Result<Local> {
        let (local, found) = crate::blocking(move || {
            let sandboxes = config.root.join("sandboxes");
            std::fs::create_dir_all(&sandboxes).map_err(Error::io("create folder", &sandboxes))?;
            let lock = lock(&config.root.join("lock"))?;
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .map_err(Error::system("find out which boot this is"))?;
            let inner = Inner {
                executable: Executable::new(&config.executable),
                root: config.root,
                images: config.images,
                state: Mutex::default(),
                events: broadcast::Sender::new(EVENTS),
                boot: boot.trim().to_owned(),
                _lock: lock,
            };
            let entries = std::fs::read_dir(&sandboxes).map_err(Error::io("read", &sandboxes))?;
            let found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            Ok((Local(Arc::new(inner)), found))
        })
        .await?;
        let adopting = found.into_iter().map(|folder| local.adopt(folder));
        futures_util::future::try_join_all(adopting).await?;
        Ok(local)
    }

    /// Removes every sandbox and container. Also succeeds if there is none.
    pub async fn clear(&self) -> Result<()> {
        let sandboxes: Vec<String> = self.0.state.lock().sandboxes.keys().cloned().collect();
        let removing = sandboxes.iter().map(|id| self.remove_sandbox(id));
        futures_util::future::try_join_all(removing).await?;
        Ok(())
    }

    fn sandbox_folder(&self, id: &str) -> PathBuf {
        self.0.root.join("sandboxes").join(id)
    }

    fn emit(&self, event: Event) {
        // Nobody need be listening.
        let _ = self.0.events.send(event);
    }

    /// A connection to the holder of a container's sandbox.
    fn connect_to(&self, container: &str) -> Result<Connection> {
        let (folder, sandbox) = {
            let state = self.0.state.lock();
            let sandbox = state.container(container)?.sandbox.clone();
            (state.sandbox(&sandbox)?.folder.clone(), sandbox)
        };
        Connection::open(&folder, &sandbox)
    }

    async fn simple(&self, container: &str, request: Request, operation: &'static str) -> Result<()> {
        match self.connect_to(container)?.ask(&request, &[]).await? {
            Answer::Granted(_) => Ok(()),
            Answer::Refused(state) => {
                Err(Error::State { kind: "container", name: container.to_owned(), state, operation })
            }
        }
    }
}

fn lock(path: &Path) -> Result<File> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(Error::io("open lock", path))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|error| Error::io("lock (another process runs here)", path)(error.into()))?;
    Ok(file)
}

#[async_trait]
impl Runtime for Local {
    async fn create_sandbox(&self, spec: SandboxSpec) -> Result<SandboxStatus> {
        self.make_sandbox(spec).await
    }

    async fn stop_sandbox(&self, sandbox: &str) -> Result<()> {
        self.end_sandbox(sandbox).await
    }

    async fn remove_sandbox(&self, sandbox: &str) -> Result<()> {
        self.unmake_sandbox(sandbox).await
    }

    async fn create_container(&self, sandbox: &str, spec: ContainerSpec) -> Result<String> {
        self.make_container(sandbox, spec).await
    }

    async fn start_container(&self, container: &str) -> Result<()> {
        self.launch_container(container).await
    }

    async fn stop_container(&self, container: &str, stop: Stop) -> Result<()> {
        self.end_container(container, stop).await
    }

    async fn signal_container(&self, container: &str, signal: &str) -> Result<()> {
        let signal = signals::number(signal)?;
        let request = Request::Signal { container: container.to_owned(), signal };
        self.simple(container, request, "sending a signal").await
    }

    async fn remove_container(&self, container: &str) -> Result<()> {
        self.unmake_container(container).await
    }

    async fn update_container(&self, container: &str, resources: &Resources) -> Result<()> {
        let cgroup = self.0.state.lock().container(container)?.cgroup.clone();
        let resources = resources.clone();
        crate::blocking(move || cgroups::update(&cgroup, &resources)).await
    }

    async fn reopen_log(&self, container: &str) -> Result<()> {
        let request = Request::Reopen { container: container.to_owned() };
        self.simple(container, request, "reopening its log").await
    }

    async fn exec(&self, container: &str, spec: ExecSpec) -> Result<Session> {
        session::exec(self.connect_to(container)?, container, spec).await
    }

    async fn exec_sync(
        &self,
        container: &str,
        args: &[String],
        timeout: Option<Duration>,
    ) -> Result<ExecResult> {
        let spec = ExecSpec { args: args.to_vec(), ..ExecSpec::default() };
        let work = async { session::collect(self.exec(container, spec).await?).await };
        match timeout {
            None => work.await,
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                let operation = format!("command {args:?}");
                Err(Error::Timeout { operation, seconds: limit.as_secs() })
            }),
        }
    }

    async fn attach(&self, container: &str, stdin: bool) -> Result<Session> {
        let tty = self.0.state.lock().container(container)?.spec.tty;
        session::attach(self.connect_to(container)?, container, stdin, tty).await
    }

    async fn sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        let state = self.0.state.lock();
        Ok(state.sandboxes.iter().map(|(id, sandbox)| sandbox.status(id)).collect())
    }

    async fn sandbox(&self, sandbox: &str) -> Result<SandboxStatus> {
        Ok(self.0.state.lock().sandbox(sandbox)?.status(sandbox))
    }

    async fn containers(&self) -> Result<Vec<ContainerStatus>> {
        let state = self.0.state.lock();
        Ok(state.containers.iter().map(|(id, container)| container.status(id)).collect())
    }

    async fn container(&self, container: &str) -> Result<ContainerStatus> {
        Ok(self.0.state.lock().container(container)?.status(container))
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.0.events.subscribe()
    }

    async fn stats(&self, container: &str) -> Result<Stats> {
        let cgroup = self.0.state.lock().container(container)?.cgroup.clone();
        crate::blocking(move || cgroups::stats(&cgroup)).await
    }

    async fn disk_usage(&self, container: &str) -> Result<DiskUsage> {
        let upper = self.0.state.lock().container(container)?.folder.join("upper");
        crate::blocking(move || disk::usage(&upper)).await
    }
}
