//! Files on the host that containers see: how they are written, owned, mounted and removed.
//!
//! Invariant: nothing here leaves the folder that it is given, whatever a container put into it. Answers to
//! `pkg/volume/util`.

pub mod atomic;
pub mod ownership;
pub mod payload;
pub mod subpath;

use std::path::{Path, PathBuf};

/// Why a volume cannot be set up; the words of a `FailedMount` event.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A named object does not exist, or lacks what is asked of it.
    #[error("{0}")]
    Reference(String),
    /// The spec cannot be carried out.
    #[error("{0}")]
    Invalid(String),
    /// A file operation failed.
    #[error("failed to {operation} {path}: {source}")]
    File {
        /// A verb phrase.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// No row owns the volume.
    #[error("volume {0:?} is of a type that this node does not support")]
    Unsupported(String),
    /// The API did not give what was asked for.
    #[error("failed to fetch {what}: {source}")]
    Api {
        /// What.
        what: String,
        /// Its answer.
        source: gifee_client::Error,
    },
}

impl Error {
    /// Wraps the failure of `operation` on `path`; made for `map_err`.
    pub fn file<E: Into<std::io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
        let path = path.to_owned();
        move |source| Error::File { operation, path, source: source.into() }
    }
}

/// Whether a folder is a mount of its own.
pub fn mounted(path: &Path) -> Result<bool, Error> {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| {
        std::fs::metadata(path).map(|metadata| metadata.dev()).map_err(Error::file("look at", path))
    };
    Ok(device(path)? != device(path.parent().unwrap_or(path))?)
}

/// Unmounts what is mounted at or below a folder, the deepest first.
pub fn unmount_below(root: &Path) -> Result<(), Error> {
    gifee_oci::mounts::unmount_below(root).map_err(|(point, error)| Error::file("unmount", &point)(error))
}

/// Removes a tree. Succeeds if there is none.
pub fn remove_tree(root: &Path) -> Result<(), Error> {
    gifee_oci::trees::remove(root).map_err(Error::file("remove", root))
}
