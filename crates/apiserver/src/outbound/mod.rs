//! Calls of the server to others over HTTP/1.1 and HTTP/2: webhooks, aggregated servers, pods and services.
//!
//! Invariant: everything is bounded: connections and calls at once per peer, the bytes of an answer and of all
//! answers being read, and the time until an answer is there. Answers to upstream's `util/webhook` clients.
//!
//! [`Endpoint`] says whom to call; [`Outbound::post_json`] calls a webhook; [`Outbound::send`] passes any request
//! on and gives the answer as a stream.

mod connect;
mod endpoint;
mod error;
mod resolve;
pub mod review;
mod trust;

pub use connect::Direct;
pub use endpoint::{Endpoint, Identity, Place, Trust};
pub use error::{Error, reason_of};
pub use resolve::Routing;
pub(crate) use resolve::{endpoint, resolve, slices};

use crate::body::Body;
use crate::metrics::Conversions;
use crate::seam::Dialer;
use bytes::{Bytes, BytesMut};
use connect::Connect;
use endpoint::Key;
use gifee_policy::Lookup;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Peers whose connections are kept; beyond it the one that was called longest ago is forgotten.
const PEERS: usize = 256;
/// Calls of one peer at once; further ones wait within their time.
const CALLS_PER_PEER: usize = 256;
/// Idle connections kept per address.
const IDLE_PER_ADDRESS: usize = 16;
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of one answer of a webhook; a longer one is a failure of the webhook.
const ANSWER_BYTES: usize = 16 << 20;
/// Bytes of all answers that are being read; beyond it calls fail.
const ANSWERS_BYTES: usize = 256 << 20;
/// Bytes of a refusal that are shown; upstream's figure.
const REFUSAL_BYTES: usize = 2 << 10;
/// Lets a list flow without waiting for the other side.
const STREAM_WINDOW: u32 = 1 << 20;
/// How webhooks see the server.
const AGENT: HeaderValue = HeaderValue::from_static("kube-apiserver-admission");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const JSON_OR_ANY: HeaderValue = HeaderValue::from_static("application/json, */*");

/// The connections to one peer.
struct Peer {
    pooled: Client<Connect, Body>,
    /// For who switches protocols: HTTP/1.1, a connection of its own.
    single: Client<Connect, Body>,
    room: Semaphore,
}

/// Calls others.
pub struct Outbound {
    dialer: Arc<dyn Dialer>,
    services: Option<(Arc<dyn Lookup>, Routing)>,
    peers: Mutex<Vec<(Key, Arc<Peer>)>>,
    reading: AtomicUsize,
    /// What is counted of webhooks that convert.
    pub(crate) conversions: Conversions,
    /// Calls that failed since the peer's certificate has a common name alone, or an insecure signature.
    legacy: [Counter; 2],
}

impl Outbound {
    /// A client that opens connections by `dialer` and finds Services by `services`; without them, only URLs and
    /// addresses can be called.
    pub fn new(dialer: Arc<dyn Dialer>, services: Option<(Arc<dyn Lookup>, Routing)>) -> Self {
        Self {
            dialer,
            services,
            peers: Mutex::default(),
            reading: AtomicUsize::new(0),
            conversions: Conversions::default(),
            legacy: Default::default(),
        }
    }

    /// What is counted of calls.
    pub(crate) fn register(&self, registry: &mut Registry) {
        self.conversions.register(registry);
        let [name, hash] = &self.legacy;
        let what = "Calls that failed since the peer's certificate names it in its common name alone";
        registry.register("apiserver_webhooks_x509_missing_san", what, name.clone());
        let what = "Calls that failed since the peer's certificate is signed over SHA-1";
        registry.register("apiserver_webhooks_x509_insecure_sha1", what, hash.clone());
    }

    /// Posts JSON to a webhook and gives the body of its answer, within `timeout` for all of it. The webhook
    /// hears the timeout as a parameter, as upstream's do.
    ///
    /// # Errors
    /// [`Error::Transport`] without an answer, [`Error::Refused`] if its code is no success.
    pub async fn post_json(
        &self,
        endpoint: &Endpoint,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, Error> {
        let path = endpoint.path_with_timeout(timeout);
        let url = endpoint.url(&path);
        let failed = |why: String| Error::Transport { method: "Post", url: url.clone(), why };
        let request = Request::post(&path)
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, JSON_OR_ANY)
            .header(USER_AGENT, AGENT)
            .body(Body::from(body))
            .map_err(|error| failed(error.to_string()))?;
        let peer = self.peer(endpoint)?;
        let call = async {
            let _place = peer.room.acquire().await;
            let response = self.send(endpoint, request).await?;
            let code = response.status().as_u16();
            let (parts, body) = response.into_parts();
            if (200..300).contains(&code) {
                return self.read(body).await.map_err(failed);
            }
            let shown = http_body_util::Limited::new(body, REFUSAL_BYTES).collect().await;
            let shown = shown.map(|all| all.to_bytes()).unwrap_or_default();
            Err(Error::refused(code, &parts.headers, &shown))
        };
        match tokio::time::timeout_at(Instant::now() + timeout, call).await {
            Ok(answer) => answer,
            Err(_) => Err(failed(error::DEADLINE.to_owned())),
        }
    }

