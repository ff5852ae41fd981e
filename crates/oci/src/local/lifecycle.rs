//! Sandboxes and containers made, started, ended, removed.
//!
//! Invariant: a failure half-way leaves nothing behind, and every end can be asked for again. Answers to the methods
//! of the same meaning of containerd's CRI service.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::connection::{Answer, Connection};
use super::spawn::{self, shared_mounts};
use super::state::{Container, Phase, Record, Sandbox};
use super::watch::RECORD_FILE;
use super::{Local, bundle, volumes};
use crate::error::{Error, Result};
use crate::shim;
use crate::shim::PAUSE_FILE;
use crate::shim::process::{CONTAINERS, EXIT_FILE, PROCESS_FILE, load, save};
use crate::shim::protocol::Request;
use crate::spec::{ContainerSpec, PidMode, SandboxSpec, Stop};
use crate::status::{Event, EventKind, Exit, SandboxStatus};
use crate::{cgroups, signals};

/// How long the kernel may take to end what was killed.
const KILL_SECONDS: u64 = 30;
/// Where groups go that name no parent.
const DEFAULT_PARENT: &str = "/gifee";

impl Local {
    pub(super) async fn make_sandbox(&self, spec: SandboxSpec) -> Result<SandboxStatus> {
        let id = new_id()?;
        let folder = self.sandbox_folder(&id);
        let parent = if spec.cgroup_parent.is_empty() { DEFAULT_PARENT } else { &spec.cgroup_parent };
        let record = shim::Sandbox {
            cgroup: format!("{}/{id}", parent.trim_end_matches('/')),
            spec,
            created_at: SystemTime::now(),
            boot: self.0.boot.clone(),
        };
        let (local, at, making) = (self.clone(), folder.clone(), record.clone());
        let made = crate::blocking(move || {
            spawn::make(&local.0.executable, &at, &making).inspect_err(|_| {
                let _ = spawn::unmake(&at, Some(&making.cgroup));
            })
        });
        let child = made.await?;
        let sandbox = Sandbox::new(folder.clone(), record, Some(child));
        self.0.state.lock().sandboxes.insert(id.clone(), sandbox);
        let followed = match Connection::open(&folder, &id) {
            Ok(connection) => self.follow(&id, connection).await,
            Err(error) => Err(error),
        };
        if let Err(error) = followed {
            let _ = self.unmake_sandbox(&id).await;
            return Err(error);
        }
        Ok(self.0.state.lock().sandbox(&id)?.status(&id))
    }

    pub(super) async fn end_sandbox(&self, id: &str) -> Result<()> {
        let (folder, cgroup, mut ready, containers) = {
            let state = self.0.state.lock();
            let Some(sandbox) = state.sandboxes.get(id) else { return Ok(()) };
            (
                sandbox.folder.clone(),
                sandbox.cgroup.clone(),
                sandbox.ready.subscribe(),
                containers_of(&state, id),
            )
        };
        let ending = containers.iter().map(|container| self.end_container(container, Stop::default()));
        futures_util::future::try_join_all(ending).await?;
        if !*ready.borrow() {
            return Ok(());
        }
        match Connection::open(&folder, id) {
            Ok(connection) => connection.send(&Request::Shutdown, &[]).await?,
            Err(_) => {
                cgroups::kill(&cgroup)?;
            }
        }
        let gone = tokio::time::timeout(Duration::from_secs(KILL_SECONDS), ready.wait_for(|ready| !ready));
        match gone.await {
            Ok(_) => Ok(()),
            Err(_) => Err(timeout(format!("ending the shim of sandbox {id}"))),
        }
    }

    pub(super) async fn unmake_sandbox(&self, id: &str) -> Result<()> {
        self.end_sandbox(id).await?;
        let (folder, cgroup, containers) = {
            let state = self.0.state.lock();
            let Some(sandbox) = state.sandboxes.get(id) else { return Ok(()) };
            (sandbox.folder.clone(), sandbox.cgroup.clone(), containers_of(&state, id))
        };
        let removing = containers.iter().map(|container| self.unmake_container(container));
        futures_util::future::try_join_all(removing).await?;
        crate::blocking(move || spawn::unmake(&folder, Some(&cgroup))).await?;
        self.0.state.lock().sandboxes.remove(id);
        Ok(())
    }

