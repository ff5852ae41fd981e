//! The one error of this crate. Texts are upstream's, since clients and tests match on them.

use thiserror::Error as ThisError;

/// The result of this crate's fallible functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an input was refused. [`Error::code`] says which HTTP status upstream answers with.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum Error {
    /// The bytes are not JSON or YAML. Code 400.
    #[error("{0}")]
    Syntax(String),
    /// A value has a form the schema does not allow. Code 400; a server prefixes
    /// `Pod in version "v1" cannot be handled as a Pod: `.
    #[error("{0}")]
    Decode(String),
    /// A patch document is malformed. Code 400.
    #[error("{0}")]
    Patch(String),
    /// A well-formed patch does not fit the object. Code 422.
    #[error("{0}")]
    Unprocessable(String),
    /// A limit on size or count was passed. Code 413.
    #[error("{0}")]
    TooLarge(String),
    /// Upstream answers this case with an internal error. Code 500.
    #[error("{0}")]
    Internal(String),
    /// A table of defaults or a schema written by us or by a user of CustomResourceDefinitions is malformed.
    #[error("{0}")]
    Table(String),
}

impl Error {
    /// The HTTP status upstream's API server gives this refusal.
    pub fn code(&self) -> u16 {
        match self {
            Error::Syntax(_) | Error::Decode(_) | Error::Patch(_) => 400,
            Error::Unprocessable(_) => 422,
            Error::TooLarge(_) => 413,
            Error::Internal(_) | Error::Table(_) => 500,
        }
    }
}
