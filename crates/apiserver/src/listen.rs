//! Connections: TLS, HTTP/1.1 and HTTP/2 on one port, client certificates, upgrades.
//!
//! Invariant: a connection that does not get on (no handshake, no headers) ends by a time limit, and their
//! number is bounded; a failed connection never ends the listener.

use crate::body::Body;
use crate::request::{FrontProxy, Peer};
use crate::seam::Identity;
use crate::server::{Error, Server};
use crate::steady::Steady;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// How often an idle HTTP/2 connection is asked whether it is still there; upstream's figure.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Streams at once on one HTTP/2 connection.
const STREAMS: u32 = 250;
/// Pause after the system has refused a connection for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// TLS for the API: client certificates are verified against `clients` if they are given.
///
/// # Errors
/// If the certificates and keys do not fit together.
pub fn tls(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Vec<CertificateDer<'static>>,
) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?;
    let builder = if clients.is_empty() {
        builder.with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        for certificate in clients {
            roots.add(certificate).map_err(Error::Tls)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|error| Error::Tls(rustls::Error::General(error.to_string())))?;
        builder.with_client_cert_verifier(verifier)
    };
    let mut config = builder.with_single_cert(chain, key).map_err(Error::Tls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl Server {
    /// Answers the connections of a listener until the server stops; without `tls`, in plain text.
    ///
    /// # Errors
    /// If the listener fails for good.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
    ) -> Result<(), Error> {
        let acceptor = tls.map(TlsAcceptor::from);
        let room = Arc::new(Semaphore::new(self.config.limits.connections));
        let stop = self.stopping();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if error.raw_os_error().is_some_and(passing) => {
                    tracing::warn!(%error, "a connection was refused");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(Error::Accept(error)),
            };
            let Ok(place) = room.clone().try_acquire_owned() else {
                tracing::warn!(%peer, "too many connections");
                continue;
            };
            let (server, acceptor) = (self.clone(), acceptor.clone());
            tokio::spawn(async move {
                server.connection(stream, peer, acceptor).await;
                drop(place);
            });
        }
    }

    async fn connection(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        acceptor: Option<TlsAcceptor>,
    ) {
        // Answers are written whole, so waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let Some(acceptor) = acceptor else {
            return self.http(TokioIo::new(self.steady(stream)), peer, None).await;
        };
        let limit = self.config.limits.handshake_timeout;
        let stream = match tokio::time::timeout(limit, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.metrics.handshakes.inc();
                return tracing::debug!(%peer, %error, "TLS handshake failed");
            }
            Err(_) => {
                self.metrics.handshakes.inc();
                return tracing::debug!(%peer, "TLS handshake took too long");
            }
        };
        let chain = stream.get_ref().1.peer_certificates();
        let identity = chain.and_then(|chain| self.config.authenticator.certificate(chain));
        if let Some(own) = chain.and_then(|chain| chain.first()).filter(|_| identity.is_some()) {
            self.metrics.access.certificate(own, self.config.clock.now().as_second());
        }
        self.http(TokioIo::new(self.steady(stream)), peer, identity).await;
    }

    fn steady<I>(&self, stream: I) -> Steady<I> {
        Steady::new(stream, self.config.limits.write_timeout, self.config.limits.header_timeout)
    }

    async fn http<I>(self: &Arc<Self>, io: I, peer: SocketAddr, identity: Option<Identity>)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
            let (server, identity) = (self.clone(), identity.clone());
            async move {
                let mut request = match request.version() {
                    http::Version::HTTP_2 => request.map(Body::received),
                    _ => request.map(Body::wrap),
                };
                request.extensions_mut().insert(Peer(peer));
                let user = match identity {
                    Some(Identity::User(user)) => Some(user),
                    Some(Identity::FrontProxy(user)) => {
                        request.extensions_mut().insert(FrontProxy { believed: true, user });
                        None
                    }
                    Some(Identity::Nobody) => {
                        request.extensions_mut().insert(FrontProxy { believed: false, user: None });
                        None
                    }
                    None => None,
                };
                Ok::<_, Infallible>(server.handle(user, request).await)
            }
        });
        let header_bytes = self.config.limits.header_bytes;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.config.limits.header_timeout)
            .max_buf_size(header_bytes.max(8 << 10) + (64 << 10))
            .keep_alive(true);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_send_buf_size(256 << 10);
        let connection = builder.serve_connection_with_upgrades(io, service);
        tokio::pin!(connection);
        let stop = self.stopping();
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection ended");
        }
    }
}

/// Whether an error of `accept` passes: an aborted connection, no descriptors or memory left for now.
fn passing(code: i32) -> bool {
    // ECONNABORTED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTO, EPERM, ENETDOWN, EHOSTUNREACH, ENETUNREACH
    matches!(code, 103 | 4 | 24 | 23 | 105 | 12 | 71 | 1 | 100 | 113 | 101)
}
