//! The audit log: who did what, when, and what came of it.
//!
//! Invariant: without a policy a request pays for one look at an absent pointer; with one, for its own event, never
//! for the disk or the network. Answers to apiserver's `WithAudit` filters and `audit` package.

mod event;
mod log;
mod tee;
mod webhook;

pub use event::user_info;
pub use gifee_policy::audit::Level;
pub use log::{Log, Rotation};
pub use webhook::Webhook;

use crate::body::Body;
use crate::impersonate::Acting;
use crate::info::RequestInfo;
use crate::request::Peer;
use crate::seam::Authenticated;
use bytes::Bytes;
use event::{Event, without_managed_fields};
use gifee_base::{Clock, Reason, Status};
use gifee_policy::Attributes;
use gifee_policy::audit::{Policy, Stage, Verdict};
use gifee_policy::authorize::Decision;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Response};
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::Value;
use std::sync::{Arc, OnceLock};

/// Bytes of a streamed answer that are kept for the log; a longer one is left out, and the event says so.
const RESPONSE_BYTES: usize = 16 << 20;
/// Bytes of an identifier that a client chose; a longer one is cut.
const ID_BYTES: usize = 64;
/// The header that names an event.
const AUDIT_ID: &str = "audit-id";
/// Verbs whose requests have bodies.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];
/// Parts of objects that are streams.
const STREAMS: [&str; 5] = ["log", "exec", "attach", "portforward", "proxy"];

tokio::task_local! {
    /// The event of the request that this task answers.
    static TRAIL: Arc<Trail>;
}

/// Answers a request whose event is known to all that takes part in it.
pub async fn within<T>(trail: Arc<Trail>, answer: impl Future<Output = T>) -> T {
    TRAIL.scope(trail, answer).await
}

/// Adds an annotation to the event of the request that this task answers; if there is none, nothing happens.
pub fn annotate(key: &str, value: &str) {
    let _ = TRAIL.try_with(|trail| trail.annotate(key, value));
}

/// Adds an annotation that the event has from a level on; it is made only if the event is to have it.
pub fn annotate_with(level: Level, annotation: impl FnOnce() -> (String, String)) {
    let _ = TRAIL.try_with(|trail| {
        if trail.verdict.level >= level {
            let (key, value) = annotation();
            trail.annotate(&key, &value);
        }
    });
}

/// A request whose sender is known.
#[derive(Clone, Copy)]
pub struct Opened<'a> {
    /// Head of the request.
    pub parts: &'a Parts,
    /// What it asks for.
    pub info: &'a RequestInfo<'a>,
    /// Who sends it.
    pub found: &'a Authenticated,
}

/// Where lines go.
pub trait Sink: Send + Sync {
    /// Takes the JSON of an event. Must not block.
    fn event(&self, line: &Bytes);

    /// What it is called, and how many events it has lost.
    fn lost(&self) -> Option<(&'static str, Counter)> {
        None
    }
}

