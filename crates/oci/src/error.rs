//! The one error of this crate: a variant per failed operation, with its subject.
//!
//! Invariant: a message is a sentence that a person can act on without the source; the chain below it
//! (`source`) says what the kernel or the registry answered. Answers to the gRPC codes of CRI: `NotFound` and
//! `AlreadyExists` are the two that callers act on.

use std::path::PathBuf;

/// Why an operation on images, sandboxes or containers failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such sandbox, container or image. CRI's `NotFound`.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// `"sandbox"`, `"container"`, `"image"`, `"layer"` or `"blob"`.
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
    /// The operation does not fit the state that the subject is in.
    #[error("{kind} {name:?} is {state}: {operation} is not possible")]
    State {
        /// `"sandbox"` or `"container"`.
        kind: &'static str,
        /// Its id.
        name: String,
        /// The state it is in.
        state: String,
        /// What was to be done with it.
        operation: &'static str,
    },
    /// The caller's specification cannot be carried out.
    #[error("{0}")]
    Invalid(String),
    /// An image reference that does not parse.
    #[error("invalid image reference {reference:?}: {reason}")]
    Reference {
        /// The reference as given.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The registry refused, was not reachable, or answered nonsense.
    #[error("failed to pull image {image:?}: {reason}")]
    Pull {
        /// The normalised reference.
        image: String,
        /// The registry's or the network's words.
        reason: String,
        /// Whether trying again later may help (network, 429, 5xx).
        retriable: bool,
    },
    /// Content does not have the digest it was announced with.
    #[error("content of {subject} has digest {actual}, expected {expected}")]
    Digest {
        /// The blob or layer.
        subject: String,
        /// The digest announced.
        expected: String,
        /// The digest computed.
        actual: String,
    },
    /// An archive that is not what it claims to be, or that is hostile.
    #[error("{archive}: {reason}")]
    Archive {
        /// The archive or layer, for example `layer sha256:…`.
        archive: String,
        /// What is wrong, naming the entry.
        reason: String,
    },
    /// A container could not be created or its program could not be started.
    #[error("failed to start container {name:?}: {reason}")]
    Start {
        /// The container's id.
        name: String,
        /// The runtime's words, for example `exec: "sh": executable file not found in $PATH`.
        reason: String,
    },
    /// A program could not be run in a container.
    #[error("failed to exec in container {name:?}: {reason}")]
    Exec {
        /// The container's id.
        name: String,
        /// The runtime's words.
        reason: String,
    },
    /// An operation did not end in the time it was given.
    #[error("{operation} timed out after {seconds} s")]
    Timeout {
        /// What was being done, with its subject.
        operation: String,
        /// The time given.
        seconds: u64,
    },
    /// The process that holds a sandbox does not answer.
    #[error("the shim of sandbox {sandbox:?} failed: {reason}")]
    Shim {
        /// The sandbox's id.
        sandbox: String,
        /// What happened.
        reason: String,
    },
    /// A file operation failed.
    #[error("failed to {operation} {path:?}: {source}")]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A system call failed.
    #[error("failed to {operation}: {source}")]
    System {
        /// What was being done, with its subject.
        operation: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether the subject does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NotFound { .. })
    }

    /// Wraps the failure of `operation` on `path`; made for `map_err`.
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { operation, path, source }
    }

    /// Wraps the failure of the system call behind `operation`; made for `map_err`.
    pub(crate) fn system<E: Into<std::io::Error>>(operation: impl Into<String>) -> impl FnOnce(E) -> Error {
        let operation = operation.into();
        move |source| Error::System { operation, source: source.into() }
    }
}
