//! The TLS transport against a real hyper server: HTTP/2, client certificates, tokens, upgrades.

#![allow(clippy::unwrap_used)]

mod cut;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use gifee_base::{Gvr, ObjectKey};
use gifee_client::{Client, Credentials, Kubeconfig, ListOptions, Request, Tls, TlsConfig, Transport};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, handshake::derive_accept_key, protocol::Role};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    /// Certificate and key, PEM.
    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (Vec<u8>, Vec<u8>) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
    }
}

/// Counts connections; answers what it saw.
async fn serve(authority: &Authority) -> (u16, Arc<AtomicUsize>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&authority.pem()).unwrap()).unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .unwrap();
    let (certificate, key) = authority.issue("api.test", ExtendedKeyUsagePurpose::ServerAuth);
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(&certificate).unwrap()],
            PrivateKeyDer::from_pem_slice(&key).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let certified = tls.get_ref().1.peer_certificates().is_some();
                let service = service_fn(move |request| answer(request, certified));
                let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection_with_upgrades(TokioIo::new(tls), service)
                    .await;
            });
        }
    });
    (port, connections)
}

async fn answer(
    mut request: http::Request<hyper::body::Incoming>,
    certified: bool,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let header = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value: &http::HeaderValue| value.to_str().ok())
            .map(str::to_owned)
    };
    let path = request.uri().path().to_owned();
    if let Some(key) = header("sec-websocket-key") {
        if path.ends_with("forbidden") {
            let mut response = Response::new(Full::from("no"));
            *response.status_mut() = StatusCode::FORBIDDEN;
            return Ok(response);
        }
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let io = TokioIo::new(upgrade.await.unwrap());
            let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_binary() {
                    socket.send(message).await.unwrap();
                }
            }
        });
        let response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", derive_accept_key(key.as_bytes()))
            .header("sec-websocket-protocol", "v5.channel.k8s.io");
        return Ok(response.body(Full::default()).unwrap());
    }
    if path.contains("never") {
        std::future::pending::<()>().await;
    }
    let body = format!(
        r#"{{"kind":"Pod","metadata":{{"name":"a","labels":{{"version":"{:?}","certified":"{certified}","token":"{}","path":"{path}"}}}}}}"#,
        request.version(),
        header("authorization").unwrap_or_default(),
    );
    Ok(Response::new(Full::from(body)))
}

fn config(port: u16, authority: &Authority) -> TlsConfig {
    TlsConfig {
        server: format!("https://127.0.0.1:{port}/prefix/"),
        authorities: authority.pem(),
        server_name: Some("api.test".into()),
        ..TlsConfig::default()
    }
}

async fn labels(client: &Client) -> String {
    let pod = client.get(&Gvr::core("pods"), &ObjectKey::new("web", "a b")).await.unwrap();
    pod.labels().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn calls_share_one_http2_connection() {
    let authority = Authority::new();
    let (port, connections) = serve(&authority).await;
    let client = Client::new(Arc::new(Tls::new(&config(port, &authority)).unwrap()));
    let path = "/prefix/api/v1/namespaces/web/pods/a%20b";
    assert_eq!(labels(&client).await, format!("version=HTTP/2.0 certified=false token= path={path}"));
    let calls = (0..50).map(|_| labels(&client));
    futures_util::future::join_all(calls).await;
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn certificates_and_tokens_are_presented_and_replaced() {
    let authority = Authority::new();
    let (port, _) = serve(&authority).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "secret\n").unwrap();
    let mut config = config(port, &authority);
    config.credentials = Credentials {
        certificate: Some(authority.issue("client", ExtendedKeyUsagePurpose::ClientAuth)),
        token_file: Some(file),
        ..Credentials::default()
    };
    let tls = Arc::new(Tls::new(&config).unwrap());
    let client = Client::new(tls.clone());
    assert!(labels(&client).await.contains("certified=true token=Bearer secret"));
    config.credentials = Credentials { token: Some("other".into()), ..Credentials::default() };
    tls.replace(&config).unwrap();
    assert!(labels(&client).await.contains("certified=false token=Bearer other"));

    let kubeconfig = Kubeconfig::single("test", &config);
    let again = Tls::new(&kubeconfig.tls(None).unwrap()).unwrap();
    assert!(labels(&Client::new(Arc::new(again))).await.contains("token=Bearer other"));
}

#[tokio::test]
async fn a_stranger_is_not_trusted_unless_told_so() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (port, _) = serve(&authority).await;
    let mut config = config(port, &stranger);
    let refused = Client::new(Arc::new(Tls::new(&config).unwrap()));
    let error = refused.list(&Gvr::core("pods"), "", &ListOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    config.insecure = true;
    assert!(labels(&Client::new(Arc::new(Tls::new(&config).unwrap()))).await.contains("HTTP/2"));
}

#[tokio::test]
async fn websockets_carry_frames_both_ways() {
    let authority = Authority::new();
    let (port, _) = serve(&authority).await;
    let transport: Arc<dyn Transport> = Arc::new(Tls::new(&config(port, &authority)).unwrap());
    let client = Client::new(transport);
    let request = Request::new(http::Method::GET, "/api/v1/exec").query("command", "sh -c").path().to_owned();
    let (mut socket, protocol) = client.websocket(&request, &["v5.channel.k8s.io"]).await.unwrap();
    assert_eq!(protocol.as_deref(), Some("v5.channel.k8s.io"));
    socket.send(Message::binary(vec![0, 1, 2])).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::binary(vec![0, 1, 2]));

    let refused = client.websocket("/forbidden", &[]).await.err().unwrap();
    assert_eq!(refused.status().unwrap().code, 403);
}
