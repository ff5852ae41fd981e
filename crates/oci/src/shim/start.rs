//! The set-up process of a container: forked from the shim, builds the container, reports, ends.
//!
//! Invariant: runs in a process with one thread, which ends with [`run`]; the container's first process is left to
//! the shim, the nearest subreaper. Mounts are made in a mount namespace that only this process and the container
//! have, so that nothing of them is ever seen, or left, on the host (unless mounts are to propagate out of it).
//! Answers to `runc create` and `runc start`.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::complaints::Complaints;
use super::identity::{self, Identity};
use super::launch::Launch;
use super::process::Process;
use super::protocol::{Outcome, send};
use crate::error::{Error, Result};
use crate::rooted;

/// Standard streams for the container; all `None` with a terminal.
#[derive(Default)]
pub(crate) struct Streams {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// Builds and starts the container in `folder`, and tells `report`.
pub(crate) fn run(folder: &Path, process: &Process, streams: Streams, report: &OwnedFd) {
    let complaints = Complaints::collect();
    let sent = match start(folder, process, streams) {
        Ok((pid, identity, terminal)) => {
            let files: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
            send(report, &Outcome::Started { pid, identity }, &files)
        }
        Err(Failure::Own(error)) => send(report, &Outcome::Failed { reason: chain(&error) }, &[]),
        Err(Failure::Container(error)) => {
            let cause = complaints.and_then(Complaints::first).map(|cause| format!(": {cause}"));
            let reason = chain(&error) + &cause.unwrap_or_default();
            send(report, &Outcome::Failed { reason }, &[])
        }
    };
    if sent.is_err() {
        // The shim sees the end of the connection instead.
        let _ = std::fs::remove_dir_all(folder.join("state"));
    }
}

/// Whose failure it was: libcontainer's own words leave out the cause, which it only logs.
enum Failure {
    Own(Error),
    Container(libcontainer::error::LibcontainerError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Own(error)
    }
}

type Started = (u32, Identity, Option<OwnedFd>);

fn start(folder: &Path, process: &Process, streams: Streams) -> Result<Started, Failure> {
    let rootfs = folder.join("rootfs");
    mount_rootfs(folder, &rootfs, process)?;
    let root = open_folder(&rootfs)?;
    let identity = identity::resolve(&root, &process.user, process.image_user.as_deref())?;
    rooted::create_folders(&root, Path::new(&process.cwd))
        .map_err(Error::system(format!("create working directory {:?}", process.cwd)))?;
    drop(root);
    let launch = Launch::new(process, identity.clone(), None)?;

    let (failure, failed) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(Error::system("create a pipe"))?;
    let state = folder.join("state");
    std::fs::create_dir_all(&state).map_err(Error::io("create folder", &state))?;
    let console = if process.tty { Some(console_socket(&state)?) } else { None };

    let id = folder.file_name().and_then(|name| name.to_str()).unwrap_or("container").to_owned();
    let mut builder = ContainerBuilder::new(id, SyscallType::default())
        .with_executor(Handover { launch, failed: failed.as_raw_fd() })
        .with_root_path(&state)
        .map_err(Failure::Container)?;
    if process.tty {
        builder = builder.with_console_socket(Some(state.join(CONSOLE)));
    } else {
        builder.stdin = streams.stdin;
        builder.stdout = streams.stdout;
        builder.stderr = streams.stderr;
    }
    let mut built =
        builder.as_init(folder).with_systemd(false).with_detach(true).build().map_err(Failure::Container)?;
    let pid = built.pid().map(|pid| pid.as_raw()).unwrap_or_default();
    built.start().map_err(Failure::Container)?;
    drop(failed);
    let mut reason = String::new();
    std::fs::File::from(failure)
        .read_to_string(&mut reason)
        .map_err(Error::system("watch the program start"))?;
    let _ = std::fs::remove_dir_all(&state);
    if !reason.is_empty() {
        return Err(Error::Invalid(reason).into());
    }
    let terminal = console.map(receive_terminal).transpose()?;
    let pid = u32::try_from(pid).map_err(|_| Error::Invalid("the container has no process".to_owned()))?;
    Ok((pid, identity, terminal))
}

/// Stacks the layers and the container's own folder.
fn mount_rootfs(folder: &Path, rootfs: &Path, process: &Process) -> Result<()> {
    if !process.host_mount {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
            .map_err(Error::system("create a mount namespace"))?;
        let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", flags).map_err(Error::system("keep mounts from the host"))?;
    }
    let own = open_folder(folder)?;
    let before = std::env::current_dir().map_err(Error::io("find", "."))?;
    // Options of a mount are at most one page long: layers are named from where they lie.
    std::env::set_current_dir(&process.layers_folder)
        .map_err(Error::io("enter folder", &process.layers_folder))?;
    let own = format!("/proc/self/fd/{}", own.as_raw_fd());
    let options = format!("lowerdir={},upperdir={own}/upper,workdir={own}/work", process.layers.join(":"));
    // The upper folder is used by this mount alone and dies with the container: it need not be synced at its end.
    let mounted = mount_overlay(rootfs, &format!("{options},volatile"))
        .or_else(|_| mount_overlay(rootfs, &options))
        .map_err(Error::system(format!("mount the root file system of {} layers", process.layers.len())));
    std::env::set_current_dir(&before).map_err(Error::io("enter folder", before))?;
    mounted
}

fn mount_overlay(rootfs: &Path, options: &str) -> std::io::Result<()> {
    let options = CString::new(options)?;
    Ok(rustix::mount::mount("overlay", rootfs, "overlay", MountFlags::empty(), Some(options.as_c_str()))?)
}

fn open_folder(path: &Path) -> Result<OwnedFd> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty())
        .map_err(|error| Error::io("open", path)(error.into()))
}

