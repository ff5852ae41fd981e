//! The transport over TCP and TLS: pooled HTTP/2 for calls, HTTP/1.1 connections of their own for upgrades.
//!
//! Invariant: nothing is read from the environment or the system's trust store; what is trusted and what
//! is presented stands in the configuration. A token in a file is read again once a minute.

use crate::body::Body;
use crate::connect::{self, Connector};
use crate::error::{BoxError, Error, Result};
use crate::transport::{Io, Transport};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::{Mutex, RwLock};
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(15);
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
const TOKEN_MAXIMUM_AGE: Duration = Duration::from_secs(60);
/// Lets a list of megabytes flow without waiting for the other side.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// What a client presents.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Certificate chain and key, PEM.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// Bearer token.
    pub token: Option<String>,
    /// File with a bearer token, which may change.
    pub token_file: Option<PathBuf>,
}

/// How long is waited; whoever is not served by then gets an error.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection: DNS, TCP and TLS together.
    pub connect: Duration,
    /// For the head of a response to a request that is no watch and no stream. A server gives up after 60 s.
    pub answer: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(30), answer: Duration::from_secs(75) }
    }
}

/// Where a server is, what it must prove, what is presented to it.
#[derive(Clone, Default)]
pub struct TlsConfig {
    /// `https://host:port`, with a path prefix if there is one; `http://` is possible.
    pub server: String,
    /// Certificates of authorities that are trusted, PEM.
    pub authorities: Vec<u8>,
    /// The name that the server's certificate must carry, if not the host's.
    pub server_name: Option<String>,
    /// Do not verify the server's certificate.
    pub insecure: bool,
    /// What is presented.
    pub credentials: Credentials,
    /// How long is waited.
    pub timeouts: Timeouts,
}

type HttpClient = Client<Connector, Full<Bytes>>;

struct Connected {
    origin: String,
    pooled: HttpClient,
    single: HttpClient,
    credentials: Credentials,
    timeouts: Timeouts,
    token: Mutex<Option<(Instant, String)>>,
}

/// Calls a server over TCP and TLS.
pub struct Tls {
    connected: RwLock<Arc<Connected>>,
}

impl Tls {
    /// Checks the configuration; connects at the first call.
    ///
    /// # Errors
    /// [`Error::Config`] if a certificate, key or address is malformed.
    pub fn new(config: &TlsConfig) -> Result<Self> {
        Ok(Self { connected: RwLock::new(Arc::new(Connected::new(config)?)) })
    }

    /// Uses another configuration for all later calls, such as a renewed certificate.
    ///
    /// # Errors
    /// As [`Tls::new`]; then the old one stays.
    pub fn replace(&self, config: &TlsConfig) -> Result<()> {
        let connected = Arc::new(Connected::new(config)?);
        *self.connected.write() = connected;
        Ok(())
    }
}

