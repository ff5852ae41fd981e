//! The shim: the small process that holds a sandbox.
//!
//! The same executable as the agent, re-executed with [`APPLET`] as its first argument, before any thread or runtime
//! exists. It lives in the sandbox's namespaces, owns its processes, their streams, logs and exit codes, and serves
//! whoever connects to the socket in the sandbox's folder. It outlives every agent.
//!
//! Invariant: one thread; libcontainer runs only in children forked from it, which report and end. Answers to
//! containerd-shim-runc-v2 and to the pause container.

mod complaints;
mod container;
mod exec;
pub(crate) mod identity;
mod launch;
pub(crate) mod log;
pub(crate) mod process;
mod propagation;
pub(crate) mod protocol;
mod server;
mod start;
mod streams;

pub(crate) use exec::set_size;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::spec::{Network, PidMode, SandboxSpec};

/// The first argument that makes an executable a shim.
pub const APPLET: &str = "oci-shim";

/// A sandbox's record on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sandbox {
    pub spec: SandboxSpec,
    pub created_at: std::time::SystemTime,
    /// The boot it was created in: after another, nothing of it runs.
    pub boot: String,
    /// Its control group, where the shim is.
    pub cgroup: String,
}

/// Name of the link to the namespace of processes that containers of the sandbox share, in the shim's own words.
pub(crate) const PAUSE_FILE: &str = "pause.pid";

/// Name of the file with the shim's number.
pub(crate) const PID_FILE: &str = "shim.pid";

/// Runs the shim if the arguments (without the program's name) ask for it: `main` calls this first of all, while it
/// has one thread.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter();
    if args.next()? != APPLET {
        return None;
    }
    let folder = PathBuf::from(args.next().unwrap_or_default());
    Some(match hold(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}

/// The agent gives the listening socket as standard input, and waits for standard output to end: what is written to
/// it is the reason of a failure.
fn hold(folder: &Path) -> Result<()> {
    let _ = rustix::thread::set_name(c"gifee-shim");
    let (listener, ready) = take_over(folder)?;
    let prepared = prepare(folder);
    if let Err(error) = prepared {
        let _ = rustix::io::write(&ready, error.to_string().as_bytes());
        return Err(error);
    }
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().map_err(Error::system("block SIGCHLD"))?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&mask, flags).map_err(Error::system("watch for SIGCHLD"))?;
    drop(ready);
    server::Server::new(folder.to_owned(), listener, signals).run().map_err(Error::system("serve"))
}

fn take_over(folder: &Path) -> Result<(OwnedFd, OwnedFd)> {
    let failed = || Error::system::<rustix::io::Errno>("take over standard streams");
    let copy = |file: std::os::fd::BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(file, 3);
    let listener = copy(std::io::stdin().as_fd()).map_err(failed())?;
    let ready = copy(std::io::stdout().as_fd()).map_err(failed())?;
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()).map_err(failed())?;
    rustix::stdio::dup2_stdin(&null).map_err(failed())?;
    rustix::stdio::dup2_stdout(&null).map_err(failed())?;
    let diary = container::diary(folder).map_err(Error::io("open diary in", folder))?;
    rustix::stdio::dup2_stderr(&diary).map_err(failed())?;
    Ok((listener, ready))
}

fn prepare(folder: &Path) -> Result<()> {
    let Sandbox { spec, cgroup, .. } = process::load(&folder.join(process::SANDBOX_FILE))?;
    let _ = rustix::process::setsid();
    process::save(&folder.join(PID_FILE), &std::process::id())?;
    std::env::set_current_dir(folder).map_err(Error::io("enter folder", folder))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(Error::system("become the sandbox's reaper"))?;
    // Whatever else is short of memory, the holder goes last: with it, exit codes and logs would be lost.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-998");
    crate::cgroups::enter_alone(&cgroup)?;
    if let Network::Path(path) = &spec.network {
        let file = std::fs::File::open(path).map_err(Error::io("open network namespace", path))?;
        nix::sched::setns(file, CloneFlags::CLONE_NEWNET)
            .map_err(Error::system("enter the network namespace"))?;
    }
    let mut own = CloneFlags::empty();
    own.set(CloneFlags::CLONE_NEWUTS, spec.hostname.is_some());
    own.set(CloneFlags::CLONE_NEWIPC, !spec.host_ipc);
    nix::sched::unshare(own).map_err(Error::system("create the sandbox's namespaces"))?;
    if let Some(hostname) = &spec.hostname {
        rustix::system::sethostname(hostname.as_bytes())
            .map_err(Error::system(format!("set host name {hostname:?}")))?;
    }
    for (name, value) in &spec.sysctls {
        set_parameter(name, value)?;
    }
    if spec.pid == PidMode::Sandbox {
        let pid = pause(folder)?;
        process::save(&folder.join(PAUSE_FILE), &pid)?;
    }
    Ok(())
}

/// Parameters are looked up in the namespaces of who writes them.
fn set_parameter(name: &str, value: &str) -> Result<()> {
    // Dots separate, unless the name has slashes: then dots belong to it (`net/ipv4/conf/eth0.1/forwarding`).
    let path = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    if path.split('/').any(|part| part.is_empty() || part == ".." || part == ".") {
        return Err(Error::Invalid(format!("{name:?} is not a kernel parameter")));
    }
    std::fs::write(Path::new("/proc/sys").join(path), value)
        .map_err(Error::system(format!("set kernel parameter {name} to {value:?}")))
}

/// The first process of a namespace that containers share: it only takes in orphans.
fn pause(folder: &Path) -> Result<i32> {
    let flags = CloneFlags::CLONE_NEWPID.bits() | nix::libc::SIGCHLD;
    // SAFETY: like `fork` in a process with one thread; without a stack of its own, the child goes on with a copy.
    match unsafe { nix::libc::syscall(nix::libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(Error::system("create the sandbox's process namespace")(std::io::Error::last_os_error())),
        0 => {
            if let Err(error) = seclude(folder) {
                eprintln!("secluding the first process of the sandbox: {error}");
                // SAFETY: ends this process; the shim finds that it has.
                unsafe { nix::libc::_exit(1) }
            }
            // SAFETY: sets dispositions, closes descriptors and waits, in a process of its own. The kernel takes
            // children in itself where SIGCHLD is ignored. It ends with the shim.
            unsafe {
                nix::libc::signal(nix::libc::SIGCHLD, nix::libc::SIG_IGN);
                nix::libc::syscall(nix::libc::SYS_close_range, 0, u32::MAX, 0);
                loop {
                    nix::libc::pause();
                }
            }
        }
        pid => Ok(pid as i32),
    }
}

/// Containers see this process, and those that may trace could look through it: it has an empty, unwritable root of its
/// own, no privileges, and ends with the shim.
fn seclude(folder: &Path) -> std::io::Result<()> {
    use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("tmpfs", folder, "tmpfs", flags, Some(c"size=4k"))?;
    rustix::process::chdir(folder)?;
    nix::unistd::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    let none = rustix::thread::CapabilitySet::empty();
    let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
