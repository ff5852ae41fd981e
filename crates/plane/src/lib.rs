//! The control plane in one process: how its parts reach the API server in it, and the objects that every cluster has.
//!
//! Invariant: no part gets at the store; each is a client under an identity of its own.

pub mod bootstrap;
mod loopback;

pub use loopback::{Exported, Loopback};

/// An object that every cluster has could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    /// What was tried.
    pub what: String,
    /// Why it failed.
    #[source]
    pub source: gifee_client::Error,
}
