//! Servers that the API server calls, in this process: over TLS with an authority of their own, or in plain text.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use gifee_apiserver::Body;
use gifee_apiserver::seam::{Dialer, Duplex};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use std::convert::Infallible;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// `caBundle` of a client configuration.
    pub fn bundle(&self) -> String {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(self.pem())
    }

    /// A certificate for names, and its key.
    pub fn issue(&self, names: &[&str], common: &str) -> (CertificateDer<'static>, KeyPair, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, common);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        (certificate.der().clone(), key, certificate.pem())
    }
}

/// How a backend answers.
pub type Answers = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// A running server.
pub struct Backend {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
}

impl Backend {
    /// With TLS for names, certified by an authority; without any, for a common name alone.
    pub async fn tls(authority: &Authority, names: &[&str], answers: Answers) -> Self {
        let common = if names.is_empty() { "localhost" } else { "backend" };
        let (certificate, key, _) = authority.issue(names, common);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = gifee_apiserver::tls(vec![certificate], key, vec![authority.der()]).unwrap();
        Self::start(Some(config), answers).await
    }

    pub async fn plain(answers: Answers) -> Self {
        Self::start(None, answers).await
    }

    pub async fn start(tls: Option<Arc<rustls::ServerConfig>>, answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let acceptor = tls.map(TlsAcceptor::from);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let (acceptor, answers) = (acceptor.clone(), answers.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => http(TokioIo::new(stream), answers, None).await,
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            let peer = stream.get_ref().1.peer_certificates().map(|all| all[0].clone());
                            http(TokioIo::new(stream), answers, peer).await;
                        }
                    }
                });
            }
        });
        Self { address, connections }
    }

    /// `https://localhost:port/path`
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }
}

/// The client certificate of a request's connection.
#[derive(Clone)]
pub struct Shown(pub Option<CertificateDer<'static>>);

async fn http<I>(io: I, answers: Answers, peer: Option<CertificateDer<'static>>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Shown(peer.clone()));
        let answer = answers(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(io, service).await;
}

/// Answers by a function of the body as JSON.
pub fn json(answer: impl Fn(Value) -> Value + Send + Sync + 'static) -> Answers {
    let answer = Arc::new(answer);
    Arc::new(move |request| {
        let answer = answer.clone();
        Box::pin(async move {
            let body = request.into_body().collect().await.map(|all| all.to_bytes()).unwrap_or_default();
            let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let mut response = Response::new(Body::from(answer(value).to_string()));
            response.headers_mut().insert("content-type", "application/json".parse().unwrap());
            response
        })
    })
}

/// Answers by a code and a text.
pub fn text(code: u16, text: &'static str) -> Answers {
    Arc::new(move |_| {
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
        response.headers_mut().insert("content-type", "text/plain".parse().unwrap());
        Box::pin(async move { response })
    })
}

/// Never answers.
pub fn silent() -> Answers {
    Arc::new(|_| Box::pin(std::future::pending()))
}

/// Answers without an end.
pub fn endless() -> Answers {
    Arc::new(|_| Box::pin(async move { endless_response() }))
}

/// A response without an end.
pub fn endless_response() -> Response<Body> {
    let chunk = Bytes::from(vec![b' '; 64 << 10]);
    let stream = futures_util::stream::repeat_with(move || Ok::<_, Infallible>(chunk.clone()));
    Response::new(Body::stream(stream))
}

/// Answers a byte at a time, slowly.
pub fn dripping() -> Answers {
    Arc::new(|_| {
        let stream = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
        });
        Box::pin(async move { Response::new(Body::stream(stream)) })
    })
}

/// Addresses that lead to backends: of pods and cluster IPs, which are not on this machine.
#[derive(Clone, Default)]
pub struct Net(pub Vec<(String, SocketAddr)>);

#[async_trait]
impl Dialer for Net {
    async fn dial(&self, host: &str, port: u16) -> std::io::Result<Box<dyn Duplex>> {
        let wanted = [format!("{host}:{port}"), host.to_owned()];
        match self.0.iter().find(|(place, _)| wanted.contains(place)) {
            Some((_, address)) => Ok(Box::new(TcpStream::connect(address).await?)),
            None => {
                let why = format!("dial tcp {host}:{port}: connect: connection refused");
                Err(Error::new(ErrorKind::ConnectionRefused, why))
            }
        }
    }
}