    pub(super) async fn make_container(&self, sandbox: &str, spec: ContainerSpec) -> Result<String> {
        let id = new_id()?;
        let (local, sandbox, name) = (self.clone(), sandbox.to_owned(), id.clone());
        crate::blocking(move || local.write_container(&sandbox, &name, spec)).await?;
        Ok(id)
    }

    fn write_container(&self, sandbox: &str, id: &str, spec: ContainerSpec) -> Result<()> {
        self.try_write_container(sandbox, id, spec).inspect_err(|_| {
            let _ = self.0.images.unpin(id);
        })
    }

    fn try_write_container(&self, sandbox: &str, id: &str, spec: ContainerSpec) -> Result<()> {
        let (folder, own, shared) = {
            let state = self.0.state.lock();
            let known = state.sandbox(sandbox)?;
            if !*known.ready.borrow() {
                return Err(not_ready(sandbox));
            }
            (known.folder.clone(), known.cgroup.clone(), known.spec.clone())
        };
        for mount in spec.mounts.iter().filter(|mount| mount.image.is_none()) {
            let found = std::fs::metadata(&mount.host_path);
            found.map_err(Error::io("find the source of a mount", &mount.host_path))?;
        }
        let own_image = std::iter::once(spec.image.as_str());
        let named: Vec<&str> =
            own_image.chain(spec.mounts.iter().filter_map(|mount| mount.image.as_deref())).collect();
        let mut stacks = self.0.images.take(id, &named)?;
        let volumes = stacks.split_off(1);
        let stack = &stacks[0];
        let cgroup = sibling(&own, id);
        let at = folder.join(CONTAINERS).join(id);
        let mounts = volumes::mount(&at, volumes, &spec.mounts).inspect_err(|_| {
            let _ = erase(&self.0.images, id, &at, &cgroup);
        })?;
        let log = spec.log_path.as_ref().map(|path| shared.log_directory.join(path));
        let (pid, pid_path) = self.process_namespace(&folder, &shared, &spec)?;
        let bundle = bundle::build(bundle::Input {
            spec: &spec,
            stack,
            mounts: &mounts,
            hierarchies: cgroups::hierarchies()?,
            cgroup: &cgroup,
            log: log.clone(),
            shared: shared_mounts(&folder, &shared),
            hostname: shared.hostname.clone().unwrap_or_else(host_name),
            pid,
            pid_path,
        })?;
        let named = spec.stop_signal.as_deref().or(stack.image.config.stop_signal.as_deref());
        let record = Record {
            stop_signal: signals::number(named.filter(|name| !name.is_empty()).unwrap_or("SIGTERM"))?,
            created_at: SystemTime::now(),
            image_id: stack.image.id.clone(),
            cgroup,
            log_path: log,
            spec,
        };
        let written = (|| {
            for name in ["upper", "work", "rootfs"] {
                std::fs::create_dir_all(at.join(name)).map_err(Error::io("create folder", at.join(name)))?;
            }
            save(&at.join("config.json"), &bundle.config)?;
            save(&at.join(PROCESS_FILE), &bundle.process)?;
            cgroups::create(&record.cgroup, &record.spec.resources)?;
            if let Some(devices) = &bundle.devices {
                cgroups::restrict_devices(&record.cgroup, devices)?;
            }
            save(&at.join(RECORD_FILE), &record)
        })();
        if let Err(error) = written {
            let _ = erase(&self.0.images, id, &at, &record.cgroup);
            return Err(error);
        }
        let container = Container::new(sandbox, at, record, Phase::default());
        self.0.state.lock().containers.insert(id.to_owned(), container);
        self.tell(id, sandbox, EventKind::Created);
        Ok(())
    }

