//! What is counted of requests: how many, how long, how large, and how many there are now.
//!
//! Invariant: labels come from rows and fixed words, never from what a client sent, so their number is bounded; a
//! request looks its line up once, and a line holds its counters. Answers to apiserver's `endpoints/metrics`.

use crate::info::{Query, RequestInfo};
use crate::kinds::Resource;
use parking_lot::{Mutex, RwLock};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Upper bounds of the buckets of durations, in seconds; upstream's.
const SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];
/// How many of them the durations that objectives are about leave out.
const SHORT: usize = 2;
/// Upper bounds of the buckets of sizes, in bytes; upstream's.
const BYTES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// The component that all of this is said of.
const COMPONENT: &str = "apiserver";

/// What tells lines apart; the labels but for the code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    verb: &'static str,
    dry_run: &'static str,
    group: Arc<str>,
    version: Arc<str>,
    resource: Arc<str>,
    subresource: Arc<str>,
    scope: &'static str,
    component: &'static str,
}

/// The same of what does not ask whether it was a rehearsal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShortLabels {
    verb: &'static str,
    group: Arc<str>,
    version: Arc<str>,
    resource: Arc<str>,
    subresource: Arc<str>,
    scope: &'static str,
    component: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    verb: &'static str,
    dry_run: &'static str,
    group: Arc<str>,
    version: Arc<str>,
    resource: Arc<str>,
    subresource: Arc<str>,
    scope: &'static str,
    component: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TerminationLabels {
    verb: &'static str,
    group: Arc<str>,
    version: Arc<str>,
    resource: Arc<str>,
    subresource: Arc<str>,
    scope: &'static str,
    component: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeprecatedLabels {
    group: Arc<str>,
    version: Arc<str>,
    resource: Arc<str>,
    subresource: Arc<str>,
    removed_release: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    request_kind: &'static str,
}

/// How long a request waited for others: for a seat, and for webhooks. What objectives are about leaves it out.
#[derive(Debug, Default)]
pub struct Waited(AtomicU64);

impl Waited {
    /// So much longer.
    pub fn add(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(took, Ordering::Relaxed);
    }

    /// As long as what is given lives.
    pub fn wait(&self) -> Waits<'_> {
        Waits { waited: self, since: Instant::now() }
    }

    fn time(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// A request waits as long as this lives.
pub struct Waits<'a> {
    waited: &'a Waited,
    since: Instant,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.waited.add(self.since.elapsed());
    }
}

/// The counters of requests that are alike.
struct Line {
    labels: Labels,
    codes: Mutex<Vec<(u16, Counter)>>,
    duration: Histogram,
    /// Not of rehearsals.
    objective: Option<Histogram>,
    /// Of what only reads.
    size: Option<Histogram>,
    running: Gauge,
}

/// All of it.
pub struct Requests {
    lines: RwLock<HashMap<Labels, Arc<Line>>>,
    empty: Arc<str>,
    counts: Family<CodeLabels, Counter>,
    durations: Family<Labels, Histogram>,
    objectives: Family<ShortLabels, Histogram>,
    sizes: Family<ShortLabels, Histogram>,
    running: Family<ShortLabels, Gauge>,
    /// Requests that only read, and others.
    flying: [Gauge; 2],
    /// The same of those that wait for a seat.
    queued: [Gauge; 2],
    kinds: [Family<KindLabels, Gauge>; 2],
    terminated: Family<TerminationLabels, Counter>,
    deprecated: Family<DeprecatedLabels, Gauge>,
}

/// A request that was answered.
pub struct Answered<'a> {
    /// What it asked for.
    pub info: &'a RequestInfo<'a>,
    /// Its options.
    pub query: &'a Query,
    /// Its row.
    pub resource: Option<&'a Resource>,
    /// Whether it applied a configuration.
    pub applies: bool,
    /// How it was answered.
    pub code: u16,
    /// How long that took.
    pub took: Duration,
    /// How much of it was waiting for others.
    pub waited: &'a Waited,
    /// How large the answer is, if that is known.
    pub bytes: Option<u64>,
}

