//! A GET that is answered with a code from 200 to 399, without asking who answers.
//!
//! Answers to `pkg/probe/http`: redirects on the same host are followed, others count as success with a warning.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Outcome, Target, port, tcp};

/// At most so much of an answer is read.
const BODY: usize = 10 * 1024;
const REDIRECTS: usize = 10;
const AGENT: &str = "kube-probe/1.37";

/// Where a request goes.
struct Place {
    https: bool,
    host: String,
    port: u16,
    path: String,
}

impl Place {
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}", self.port)
    }

    fn url(&self) -> String {
        format!("{}://{}{}", if self.https { "https" } else { "http" }, self.authority(), self.path)
    }

    /// Where a `Location` leads; `None` if it is not understood.
    fn follow(&self, location: &str) -> Option<Place> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Some(Place { path: location.to_owned(), host: self.host.clone(), ..*self });
        }
        let uri: http::Uri = location.parse().ok()?;
        let https = uri.scheme_str()? == "https";
        Some(Place {
            https,
            host: uri.host()?.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }
}

/// Probes.
pub async fn probe(action: &HTTPGetAction, target: &Target<'_>, limit: Duration) -> Outcome {
    match place(action, target.container, target.address) {
        Ok(place) => visit(place, action, limit).await,
        Err(reason) => Outcome::Failure(reason),
    }
}

/// Probes a host that the action names itself.
#[cfg(test)]
pub(super) async fn try_once(action: &HTTPGetAction, limit: Duration) -> Outcome {
    let place = place(action, &Container::default(), None).expect("a test names host and port");
    visit(place, action, limit).await
}

async fn visit(mut place: Place, action: &HTTPGetAction, limit: Duration) -> Outcome {
    let url = place.url();
    let probing = async {
        for _ in 0..=REDIRECTS {
            let (status, location) = get(&place, action, limit).await?;
            let next = location.filter(|_| (300..400).contains(&status)).and_then(|to| place.follow(&to));
            match next {
                Some(next) if next.host == place.host => place = next,
                Some(_) => return Ok((status, true)),
                None => return Ok((status, false)),
            }
        }
        Err(format!("stopped after {REDIRECTS} redirects"))
    };
    match tokio::time::timeout(limit, probing).await {
        Ok(Ok((_, true))) => Outcome::Warning(format!("Probe terminated redirects, Response body: {url}")),
        Ok(Ok((status, false))) if (200..400).contains(&status) => Outcome::Success,
        Ok(Ok((status, false))) => Outcome::Failure(format!("HTTP probe failed with statuscode: {status}")),
        Ok(Err(reason)) => Outcome::Failure(format!("Get {url:?}: {reason}")),
        Err(_) => Outcome::Failure(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

/// Sends the request of a lifecycle hook; any answer but an error is as good as another, below 400.
pub async fn hook(action: &HTTPGetAction, target: &Target<'_>, limit: Duration) -> Result<(), String> {
    match probe(action, target, limit).await {
        Outcome::Failure(reason) => Err(reason),
        Outcome::Success | Outcome::Warning(_) => Ok(()),
    }
}

fn place(action: &HTTPGetAction, container: &Container, address: Option<IpAddr>) -> Result<Place, String> {
    let host = match (action.host.as_deref().filter(|host| !host.is_empty()), address) {
        (Some(host), _) => host.to_owned(),
        (None, Some(address)) => address.to_string(),
        (None, None) => return Err("the pod has no address".to_owned()),
    };
    let path = action.path.as_deref().unwrap_or("/");
    Ok(Place {
        https: action.scheme.as_deref() == Some("HTTPS"),
        host,
        port: port(&action.port, container)?,
        path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
    })
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn get(
    place: &Place,
    action: &HTTPGetAction,
    limit: Duration,
) -> Result<(u16, Option<String>), String> {
    let address: Option<IpAddr> = place.host.parse().ok();
    let plain = tcp::connect(Some(&place.host), address, place.port, limit).await?;
    let stream: Box<dyn Stream> =
        if place.https { Box::new(secure(plain, &place.host).await?) } else { Box::new(plain) };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = request(place, action)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| words(&error))?;
        let status = response.status().as_u16();
        let location =
            response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = http_body_util::Limited::new(response.into_body(), BODY);
        // The rest of a longer body is of no interest; the connection is closed.
        while let Some(Ok(_)) = body.frame().await {}
        Ok((status, location))
    };
    // The connection is driven here, and is closed with this call.
    tokio::pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(words(&error)),
        },
    }
}

fn words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() { "EOF".to_owned() } else { error.to_string() }
}

fn request(place: &Place, action: &HTTPGetAction) -> Result<hyper::Request<Empty<Bytes>>, String> {
    let mut request = hyper::Request::get(&place.path)
        .body(Empty::new())
        .map_err(|error| format!("invalid path: {error}"))?;
    let headers = request.headers_mut();
    for header in action.http_headers.iter().flatten() {
        let name = HeaderName::try_from(header.name.as_str()).map_err(|error| error.to_string())?;
        let value = HeaderValue::try_from(header.value.as_str()).map_err(|error| error.to_string())?;
        headers.append(name, value);
    }
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    if !headers.contains_key(HOST) {
        headers.insert(HOST, HeaderValue::try_from(place.authority()).map_err(|error| error.to_string())?);
    }
    Ok(request)
}

async fn secure(
    stream: tokio::net::TcpStream,
    host: &str,
) -> Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map_err(|error| format!("tls: {error}"))
}

/// Probes do not ask who answers: the kubelet promises so.
#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
