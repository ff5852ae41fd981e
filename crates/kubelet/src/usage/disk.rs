//! Room on disks, and how much of it a folder takes.

use std::path::Path;
use std::time::Duration;

use gifee_oci::status::DiskUsage;
use tokio::time::Instant;

use super::Meter;

/// A folder is walked again after this time.
const AGAIN: Duration = Duration::from_secs(60);

/// A file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes that there are.
    pub capacity: u64,
    /// Bytes that may still be used.
    pub available: u64,
    /// Bytes in use.
    pub used: u64,
    /// Files that there can be.
    pub inodes: u64,
    /// Files that may still be made.
    pub inodes_free: u64,
}

/// The file system that a path is on; nothing if there is none.
pub fn room(path: &Path) -> Room {
    let Ok(disk) = rustix::fs::statvfs(path) else { return Room::default() };
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Room {
        capacity: bytes(disk.f_blocks),
        available: bytes(disk.f_bavail),
        used: bytes(disk.f_blocks.saturating_sub(disk.f_bfree)),
        inodes: disk.f_files,
        inodes_free: disk.f_ffree,
    }
}

impl Meter {
    /// How much room something takes, which `walk` finds out at most once a minute.
    pub async fn disk_usage(&self, key: &str, walk: impl Future<Output = DiskUsage>) -> DiskUsage {
        let mut disks = self.disks.lock().await;
        let now = Instant::now();
        disks.retain(|_, (at, _)| now.saturating_duration_since(*at) < AGAIN);
        if let Some((_, usage)) = disks.get(key) {
            return *usage;
        }
        let usage = walk.await;
        disks.insert(key.to_owned(), (Instant::now(), usage));
        usage
    }

    /// How much room a folder takes.
    pub async fn folder_usage(&self, folder: &Path) -> DiskUsage {
        let path = folder.to_owned();
        let walk = async {
            let walked = tokio::task::spawn_blocking(move || gifee_oci::disk::usage(&path));
            walked.await.ok().and_then(Result::ok).unwrap_or_default()
        };
        self.disk_usage(&folder.to_string_lossy(), walk).await
    }
}
