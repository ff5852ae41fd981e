//! The server: what it holds, and the way of every request through it.
//!
//! Invariant: there is one dispatch. Who asks, may they, is there room: all three are answered before anything
//! is looked at. A panic ends only its request.

use crate::authenticate::unauthorized;
use crate::body::Body;
use crate::cache::{CacheLimits, Caches, fields::Fields};
use crate::config::Config;
use crate::fairness::{self, Fairness, Standing};
use crate::impersonate::impersonate;
use crate::info::{self, Query, RequestInfo};
use crate::kinds::{Kinds, Resource};
use crate::metrics::{Answered, Metrics, Waited};
use crate::negotiate::content_type;
use crate::outbound::Outbound;
use crate::read::AsObjects;
use crate::request::{FrontProxy, Peer, Request, attributes};
use crate::seam::{Asked, Authenticated};
use crate::{audit, definitions, dispatch, respond};
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use gifee_base::Status;
use gifee_policy::authorize::{Decision, refusal};
use gifee_policy::{Attributes, Lookup, User};
use gifee_registry::Kind;
use gifee_registry::apiextensions::compare;
use gifee_schema::Schema;
use gifee_schema::check::duration;
use gifee_schema::defaults::Defaults;
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Commands that wait for the task that feeds the caches.
const COMMANDS: usize = 64;

