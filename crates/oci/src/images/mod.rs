//! Images: names, content, layers.
//!
//! Invariant: a name leads only to content that is complete, verified and synced to disk. Answers to containerd's
//! content and metadata stores and to CRI's `ImageService`.

mod archive;
mod content;
mod metered;
mod pull;
mod reference;
mod store;
#[cfg(test)]
mod tests;
mod unpack;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use store::{ImageStore, Stack};

/// What to show a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    /// User and password.
    Basic(String, String),
    /// A bearer token.
    Bearer(String),
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Auth::Basic(..) => "Basic(…)",
            Auth::Bearer(_) => "Bearer(…)",
        })
    }
}

/// Told how far a pull is.
pub type Progress = Arc<dyn Fn(PullProgress) + Send + Sync>;

/// How far a pull is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Layers that are unpacked.
    pub layers_done: usize,
    /// All layers.
    pub layers: usize,
    /// Bytes received, or found present.
    pub bytes_done: u64,
    /// All bytes.
    pub bytes: u64,
}

/// A [`Progress`] that nobody listens to.
pub fn silent() -> Progress {
    Arc::new(|_| {})
}

/// An image that is present.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of the configuration, `sha256:…`.
    pub id: String,
    /// Names with tags, normalised: `docker.io/library/nginx:latest`.
    pub names: Vec<String>,
    /// Names with the manifest's digest: `docker.io/library/nginx@sha256:…`.
    pub digests: Vec<String>,
    /// Compressed bytes of configuration and layers.
    pub size: u64,
    /// Digests of the uncompressed layers, lowest first.
    pub layers: Vec<String>,
    /// What it runs, and as whom.
    pub config: ProcessConfig,
}

/// The part of an image's configuration that says what runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ProcessConfig {
    /// `user`, `uid`, `user:group`.
    pub user: Option<String>,
    /// `tcp` ports and others: `80/tcp`.
    pub exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    /// `NAME=value`.
    pub env: Option<Vec<String>>,
    /// Program, or the arguments before `cmd`.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments.
    pub cmd: Option<Vec<String>>,
    /// Paths meant for volumes.
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal that asks it to stop.
    pub stop_signal: Option<String>,
}

/// Settings of the image store.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Folder of blobs, layers and names.
    pub root: PathBuf,
    /// Registries (`host` or `host:port`) to speak plain HTTP to; loopback ones always are.
    pub insecure: Vec<String>,
    /// Files with further certificate authorities, PEM.
    pub authorities: Vec<PathBuf>,
}
