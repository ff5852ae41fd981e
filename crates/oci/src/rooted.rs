//! File access that stays inside a folder, whatever links lie in it.
//!
//! Invariant: a path given here is resolved by the kernel with the folder as its root: `..` and absolute links end
//! at the folder, never outside. Answers to filepath-securejoin and libpathrs.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Opens `path` below `root`.
pub(crate) fn open(root: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    loop {
        // The kernel asks to try again when something was renamed meanwhile and it cannot be sure.
        match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, mode, ResolveFlags::IN_ROOT) {
            Err(Errno::AGAIN) => {}
            result => return result,
        }
    }
}

/// Opens a folder below `root`, as a handle only.
pub(crate) fn open_folder(root: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    open(root, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
}

/// Creates a folder below `root` with its parents, mode 0755; returns a handle to it. Links on the way are followed,
/// inside of `root`.
pub(crate) fn create_folders(root: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    match open_folder(&root, path) {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    let mut at = open_folder(&root, Path::new("."))?;
    let mut walked = PathBuf::new();
    for part in path.components() {
        let Component::Normal(name) = part else {
            if part == Component::ParentDir {
                walked.pop();
            }
            continue;
        };
        walked.push(name);
        at = match open_folder(&root, &walked) {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
                open_folder(&root, &walked)?
            }
            result => result?,
        };
    }
    Ok(at)
}

/// Reads a file below `root`, at most `limit` bytes of it; `None` if there is none.
pub(crate) fn read(root: impl AsFd, path: &str, limit: u64) -> std::io::Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK;
    match open(root, Path::new(path), flags, Mode::empty()) {
        Ok(file) => {
            let mut bytes = Vec::new();
            std::fs::File::from(file).take(limit).read_to_end(&mut bytes)?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The folder and the last name of a relative path; `None` if it has none.
pub(crate) fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent().unwrap_or(Path::new("")), path.file_name()?))
}
