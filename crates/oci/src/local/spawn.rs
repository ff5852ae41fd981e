//! Making and unmaking what a sandbox consists of besides its containers.
//!
//! Invariant: everything here blocks for milliseconds and is called from blocking threads; unmaking succeeds however
//! little was made. Answers to containerd's `RunPodSandbox` and the kubelet's DNS files.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::connection::listen;
use crate::cgroups;
use crate::error::{Error, Result};
use crate::shim::process::{CONTAINERS, SANDBOX_FILE, save};
use crate::shim::{APPLET, Sandbox};
use crate::spec::{Dns, Mount, Resources, SandboxSpec};

/// Name of the mount point of the sandbox's `/dev/shm`.
const SHM: &str = "shm";
const SHM_BYTES: u64 = 64 << 20;

/// Creates the sandbox's folder, files, mounts and control group, and starts its holder.
pub(super) fn make(executable: &Executable, folder: &Path, record: &Sandbox) -> Result<Child> {
    let containers = folder.join(CONTAINERS);
    std::fs::create_dir_all(&containers).map_err(Error::io("create folder", containers))?;
    save(&folder.join(SANDBOX_FILE), record)?;
    let spec = &record.spec;
    if spec.log_directory.is_absolute() {
        std::fs::create_dir_all(&spec.log_directory)
            .map_err(Error::io("create folder", &spec.log_directory))?;
    }
    write_files(folder, spec)?;
    cgroups::create(&record.cgroup, &Resources::default())?;
    if !spec.host_ipc {
        mount_shm(folder, spec)?;
    }
    spawn(executable, folder)
}

/// Undoes [`make`], once the holder has ended.
pub(super) fn unmake(folder: &Path, cgroup: Option<&str>) -> Result<()> {
    if let Some(cgroup) = cgroup {
        cgroups::remove(cgroup)?;
    }
    unmount(&folder.join(SHM))?;
    crate::trees::remove(folder).map_err(Error::io("remove", folder))
}

/// Unmounts what is mounted there, if anything.
pub(super) fn unmount(path: &Path) -> Result<()> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io("unmount", path)(error.into())),
    }
}

/// Files of the sandbox that each of its containers sees.
pub(super) fn shared_mounts(folder: &Path, spec: &SandboxSpec) -> Vec<Mount> {
    let mount = |host_path: PathBuf, container_path: &str| Mount {
        host_path,
        container_path: PathBuf::from(container_path),
        ..Mount::default()
    };
    let shm = if spec.host_ipc { PathBuf::from("/dev/shm") } else { folder.join(SHM) };
    let mut mounts = vec![mount(shm, "/dev/shm")];
    for (name, path) in [("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")] {
        if folder.join(name).exists() {
            mounts.push(mount(folder.join(name), path));
        }
    }
    mounts
}

fn write_files(folder: &Path, spec: &SandboxSpec) -> Result<()> {
    let write = |name: &str, text: String| {
        std::fs::write(folder.join(name), text).map_err(Error::io("write", folder.join(name)))
    };
    if let Some(hostname) = &spec.hostname {
        write("hostname", format!("{hostname}\n"))?;
    } else if let Ok(text) = std::fs::read_to_string("/etc/hostname") {
        write("hostname", text)?;
    }
    match &spec.dns {
        Some(dns) => write("resolv.conf", resolver(dns)),
        None => match std::fs::read_to_string("/etc/resolv.conf") {
            Ok(text) => write("resolv.conf", text),
            Err(_) => Ok(()),
        },
    }
}

fn resolver(dns: &Dns) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text.push_str(&format!("search {}\n", dns.searches.join(" ")));
    }
    for server in &dns.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !dns.options.is_empty() {
        text.push_str(&format!("options {}\n", dns.options.join(" ")));
    }
    text
}

fn mount_shm(folder: &Path, spec: &SandboxSpec) -> Result<()> {
    let shm = folder.join(SHM);
    std::fs::create_dir_all(&shm).map_err(Error::io("create folder", &shm))?;
    let size = if spec.shm_bytes == 0 { SHM_BYTES } else { spec.shm_bytes };
    let options = std::ffi::CString::new(format!("mode=1777,size={size}")).unwrap_or_default();
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("shm", &shm, "tmpfs", flags, Some(options.as_c_str()))
        .and_then(|()| rustix::mount::mount_change(&shm, MountPropagationFlags::PRIVATE))
        .map_err(|error| Error::io("mount shared memory at", &shm)(error.into()))
}

/// The program that becomes a shim.
#[derive(Debug)]
pub(super) struct Executable {
    path: PathBuf,
    /// A mount of its own, read-only, in no namespace: a process in a container that gets hold of its own executable
    /// before it has become the container's program cannot write to it, as it could to the file on the host.
    sealed: Option<OwnedFd>,
}

impl Executable {
    pub(super) fn new(path: &Path) -> Executable {
        let sealed = seal(path);
        if let Err(error) = &sealed {
            tracing::warn!("containers are not kept from writing to {}: {error}", path.display());
        }
        Executable { path: path.to_owned(), sealed: sealed.ok() }
    }

    fn command(&self) -> Command {
        match &self.sealed {
            Some(file) => Command::new(format!("/proc/self/fd/{}", file.as_raw_fd())),
            None => Command::new(&self.path),
        }
    }
}

fn seal(path: &Path) -> std::io::Result<OwnedFd> {
    /// Argument of `mount_setattr`.
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        userns: u64,
    }
    const READ_ONLY: u64 = 1;
    let flags =
        rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE | rustix::mount::OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let file = rustix::mount::open_tree(rustix::fs::CWD, path, flags)?;
    let attributes = Attributes { set: READ_ONLY, clear: 0, propagation: 0, userns: 0 };
    // SAFETY: the kernel reads the structure, whose size it is told.
    let result = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_mount_setattr,
            file.as_raw_fd(),
            c"".as_ptr(),
            nix::libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if result == 0 { Ok(file) } else { Err(std::io::Error::last_os_error()) }
}

/// Starts a holder and waits until it serves.
fn spawn(executable: &Executable, folder: &Path) -> Result<Child> {
    let listener = listen(folder)?;
    let mut child = executable
        .command()
        .arg0("gifee")
        .arg(APPLET)
        .arg(folder)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(listener))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Error::io("execute", &executable.path))?;
    let mut reason = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        let _ = stdout.read_to_string(&mut reason);
    }
    let ended = child.try_wait().ok().flatten();
    if reason.is_empty() && ended.is_none() {
        return Ok(child);
    }
    let _ = child.kill();
    let _ = child.wait();
    if reason.is_empty() {
        reason = std::fs::read_to_string(folder.join("shim.log")).unwrap_or_default();
    }
    let sandbox = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(Error::Shim { sandbox, reason: reason.trim().to_owned() })
}
