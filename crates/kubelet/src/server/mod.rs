//! The agent's HTTPS server: logs and streams of containers, for the API server.
//!
//! Invariant: nobody gets further than [`crate::Access`] lets them; a connection costs memory only for what it is
//! being sent. Answers to `pkg/kubelet/server`.

mod cadvisor;
mod exec;
mod exposition;
mod follow;
mod forward;
mod inotify;
mod logs;
mod metrics;
mod query;
mod routes;
mod storage;
mod summary;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gifee_base::{Reason, Status};
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::agent::Agent;
use crate::config::Peer;
use crate::error::Error;

/// Connections at the same time; further ones wait.
const CONNECTIONS: usize = 1000;
/// Time for a TLS handshake, and for the head of a request.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Parts of a node that once went with the whole of it.
const WHOLE: [&str; 2] = ["healthz", "pods"];

/// What a response is made of.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A server that listens and does not yet answer.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens.
    pub async fn bind(address: SocketAddr) -> Result<Server, Error> {
        let failed = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Server { listener, address })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Answers until it is dropped.
    pub async fn serve(self, agent: Arc<Agent>) {
        let acceptor = TlsAcceptor::from(agent.config.tls.clone());
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: there is no event for their return.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (agent, acceptor) = (agent.clone(), acceptor.clone());
            tokio::spawn(async move {
                let shutdown = agent.shutdown.clone();
                tokio::select! {
                    () = connection(agent, acceptor, stream) => {}
                    () = shutdown.cancelled() => {}
                }
                drop(slot);
            });
        }
    }
}

async fn connection(agent: Arc<Agent>, acceptor: TlsAcceptor, stream: TcpStream) {
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(|all| all.first()).map(|one| one.to_vec());
    let service = service_fn(move |request: Request<Incoming>| {
        let (agent, certificate) = (agent.clone(), certificate.clone());
        async move { Ok::<_, std::convert::Infallible>(answer(agent, certificate, request).await) }
    });
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE);
    builder.http2().timer(TokioTimer::new());
    // A peer that goes away is no event.
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

async fn answer(
    agent: Arc<Agent>,
    certificate: Option<Vec<u8>>,
    request: Request<Incoming>,
) -> Response<Body> {
    let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer ")).map(|token| token.trim().to_owned());
    let peer = Peer { certificate, token };
    let path = request.uri().path().to_owned();
    let Some((route, rest)) = routes::find(&path) else {
        return refuse(&Status::no_such_path());
    };
    let Some(verb) = route.verb(request.method()) else {
        return refuse(&Status::new(
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource",
        ));
    };
    if let Err(status) = allowed(&agent, &peer, verb, route.subresource).await {
        return refuse(&status);
    }
    match (route.answer)(agent, rest.to_owned(), request).await {
        Ok(response) => response,
        Err(status) => refuse(&status),
    }
}

/// Whether a peer may use a part of the node. Who may use all of it may use any part.
async fn allowed(agent: &Agent, peer: &Peer, verb: &str, subresource: &str) -> Result<(), Status> {
    let access = &agent.config.access;
    let refused = match access.allowed(peer, verb, subresource).await {
        Err(status) if status.is(Reason::Forbidden) => status,
        other => return other,
    };
    if !WHOLE.contains(&subresource) || access.allowed(peer, verb, "proxy").await.is_err() {
        return Err(refused);
    }
    Ok(())
}

/// A failure as its words alone: the API server makes a status of them.
fn refuse(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    respond(code, "text/plain; charset=utf-8", status.message.clone())
}

/// A short answer.
pub(crate) fn respond(code: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
