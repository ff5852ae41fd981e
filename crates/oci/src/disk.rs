//! How much room a tree takes.
//!
//! Invariant: a file with several names counts once, and what vanishes meanwhile does not matter. Answers to `du`.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::status::DiskUsage;

/// Walks a folder. Blocks.
///
/// # Errors
/// If the folder itself cannot be read.
pub fn usage(root: &Path) -> Result<DiskUsage> {
    let mut usage = DiskUsage::default();
    let mut linked = HashSet::new();
    let mut folders = vec![root.to_owned()];
    let mut first = true;
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if first => return Err(Error::io("read", folder)(error)),
            Err(_) => continue,
            Ok(entries) => entries,
        };
        first = false;
        for entry in entries.flatten() {
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() {
                folders.push(entry.path());
            } else if about.nlink() > 1 && !linked.insert((about.dev(), about.ino())) {
                continue;
            }
            usage.bytes += about.blocks() * 512;
            usage.inodes += 1;
        }
    }
    Ok(usage)
}