/// A server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not be read.
    #[error("reading the store")]
    Store(#[from] gifee_store::Error),
    /// The tables of defaults do not fit the schemas.
    #[error("compiling the defaults of the built-in kinds")]
    Defaults(#[source] gifee_schema::Error),
    /// Certificates or keys do not fit.
    #[error("setting up TLS")]
    Tls(#[source] rustls::Error),
    /// A listener failed for good.
    #[error("accepting connections")]
    Accept(#[source] std::io::Error),
}

/// Who asks without credentials.
static ANONYMOUS: LazyLock<Arc<User>> = LazyLock::new(|| Arc::new(gifee_policy::authenticate::anonymous()));

/// The API server.
pub struct Server {
    pub(crate) config: Config,
    /// When it was started.
    pub(crate) begun: jiff::Timestamp,
    pub(crate) caches: Arc<Caches>,
    pub(crate) kinds: ArcSwap<Kinds>,
    pub(crate) metrics: Metrics,
    pub(crate) documents: crate::documents::Documents,
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) webhooks: crate::webhook::Webhooks,
    pub(crate) fairness: Fairness,
    pub(crate) policies: crate::policies::Policies,
    pub(crate) aggregator: crate::aggregate::Aggregator,
    ready: AtomicBool,
    stop: CancellationToken,
    changing: Mutex<()>,
    changed: Arc<tokio::sync::Notify>,
    pub(crate) turns: crate::write::Turns,
    pub(crate) usage: crate::usage::Scrapes,
    /// Rows that another server has taken the place of.
    replaced: Mutex<Vec<Arc<Resource>>>,
}

/// A request of which nothing is known but its head.
struct Arrived<'a> {
    parts: &'a http::request::Parts,
    info: &'a RequestInfo<'a>,
    query: &'a Query,
    resource: Option<&'a Arc<Resource>>,
    trail: &'a OnceLock<Arc<audit::Trail>>,
    waited: &'a Waited,
}

impl Server {
    /// Fills the caches from the store and starts to follow it. Answers requests as soon as this returns.
    ///
    /// # Errors
    /// If the store cannot be read or a row is malformed.
    pub async fn start(config: Config) -> Result<Arc<Self>, Error> {
        let limits = CacheLimits {
            history_events: config.limits.history_events,
            history_bytes: config.limits.history_bytes,
            watcher_events: config.limits.watcher_events,
        };
        let caches = Arc::new(Caches::new(config.store.clone(), config.encryption.clone(), limits));
        let mut resources = Vec::with_capacity(config.kinds.len());
        let defaults = match &config.defaults {
            Some(defaults) => defaults.clone(),
            None => Arc::new(defaults(&config.kinds)?),
        };
        for kind in &config.kinds {
            let schema = (config.schemas)(&kind.gvk);
            let defaults = schema.is_some().then(|| defaults.clone());
            resources.push(serve(&caches, kind.clone(), schema, defaults));
        }
        let made =
            definitions::prepare(&caches, caches.stored(definitions::GROUP, definitions::RESOURCE).await?);
        let watch = caches.load().await?;
        let services: Arc<dyn Lookup> = caches.clone();
        let outbound = Outbound::new(config.dialer.clone(), Some((services, config.routing)));
        let seats = config.limits.reads_in_flight.saturating_add(config.limits.writes_in_flight);
        let fairness = Fairness::new(seats, config.limits.queue_wait);
        let metrics = Metrics::new(fairness.meter(), &outbound, &config);
        let server = Arc::new(Self {
            begun: config.clock.now(),
            outbound: Arc::new(outbound),
            webhooks: crate::webhook::Webhooks::new(&caches),
            policies: crate::policies::Policies::new(&caches),
            aggregator: crate::aggregate::Aggregator::new(&caches, config.aggregation.clone()),
            kinds: ArcSwap::from_pointee(Kinds::new(resources, 1)),
            metrics,
            documents: crate::documents::Documents::default(),
            fairness,
            ready: AtomicBool::new(true),
            stop: CancellationToken::new(),
            changing: Mutex::new(()),
            changed: Arc::default(),
            turns: crate::write::Turns::default(),
            usage: crate::usage::Scrapes::default(),
            replaced: Mutex::default(),
            caches: caches.clone(),
            config,
        });
        for (name, made) in &made {
            server.serve_custom(name, made.served.clone());
        }
        let (commands, commanded) = tokio::sync::mpsc::channel(COMMANDS);
        tokio::spawn(crate::upkeep::run(
            caches,
            server.config.store.clone(),
            server.config.limits.clone(),
            watch,
            commanded,
            server.stop.clone(),
        ));
        if server.config.aggregation.is_some() {
            tokio::spawn(crate::aggregate::run(Arc::downgrade(&server), server.changed.clone()));
        }
        tokio::spawn(definitions::run(Arc::downgrade(&server), commands, made));
        tokio::spawn(fairness::run(Arc::downgrade(&server), server.config.fairness));
        tokio::spawn(crate::policies::run(Arc::downgrade(&server)));
        Ok(server)
    }

    /// Serves these resources of a definition and no others: built-in kinds come first in discovery, then groups in
    /// the order of their names, of each the newest version first.
    pub(crate) fn serve_custom(&self, definition: &str, resources: Vec<Arc<Resource>>) {
        let of = |one: &Arc<Resource>| one.kind.custom.as_ref().map(|custom| custom.definition.clone());
        self.change(|all| {
            all.retain(|one| of(one).is_none_or(|own| *own != *definition));
            all.extend(resources);
            let (mut custom, built_in): (Vec<_>, Vec<_>) =
                std::mem::take(all).into_iter().partition(|one| of(one).is_some());
            custom.sort_by(|a, b| {
                let by_version = || compare(b.version(), a.version()).then_with(|| a.name().cmp(b.name()));
                a.group().cmp(b.group()).then_with(by_version)
            });
            all.extend(built_in);
            all.extend(custom);
        });
    }

    /// Serves a group and version no more while another server does, and again when that has gone.
    pub(crate) fn replace(&self, (group, version): (&str, &str), by_another: bool) {
        let of = |one: &Arc<Resource>| one.group() == group && one.version() == version;
        if self.kinds.load().serves(group, version) != by_another {
            return;
        }
        self.change(|all| {
            let (from, to) = (&mut *self.replaced.lock(), all);
            if by_another {
                from.extend(to.extract_if(.., |one| of(one)));
                return;
            }
            let custom = |one: &Arc<Resource>| one.kind.custom.is_some();
            let at = to.iter().position(custom).unwrap_or(to.len());
            to.splice(at..at, from.extract_if(.., |one| of(one)));
        });
    }

    /// Serves another kind from now on, or another row of a kind. `defaults` are of the arena of `schema`.
    pub fn add_kind(&self, kind: Kind, schema: Option<Schema>, defaults: Option<Arc<Defaults>>) {
        let resource = serve(&self.caches, kind, schema, defaults);
        self.change(|all| {
            let same = |one: &Arc<Resource>| {
                (one.group(), one.version(), one.name())
                    == (resource.group(), resource.version(), resource.name())
            };
            match all.iter_mut().find(|one| same(one)) {
                Some(place) => *place = resource.clone(),
                None => all.push(resource.clone()),
            }
        });
    }

    /// Serves a kind no more. Its objects stay where they are.
    pub fn remove_kind(&self, group: &str, version: &str, resource: &str) {
        let gone =
            |one: &Arc<Resource>| (one.group(), one.version(), one.name()) == (group, version, resource);
        self.change(|all| all.retain(|one| !gone(one)));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Resource>>)) {
        let _one_at_a_time = self.changing.lock();
        let kinds = self.kinds.load_full();
        let mut all = kinds.all().to_vec();
        change(&mut all);
        self.kinds.store(Arc::new(Kinds::new(all, kinds.generation + 1)));
        self.changed.notify_one();
    }

    /// The objects as policy sees them.
    pub fn lookup(&self) -> Arc<dyn Lookup> {
        self.caches.clone()
    }

    /// Calls webhooks and other servers.
    pub fn outbound(&self) -> Arc<Outbound> {
        self.outbound.clone()
    }

    /// Says on `/readyz` that no new requests should come, or that they may.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.stop.is_cancelled()
    }

    /// Ends watches and streams, and the tasks of the server. Requests that run are answered.
    pub fn stop(&self) {
        self.stop.cancel();
        self.caches.close();
    }

    /// Cancelled when the server stops.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Answers one request. `identity` is who asks, if the caller knows: the user of the client certificate, or
    /// the identity of a component in this process. Without one, the headers are asked.
    pub async fn handle(
        self: &Arc<Self>,
        identity: Option<Arc<User>>,
        request: http::Request<Body>,
    ) -> http::Response<Body> {
        let started = Instant::now();
        let (mut parts, body) = request.into_parts();
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let info = info::parse(&parts.method, parts.uri.path(), &query);
        let resource = if info.is_resource {
            self.kinds.load().find(&info.group, &info.version, &info.resource).cloned()
        } else {
            None
        };
        let (trail, waited) = (OnceLock::new(), Waited::default());
        let arrived = Arrived {
            parts: &parts,
            info: &info,
            query: &query,
            resource: resource.as_ref(),
            trail: &trail,
            waited: &waited,
        };
        let answer = self.answer(arrived, identity, body, upgrade);
        let response = match AssertUnwindSafe(answer).catch_unwind().await {
            Ok(Ok(response)) => response,
            Ok(Err(status)) => respond::failure(&parts.headers, &query, &status),
            Err(_) => {
                self.metrics.panicked();
                if let Some(trail) = trail.get() {
                    trail.panicked();
                }
                tracing::error!(method = %parts.method, path = parts.uri.path(), "a request panicked");
                respond::failure(&parts.headers, &query, &Status::internal("the server panicked"))
            }
        };
        let answered = Answered {
            info: &info,
            query: &query,
            resource: resource.as_deref(),
            applies: info.verb == "patch" && content_type(&parts.headers) == "application/apply-patch+yaml",
            code: response.status().as_u16(),
            took: started.elapsed(),
            waited: &waited,
            bytes: http_body::Body::size_hint(response.body()).exact(),
        };
        self.metrics.requests.answered(&answered);
        let response = if parts.method == http::Method::HEAD { respond::head(response) } else { response };
        match trail.get() {
            Some(trail) => trail.finish(response),
            None => response,
        }
    }

    /// Finds out who asks and whether it may be, and has it answered.
    async fn answer(
        self: &Arc<Self>,
        Arrived { parts, info, query, resource, trail, waited }: Arrived<'_>,
        identity: Option<Arc<User>>,
        body: Body,
        upgrade: Option<OnUpgrade>,
    ) -> Result<http::Response<Body>, Status> {
        let asked = Instant::now();
        let found = self.authenticate(identity, parts).await;
        let took = asked.elapsed();
        let found = found.inspect_err(|status| self.unknown(parts, info, status, took))?;
        self.metrics.access.known(&found.user.name, took);
        let own = || attributes(&found.user, info, query);
        let body = match &self.config.audit {
            Some(audit) => {
                let asked = audit::Opened { parts, info, found: &found };
                let limit = self.config.limits.body_bytes;
                audit.open(trail, asked, own(), long_running(info), body, limit).await?
            }
            None => body,
        };
        let acting = impersonate(self, &parts.headers, own).await?;
        if let (Some(trail), Some(acting)) = (trail.get(), &acting) {
            trail.acting(acting);
        }
        let user = acting.map_or_else(|| found.user.clone(), |acting| acting.user);
        let standing = self.stand(&user, info, query, resource.map(|resource| &**resource), waited).await;
        let refuse = |response| Ok(marked(response, standing.as_ref(), &found.warnings()));
        if let Some(refused) = standing.as_ref().and_then(Standing::refusal) {
            self.metrics.requests.terminated(info, resource.map(|resource| &**resource), 429);
            return refuse(refused);
        }
        let attributes = attributes(&user, info, query);
        if let Err(status) = self.admit(&attributes, trail.get()).await {
            return refuse(respond::failure(&parts.headers, query, &status));
        }
        let request = Request {
            server: self,
            method: &parts.method,
            info,
            resource,
            query,
            query_text: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
            user,
            attributes,
            objects: parts.extensions.get::<AsObjects>().is_some(),
            upgrade: Mutex::new(upgrade),
            peer: parts.extensions.get::<Peer>().map(|peer| peer.0),
            waited,
            warnings: Mutex::new(found.warnings()),
        };
        let bounded = self.bounded(&request, body);
        let outcome = match trail.get() {
            Some(trail) => Box::pin(audit::within(trail.clone(), bounded)).await,
            None => bounded.await,
        };
        let response = match outcome {
            Ok(response) => response,
            Err(status) => respond::failure(&parts.headers, query, &status),
        };
        Ok(marked(response, standing.as_ref(), &request.warnings.into_inner()))
    }

    /// Writes down that credentials were refused.
    fn unknown(&self, parts: &http::request::Parts, info: &RequestInfo<'_>, status: &Status, took: Duration) {
        self.metrics.access.unknown(took);
        if let Some(audit) = &self.config.audit {
            audit.refused(parts, info, status);
        }
    }

    /// Decides the request itself, and has that written down.
    async fn admit(&self, attributes: &Attributes, trail: Option<&Arc<audit::Trail>>) -> Result<(), Status> {
        let asked = Instant::now();
        let decision = self.config.authorizer.authorize(attributes, &*self.caches).settle().await;
        self.metrics.access.decided(&decision, asked.elapsed());
        if let Some(trail) = trail {
            trail.decided(&decision);
        }
        match decision {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(refusal(attributes, &reason)),
        }
    }

    async fn authenticate(
        &self,
        identity: Option<Arc<User>>,
        parts: &http::request::Parts,
    ) -> Result<Authenticated, Status> {
        if let Some(user) = identity {
            return Ok(user.into());
        }
        let proxy = parts.extensions.get::<FrontProxy>();
        let front_proxy = proxy.is_some_and(|proxy| proxy.believed);
        let asked = Asked { headers: &parts.headers, path: parts.uri.path(), front_proxy };
        let found = self.config.authenticator.headers(asked, &*self.caches).settle().await?;
        match (found, proxy) {
            (Some(found), _) => Ok(found),
            (None, None) => Ok(ANONYMOUS.clone().into()),
            (None, Some(proxy)) => Ok(proxy.user.clone().ok_or_else(unauthorized)?.into()),
        }
    }

    pub(crate) async fn authorize(&self, attributes: &Attributes) -> Result<(), Status> {
        self.admit(attributes, None).await
    }

    /// The seat of a request, when there is one. Streams, which last as long as somebody wants, take none.
    async fn stand(
        &self,
        user: &User,
        info: &RequestInfo<'_>,
        query: &Query,
        resource: Option<&Resource>,
        waited: &Waited,
    ) -> Option<Standing> {
        if info.verb != "watch" && long_running(info) {
            return None;
        }
        let work = fairness::work(info, query, resource);
        let waits = || (self.metrics.requests.queued(info), waited.wait());
        Some(self.fairness.enter(user, info, work, waits).await)
    }

    /// Answers on time.
    async fn bounded(
        self: &Arc<Self>,
        request: &Request<'_>,
        body: Body,
    ) -> Result<http::Response<Body>, Status> {
        let resource = request.resource.map(|resource| &**resource);
        if long_running(request.info) {
            let streams = request.info.verb != "watch";
            let _lasts = streams.then(|| self.metrics.requests.lasting(request.info, resource));
            return dispatch::dispatch(request, body).await;
        }
        let _flies = self.metrics.requests.flying(request.info);
        let mut timeout = self.config.limits.request_timeout;
        if let Some(text) = request.query.get("timeout") {
            let wanted = duration::parse(text).map_err(|why| {
                Status::bad_request(format!("invalid timeout specified in the request URL - {why}"))
            })?;
            if !wanted.is_zero() {
                timeout = timeout.min(wanted);
            }
        }
        match tokio::time::timeout(timeout, dispatch::dispatch(request, body)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.metrics.requests.terminated(request.info, resource, 504);
                Err(Status::timeout("request did not complete within the allotted timeout", 0))
            }
        }
    }
}

