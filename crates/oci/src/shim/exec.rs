//! The set-up process of a program that is run in a container next to its first one.
//!
//! Invariant: forked from the shim, so a process with one thread; it is not dumpable from before it joins the
//! container until `execve`, so that nothing inside can look into it. Joining is one `setns` on the process's
//! descriptor: one or two milliseconds, where libcontainer's tenant takes fourteen, and probes run often. Answers to
//! `runc exec`.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::libc;
use nix::sched::CloneFlags;
use nix::unistd::ForkResult;
use rustix::process::{DumpableBehavior, Pid};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::identity::Identity;
use super::launch::Launch;
use super::process::Process;
use super::protocol::{Outcome, send};
use super::start::Streams;
use crate::error::{Error, Result};
use crate::spec::ExecSpec;

/// `statfs` type of the file system of terminals.
const DEVPTS: i64 = 0x1cd1;

/// Joins the container whose first process is `init`, starts the program and tells `report`.
pub(crate) fn run(
    init: Pid,
    process: &Process,
    identity: Identity,
    spec: &ExecSpec,
    streams: Streams,
    report: &OwnedFd,
) {
    let sent = match start(init, process, identity.clone(), spec, streams) {
        Ok((pid, terminal)) => {
            let files: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
            send(report, &Outcome::Started { pid, identity }, &files)
        }
        Err(error) => send(report, &Outcome::Failed { reason: error.to_string() }, &[]),
    };
    // Nothing to tell it to: the shim sees the end of the connection.
    drop(sent);
}

fn start(
    init: Pid,
    process: &Process,
    identity: Identity,
    spec: &ExecSpec,
    streams: Streams,
) -> Result<(u32, Option<OwnedFd>)> {
    let launch = Launch::new(process, identity, Some(spec))?;
    let target = rustix::process::pidfd_open(init, rustix::process::PidfdFlags::empty())
        .map_err(Error::system("find the container's first process"))?;
    crate::cgroups::enter_alone(&process.cgroup)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(Error::system("hide from the container"))?;
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    nix::sched::setns(&target, namespaces).map_err(Error::system("join the container's namespaces"))?;
    let (terminal, streams) = if spec.tty { terminal(spec)? } else { (None, streams) };
    let (failure, mut failed) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map(|(read, write)| (std::fs::File::from(read), std::fs::File::from(write)))
        .map_err(Error::system("create a pipe"))?;
    // A process is in the namespace of processes that its parent chose for children: only now is it joined.
    // SAFETY: this process has one thread.
    match unsafe { nix::unistd::fork() }.map_err(Error::system("fork"))? {
        ForkResult::Child => {
            let reason = match attach(streams, spec.tty) {
                Ok(()) => launch.run(),
                Err(error) => format!("connect standard streams: {error}"),
            };
            let _ = failed.write_all(reason.as_bytes());
            // SAFETY: ends this process without running anything else of its parent's.
            unsafe { libc::_exit(127) }
        }
        ForkResult::Parent { child } => {
            drop(failed);
            drop(streams);
            let mut reason = String::new();
            { failure }.read_to_string(&mut reason).map_err(Error::system("watch the program start"))?;
            if !reason.is_empty() {
                let _ = nix::sys::wait::waitpid(child, None);
                return Err(Error::Invalid(reason));
            }
            Ok((child.as_raw().unsigned_abs(), terminal))
        }
    }
}

/// A new terminal of the container's own: the controlling side, and the other as the standard streams. What is
/// opened is checked to be a terminal multiplexer, and the other side is asked from it, not looked up by a name.
fn terminal(spec: &ExecSpec) -> Result<(Option<OwnedFd>, Streams)> {
    let failed = || Error::system("open a terminal in the container");
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let flags = flags | rustix::fs::OFlags::NOFOLLOW;
    let controller = rustix::fs::open("/dev/pts/ptmx", flags, rustix::fs::Mode::empty()).map_err(failed())?;
    let about = rustix::fs::fstatfs(&controller).map_err(failed())?;
    if about.f_type != DEVPTS {
        return Err(Error::Invalid(
            "/dev/pts/ptmx in the container is not a terminal multiplexer".to_owned(),
        ));
    }
    rustix::pty::unlockpt(&controller).map_err(failed())?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let user = rustix::pty::ioctl_tiocgptpeer(&controller, flags).map_err(failed())?;
    if let Some(size) = spec.size {
        set_size(&controller, size).map_err(failed())?;
    }
    let copy = || rustix::io::fcntl_dupfd_cloexec(&user, 3).map_err(failed());
    let streams = Streams { stdin: Some(copy()?), stdout: Some(copy()?), stderr: Some(user) };
    Ok((Some(controller), streams))
}

/// Tells a terminal its size.
pub(crate) fn set_size(terminal: impl AsFd, size: crate::spec::Size) -> rustix::io::Result<()> {
    let size = Winsize { ws_col: size.width, ws_row: size.height, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size)
}

fn attach(streams: Streams, tty: bool) -> rustix::io::Result<()> {
    rustix::process::setsid()?;
    if tty && let Some(terminal) = &streams.stdin {
        rustix::process::ioctl_tiocsctty(terminal)?;
    }
    let null = || {
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())
    };
    let or_null = |stream: Option<OwnedFd>| stream.map_or_else(null, Ok);
    rustix::stdio::dup2_stdin(or_null(streams.stdin)?)?;
    rustix::stdio::dup2_stdout(or_null(streams.stdout)?)?;
    rustix::stdio::dup2_stderr(or_null(streams.stderr)?)
}
