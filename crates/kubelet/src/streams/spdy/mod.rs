//! SPDY/3.1 as Kubernetes' clients and servers speak it.
//!
//! [`frame`] and [`headers`] know bytes, [`connection`] knows streams. There is no flow control, since the library of
//! those clients has none: what cannot be delivered holds up the connection. Invariant: whatever bytes come, memory is
//! bounded and nothing panics. Answers to `moby/spdystream`.

pub(crate) mod connection;
pub mod frame;
pub mod headers;
#[cfg(test)]
mod tests;

/// Why a connection cannot go on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A control frame of another protocol.
    #[error("a control frame of version {0} of SPDY")]
    Version(u16),
    /// A frame that is longer or shorter than its kind can be.
    #[error("a frame of kind {kind} with {length} bytes")]
    Length {
        /// The kind.
        kind: u16,
        /// Its length without the head.
        length: usize,
    },
    /// Headers that are not what the protocol calls headers.
    #[error("headers that cannot be read")]
    Headers,
}