    /// Which processes the container shares a namespace with, and by which path.
    fn process_namespace(
        &self,
        folder: &Path,
        shared: &SandboxSpec,
        spec: &ContainerSpec,
    ) -> Result<(PidMode, Option<String>)> {
        let mode = spec.pid.clone().unwrap_or_else(|| shared.pid.clone());
        let pid = match &mode {
            PidMode::Container | PidMode::Host => return Ok((mode, None)),
            PidMode::Sandbox => load::<u32>(&folder.join(PAUSE_FILE))
                .map_err(|_| Error::Invalid("the sandbox has no process namespace to share".to_owned()))?,
            PidMode::Target(container) => {
                let phase = self.0.state.lock().container(container)?.phase.borrow().clone();
                phase.pid.filter(|_| phase.exit.is_none()).ok_or_else(|| Error::State {
                    kind: "container",
                    name: container.clone(),
                    state: "not running".to_owned(),
                    operation: "sharing its process namespace",
                })?
            }
        };
        Ok((mode, Some(format!("/proc/{pid}/ns/pid"))))
    }

    pub(super) async fn launch_container(&self, id: &str) -> Result<()> {
        let (sandbox, mut phase) = {
            let state = self.0.state.lock();
            let container = state.container(id)?;
            let phase = container.phase.borrow().clone();
            if phase.started_at.is_some() || phase.exit.is_some() {
                let state = if phase.exit.is_some() { "exited" } else { "running" }.to_owned();
                return Err(Error::State {
                    kind: "container",
                    name: id.to_owned(),
                    state,
                    operation: "starting",
                });
            }
            let sandbox = state.sandbox(&container.sandbox)?;
            if !*sandbox.ready.borrow() {
                return Err(not_ready(&container.sandbox));
            }
            (container.sandbox.clone(), container.phase.subscribe())
        };
        let connection = self.connect_to(id)?;
        let request = Request::Start { container: id.to_owned() };
        match connection.ask(&request, &[]).await? {
            Answer::Granted(_) => {
                // The report of it comes on another connection: whoever asks now is to find it running.
                let known = |phase: &Phase| phase.started_at.is_some();
                let seen = tokio::time::timeout(Duration::from_secs(KILL_SECONDS), phase.wait_for(known));
                let seen = seen.await.is_ok_and(|result| result.is_ok());
                if seen { Ok(()) } else { Err(timeout(format!("hearing of container {id} in {sandbox}"))) }
            }
            Answer::Refused(reason) => {
                self.failed_to_start(id, &reason).await?;
                Err(Error::Start { name: id.to_owned(), reason })
            }
        }
    }

    pub(super) async fn end_container(&self, id: &str, stop: Stop) -> Result<()> {
        let (cgroup, signal, mut phase) = {
            let state = self.0.state.lock();
            let Some(container) = state.containers.get(id) else { return Ok(()) };
            (container.cgroup.clone(), container.stop_signal, container.phase.subscribe())
        };
        let now = phase.borrow().clone();
        if now.exit.is_some() {
            return Ok(());
        }
        if now.started_at.is_none() {
            return self.never_started(id, 0, "stopped before it was started").await;
        }
        let signal = stop.signal.as_deref().map(signals::number).transpose()?.unwrap_or(signal);
        let ended = |phase: &Phase| phase.exit.is_some();
        if !stop.grace.is_zero() {
            // It may end meanwhile; then there is nobody to signal, and no need.
            let request = Request::Signal { container: id.to_owned(), signal };
            let _ = self.simple(id, request, "stopping").await;
            if tokio::time::timeout(stop.grace, phase.wait_for(ended)).await.is_ok() {
                return Ok(());
            }
        }
        let request = Request::Signal { container: id.to_owned(), signal: 9 };
        let _ = self.simple(id, request, "killing").await;
        crate::blocking(move || cgroups::kill(&cgroup)).await?;
        match tokio::time::timeout(Duration::from_secs(KILL_SECONDS), phase.wait_for(ended)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(timeout(format!("killing container {id}"))),
        }
    }

