//! The last steps of a program in a container: user, capabilities, filter, `execve`.
//!
//! Invariant: runs in a single-threaded process inside the container, as root with every capability of the bounding
//! set, and gives up exactly what the record says. The order is forced by the kernel: without `no_new_privs` a
//! filter needs `CAP_SYS_ADMIN`, so it comes before capabilities are dropped; with it, it comes last. libcontainer
//! does this only through libseccomp (LGPL), so it hands over here instead, by its executor hook. Answers to
//! runc's `finalizeNamespace`.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::libc;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::identity::Identity;
use super::process::Process;
use super::propagation;
use crate::error::Result;
use crate::seccomp;
use crate::spec::{ExecSpec, Propagation};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that is ready to run.
#[derive(Clone)]
pub(crate) struct Launch {
    args: Vec<String>,
    env: BTreeMap<String, String>,
    cwd: PathBuf,
    identity: Identity,
    capabilities: u64,
    no_new_privileges: bool,
    filter: Option<seccomp::Program>,
    apparmor_profile: Option<String>,
    /// What else there is to do for the first program.
    propagating: Option<Vec<(PathBuf, Propagation)>>,
}

impl Launch {
    /// The container's first program, or another in it.
    pub(crate) fn new(process: &Process, identity: Identity, exec: Option<&ExecSpec>) -> Result<Launch> {
        let mut env: BTreeMap<String, String> = process.env.iter().cloned().collect();
        let tty = exec.map_or(process.tty, |exec| exec.tty);
        if tty {
            env.entry("TERM".to_owned()).or_insert_with(|| "xterm".to_owned());
        }
        env.extend(exec.into_iter().flat_map(|exec| exec.env.iter().cloned()));
        env.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
        env.entry("HOME".to_owned()).or_insert_with(|| identity.home.clone());
        let cwd = exec.and_then(|exec| exec.working_dir.as_deref()).unwrap_or(&process.cwd);
        Ok(Launch {
            args: exec.map_or(&process.args, |exec| &exec.args).clone(),
            env,
            cwd: PathBuf::from(if cwd.is_empty() { "/" } else { cwd }),
            identity,
            capabilities: process.capabilities.0,
            no_new_privileges: process.no_new_privileges,
            filter: seccomp::program(&process.seccomp, process.capabilities)?,
            apparmor_profile: process.apparmor_profile.clone(),
            propagating: exec.is_none().then(|| process.propagating.clone()),
        })
    }

    /// Becomes the program. Returns only if that fails, with the reason.
    pub(crate) fn run(&self) -> String {
        match self.try_run() {
            Ok(never) => match never {},
            Err(reason) => reason,
        }
    }