/// An answer with what its client is warned of, and which objects of fairness decided.
fn marked(
    mut response: http::Response<Body>,
    standing: Option<&Standing>,
    warnings: &[String],
) -> http::Response<Body> {
    if !warnings.is_empty() {
        respond::warn(response.headers_mut(), warnings);
    }
    if let Some(standing) = standing {
        standing.mark(response.headers_mut());
    }
    response
}

/// Whether a request lasts as long as the client wants: watches, streams, proxied requests.
fn long_running(info: &RequestInfo<'_>) -> bool {
    info.verb == "watch" || matches!(&*info.subresource, "proxy" | "log" | "exec" | "attach" | "portforward")
}

fn defaults(kinds: &[Kind]) -> Result<Defaults, Error> {
    let tables: Vec<_> = kinds.iter().map(|kind| kind.defaults).filter(|table| !table.is_empty()).collect();
    Defaults::builtin(&tables, &[]).map_err(Error::Defaults)
}

fn serve(
    caches: &Caches,
    kind: Kind,
    schema: Option<Schema>,
    defaults: Option<Arc<Defaults>>,
) -> Arc<Resource> {
    let (group, resource) = kind.storage.clone();
    let cache = kind.stored.then(|| caches.of(&group, &resource, Fields::new(&kind.fields)));
    Arc::new(Resource::new(kind, schema, defaults, cache))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
