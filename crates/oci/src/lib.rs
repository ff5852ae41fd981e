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
pub mod error;
pub mod images;
pub mod netns;
pub mod runtime;
mod seccomp;
pub mod shim;
mod rooted;
pub mod spec;
pub mod status;

pub use error::{Error, Result};
pub use images::{Auth, Image};
pub use runtime::{ImageService, Runtime, Session};
