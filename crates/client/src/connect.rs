//! Connecting: within a bound, TLS included, and so that whoever waits on a connection learns of its end.
//!
//! Invariant: a request does not outlive its connection unanswered. hyper hands requests to the task of a
//! connection through a channel; one that is sent while that task ends can stay in the channel for as long as
//! anybody holds a sender of it, and whoever waits for the answer holds one. So the end of the connection
//! itself, the moment when its stream is dropped, is what a waiting request looks at.

use crate::error::BoxError;
use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, Connection, HttpConnector};
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_service::Service;

type Stream = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;

/// What a connection that has ended had received before is delivered within this.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Connects within a time, DNS, TCP and TLS together.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) inner: HttpsConnector<HttpConnector>,
    pub(crate) timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = Watched;
    type Error = BoxError;
    type Future = BoxFuture<'static, std::result::Result<Watched, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<std::result::Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, timeout) = (self.inner.call(uri), self.timeout);
        Box::pin(async move {
            let stream = tokio::time::timeout(timeout, connecting)
                .await
                .map_err(|_| format!("no connection within {} s", timeout.as_secs()))??;
            Ok(Watched { stream, ended: CancellationToken::new().drop_guard() })
        })
    }
}

/// The stream of a connection; tells when it is dropped.
pub(crate) struct Watched {
    stream: Stream,
    ended: DropGuard,
}

#[derive(Clone)]
struct Ended(CancellationToken);

impl Connection for Watched {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(Ended(self.ended.token().clone()))
    }
}

/// Returns when the connection that carries a request has ended and nothing can come of it any more.
pub(crate) async fn lost(mut connection: CaptureConnection) {
    loop {
        ended(&mut connection).await.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
        // What was never sent may have gone out again on another connection meanwhile.
        if ended(&mut connection).await.is_cancelled() {
            return;
        }
    }
}

async fn ended(connection: &mut CaptureConnection) -> CancellationToken {
    let mut extensions = http::Extensions::new();
    if let Some(connected) = &*connection.wait_for_connection_metadata().await {
        connected.get_extras(&mut extensions);
    }
    match extensions.remove::<Ended>() {
        Some(Ended(token)) => token,
        // No connection came about; the answer says why.
        None => std::future::pending().await,
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}
