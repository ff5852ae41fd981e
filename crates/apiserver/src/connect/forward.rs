//! One request passed on to a backend, and its answer passed back: plain, streamed, or a switched protocol
//! whose bytes are carried both ways untouched.

use super::tunnel::carry;
use crate::body::Body;
use crate::outbound::{Endpoint, Error};
use crate::request::Request;
use crate::seam::{Duplex, Target};
use crate::server::Server;
use gifee_base::{Reason, Status};
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::time::Duration;

/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Where a request came from, all on its way.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers that speak of one connection only.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("te"),
    HeaderName::from_static("trailer"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What a request is passed on to.
pub enum Backend {
    /// A node's kubelet, reached by the connector with the server's own certificate.
    Node(Target),
    /// Anything else.
    Peer(Box<Endpoint>),
}

/// A request on its way to a backend.
pub struct Onward<'a> {
    /// Method.
    pub method: &'a Method,
    /// Path and query.
    pub path: &'a str,
    /// Headers, as [`headers`] makes them.
    pub headers: HeaderMap,
    /// Body.
    pub body: Body,
}

/// A connection to a node.
///
/// # Errors
/// 503 without a connector, or as it gives them.
async fn connect(server: &Server, target: &Target) -> Result<Box<dyn Duplex>, Status> {
    let connector = server.config.connector.as_ref();
    let connector = connector.ok_or_else(|| Status::unavailable("this server reaches no nodes"))?;
    match tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(target)).await {
        Ok(connected) => connected,
        Err(_) => Err(unreachable(format!("dial tcp {}:{}: i/o timeout", target.host, target.port))),
    }
}

fn unreachable(why: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("error trying to reach service: {why}"))
}

/// Passes a request on to a backend.
///
/// # Errors
/// 503 if the backend cannot be reached or breaks off before it answers.
pub async fn forward(
    request: &Request<'_>,
    backend: &Backend,
    onward: Onward<'_>,
) -> Result<Response<Body>, Status> {
    let mut sent = http::Request::new(onward.body);
    *sent.method_mut() = onward.method.clone();
    *sent.version_mut() = Version::HTTP_11;
    *sent.uri_mut() = onward.path.parse::<Uri>().map_err(|error| Status::bad_request(error.to_string()))?;
    *sent.headers_mut() = onward.headers;
    let mut response = match backend {
        Backend::Node(target) => send(request.server, target, sent).await?,
        Backend::Peer(endpoint) => {
            request.server.outbound.send(endpoint, sent).await.map_err(|error| match error {
                Error::Transport { why, .. } => unreachable(why),
                other => unreachable(other),
            })?
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return tunnel(request, response);
    }
    for name in &HOP_BY_HOP {
        response.headers_mut().remove(name);
    }
    Ok(response.map(Body::wrap))
}

/// Sends a request to a node's kubelet, with the server's own certificate.
///
/// # Errors
/// 503 if it cannot be reached or breaks off before it answers.
pub async fn send(
    server: &Server,
    target: &Target,
    mut sent: http::Request<Body>,
) -> Result<Response<Incoming>, Status> {
    if !sent.headers().contains_key(HOST) {
        let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
        let host = HeaderValue::from_str(&format!("{host}:{}", target.port));
        sent.headers_mut().insert(HOST, host.map_err(|error| Status::bad_request(error.to_string()))?);
    }
    let stream = connect(server, target).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a node ended");
        }
    });
    sender.send_request(sent).await.map_err(unreachable)
}

/// The headers of a request as a backend gets them: nothing of this connection, nothing of the client's
/// credentials; its `Host` only if `host` says so.
pub fn headers(request: &Request<'_>, host: bool) -> HeaderMap {
    let mut onward = request.headers.clone();
    let switching = onward.get(UPGRADE).cloned();
    for name in HOP_BY_HOP.iter().chain([&AUTHORIZATION]) {
        onward.remove(name);
    }
    if !host {
        onward.remove(HOST);
    }
    let credentials: Vec<_> =
        onward.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in credentials {
        onward.remove(name);
    }
    if let Some(peer) = request.peer {
        let before: Vec<_> =
            onward.get_all(FORWARDED_FOR).iter().filter_map(|one| one.to_str().ok()).collect();
        let address = peer.ip().to_string();
        let all = before.into_iter().chain([address.as_str()]).collect::<Vec<_>>().join(", ");
        if let Ok(value) = HeaderValue::from_str(&all) {
            onward.insert(FORWARDED_FOR, value);
        }
    }
    if let Some(protocol) = switching {
        onward.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        onward.insert(UPGRADE, protocol);
    }
    onward
}

/// Answers that the protocol is switched, and carries bytes both ways from then on.
fn tunnel(request: &Request<'_>, mut backend: Response<Incoming>) -> Result<Response<Body>, Status> {
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
        tokio::select! {
            ended = carry(TokioIo::new(client), TokioIo::new(backend)) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a switched connection broke");
                }
            }
            () = stop.cancelled() => {}
        }
    });
    Ok(response)
}
