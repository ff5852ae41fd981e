//! Who owns the files of a volume.
//!
//! Answers to `pkg/volume/volume_linux.go` and `util.FsUserFrom`.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

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
pub fn apply(root: &Path, group: Option<u32>) -> Result<(), Error> {
    let Some(group) = group else { return Ok(()) };
    walk(root, group).map_err(Error::file("change the owner of", root))
}

fn walk(path: &Path, group: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    lchown(path, None, Some(group))?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mut mode = metadata.mode() | 0o660;
    if metadata.is_dir() {
        mode |= 0o2110;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), group)?;
        }
    }
    Ok(())
}
