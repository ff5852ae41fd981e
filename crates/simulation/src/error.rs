//! What can go wrong in a simulation, as a person may read it.

use std::path::PathBuf;

/// A simulation could not be read or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("reading {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not YAML or JSON.
    #[error("{path}: {why}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        why: String,
    },
    /// A field of a workload is wrong.
    #[error("{field}: {why}")]
    Field {
        /// Where, such as `steps[2].count`.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// The API server refused something.
    #[error("{what}: {source}")]
    Call {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: gifee_client::Error,
    },
    /// Something did not happen in time.
    #[error("waited {seconds} s in vain for {what}")]
    Time {
        /// For what.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// The control plane could not start.
    #[error("starting the control plane: {0}")]
    Start(String),
    /// A step failed.
    #[error("steps[{index}] ({opcode}): {source}")]
    Step {
        /// Which, from 0.
        index: usize,
        /// Its opcode.
        opcode: String,
        /// Why.
        source: Box<Error>,
    },
}

/// Of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A wrong field.
    pub fn field(field: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Field { field: field.into(), why: why.to_string() }
    }
}

/// Names what was tried when a call fails.
pub trait While<T> {
    /// Adds what was tried.
    ///
    /// # Errors
    /// That of the call.
    fn while_doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> While<T> for gifee_client::Result<T> {
    fn while_doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Call { what: what(), source })
    }
}