    /// Waits until the end of a container that did not start is known. The shim tells of it, unless the failure came
    /// before it had anything to tell of.
    async fn failed_to_start(&self, id: &str, reason: &str) -> Result<()> {
        let (told, mut phase) = {
            let state = self.0.state.lock();
            let container = state.container(id)?;
            (container.folder.join(EXIT_FILE).exists(), container.phase.subscribe())
        };
        if !told {
            return self.never_started(id, 128, reason).await;
        }
        let known = phase.wait_for(|phase| phase.exit.is_some());
        let _ = tokio::time::timeout(Duration::from_secs(KILL_SECONDS), known).await;
        Ok(())
    }

    /// Records that a container ended before it was ever started, so that it never is.
    async fn never_started(&self, id: &str, code: i32, message: &str) -> Result<()> {
        let (folder, sandbox) = {
            let state = self.0.state.lock();
            let container = state.container(id)?;
            (container.folder.clone(), container.sandbox.clone())
        };
        let exit = Exit {
            code,
            signal: None,
            oom_killed: false,
            finished_at: SystemTime::now(),
            message: Some(message.to_owned()),
        };
        let record = exit.clone();
        crate::blocking(move || save(&folder.join(EXIT_FILE), &record)).await?;
        if let Ok(container) = self.0.state.lock().container(id) {
            container.phase.send_modify(|phase| phase.exit = Some(exit.clone()));
        }
        self.tell(id, &sandbox, EventKind::Exited(exit));
        Ok(())
    }

    pub(super) async fn unmake_container(&self, id: &str) -> Result<()> {
        self.end_container(id, Stop::default()).await?;
        let (folder, cgroup, sandbox) = {
            let state = self.0.state.lock();
            let Some(container) = state.containers.get(id) else { return Ok(()) };
            (container.folder.clone(), container.cgroup.clone(), container.sandbox.clone())
        };
        if let Ok(connection) = self.connect_to(id) {
            let _ = connection.ask(&Request::Forget { container: id.to_owned() }, &[]).await;
        }
        let (images, name) = (self.0.images.clone(), id.to_owned());
        crate::blocking(move || erase(&images, &name, &folder, &cgroup)).await?;
        if self.0.state.lock().containers.remove(id).is_some() {
            self.tell(id, &sandbox, EventKind::Removed);
        }
        Ok(())
    }

    fn tell(&self, container: &str, sandbox: &str, kind: EventKind) {
        self.emit(Event { container: container.to_owned(), sandbox: sandbox.to_owned(), kind });
    }
}

/// The control group of a container, beside the sandbox's own.
pub(super) fn sibling(cgroup: &str, id: &str) -> String {
    let parent = cgroup.rsplit_once('/').map_or("", |(parent, _)| parent);
    format!("{parent}/{id}")
}

/// Removes what a container consists of; also what there is of an incomplete one.
pub(super) fn erase(images: &crate::ImageStore, id: &str, folder: &Path, cgroup: &str) -> Result<()> {
    cgroups::remove(cgroup)?;
    spawn::unmount(&folder.join("rootfs"))?;
    volumes::unmount(folder)?;
    images.unpin(id)?;
    crate::trees::remove(folder).map_err(Error::io("remove", folder))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn containers_of(state: &super::state::State, sandbox: &str) -> Vec<String> {
    state.containers.iter().filter(|(_, it)| it.sandbox == sandbox).map(|(id, _)| id.clone()).collect()
}

fn not_ready(sandbox: &str) -> Error {
    Error::State {
        kind: "sandbox",
        name: sandbox.to_owned(),
        state: "not ready".to_owned(),
        operation: "running a container in it",
    }
}

fn timeout(operation: String) -> Error {
    Error::Timeout { operation, seconds: KILL_SECONDS }
}

/// 64 hexadecimal digits out of the kernel's random numbers.
fn new_id() -> Result<String> {
    let mut bytes = [0u8; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], flags).map_err(Error::system("make an id"))?;
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