/// Says how many events were lost.
#[derive(Debug)]
struct Lost(Vec<(&'static str, Counter)>);

impl Collector for Lost {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let what = "Events that were lost on their way into the log";
        let kind = MetricType::Counter;
        let mut family = encoder.encode_descriptor("apiserver_audit_error", what, None, kind)?;
        for (name, lost) in &self.0 {
            let labels = [("plugin", *name)];
            ConstCounter::new(lost.get()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// What writes requests down.
pub struct Auditor {
    policy: Policy,
    sinks: Vec<Arc<dyn Sink>>,
    clock: Arc<dyn Clock>,
    events: Counter,
    levels: Family<LevelLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabels {
    level: &'static str,
}

/// The event of one request on its way.
pub struct Trail {
    auditor: Arc<Auditor>,
    verdict: Verdict,
    event: Mutex<Event>,
    id: String,
    long_running: bool,
}

impl Auditor {
    /// By a policy, to sinks.
    pub fn new(policy: Policy, sinks: Vec<Arc<dyn Sink>>, clock: Arc<dyn Clock>) -> Self {
        Self { policy, sinks, clock, events: Counter::default(), levels: Family::default() }
    }

    /// Adds what is counted of events to what `/metrics` says.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("apiserver_audit_event", "Events that were written down", self.events.clone());
        registry.register(
            "apiserver_audit_level",
            "Requests by the level of their events",
            self.levels.clone(),
        );
        let what = "Requests that were refused since they could not be written down: none is";
        registry.register("apiserver_audit_requests_rejected", what, Counter::<u64>::default());
        let lost = self.sinks.iter().filter_map(|sink| sink.lost()).collect();
        registry.register_collector(Box::new(Lost(lost)));
    }

    fn count(&self, level: Level) {
        let level = match level {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        };
        self.levels.get_or_create(&LevelLabels { level }).inc();
    }

    /// Begins the event of a request, and reads its body if the event is to have it; gives the body back.
    ///
    /// # Errors
    /// If the body is longer than `limit`.
    pub async fn open(
        self: &Arc<Self>,
        place: &OnceLock<Arc<Trail>>,
        opened: Opened<'_>,
        attributes: Attributes,
        long_running: bool,
        body: Body,
        limit: usize,
    ) -> Result<Body, Status> {
        let Opened { parts, info, found } = opened;
        let Some(trail) = self.begin(parts, &attributes, long_running) else { return Ok(body) };
        for (key, value) in &found.annotations {
            trail.annotate(key, value);
        }
        trail.write(Stage::RequestReceived);
        let trail = place.get_or_init(|| trail);
        if !trail.wants_body(info) {
            return Ok(body);
        }
        let bytes = body.read(limit).await?;
        trail.body(&bytes, &parts.headers);
        Ok(Body::from(bytes))
    }

    /// Begins the event of a request, if the policy wants one.
    fn begin(
        self: &Arc<Self>,
        parts: &Parts,
        attributes: &Attributes,
        long_running: bool,
    ) -> Option<Arc<Trail>> {
        let verdict = self.policy.evaluate(attributes);
        self.count(verdict.level);
        if verdict.level == Level::None {
            return None;
        }
        let given = parts.headers.get(AUDIT_ID).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let id = match given.get(..given.len().min(ID_BYTES)) {
            Some(given) if !given.is_empty() => given.to_owned(),
            _ => uuid::Uuid::new_v4().to_string(),
        };
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        let event = Event::new(&id, verdict.level, parts, peer, attributes, self.clock.now());
        let trail = Trail { auditor: self.clone(), verdict, event: Mutex::new(event), id, long_running };
        Some(Arc::new(trail))
    }

    /// Writes down a request whose credentials were refused.
    pub fn refused(self: &Arc<Self>, parts: &Parts, info: &RequestInfo<'_>, status: &Status) {
        let nobody = crate::request::attributes(&Arc::default(), info, &crate::info::Query::default());
        let Some(trail) = self.begin(parts, &nobody, false) else { return };
        let method =
            if parts.headers.contains_key(http::header::AUTHORIZATION) { "bearer" } else { "<none>" };
        let mut shown = status.clone();
        shown.message = format!("Authentication failed, attempted: {method}");
        trail.event.lock().failed(&shown);
        trail.write(Stage::ResponseStarted);
        trail.write(Stage::ResponseComplete);
    }
}

/// The tree of a JSON or YAML body.
fn tree(bytes: &[u8], content_type: &str) -> Option<Value> {
    if bytes.is_empty() {
        return None;
    }
    if content_type.contains("yaml") {
        return gifee_schema::parse::yaml(bytes).ok().map(|parsed| parsed.value);
    }
    serde_json::from_slice(bytes).ok()
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl Trail {
    /// Whether the body of a request has to be seen.
    fn wants_body(&self, info: &RequestInfo<'_>) -> bool {
        info.is_resource && WRITES.contains(&info.verb) && !STREAMS.contains(&&*info.subresource)
    }

    /// Adds an annotation.
    pub fn annotate(&self, key: &str, value: &str) {
        self.event.lock().annotate(key, value);
    }

    /// Whom the request acts as.
    pub fn acting(&self, acting: &Acting) {
        self.event.lock().acting(&acting.user, &acting.constraint);
    }

    /// What authorizers said.
    pub fn decided(&self, decision: &Decision) {
        let (word, reason) = match decision {
            Decision::Allow(reason) => ("allow", reason),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => ("forbid", reason),
        };
        let mut event = self.event.lock();
        event.annotate("authorization.k8s.io/decision", word);
        event.annotate("authorization.k8s.io/reason", reason);
    }

    /// The body of the request.
    fn body(&self, bytes: &Bytes, headers: &HeaderMap) {
        let Some(mut tree) = tree(bytes, content_type(headers)) else { return };
        let mut event = self.event.lock();
        let patch = content_type(headers).contains("patch");
        if !patch {
            event.object(&tree);
        }
        if self.verdict.level >= Level::Request {
            if self.verdict.omit_managed_fields && !patch {
                without_managed_fields(&mut tree);
            }
            event.request(tree);
        }
    }

    fn write(&self, stage: Stage) {
        if self.verdict.omit_stages.contains(stage) {
            return;
        }
        let line = Bytes::from(self.event.lock().line(stage, self.auditor.clock.now()));
        self.auditor.events.inc();
        for sink in &self.auditor.sinks {
            sink.event(&line);
        }
    }

    /// The server failed on the request.
    pub fn panicked(&self) {
        let status = Status::new(Reason::InternalError, "APIServer panic'd");
        self.event.lock().failed(&status);
        self.write(Stage::Panic);
    }

    /// Follows an answer to its end.
    pub fn finish(self: &Arc<Self>, response: Response<Body>) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        if let Ok(value) = HeaderValue::from_str(&self.id) {
            parts.headers.insert(AUDIT_ID, value);
        }
        let code = parts.status.as_u16();
        self.event.lock().code(code);
        if self.long_running {
            self.write(Stage::ResponseStarted);
        }
        let plain = !parts.headers.contains_key(CONTENT_ENCODING);
        let keeps = self.verdict.level >= Level::RequestResponse && !self.long_running;
        let kind = content_type(&parts.headers).to_owned();
        match body.bytes() {
            Some(bytes) => {
                // What failed says so in its body, whatever the level.
                if plain && (keeps || code >= 400) {
                    self.answered(bytes, &kind, keeps);
                }
                self.write(Stage::ResponseComplete);
                Response::from_parts(parts, body)
            }
            None => {
                let limit = if keeps && plain { RESPONSE_BYTES } else { 0 };
                let body = tee::Tee::new(body, self.clone(), kind, limit);
                Response::from_parts(parts, Body::wrap(body))
            }
        }
    }

    /// The body of the answer.
    fn answered(&self, bytes: &[u8], content_type: &str, keep: bool) {
        let Some(mut tree) = tree(bytes, content_type) else { return };
        let mut event = self.event.lock();
        if tree["kind"] == "Status" && tree["apiVersion"] == "v1" {
            event.status(&tree);
        }
        if keep {
            if self.verdict.omit_managed_fields {
                without_managed_fields(&mut tree);
            }
            event.response(tree);
        }
    }

    /// A streamed answer has ended; `kept` is what was kept of it, None if that was too much.
    fn ended(&self, kept: Option<&[u8]>, content_type: &str) {
        match kept {
            Some([]) => {}
            Some(bytes) => self.answered(bytes, content_type, true),
            None => self.annotate("audit.k8s.io/truncated", "true"),
        }
        self.write(Stage::ResponseComplete);
    }
}
