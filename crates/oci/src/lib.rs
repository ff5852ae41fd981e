//! Images and containers: pull, unpack, run, watch, remove.
//!
//! Knows containers and the sandboxes that group them, not Pods. The seam is [`Runtime`] and [`ImageService`],
//! which mirror CRI.
//!
//! Invariant: containers outlive the process that uses this crate. Each sandbox is held by a small process, the
//! *shim*, which owns its processes, logs and exit codes.
//! Answers to containerd, its shim, and runc.

mod capabilities;
pub mod cgroups;
pub mod disk;
pub mod error;
pub mod images;
pub mod local;
pub mod mounts;
pub mod netns;
mod rooted;
pub mod runtime;
mod seccomp;
pub mod shim;
mod signals;
pub mod spec;
pub mod status;
pub mod trees;

pub use error::{Error, Result};
pub use images::{Auth, Image, ImageStore};
pub use local::Local;
pub use runtime::{ImageService, Runtime, Session};

/// Runs work that waits for the disk where it holds up nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Invalid(format!("work on a blocking thread ended early: {error}"))),
    }
}