impl Requests {
    /// All at zero.
    pub fn new() -> Self {
        let kinds: [Family<KindLabels, Gauge>; 2] = Default::default();
        let of = |family: &Family<KindLabels, Gauge>| {
            ["readOnly", "mutating"]
                .map(|request_kind| family.get_or_create(&KindLabels { request_kind }).clone())
        };
        let (flying, queued) = (of(&kinds[0]), of(&kinds[1]));
        Self {
            lines: RwLock::default(),
            empty: "".into(),
            counts: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            objectives: Family::new_with_constructor(|| Histogram::new(SECONDS.into_iter().skip(SHORT))),
            sizes: Family::new_with_constructor(|| Histogram::new(BYTES)),
            running: Family::default(),
            flying,
            queued,
            kinds,
            terminated: Family::default(),
            deprecated: Family::default(),
        }
    }

    /// Adds it to what `/metrics` says.
    pub fn register(&self, registry: &mut Registry) {
        let name = |rest: &str| format!("apiserver_{rest}");
        registry.register(
            name("request"),
            "Requests by what they asked for and how they were answered",
            self.counts.clone(),
        );
        let what = "Time to the head of the answer, in seconds";
        registry.register(name("request_duration_seconds"), what, self.durations.clone());
        let what = "The same of what is no rehearsal";
        registry.register(name("request_sli_duration_seconds"), what, self.objectives.clone());
        registry.register(name("response_sizes"), "Sizes of answers to reads, in bytes", self.sizes.clone());
        registry.register(
            name("longrunning_requests"),
            "Watches, streams and proxied requests now",
            self.running.clone(),
        );
        let what = "Requests that were ended before they were answered";
        registry.register(name("request_terminations"), what, self.terminated.clone());
        let what = "Whether what is deprecated has been asked for";
        registry.register(name("requested_deprecated_apis"), what, self.deprecated.clone());
        let what = ["Requests that run now", "Requests that wait for a seat now"];
        for ((family, rest), what) in
            self.kinds.iter().zip(["current_inflight_requests", "current_inqueue_requests"]).zip(what)
        {
            registry.register(name(rest), what, family.clone());
        }
    }

    fn line(&self, labels: Labels) -> Arc<Line> {
        if let Some(line) = self.lines.read().get(&labels) {
            return line.clone();
        }
        let Labels { verb, dry_run, group, version, resource, subresource, scope, component } =
            labels.clone();
        let short = ShortLabels { verb, group, version, resource, subresource, scope, component };
        let reads = matches!(verb, "GET" | "LIST");
        let line = Arc::new(Line {
            codes: Mutex::default(),
            duration: self.durations.get_or_create(&labels).clone(),
            objective: dry_run.is_empty().then(|| self.objectives.get_or_create(&short).clone()),
            size: reads.then(|| self.sizes.get_or_create(&short).clone()),
            running: self.running.get_or_create(&short).clone(),
            labels: labels.clone(),
        });
        self.lines.write().entry(labels).or_insert(line).clone()
    }

    fn labels(
        &self,
        info: &RequestInfo<'_>,
        dry_run: &'static str,
        resource: Option<&Resource>,
        applies: bool,
    ) -> Labels {
        let name = |text: Option<&Arc<str>>| text.unwrap_or(&self.empty).clone();
        let kind = resource.map(|resource| &resource.kind);
        let part = kind.and_then(|kind| kind.subresources.iter().find(|one| *one.name == *info.subresource));
        let scope = if kind.is_some() { scope(info) } else { "" };
        Labels {
            verb: if applies { "APPLY" } else { verb(info) },
            dry_run,
            group: name(kind.map(|kind| &kind.gvk.group)),
            version: name(kind.map(|kind| &kind.gvk.version)),
            resource: name(kind.map(|kind| &kind.resource)),
            subresource: name(part.map(|part| &part.name)),
            scope,
            component: COMPONENT,
        }
    }

