//! Aggregation: groups and versions that another API server answers, reached as a Service.
//!
//! Invariant: what this server serves itself never goes elsewhere, and costs nothing here; the client's credentials
//! never go on: another server is told who asks in headers, over a connection with the front proxy's certificate.
//! Answers to kube-aggregator.

mod available;
mod discovered;
mod local;
mod published;
mod remote;

pub use available::run;
pub use discovered::{addresses, documents, insert_groups, insert_items, insert_paths};

use crate::body::Body;
use crate::cache::{Cache, Caches};
use crate::connect::{Backend, Onward, Rewriting, forward, headers};
use crate::outbound::Identity;
use crate::request::Request;
use crate::respond;
use arc_swap::ArcSwap;
use discovered::Discovered;
use gifee_base::Status;
use gifee_policy::authenticate::request_header;
use http::header::{HOST, HeaderName, HeaderValue, LOCATION, UPGRADE};
use http::{HeaderMap, Response, StatusCode};
use parking_lot::Mutex;
use remote::{Index, Remote};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Group of APIServices.
pub const GROUP: &str = "apiregistration.k8s.io";
/// Resource of APIServices.
pub const RESOURCE: &str = "apiservices";
/// How long another server may take to say what it serves; upstream's figure.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// What aggregation needs.
#[derive(Clone, Debug, Default)]
pub struct Aggregation {
    /// What is presented to other servers; None: they know nobody.
    pub identity: Option<Arc<Identity>>,
}

/// The groups and versions of others.
pub struct Aggregator {
    cache: Option<Arc<Cache>>,
    aggregation: Aggregation,
    index: ArcSwap<Index>,
    building: Mutex<()>,
    /// What others said last, by name of the APIService.
    discovered: Mutex<HashMap<String, Arc<Discovered>>>,
    generation: AtomicU64,
}

impl Aggregator {
    /// What the caches show; nothing at all without `aggregation`.
    pub fn new(caches: &Caches, aggregation: Option<Aggregation>) -> Self {
        Self {
            cache: aggregation.as_ref().and_then(|_| caches.find(GROUP, RESOURCE)),
            aggregation: aggregation.unwrap_or_default(),
            index: ArcSwap::default(),
            building: Mutex::default(),
            discovered: Mutex::default(),
            generation: AtomicU64::new(0),
        }
    }

    /// All that others answer, as the newest APIServices say.
    fn index(&self) -> Arc<Index> {
        let Some(cache) = &self.cache else { return self.index.load_full() };
        if self.index.load().revision != cache.revision() {
            let _one_at_a_time = self.building.lock();
            let snapshot = cache.snapshot();
            if self.index.load().revision != snapshot.revision {
                let index = Index::new(&snapshot, self.aggregation.identity.as_ref());
                self.discovered.lock().retain(|name, _| index.remotes.iter().any(|one| one.name == *name));
                self.index.store(Arc::new(index));
                self.generation.fetch_add(1, Ordering::Release);
            }
        }
        self.index.load_full()
    }

    /// A number that changes with everything that documents about others are made of; 0 if there are none.
    pub fn generation(&self) -> u64 {
        if self.index().remotes.is_empty() { 0 } else { self.generation.load(Ordering::Acquire) }
    }

    fn found(&self, name: &str) -> Option<Arc<Discovered>> {
        self.discovered.lock().get(name).cloned()
    }

    fn find(&self, group: &str, version: &str) -> Option<Arc<Remote>> {
        let index = self.index();
        index.remotes.iter().find(|one| one.group == group && one.version == version).cloned()
    }
}

/// Group and version of a path that another server may answer.
fn wanted(path: &str) -> Option<(&str, &str)> {
    let mut parts = path.trim_matches('/').split('/');
    match (parts.next()?, parts.next()?, parts.next()?) {
        ("apis", group, version) => Some((group, version)),
        ("openapi", "v3", "apis") => Some((parts.next()?, parts.next()?)),
        _ => None,
    }
}

fn plain(code: u16, why: &str) -> Response<Body> {
    respond::text(code, format!("{why}\n"))
}

/// Answers a request for what another server serves; None if nobody does.
pub async fn answer(request: &Request<'_>, body: &mut Body) -> Option<Result<Response<Body>, Status>> {
    let (group, version) = wanted(request.info.path)?;
    let remote = request.server.aggregator.find(group, version)?;
    if request.server.kinds.load().serves(group, version) {
        return None;
    }
    if !remote.available {
        return Some(Ok(plain(503, "service unavailable")));
    }
    let discovery = !request.info.is_resource;
    let pass = pass(request, &remote, std::mem::take(body));
    if !discovery {
        return Some(pass.await);
    }
    let passed = tokio::time::timeout(DISCOVERY_TIMEOUT, pass).await;
    Some(
        passed.unwrap_or_else(|_| Ok(plain(503, "error trying to reach service: context deadline exceeded"))),
    )
}

async fn pass(request: &Request<'_>, remote: &Remote, body: Body) -> Result<Response<Body>, Status> {
    let endpoint = match &remote.endpoint {
        Ok(endpoint) => endpoint.clone(),
        Err(why) => return Ok(plain(500, why)),
    };
    let query =
        if request.query_text.is_empty() { String::new() } else { format!("?{}", request.query_text) };
    let path = format!("{}{query}", request.info.path);
    let mut headers = headers(request, true);
    name_user(&mut headers, &request.user)?;
    let upgrades = headers.contains_key(UPGRADE);
    let onward = Onward { method: request.method, path: &path, headers, body };
    let answered = forward(request, &Backend::Peer(Box::new(endpoint)), onward).await;
    let response = match answered {
        Ok(response) => response,
        Err(status) => return Ok(plain(503, &status.message)),
    };
    if upgrades || response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    if response.status().is_redirection() && response.headers().contains_key(LOCATION) {
        // A redirect would let another server choose where the client's request goes.
        let why = "the backend attempted to redirect this request, which is not permitted";
        return Ok(respond::text(502, why));
    }
    let host = request.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let rewriting = Rewriting { prefix: String::new(), backend: String::new(), host: host.to_owned() };
    Ok(rewriting.response(response))
}

/// Says who asks, and nobody else does.
fn name_user(headers: &mut HeaderMap, user: &gifee_policy::User) -> Result<(), Status> {
    let claimed: Vec<HeaderName> =
        headers.keys().filter(|name| request_header::concerns(name.as_str())).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
    for (name, value) in request_header::headers(user) {
        let name = HeaderName::try_from(name).map_err(Status::internal)?;
        headers.append(name, HeaderValue::try_from(value).map_err(Status::internal)?);
    }
    Ok(())
}
