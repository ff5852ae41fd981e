//! The error of every call: the server's `Status`, or what kept the call from getting one.

use gifee_base::{Reason, Status};

/// An error of a layer below.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a call returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with a failure.
    #[error("{}", .0.message)]
    Status(Box<Status>),
    /// No answer was had: connection, TLS, a stream that broke off.
    #[error("calling {path}: {source}")]
    Transport {
        /// Path and query of the call.
        path: String,
        /// What happened.
        source: BoxError,
    },
    /// An answer came that is not what the API promises.
    #[error("decoding the answer of {path}: {source}")]
    Decode {
        /// Path and query of the call.
        path: String,
        /// What is wrong.
        source: BoxError,
    },
    /// The request cannot be written as HTTP.
    #[error("building the request {path}: {source}")]
    Build {
        /// Path and query of the call.
        path: String,
        /// What is wrong.
        source: BoxError,
    },
    /// The transport has no such ability.
    #[error("{0} is not possible over this transport")]
    Unsupported(&'static str),
    /// A kubeconfig or credential file is missing or malformed.
    #[error("{subject}: {why}")]
    Config {
        /// File, context, cluster or user.
        subject: String,
        /// What is wrong.
        why: String,
    },
}

impl Error {
    pub(crate) fn transport(path: &str, source: impl Into<BoxError>) -> Self {
        Self::Transport { path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn decode(path: &str, source: impl Into<BoxError>) -> Self {
        Self::Decode { path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn build(path: &str, source: impl Into<BoxError>) -> Self {
        Self::Build { path: path.to_owned(), source: source.into() }
    }

    pub(crate) fn config(subject: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Config { subject: subject.into(), why: why.to_string() }
    }

    /// The server's `Status`, if it gave one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Status(status) => Some(status),
            _ => None,
        }
    }

    /// Whether the server answered with this reason.
    pub fn is(&self, reason: Reason) -> bool {
        self.status().is_some_and(|status| status.reason == reason)
    }

    /// 404
    pub fn is_not_found(&self) -> bool {
        self.is(Reason::NotFound)
    }

    /// 409: changed meanwhile.
    pub fn is_conflict(&self) -> bool {
        self.is(Reason::Conflict)
    }

    /// 409: the name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.is(Reason::AlreadyExists)
    }

    /// 410: the resource version or continue token is too old.
    pub fn is_expired(&self) -> bool {
        self.is(Reason::Expired) || self.is(Reason::Gone)
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}
