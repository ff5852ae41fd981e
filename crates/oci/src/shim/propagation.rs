//! Which mounts of the host show up in a container later, and the other way round.
//!
//! Invariant: none but where that is asked for. libcontainer says so together with the bind, where the kernel does not
//! look at it. Answers to the propagation of mounts in runc's `mountToRootfs`.

use std::path::PathBuf;

use rustix::mount::{MountPropagationFlags, mount_change};

use crate::spec::Propagation;

/// Settles it for all mounts of this process's namespace, which is the container's.
pub(super) fn settle(propagating: &[(PathBuf, Propagation)]) -> std::io::Result<()> {
    if propagating.is_empty() {
        return Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?);
    }
    let mut kept = Vec::new();
    for (path, propagation) in propagating {
        // As the kernel calls it: links of the image may lead there.
        let path = std::fs::canonicalize(path)?;
        if *propagation == Propagation::HostToContainer {
            mount_change(&path, MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
        }
        kept.push(path);
    }
    for point in crate::mounts::points()? {
        if !kept.iter().any(|path| point.starts_with(path)) {
            // What another one hides cannot be reached, by nobody.
            let _ = mount_change(&point, MountPropagationFlags::PRIVATE);
        }
    }
    Ok(())
}