impl Connected {
    fn new(config: &TlsConfig) -> Result<Self> {
        let tls = client_config(config)?;
        let origin = config.server.trim_end_matches('/').to_owned();
        origin
            .parse::<http::Uri>()
            .ok()
            .filter(|uri| uri.authority().is_some())
            .ok_or_else(|| Error::config(&config.server, "not an address of a server"))?;
        let mut pooled = Client::builder(TokioExecutor::new());
        pooled
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .http2_keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW);
        let single = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).to_owned();
        Ok(Self {
            origin,
            pooled: pooled.build(connector(config, tls.clone(), true)?),
            single: single.build(connector(config, tls, false)?),
            credentials: config.credentials.clone(),
            timeouts: config.timeouts,
            token: Mutex::new(None),
        })
    }

    fn token(&self) -> Result<Option<String>> {
        let Some(file) = &self.credentials.token_file else { return Ok(self.credentials.token.clone()) };
        let mut cached = self.token.lock();
        if let Some((read, token)) = &*cached
            && read.elapsed() < TOKEN_MAXIMUM_AGE
        {
            return Ok(Some(token.clone()));
        }
        let text =
            std::fs::read_to_string(file).map_err(|error| Error::config(file.to_string_lossy(), error))?;
        let token = text.trim().to_owned();
        *cached = Some((Instant::now(), token.clone()));
        Ok(Some(token))
    }

    /// The head of the response; an error if the connection ends without it, or it takes longer than it may.
    async fn answer(
        &self,
        client: &HttpClient,
        path: &str,
        mut request: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>> {
        let limit = (!is_long(request.uri())).then_some(self.timeouts.answer);
        let connection = capture_connection(&mut request);
        let late = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let why = tokio::select! {
            biased;
            response = client.request(request) => {
                return response.map_err(|error| Error::transport(path, chain(&error)));
            }
            () = connect::lost(connection) => "the connection ended without an answer",
            () = late => "no answer within the time that a request may take",
        };
        Err(Error::transport(path, why))
    }

    /// Makes a path absolute and adds the token.
    fn address<B>(&self, mut request: http::Request<B>) -> Result<http::Request<B>> {
        let path = request.uri().to_string();
        *request.uri_mut() = format!("{}{path}", self.origin)
            .parse()
            .map_err(|error: http::uri::InvalidUri| Error::build(&path, error))?;
        if let Some(token) = self.token()? {
            let value = http::HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|error| Error::build(&path, error))?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}

fn connector(config: &TlsConfig, tls: ClientConfig, http2: bool) -> Result<Connector> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let timeout = config.timeouts.connect;
    // Of several addresses each gets a part of it.
    tcp.set_connect_timeout(Some(timeout));
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = &config.server_name {
        let name = ServerName::try_from(name.clone()).map_err(|error| Error::config(name, error))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let inner = match http2 {
        true => builder.enable_all_versions().wrap_connector(tcp),
        false => builder.enable_http1().wrap_connector(tcp),
    };
    Ok(Connector { inner, timeout })
}

fn client_config(config: &TlsConfig) -> Result<ClientConfig> {
    let subject = &config.server;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::config(subject, error))?;
    let builder = if config.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier::Anything(provider)))
    } else {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&config.authorities) {
            let certificate = certificate
                .map_err(|error| Error::config(subject, format!("certificate authority: {error}")))?;
            roots
                .add(certificate)
                .map_err(|error| Error::config(subject, format!("certificate authority: {error}")))?;
        }
        if roots.is_empty() && config.server.starts_with("https:") {
            return Err(Error::config(subject, "no certificate authority is given"));
        }
        builder.with_root_certificates(roots)
    };
    let Some((certificates, key)) = &config.credentials.certificate else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::config(subject, format!("client certificate: {error}")))?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| Error::config(subject, format!("client key: {error}")))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| Error::config(subject, format!("client certificate: {error}")))
}

#[async_trait]
impl Transport for Tls {
    async fn call(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>> {
        let connected = self.connected.read().clone();
        let path = request.uri().to_string();
        let request = connected.address(request)?.map(Full::new);
        let response = connected.answer(&connected.pooled, &path, request).await?;
        Ok(response.map(Body::from_http))
    }

    async fn upgrade(
        &self,
        request: http::Request<()>,
    ) -> Result<std::result::Result<(http::response::Parts, Box<dyn Io>), http::Response<Body>>> {
        let connected = self.connected.read().clone();
        let path = request.uri().to_string();
        let request = connected.address(request)?.map(|()| Full::default());
        let response = connected.answer(&connected.single, &path, request).await?;
        if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Err(response.map(Body::from_http)));
        }
        let (parts, body) = response.into_parts();
        let upgraded = hyper::upgrade::on(http::Response::from_parts(parts.clone(), body))
            .await
            .map_err(|error| Error::transport(&path, error))?;
        Ok(Ok((parts, Box::new(TokioIo::new(upgraded)))))
    }
}

/// Whether a response may begin at any time: a watch, a log that is followed, a proxied request.
fn is_long(uri: &http::Uri) -> bool {
    let mut pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let (kinds, segments) = (uri.path().split('/'), uri.path().split('/').skip(2));
    pairs.any(|(name, value)| {
        matches!(name, "watch" | "follow") && !matches!(value, "" | "0" | "f" | "F" | "false" | "False")
    }) || kinds
        .zip(segments)
        .any(|(kind, segment)| segment == "proxy" && matches!(kind, "nodes" | "pods" | "services"))
}

/// hyper's own text says only which step failed; the causes say why.
fn chain(error: &dyn std::error::Error) -> BoxError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.into()
}

mod verifier {
    //! Accepts every certificate, and still checks that the peer holds its key.

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
    use std::sync::Arc;

    #[derive(Debug)]
    pub(super) struct Anything(pub(super) Arc<CryptoProvider>);

    impl ServerCertVerifier for Anything {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