    /// A request was answered.
    pub fn answered(&self, answered: &Answered<'_>) {
        let Answered { info, query, resource, applies, code, took, waited, bytes } = answered;
        let line = self.line(self.labels(info, dry_run(query), *resource, *applies));
        line.counter(*code, &self.counts).inc();
        // A watch lasts as long as its client wants.
        if !matches!(line.labels.verb, "WATCH" | "CONNECT") {
            line.duration.observe(took.as_secs_f64());
            if let Some(objective) = &line.objective {
                objective.observe(took.saturating_sub(waited.time()).as_secs_f64());
            }
        }
        if let (Some(size), Some(bytes)) = (&line.size, bytes) {
            size.observe(*bytes as f64);
        }
    }

    /// A request was ended: it took too long, or there was no room for it.
    pub fn terminated(&self, info: &RequestInfo<'_>, resource: Option<&Resource>, code: u16) {
        let Labels { verb, group, version, resource, subresource, scope, component, .. } =
            self.labels(info, "", resource, false);
        let labels =
            TerminationLabels { verb, group, version, resource, subresource, scope, component, code };
        self.terminated.get_or_create(&labels).inc();
    }

    /// Something was asked for that is deprecated.
    pub fn deprecated(&self, info: &RequestInfo<'_>, resource: &Resource) {
        let Labels { group, version, resource, subresource, .. } =
            self.labels(info, "", Some(resource), false);
        let labels = DeprecatedLabels { group, version, resource, subresource, removed_release: "" };
        self.deprecated.get_or_create(&labels).set(1);
    }

    /// A request runs from now on.
    pub fn flying(&self, info: &RequestInfo<'_>) -> Running {
        Running::new(&self.flying[usize::from(!reads(info))])
    }

    /// A request waits for a seat from now on.
    pub fn queued(&self, info: &RequestInfo<'_>) -> Running {
        Running::new(&self.queued[usize::from(!reads(info))])
    }

    /// A request that lasts runs from now on.
    pub fn lasting(&self, info: &RequestInfo<'_>, resource: Option<&Resource>) -> Running {
        Running::new(&self.line(self.labels(info, "", resource, false)).running)
    }
}

impl Line {
    fn counter(&self, code: u16, all: &Family<CodeLabels, Counter>) -> Counter {
        let mut codes = self.codes.lock();
        if let Some((_, counter)) = codes.iter().find(|(known, _)| *known == code) {
            return counter.clone();
        }
        let Labels { verb, dry_run, group, version, resource, subresource, scope, component } =
            self.labels.clone();
        let labels =
            CodeLabels { verb, dry_run, group, version, resource, subresource, scope, component, code };
        let counter = all.get_or_create(&labels).clone();
        codes.push((code, counter.clone()));
        counter
    }
}

/// Of how many objects a request is, in upstream's words.
pub fn scope(info: &RequestInfo<'_>) -> &'static str {
    match (info.name.is_empty(), info.namespace.is_empty()) {
        (false, _) => "resource",
        _ if info.verb == "create" => "resource",
        (true, false) => "namespace",
        (true, true) => "cluster",
    }
}

fn reads(info: &RequestInfo<'_>) -> bool {
    matches!(info.verb, "get" | "list" | "watch" | "head" | "proxy")
}

fn dry_run(query: &Query) -> &'static str {
    match query.get("dryRun") {
        None => "",
        Some("All") => "All",
        Some(_) => "invalid",
    }
}

fn verb(info: &RequestInfo<'_>) -> &'static str {
    if matches!(&*info.subresource, "exec" | "attach" | "portforward" | "proxy") {
        return "CONNECT";
    }
    match info.verb {
        "get" | "head" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "other",
    }
}

/// Counts as one as long as it lives.
pub struct Running(Gauge);

impl Running {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}
