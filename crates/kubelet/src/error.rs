//! Why the agent cannot run. What goes wrong with one pod is that pod's status and events, never an error here.

use std::path::PathBuf;

/// The error of [`crate::run`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's address cannot be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A folder of the agent cannot be used.
    #[error("{action} {path}: {source}")]
    Folder {
        /// A verb phrase.
        action: &'static str,
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The runtime does not say what it has.
    #[error("listing containers: {0}")]
    Runtime(#[from] gifee_oci::Error),
    /// The network does not say what it has.
    #[error("listing pod addresses: {0}")]
    Network(#[from] gifee_net::Error),
    /// What the machine is cannot be found out.
    #[error("looking at the machine: {0}")]
    Machine(std::io::Error),
}
