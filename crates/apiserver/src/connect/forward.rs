//! One request passed on to a backend, and its answer passed back: plain, streamed, or a switched protocol
//! whose bytes are carried both ways untouched.

use crate::body::Body;
use crate::request::Request;
use crate::seam::{Duplex, Target};
use gifee_base::{Reason, Status};
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, Response, StatusCode, Uri, Version};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::copy_bidirectional_with_sizes;

/// How long a backend may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes on their way in each direction of a switched connection.
const TUNNEL_BYTES: usize = 32 << 10;

/// Headers that speak of one connection only.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A connection to a backend.
///
/// # Errors
/// 503 without a connector, or as it gives them.
pub async fn connect(request: &Request<'_>, target: &Target) -> Result<Box<dyn Duplex>, Status> {
    let connector = request.server.config.connector.as_ref();
    let connector = connector.ok_or_else(|| Status::unavailable("this server reaches no nodes"))?;
    match tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(target)).await {
        Ok(connected) => connected,
        Err(_) => Err(Status::unavailable(format!(
            "error trying to reach service: dial tcp {}:{}: i/o timeout",
            target.host, target.port
        ))),
    }
}

/// Passes the request on to `path` (with its query) of a target.
///
/// # Errors
/// 503 if the backend cannot be reached or breaks off before it answers.
pub async fn forward(
    request: &Request<'_>,
    method: &Method,
    target: &Target,
    path: &str,
    body: Body,
) -> Result<Response<Body>, Status> {
    let stream = connect(request, target).await?;
    let broken = |error: hyper::Error| Status::unavailable(format!("error trying to reach service: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a backend ended");
        }
    });
    let switching = request.headers.get(UPGRADE).cloned();
    let mut onward = http::Request::new(body);
    *onward.method_mut() = method.clone();
    *onward.version_mut() = Version::HTTP_11;
    *onward.uri_mut() = path.parse::<Uri>().map_err(|error| Status::bad_request(error.to_string()))?;
    *onward.headers_mut() = onward_headers(request.headers, target, switching.as_ref())?;
    let mut response = sender.send_request(onward).await.map_err(broken)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return tunnel(request, response);
    }
    for name in &HOP_BY_HOP {
        response.headers_mut().remove(name);
    }
    Ok(response.map(Body::wrap))
}

fn onward_headers(
    headers: &HeaderMap,
    target: &Target,
    switching: Option<&HeaderValue>,
) -> Result<HeaderMap, Status> {
    let mut onward = headers.clone();
    for name in HOP_BY_HOP.iter().chain([&AUTHORIZATION, &HOST]) {
        onward.remove(name);
    }
    let impersonation: Vec<_> =
        onward.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in impersonation {
        onward.remove(name);
    }
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    let host = HeaderValue::from_str(&format!("{host}:{}", target.port));
    onward.insert(HOST, host.map_err(|error| Status::bad_request(error.to_string()))?);
    if let Some(protocol) = switching {
        onward.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        onward.insert(UPGRADE, protocol.clone());
    }
    Ok(onward)
}

/// Answers that the protocol is switched, and carries bytes both ways from then on.
fn tunnel(
    request: &Request<'_>,
    mut backend: Response<hyper::body::Incoming>,
) -> Result<Response<Body>, Status> {
    let Some(client) = request.upgrade.lock().take() else {
        return Err(Status::new(
            Reason::BadRequest,
            "the backend switched protocols, but this connection cannot",
        ));
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = backend.headers().clone();
    let stop = request.server.stopping();
    tokio::spawn(async move {
        let upgraded = tokio::try_join!(client, hyper::upgrade::on(&mut backend));
        let (client, backend) = match upgraded {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "a protocol could not be switched"),
        };
        let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
        tokio::select! {
            ended = copy_bidirectional_with_sizes(&mut client, &mut backend, TUNNEL_BYTES, TUNNEL_BYTES) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a switched connection broke");
                }
            }
            () = stop.cancelled() => {}
        }
    });
    Ok(response)
}