const CONSOLE: &str = "console.sock";

/// libcontainer sends the terminal there; the path may be too long for a socket's name, its folder's descriptor not.
fn console_socket(state: &Path) -> Result<OwnedFd> {
    let failed = || Error::system("listen for the terminal");
    let folder = open_folder(state)?;
    let name = format!("/proc/self/fd/{}/{CONSOLE}", folder.as_raw_fd());
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(failed())?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(name).map_err(failed())?).map_err(failed())?;
    rustix::net::listen(&socket, 1).map_err(failed())?;
    Ok(socket)
}

fn receive_terminal(listener: OwnedFd) -> Result<OwnedFd> {
    let failed = || Error::system("receive the terminal");
    let socket = rustix::net::accept_with(&listener, SocketFlags::CLOEXEC).map_err(failed())?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 4096];
    let slices = &mut [std::io::IoSliceMut::new(&mut bytes)];
    rustix::net::recvmsg(&socket, slices, &mut control, rustix::net::RecvFlags::CMSG_CLOEXEC)
        .map_err(failed())?;
    for message in control.drain() {
        if let rustix::net::RecvAncillaryMessage::ScmRights(mut files) = message
            && let Some(file) = files.next()
        {
            return Ok(file);
        }
    }
    Err(Error::Invalid("the container sent no terminal".to_owned()))
}

/// The error with its causes, none said twice.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// libcontainer's hook for what is left when the container stands: the shim's own last steps.
#[derive(Clone)]
struct Handover {
    launch: Launch,
    /// Closed by a successful `execve`; carries the reason of a failed one.
    failed: RawFd,
}

impl Executor for Handover {
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let reason = self.launch.run();
        // SAFETY: the descriptor is this process's copy, used nowhere else.
        let mut pipe = unsafe { std::fs::File::from_raw_fd(self.failed) };
        let _ = std::io::Write::write_all(&mut pipe, reason.as_bytes());
        Err(ExecutorError::Other(reason))
    }

    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    fn setup_envs(&self, _: std::collections::HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

/// Opens or creates a container's log for appending.
pub(crate) fn open_log(path: &Path) -> Result<std::fs::File> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(Error::io("create folder", parent))?;
    }
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        // Whoever may write to the folder cannot have the log of another file written.
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)
        .map_err(Error::io("open log", path))
}
