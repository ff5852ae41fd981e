//! Why a reconcile failed.

/// What a reconcile returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a reconcile failed; it will be tried again after a backoff.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call of the API failed.
    #[error(transparent)]
    Client(#[from] gifee_client::Error),
    /// An object does not fit its type.
    #[error("decoding {kind} {key}: {source}")]
    Decode {
        /// Kind that was expected.
        kind: &'static str,
        /// Namespace and name.
        key: String,
        /// What is wrong.
        source: gifee_base::object::Error,
    },
    /// A typed object has no JSON; only maps with non-string keys could cause this.
    #[error("encoding {kind}: {source}")]
    Encode {
        /// Kind.
        kind: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// An object says something that cannot be acted on.
    #[error("{subject}: {why}")]
    Invalid {
        /// Which object.
        subject: String,
        /// What is wrong.
        why: String,
    },
    /// Some of many effects failed; the first reason stands for all.
    #[error("{failed} of {total} calls failed, one of them because: {source}")]
    Partly {
        /// How many failed.
        failed: usize,
        /// How many were tried.
        total: usize,
        /// The first reason.
        source: Box<gifee_client::Error>,
    },
}

impl Error {
    /// About an object that cannot be acted on.
    pub fn invalid(subject: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self::Invalid { subject: subject.to_string(), why: why.to_string() }
    }

    /// Whether another writer was faster: the object changed or is gone, which the next try will see.
    pub fn is_overtaken(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_conflict() || error.is_not_found())
    }
}
