//! What the server counts, under upstream's names.
//!
//! Invariant: labels come from rows, objects of the cluster and fixed words, never from what a client sent, so their
//! number is bounded.

mod access;
mod admission;
mod conversion;
mod expression;
mod process;
mod request;
mod text;

pub use access::Access;
pub use admission::{Admission, Outcome, Plugin};
pub use conversion::{Conversions, Mistake};
pub use expression::Expressions;
pub use request::{Answered, Requests, Running, Waited, scope};

use crate::body::Body;
use crate::cache::{Caches, Counts};
use crate::config::Config;
use crate::fairness::Meter;
use crate::kinds::Resource;
use crate::outbound::Outbound;
use crate::respond;
use http::{HeaderMap, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Upper bounds of the buckets of the time that the objects of a watch take, in seconds; upstream's.
const LIST_SECONDS: [f64; 25] = [
    0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0, 90.0, 120.0, 180.0, 300.0,
];
/// Upper bounds of the buckets of sizes of watch events, in bytes; upstream's.
const EVENT_BYTES: [f64; 8] = [1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131_072.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabels {
    group: Arc<str>,
    version: Arc<str>,
    resource: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupLabels {
    group: Arc<str>,
    resource: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScopeLabels {
    group: Arc<str>,
    version: Arc<str>,
    resource: Arc<str>,
    scope: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    name: String,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckedLabels {
    name: String,
    r#type: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabels {
    name: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    name: Arc<str>,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterLabels {
    storage_cluster_id: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabels {
    resource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    major: String,
    minor: String,
    git_version: String,
    git_commit: String,
    platform: String,
}

/// All counters.
pub struct Metrics {
    registry: Registry,
    /// Of requests.
    pub requests: Requests,
    /// Of admission.
    pub admission: Admission,
    /// Of policies, and of rules of custom resources.
    pub expressions: Expressions,
    /// Of who asks, and may they.
    pub access: Access,
    /// Connections that came to nothing before they carried a request.
    pub handshakes: Counter,
    /// What health checks say, which is read apart.
    checks: Registry,
    healthy: Family<CheckLabels, Gauge>,
    checked: Family<CheckedLabels, Counter>,
    lists: Family<ScopeLabels, Histogram>,
    unavailable: Family<ServiceLabels, Gauge>,
    failures: Family<FailureLabels, Counter>,
    received: Family<GroupLabels, Counter<u64, AtomicU64>>,
    stored_bytes: Family<ClusterLabels, Gauge>,
    events: Family<VersionLabels, Counter>,
    event_bytes: Family<VersionLabels, Histogram>,
    objects: Family<GroupLabels, Gauge>,
    bytes: Family<GroupLabels, Gauge>,
    named: Family<NameLabels, Gauge>,
    panics: Counter,
}

impl Metrics {
    /// All at zero.
    pub fn new(fairness: &Meter, outbound: &Outbound, config: &Config) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Requests::new(),
            admission: Admission::new(),
            expressions: Expressions::new(),
            access: Access::new(),
            handshakes: Counter::default(),
            checks: Registry::default(),
            healthy: Family::default(),
            checked: Family::default(),
            lists: Family::new_with_constructor(|| Histogram::new(LIST_SECONDS)),
            unavailable: Family::default(),
            failures: Family::default(),
            received: Family::default(),
            stored_bytes: Family::default(),
            events: Family::default(),
            event_bytes: Family::new_with_constructor(|| Histogram::new(EVENT_BYTES)),
            objects: Family::default(),
            bytes: Family::default(),
            named: Family::default(),
            panics: Counter::default(),
        };
        metrics.register();
        let registry = &mut metrics.registry;
        fairness.register(registry);
        outbound.register(registry);
        if let Some(audit) = &config.audit {
            audit.register(registry);
        }
        for exporter in &config.exporters {
            exporter.register(registry);
        }
        registry.register("kubernetes_build_info", "What runs here", build(config));
        registry.register_collector(Box::new(process::Process));
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        self.requests.register(registry);
        self.admission.register(registry);
        self.expressions.register(registry);
        self.access.register(registry);
        let what = "Events that were sent to watchers";
        registry.register("apiserver_watch_events", what, self.events.clone());
        let what = "Their sizes, in bytes";
        registry.register("apiserver_watch_events_sizes", what, self.event_bytes.clone());
        let what = "Time of the objects that watches begin with, in seconds";
        registry.register("apiserver_watch_list_duration_seconds", what, self.lists.clone());
        registry.register("apiserver_storage_objects", "Stored objects", self.named.clone());
        let what = "What the store takes on its disk, in bytes";
        registry.register("apiserver_storage_size_bytes", what, self.stored_bytes.clone());
        let what = "Changes that came from the store";
        registry.register("apiserver_storage_events_received", what, self.received.clone());
        registry.register("apiserver_resource_objects", "Stored objects", self.objects.clone());
        let what = "Their sizes, estimated from some of them";
        registry.register("apiserver_resource_size_estimate_bytes", what, self.bytes.clone());
        registry.register("apiserver_request_panics", "Requests that panicked", self.panics.clone());
        let what = "Connections that came to nothing before they carried a request";
        registry.register("apiserver_tls_handshake_errors", what, self.handshakes.clone());
        let what = "Whether others do not serve what an APIService says";
        registry.register("aggregator_unavailable_apiservice", what, self.unavailable.clone());
        let what = "How often they were found not to, by the reason";
        registry.register("aggregator_unavailable_apiservice", what, self.failures.clone());
        let what = "What a health check says: 1 is healthy";
        self.checks.register("kubernetes_healthcheck", what, self.healthy.clone());
        let what = "Health checks by what they said";
        self.checks.register("kubernetes_healthchecks", what, self.checked.clone());
    }

    /// A part of an endpoint of health was looked at.
    pub fn checked(&self, name: &str, r#type: &'static str, healthy: bool) {
        let name = name.to_owned();
        self.healthy.get_or_create(&CheckLabels { name: name.clone(), r#type }).set(i64::from(healthy));
        let status = if healthy { "success" } else { "error" };
        self.checked.get_or_create(&CheckedLabels { name, r#type, status }).inc();
    }

    /// Whether another server serves what an APIService says; if not, why.
    pub fn available(&self, name: &str, refused: Option<&'static str>) {
        let name: Arc<str> = name.into();
        let labels = ServiceLabels { name: name.clone() };
        self.unavailable.get_or_create(&labels).set(i64::from(refused.is_some()));
        if let Some(reason) = refused {
            self.failures.get_or_create(&FailureLabels { name, reason }).inc();
        }
    }

    /// An APIService is there no more.
    pub fn forgotten(&self, name: &str) {
        self.unavailable.remove(&ServiceLabels { name: name.into() });
    }

    /// What health checks say, as Prometheus reads it.
    pub fn respond_checks(&self, headers: &HeaderMap) -> Response<Body> {
        written(&self.checks, headers)
    }

    /// A request panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// What is counted of the events of a watch.
    pub fn watched(&self, resource: &Resource, scope: &'static str) -> Watched {
        let gvk = &resource.kind.gvk;
        let (group, version) = (gvk.group.clone(), gvk.version.clone());
        let list = ScopeLabels { group, version, resource: resource.kind.resource.clone(), scope };
        let labels = VersionLabels {
            group: gvk.group.clone(),
            version: gvk.version.clone(),
            resource: resource.kind.resource.clone(),
        };
        Watched {
            events: self.events.get_or_create(&labels).clone(),
            bytes: self.event_bytes.get_or_create(&labels).clone(),
            list: self.lists.get_or_create(&list).clone(),
            begun: Instant::now(),
        }
    }

    /// Everything, as Prometheus reads it.
    pub fn respond(&self, caches: &Caches, stored_bytes: u64, headers: &HeaderMap) -> Response<Body> {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let stored_bytes = i64::try_from(stored_bytes).unwrap_or(i64::MAX);
        self.stored_bytes.get_or_create(&ClusterLabels { storage_cluster_id: "0" }).set(stored_bytes);
        for Counts { storage: (group, resource), objects: count, bytes, received } in caches.counts() {
            let name = if group.is_empty() { resource.to_string() } else { format!("{resource}.{group}") };
            self.named.get_or_create(&NameLabels { resource: name }).set(number(count));
            let labels = GroupLabels { group, resource };
            self.objects.get_or_create(&labels).set(number(count));
            self.bytes.get_or_create(&labels).set(number(bytes));
            self.received.get_or_create(&labels).inner().store(received, Ordering::Relaxed);
        }
        written(&self.registry, headers)
    }
}

fn written(registry: &Registry, headers: &HeaderMap) -> Response<Body> {
    let mut open = String::new();
    // Writing to memory does not fail.
    let _ = encode(&mut open, registry);
    if text::wants_open(headers) {
        return respond::bytes(200, text::OPEN, open);
    }
    respond::bytes(200, text::PLAIN, text::plain(&open))
}

fn build(config: &Config) -> Family<BuildLabels, Gauge> {
    let (build, version) = (Family::<BuildLabels, Gauge>::default(), &config.version);
    let mut numbers = version.git_version.trim_start_matches('v').split('.');
    let mut number = || numbers.next().unwrap_or_default().to_owned();
    let labels = BuildLabels {
        major: number(),
        minor: number(),
        git_version: version.git_version.clone(),
        git_commit: version.git_commit.clone(),
        platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    };
    build.get_or_create(&labels).set(1);
    build
}

/// Counts the events of a watch.
pub struct Watched {
    events: Counter,
    bytes: Histogram,
    list: Histogram,
    begun: Instant,
}

impl Watched {
    /// An event of so many bytes goes out.
    pub fn sent(&self, bytes: usize) {
        self.events.inc();
        self.bytes.observe(bytes as f64);
    }

    /// What there was when the watch began has been sent.
    pub fn listed(&self) {
        self.list.observe(self.begun.elapsed().as_secs_f64());
    }
}
