//! Images as volumes of a container: what they hold, read-only, below the container's folder.
//!
//! Invariant: they are mounted when the container is made, so that what is wrong with one is said then, and are gone
//! with it. A part of an image is opened by the kernel with the image as its root, so that no link in it leads to the
//! host. Answers to containerd's `mutateMounts`.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::MountFlags;

use super::spawn;
use crate::error::{Error, Result};
use crate::images::Stack;
use crate::rooted;
use crate::spec::Mount;

const FOLDER: &str = "images";

/// Mounts the images that `mounts` name, whose layers are `stacks` in the same order, below the folder of a container;
/// returns all mounts with where they are on the host.
pub(super) fn mount(folder: &Path, stacks: Vec<Stack>, mounts: &[Mount]) -> Result<Vec<Mount>> {
    let mut mounts = mounts.to_vec();
    let of_images = mounts.iter_mut().filter(|mount| mount.image.is_some());
    for (number, (mount, stack)) in of_images.zip(stacks).enumerate() {
        let at = folder.join(FOLDER).join(number.to_string());
        std::fs::create_dir_all(&at).map_err(Error::io("create folder", &at))?;
        stack_at(&stack, &at)?;
        mount.host_path = match mount.image_sub_path.as_os_str().is_empty() {
            true => at,
            false => part(&at, &mount.image_sub_path)?,
        };
        mount.readonly = true;
    }
    Ok(mounts)
}

/// Unmounts what [`mount`] made. Succeeds if there is nothing.
pub(super) fn unmount(folder: &Path) -> Result<()> {
    // Parts come after what they are of, and go before.
    let mut places: Vec<PathBuf> = std::fs::read_dir(folder.join(FOLDER))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    places.sort_by_key(|place| place.extension().is_none());
    places.iter().try_for_each(|place| spawn::unmount(place))
}

fn stack_at(stack: &Stack, at: &Path) -> Result<()> {
    let failed = || Error::io("mount an image at", at);
    if let [layer] = stack.layers.as_slice() {
        rustix::mount::mount_bind(stack.folder.join(layer), at).map_err(|error| failed()(error.into()))?;
        let readonly = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
        return rustix::mount::mount_remount(at, readonly, c"").map_err(|error| failed()(error.into()));
    }
    // Options of a mount are at most one page long: layers are named from where they lie, by a thread of its own, which
    // has a working directory of its own.
    let mount = || -> rustix::io::Result<()> {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)
            .map_err(|error| rustix::io::Errno::from_raw_os_error(error as i32))?;
        rustix::process::chdir(&stack.folder)?;
        let options = format!("lowerdir={}", stack.layers.join(":"));
        let options = std::ffi::CString::new(options).map_err(|_| rustix::io::Errno::INVAL)?;
        let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
        rustix::mount::mount("overlay", at, "overlay", flags, Some(options.as_c_str()))
    };
    let mounted = std::thread::scope(|scope| scope.spawn(mount).join());
    let mounted = mounted.unwrap_or(Err(rustix::io::Errno::FAULT));
    mounted.map_err(|error| failed()(error.into()))
}

/// Binds a part of what is mounted at `root` beside it.
fn part(root: &Path, sub: &Path) -> Result<PathBuf> {
    let target = root.with_extension("part");
    let failed = || Error::io("mount a part of an image from", sub);
    let bind = || -> std::io::Result<()> {
        let folder =
            rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let found = rooted::open(&folder, sub, OFlags::PATH, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode).is_dir() {
            std::fs::create_dir(&target)?;
        } else {
            std::fs::write(&target, [])?;
        }
        Ok(rustix::mount::mount_bind(format!("/proc/self/fd/{}", found.as_raw_fd()), &target)?)
    };
    bind().map_err(failed())?;
    Ok(target)
}
