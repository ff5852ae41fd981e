//! How a request reaches a server: one trait, dispatched dynamically, and the in-process implementation.

use crate::body::Body;
use crate::error::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// A duplex byte stream, as an upgraded connection is.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A WebSocket over an upgraded connection.
pub type WebSocket = tokio_tungstenite::WebSocketStream<Box<dyn Io>>;

/// Carries requests to one server under one identity. URIs are path and query only.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends a request and returns as soon as the head of the response is there.
    ///
    /// # Errors
    /// [`Error::Transport`] if there is no response; a failure status is a response.
    async fn call(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>>;

    /// Sends an HTTP/1.1 request for an upgrade. A response other than 101 comes back as `Ok(Err(response))`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where connections cannot be upgraded.
    async fn upgrade(
        &self,
        request: http::Request<()>,
    ) -> Result<std::result::Result<(http::response::Parts, Box<dyn Io>), http::Response<Body>>> {
        let _ = request;
        Err(Error::Unsupported("an upgrade of the connection"))
    }
}

type Call = dyn Fn(http::Request<Bytes>) -> BoxFuture<'static, http::Response<Body>> + Send + Sync;

/// Calls a server in the same process: no socket, no TLS, no copy of bodies.
#[derive(Clone)]
pub struct InProcess {
    call: Arc<Call>,
}

impl InProcess {
    /// `call` answers requests under the identity that this transport stands for.
    pub fn new(
        call: impl Fn(http::Request<Bytes>) -> BoxFuture<'static, http::Response<Body>> + Send + Sync + 'static,
    ) -> Self {
        Self { call: Arc::new(call) }
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn call(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>> {
        Ok((self.call)(request).await)
    }
}
