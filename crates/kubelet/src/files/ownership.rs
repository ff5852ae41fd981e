//! Who owns the files of a volume.
//!
//! Answers to `pkg/volume/volume_linux.go` and `util.FsUserFrom`.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Error;
use crate::pod::members;

/// `securityContext.fsGroup`
pub fn fs_group(pod: &Pod) -> Option<u32> {
    let group = members::spec(pod).security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

/// The user that all containers run as, if the spec says so.
pub fn only_user(pod: &Pod) -> Option<u32> {
    let spec = members::spec(pod);
    let common = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
        .map(|container| container.security_context.as_ref().and_then(|own| own.run_as_user).or(common));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

/// Whether a tree is given to the group only if its root is not (`securityContext.fsGroupChangePolicy`). Only volumes that
/// outlive pods ask for this.
pub fn on_root_mismatch(pod: &Pod) -> bool {
    let context = members::spec(pod).security_context.as_ref();
    context.and_then(|context| context.fs_group_change_policy.as_deref()) == Some("OnRootMismatch")
}

/// Whether a root is as [`apply`] would make it.
pub fn matches(root: &Path, group: Option<u32>) -> bool {
    let (Some(group), Ok(metadata)) = (group, fs::metadata(root)) else { return false };
    let wanted = if metadata.is_dir() { 0o2770 } else { 0o660 };
    metadata.gid() == group && metadata.mode() & wanted == wanted
}

/// Gives a tree to a group, which can then read and write all of it, and own what is made in it.
///
/// Whoever uses the volume meanwhile may exchange what is in it: nothing is reached but through open folders below the
/// root, and no link is followed.
pub fn apply(root: &Path, group: Option<u32>) -> Result<(), Error> {
    let Some(group) = group else { return Ok(()) };
    give(root, group).map_err(|error| Error::file("change the owner of", root)(error))
}

fn give(root: &Path, group: u32) -> rustix::io::Result<()> {
    let top = rustix::fs::open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let mut folders: Vec<PathBuf> = change(&top, group)?.then(|| PathBuf::from(".")).into_iter().collect();
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    while let Some(path) = folders.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match rustix::fs::openat2(&top, &path, flags, Mode::empty(), resolve) {
            // It was there a moment ago.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            folder => folder?,
        };
        let mut entries = Dir::read_from(&folder)?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(&folder, name, flags, Mode::empty()) {
                Ok(one) if change(&one, group)? => {
                    folders.push(path.join(std::ffi::OsStr::from_bytes(name.to_bytes())));
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Gives one file to the group; whether it is a folder.
fn change(file: &OwnedFd, group: u32) -> rustix::io::Result<bool> {
    let about = rustix::fs::fstat(file)?;
    let kind = FileType::from_raw_mode(about.st_mode);
    rustix::fs::chownat(file, "", None, Some(rustix::fs::Gid::from_raw(group)), AtFlags::EMPTY_PATH)?;
    if kind.is_symlink() {
        return Ok(false);
    }
    let more = if kind.is_dir() { 0o2770 } else { 0o660 };
    let mode = Mode::from_raw_mode(about.st_mode & 0o7777 | more);
    rustix::fs::chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), mode)?;
    Ok(kind.is_dir())
}
