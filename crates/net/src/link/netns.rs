//! Network namespaces: making, entering and removing them.
//!
//! Invariant: no thread that other work may run on changes its namespace; whatever must happen inside a
//! namespace happens on a thread of its own that ends with it.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::Error;

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Namespace { action, path, source }
}

/// Runs `work` on a fresh thread.
fn on_own_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        thread.join().map_err(|_| io::Error::other("the thread in the namespace panicked"))
    })
}

/// Makes a network namespace that lives on, bound at `path`. Does nothing if one is bound there.
pub fn create(path: &Path) -> Result<(), Error> {
    if is_namespace(path) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed("create its folder", path))?;
    }
    File::create(path).map_err(failed("create", path))?;
    let bind = || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        Ok(())
    };
    let made = on_own_thread(bind).and_then(|result| result);
    if made.is_err() {
        // Best effort: the error that matters is the one of the mount.
        let _ = fs::remove_file(path);
    }
    made.map_err(failed("create", path))
}

/// Removes a namespace made by [`create`]. Processes in it keep it alive, without a name.
pub fn remove(path: &Path) -> Result<(), Error> {
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(errno) => return Err(failed("unmount", path)(errno.into())),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn is_namespace(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::NSFS_MAGIC)
}

/// Runs `work` inside the namespace that is bound at (or described by) `path`.
pub fn inside<T: Send>(path: &Path, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let namespace = File::open(path).map_err(failed("open", path))?;
    let enter = move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| failed("enter", path)(errno.into()))?;
        work()
    };
    on_own_thread(enter).map_err(failed("enter", path))?
}
