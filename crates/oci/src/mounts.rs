//! Where something is mounted, as this process sees it.
//!
//! Invariant: a point is found under the name that it has, with blanks and all. Answers to the lists of mounts in
//! `k8s.io/mount-utils`.

use std::path::{Path, PathBuf};

/// All points, in the order in which they were mounted.
///
/// # Errors
/// If there is no `/proc`.
pub fn points() -> std::io::Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape).collect())
}

/// Unmounts what is mounted at or below a folder, the deepest first. Blocks.
///
/// # Errors
/// With the point that is still there, and why.
pub fn unmount_below(root: &Path) -> Result<(), (PathBuf, std::io::Error)> {
    let mut below = points().map_err(|error| (root.to_owned(), error))?;
    below.retain(|point| point.starts_with(root));
    below.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    for point in below {
        let gone = rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH);
        gone.map_err(|error| (point, error.into()))?;
    }
    Ok(())
}

/// The kernel writes blanks and backslashes in paths as octal numbers.
fn unescape(text: &str) -> PathBuf {
    let plain = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    plain.iter().fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain)).into()
}
