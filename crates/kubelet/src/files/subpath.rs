//! Parts of volumes, safely.
//!
//! A container may own the volume whose part another one mounts, and may put a symbolic link where a folder was
//! expected. Invariant: what is mounted was opened below the volume's root by the kernel, without leaving it, and
//! is bound by its descriptor, so that nothing can be exchanged in between. Answers to `pkg/volume/util/subpath`.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::Error;

/// What could not be done with a part; why is for the node's log alone, since it tells of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A part that was not there could not be made.
    Create,
    /// A part that is there may not be, or could not be, mounted.
    Prepare,
}

/// Which step of [`bind`] it is that fails: a part that leads elsewhere may be there.
pub fn step(root: &Path, sub: &str) -> Step {
    if root.join(sub).exists() { Step::Prepare } else { Step::Create }
}

/// Binds `root/sub` to `target`, making it a folder if it does not exist, and returns `target`.
pub fn bind(root: &Path, sub: &str, target: &Path) -> Result<PathBuf, Error> {
    let found = open(root, Path::new(sub))?;
    let folder = rustix::fs::fstat(&found)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir());
    let _ = rustix::mount::unmount(target, rustix::mount::UnmountFlags::DETACH);
    if folder {
        std::fs::create_dir_all(target).map_err(Error::file("create", target))?;
    } else {
        let parent = target.parent().unwrap_or(target);
        std::fs::create_dir_all(parent).map_err(Error::file("create", parent))?;
        std::fs::write(target, []).map_err(Error::file("create", target))?;
    }
    let source = format!("/proc/self/fd/{}", found.as_raw_fd());
    rustix::mount::mount_bind(source, target).map_err(Error::file("bind to", target))?;
    Ok(target.to_owned())
}

/// The text of a file below `root`, of at most so many bytes; `None` if there is none.
///
/// # Errors
/// If it is not below `root`, not a file, larger, or not UTF-8.
pub fn read(root: &Path, sub: &str, most: u64) -> Result<Option<String>, Error> {
    let at = root.join(sub);
    let folder = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::file("open", root))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    // A pipe or a device must not be waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat2(&folder, sub, flags, Mode::empty(), resolve) {
        Ok(file) => std::fs::File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::XDEV | rustix::io::Errno::LOOP) => {
            return Err(Error::Invalid(format!("{sub:?} is not below its volume")));
        }
        Err(error) => return Err(Error::file("open", &at)(error)),
    };
    let metadata = file.metadata().map_err(Error::file("look at", &at))?;
    if !metadata.is_file() || metadata.len() > most {
        return Err(Error::Invalid(format!("{sub:?} is not a file of at most {most} bytes")));
    }
    let mut text = String::new();
    file.take(most).read_to_string(&mut text).map_err(Error::file("read", &at))?;
    Ok(Some(text))
}

/// Unmounts and removes everything that was bound below a folder.
pub fn clear(root: &Path) -> Result<(), Error> {
    super::unmount_below(root)?;
    super::remove_tree(root)
}

fn open(root: &Path, sub: &Path) -> Result<OwnedFd, Error> {
    let refused = || Error::Invalid(format!("subPath {sub:?} is not below its volume"));
    if sub.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(refused());
    }
    let folder = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::file("open", root))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let look = |path: &Path| {
        rustix::fs::openat2(&folder, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
    };
    match look(sub) {
        Ok(found) => return Ok(found),
        Err(rustix::io::Errno::NOENT) => {}
        Err(rustix::io::Errno::XDEV | rustix::io::Errno::LOOP) => return Err(refused()),
        Err(error) => return Err(Error::file("open", &root.join(sub))(error)),
    }
    // A part that is made can be used by whoever can use the volume.
    let mode = rustix::fs::fstat(&folder).map_err(Error::file("look at", root))?.st_mode;
    let mode = Mode::from_raw_mode(mode & 0o7777);
    let mut made = PathBuf::new();
    for part in sub.components() {
        let parent = if made.as_os_str().is_empty() { look(Path::new(".")) } else { look(&made) };
        let parent = parent.map_err(Error::file("open", &root.join(&made)))?;
        made.push(part);
        match rustix::fs::mkdirat(&parent, part.as_os_str(), mode) {
            // Once more, past the umask.
            Ok(()) => rustix::fs::chmodat(&parent, part.as_os_str(), mode, rustix::fs::AtFlags::empty())
                .map_err(Error::file("change mode of", &root.join(&made)))?,
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(Error::file("create", &root.join(&made))(error)),
        }
    }
    look(sub).map_err(Error::file("open", &root.join(sub)))
}