    fn try_run(&self) -> Result<std::convert::Infallible, String> {
        reset_signals();
        rustix::process::umask(Mode::from_raw_mode(0o022));
        if let Some(propagating) = &self.propagating {
            propagation::settle(propagating)
                .map_err(|error| format!("settle the propagation of mounts: {error}"))?;
        }
        if let Some(profile) = &self.apparmor_profile {
            std::fs::write("/proc/thread-self/attr/exec", format!("exec {profile}"))
                .map_err(|error| format!("apply apparmor profile {profile:?}: {error}"))?;
        }
        // As root if that works, so that a folder which the user cannot enter still serves; else as the user.
        let entered = rustix::process::chdir(&self.cwd).is_ok();
        if let (Some(filter), false) = (&self.filter, self.no_new_privileges) {
            seccomp::install(filter).map_err(|error| format!("install seccomp filter: {error}"))?;
        }
        self.become_user().map_err(|error| format!("become user {}: {error}", self.identity.uid))?;
        if !entered {
            rustix::process::chdir(&self.cwd)
                .map_err(|error| format!("chdir to cwd ({:?}) failed: {}", self.cwd, words(error)))?;
        }
        verify_inside()?;
        let program = self.program()?;
        let args = strings(self.args.iter().cloned())?;
        let env = strings(self.env.iter().map(|(name, value)| format!("{name}={value}")))?;
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true).map_err(|error| format!("set no_new_privs: {error}"))?;
            if let Some(filter) = &self.filter {
                seccomp::install(filter).map_err(|error| format!("install seccomp filter: {error}"))?;
            }
        }
        let path = CString::new(program.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
        match nix::unistd::execve(&path, &args, &env) {
            Ok(never) => Ok(never),
            Err(error) => Err(format!(
                "exec {}: {}",
                program.display(),
                words(Errno::from_io_error(&error.into()).unwrap_or(Errno::INVAL))
            )),
        }
    }

    fn become_user(&self) -> rustix::io::Result<()> {
        let wanted = CapabilitySet::from_bits_retain(self.capabilities);
        for number in 0..63 {
            let capability = CapabilitySet::from_bits_retain(1 << number);
            if wanted.contains(capability) {
                continue;
            }
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                Ok(()) => {}
                // Past the last one that this kernel has.
                Err(Errno::INVAL) => break,
                Err(error) => return Err(error),
            }
        }
        let Identity { uid, gid, groups, .. } = &self.identity;
        let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
        rustix::thread::set_keep_capabilities(true)?;
        rustix::thread::set_thread_groups(&groups)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        rustix::thread::set_keep_capabilities(false)?;
        let sets =
            CapabilitySets { effective: wanted, permitted: wanted, inheritable: CapabilitySet::empty() };
        rustix::thread::set_capabilities(None, sets)
    }

    fn program(&self) -> Result<PathBuf, String> {
        let name = self.args.first().filter(|name| !name.is_empty()).ok_or("no command specified")?;
        let executable = |path: &Path| {
            let about =
                std::fs::metadata(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            if about.is_dir() {
                return Err(Errno::ISDIR);
            }
            rustix::fs::accessat(
                rustix::fs::CWD,
                path,
                rustix::fs::Access::EXEC_OK,
                rustix::fs::AtFlags::EACCESS,
            )
        };
        if name.contains('/') {
            let path = PathBuf::from(name);
            return match executable(&path) {
                Ok(()) => Ok(path),
                Err(Errno::NOENT) => Err(format!("exec: {name:?}: stat {name}: no such file or directory")),
                Err(error) => Err(format!("exec: {name:?}: {}", words(error))),
            };
        }
        let mut denied = false;
        for folder in self.env.get("PATH").map(String::as_str).unwrap_or(DEFAULT_PATH).split(':') {
            let path = Path::new(if folder.is_empty() { "." } else { folder }).join(name);
            match executable(&path) {
                Ok(()) => return Ok(path),
                Err(Errno::ACCESS) => denied = true,
                Err(_) => {}
            }
        }
        let reason = if denied { "permission denied" } else { "executable file not found in $PATH" };
        Err(format!("exec: {name:?}: {reason}"))
    }
}

/// What the kernel's answer is called where people are used to Go's words for it.
fn words(error: Errno) -> String {
    match error {
        Errno::NOENT => "no such file or directory".to_owned(),
        Errno::ACCESS => "permission denied".to_owned(),
        Errno::ISDIR => "is a directory".to_owned(),
        Errno::NOEXEC => "exec format error".to_owned(),
        other => other.to_string(),
    }
}

fn strings(items: impl Iterator<Item = String>) -> Result<Vec<CString>, String> {
    items.map(|item| CString::new(item).map_err(|_| "an argument holds a NUL byte".to_owned())).collect()
}

/// A program starts with every signal unblocked and at its default: in particular `SIGPIPE`, which Rust ignores, and
/// the C library's own two, which it ignores in what it spawns and does not let anybody set.
pub(crate) fn reset_signals() {
    // The kernel's `sigaction`: handler, flags, restorer, mask; all zero is the default.
    let default = [0u64; 4];
    for number in 1..=64 {
        // SAFETY: the kernel reads four words; the two signals that cannot be set are refused.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), 0, 8) };
    }
    let _ = nix::sys::signal::SigSet::empty().thread_set_mask();
}

/// A working folder that was opened on the host (through a leaked descriptor) would be a way out.
fn verify_inside() -> Result<(), String> {
    let folder = rustix::process::getcwd(Vec::new())
        .map_err(|_| "current working directory is outside of container mount namespace root".to_owned())?;
    if OsStr::from_bytes(folder.as_bytes()).as_bytes().starts_with(b"/") {
        return Ok(());
    }
    Err("current working directory is outside of container mount namespace root".to_owned())
}