    /// Passes a request on, whose address is path and query alone, and gives the answer as soon as its head is
    /// there. A request with `Upgrade` gets a connection of its own, so that the answer can switch protocols.
    ///
    /// # Errors
    /// [`Error::Transport`] if there is no answer.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Error> {
        let method = error::method(request.method());
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let failed = |why: String| Error::Transport { method, url: endpoint.url(&path), why };
        let authority = self.authority(endpoint).map_err(failed)?;
        let scheme = if endpoint.is_tls() { "https" } else { "http" };
        let address = Uri::builder().scheme(scheme).authority(authority).path_and_query(path.as_str());
        *request.uri_mut() = address.build().map_err(|error| failed(error.to_string()))?;
        if !request.headers().contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(&endpoint.host())
        {
            request.headers_mut().insert(HOST, host);
        }
        if let Some(value) = &endpoint.authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        let peer = self.peer(endpoint)?;
        let client = if request.headers().contains_key(UPGRADE) { &peer.single } else { &peer.pooled };
        client.request(request).await.map_err(|error| {
            let why = reason_of(&error);
            for (counter, text) in self.legacy.iter().zip([trust::LEGACY_NAME, trust::LEGACY_HASH]) {
                if why.contains(text) {
                    counter.inc();
                }
            }
            failed(why)
        })
    }

    /// Where an endpoint is right now.
    fn authority(&self, endpoint: &Endpoint) -> Result<String, String> {
        match &endpoint.place {
            Place::Service { namespace, name, port } => {
                let (lookup, routing) = self.services.as_ref().ok_or("no Services are known here")?;
                let (host, port) =
                    resolve(&**lookup, *routing, namespace, name, *port).map_err(|status| status.message)?;
                Ok(endpoint::authority(&host, port))
            }
            Place::Url { host, port, .. } | Place::Address { host, port, .. } => {
                Ok(endpoint::authority(host, *port))
            }
        }
    }

    /// The connections to an endpoint.
    fn peer(&self, endpoint: &Endpoint) -> Result<Arc<Peer>, Error> {
        let key = endpoint.key();
        {
            let mut peers = self.peers.lock();
            if let Some(at) = peers.iter().position(|(known, _)| *known == key) {
                // The last one is the one called last; most calls are of few peers, so little is moved.
                let found = peers.remove(at);
                let peer = found.1.clone();
                peers.push(found);
                return Ok(peer);
            }
        }
        let peer = Arc::new(self.make(endpoint)?);
        let mut peers = self.peers.lock();
        if peers.len() >= PEERS {
            peers.remove(0);
        }
        peers.push((key, peer.clone()));
        Ok(peer)
    }

    fn make(&self, endpoint: &Endpoint) -> Result<Peer, Error> {
        let connect = |http2: bool| {
            let tls = if endpoint.is_tls() { Some(trust::client(endpoint, http2)?) } else { None };
            Ok::<_, Error>(Connect::new(self.dialer.clone(), tls, endpoint.server_name()))
        };
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(4 * STREAM_WINDOW);
        let single = builder.clone().pool_max_idle_per_host(0).build(connect(false)?);
        let pooled = builder.pool_max_idle_per_host(IDLE_PER_ADDRESS).build(connect(endpoint.http2)?);
        Ok(Peer { pooled, single, room: Semaphore::new(CALLS_PER_PEER) })
    }

    /// Reads an answer whole.
    async fn read(&self, mut body: Incoming) -> Result<Bytes, String> {
        let mut held = Held { count: &self.reading, bytes: 0 };
        let mut first = Bytes::new();
        let mut rest: Option<BytesMut> = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| reason_of(&error))?.into_data() else { continue };
            held.take(data.len())?;
            match &mut rest {
                Some(all) => all.extend_from_slice(&data),
                None if first.is_empty() => first = data,
                None => {
                    let mut all = BytesMut::with_capacity(2 * (first.len() + data.len()));
                    all.extend_from_slice(&first);
                    all.extend_from_slice(&data);
                    rest = Some(all);
                }
            }
        }
        Ok(rest.map_or(first, BytesMut::freeze))
    }
}

/// Bytes of an answer that is being read, counted among those of all.
struct Held<'a> {
    count: &'a AtomicUsize,
    bytes: usize,
}

impl Held<'_> {
    fn take(&mut self, more: usize) -> Result<(), String> {
        self.bytes += more;
        let all = self.count.fetch_add(more, Ordering::Relaxed) + more;
        if self.bytes > ANSWER_BYTES {
            return Err(format!("the answer is longer than {ANSWER_BYTES} bytes"));
        }
        if all > ANSWERS_BYTES {
            return Err("too many bytes of answers at once".to_owned());
        }
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outbound")
    }
}
