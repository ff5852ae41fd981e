//! Connections to peers: dialed by a [`Dialer`], with TLS where it is wanted, within a time.

use crate::seam::{Dialer, Duplex};
use async_trait::async_trait;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::future::Future;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a peer may take to accept a connection and to shake hands.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long one address of a name may take, if it has others.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(10);

/// Dials from this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct;

#[async_trait]
impl Dialer for Direct {
    async fn dial(&self, host: &str, port: u16) -> std::io::Result<Box<dyn Duplex>> {
        let found = tokio::net::lookup_host((host, port)).await;
        let found: Vec<SocketAddr> = match found {
            Ok(found) => found.collect(),
            Err(error) => {
                return Err(Error::new(error.kind(), format!("dial tcp: lookup {host}: no such host")));
            }
        };
        let mut failed = Error::new(ErrorKind::NotFound, format!("dial tcp: lookup {host}: no such host"));
        for address in found {
            let connected = tokio::time::timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await;
            let error = match connected {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(Box::new(stream));
                }
                Ok(Err(error)) => error,
                Err(_) => Error::from(ErrorKind::TimedOut),
            };
            let why = words(&error);
            failed = Error::new(error.kind(), format!("dial tcp {address}: {why}"));
        }
        Err(failed)
    }
}

/// What Go says of a failed connection.
fn words(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => format!("connect: {error}"),
    }
}

/// Connects for hyper's client.
#[derive(Clone)]
pub(super) struct Connect {
    dialer: Arc<dyn Dialer>,
    tls: Option<TlsConnector>,
    server_name: Option<Arc<str>>,
}

impl Connect {
    pub(super) fn new(
        dialer: Arc<dyn Dialer>,
        tls: Option<Arc<ClientConfig>>,
        server_name: Option<String>,
    ) -> Self {
        Self { dialer, tls: tls.map(TlsConnector::from), server_name: server_name.map(Into::into) }
    }

    async fn connect(self, uri: Uri) -> std::io::Result<TokioIo<Stream>> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = self.dialer.dial(host, port).await?;
        let Some(tls) = &self.tls else { return Ok(TokioIo::new(Stream { stream, http2: false })) };
        let name = self.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|error| Error::new(ErrorKind::InvalidInput, error))?;
        let stream = tls.connect(name, stream).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(TokioIo::new(Stream { stream: Box::new(stream), http2 }))
    }
}

impl tower_service::Service<Uri> for Connect {
    type Response = TokioIo<Stream>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connect = self.clone().connect(uri.clone());
        Box::pin(async move {
            match tokio::time::timeout(TIMEOUT, connect).await {
                Ok(connected) => connected,
                Err(_) => {
                    let authority = uri.authority().map_or("", |authority| authority.as_str());
                    Err(Error::new(ErrorKind::TimedOut, format!("dial tcp {authority}: i/o timeout")))
                }
            }
        })
    }
}

/// A connection.
pub(super) struct Stream {
    stream: Box<dyn Duplex>,
    http2: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        if self.http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
