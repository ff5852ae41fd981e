//! Network namespaces that live at a path.
//!
//! Invariant: a namespace exists exactly as long as its path is mounted, whoever runs in it. Answers to
//! `ip netns` and to what CRI runtimes do before they call CNI.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::error::{Error, Result};

/// Creates a network namespace and mounts it at `path` (parents are created). Its `lo` is down. Blocks for about a
/// millisecond. Fails if something is mounted there.
pub fn create(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(Error::io("create folder", parent))?;
    }
    File::options()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(Error::io("create network namespace at", path))?;
    let owned = path.to_owned();
    // A thread of its own: it stays in the new namespace until it ends, nobody else is moved.
    let made = on_thread(move || {
        // SAFETY: CLONE_NEWNET concerns the calling thread alone and shares no memory or descriptors.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .map_err(Error::system("create a network namespace"))?;
        rustix::mount::mount_bind("/proc/thread-self/ns/net", &owned)
            .and_then(|()| rustix::mount::mount_change(&owned, MountPropagationFlags::PRIVATE))
            .map_err(Error::system(format!("mount the network namespace at {owned:?}")))
    });
    if made.is_err() {
        let _ = remove(path);
    }
    made
}

/// Unmounts and removes it. Also succeeds if it is gone. Processes in it keep it alive, nameless.
pub fn remove(path: &Path) -> Result<()> {
    match rustix::mount::unmount(path, UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(Error::system(format!("unmount network namespace {path:?}"))(error)),
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove network namespace", path)(error))
        }
        _ => Ok(()),
    }
}

/// Runs `work` on a thread in the network namespace at `path`, and waits for it. What it opens (sockets) belongs to
/// that namespace for good, and can be used anywhere.
pub fn enter<T: Send + 'static>(path: &Path, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let file = File::open(path).map_err(Error::io("open network namespace", path))?;
    on_thread(move || {
        rustix::thread::move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(Error::system("enter a network namespace"))?;
        Ok(work())
    })
}

fn on_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    std::thread::Builder::new()
        .name("netns".to_owned())
        .spawn(work)
        .map_err(Error::system("start a thread"))?
        .join()
        .unwrap_or_else(|_| Err(Error::Invalid("work in a network namespace panicked".to_owned())))
}
