//! What the server counts, under upstream's names.
//!
//! Invariant: labels come from rows, objects of the cluster and fixed words, never from what a client sent, so their
//! number is bounded.

mod admission;
mod process;
mod request;
mod text;

pub use admission::{Admission, Outcome};
pub use request::{Answered, Requests, Running};

use crate::audit::Auditor;
use crate::body::Body;
use crate::cache::Caches;
use crate::config::Version;
use crate::fairness::Meter;
use crate::kinds::Resource;
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
    events: Family<VersionLabels, Counter>,
    event_bytes: Family<VersionLabels, Histogram>,
    objects: Family<GroupLabels, Gauge>,
    bytes: Family<GroupLabels, Gauge>,
    named: Family<NameLabels, Gauge>,
    panics: Counter,
}

impl Metrics {
    /// All at zero.
    pub fn new(fairness: &Meter, audit: Option<&Auditor>, version: &Version) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Requests::new(),
            admission: Admission::new(),
            events: Family::default(),
            event_bytes: Family::new_with_constructor(|| Histogram::new(EVENT_BYTES)),
            objects: Family::default(),
            bytes: Family::default(),
            named: Family::default(),
            panics: Counter::default(),
        };
        let registry = &mut metrics.registry;
        metrics.requests.register(registry);
        metrics.admission.register(registry);
        registry.register(
            "apiserver_watch_events",
            "Events that were sent to watchers",
            metrics.events.clone(),
        );
        let what = "Their sizes, in bytes";
        registry.register("apiserver_watch_events_sizes", what, metrics.event_bytes.clone());
        registry.register("apiserver_storage_objects", "Stored objects", metrics.named.clone());
        registry.register("apiserver_resource_objects", "Stored objects", metrics.objects.clone());
        let what = "Their sizes, estimated from some of them";
        registry.register("apiserver_resource_size_estimate_bytes", what, metrics.bytes.clone());
        registry.register("apiserver_request_panics", "Requests that panicked", metrics.panics.clone());
        fairness.register(registry);
        if let Some(audit) = audit {
            audit.register(registry);
        }
        let build = Family::<BuildLabels, Gauge>::default();
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
        registry.register("kubernetes_build_info", "What runs here", build);
        registry.register_collector(Box::new(process::Process));
        metrics
    }

    /// A request panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// What is counted of the events of a watch.
    pub fn watched(&self, resource: &Resource) -> Watched {
        let gvk = &resource.kind.gvk;
        let labels = VersionLabels {
            group: gvk.group.clone(),
            version: gvk.version.clone(),
            resource: resource.kind.resource.clone(),
        };
        Watched {
            events: self.events.get_or_create(&labels).clone(),
            bytes: self.event_bytes.get_or_create(&labels).clone(),
        }
    }

    /// Everything, as Prometheus reads it.
    pub fn respond(&self, caches: &Caches, headers: &HeaderMap) -> Response<Body> {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for ((group, resource), count, bytes) in caches.counts() {
            let name = if group.is_empty() { resource.to_string() } else { format!("{resource}.{group}") };
            self.named.get_or_create(&NameLabels { resource: name }).set(number(count));
            let labels = GroupLabels { group, resource };
            self.objects.get_or_create(&labels).set(number(count));
            self.bytes.get_or_create(&labels).set(number(bytes));
        }
        let mut open = String::new();
        // Writing to memory does not fail.
        let _ = encode(&mut open, &self.registry);
        if text::wants_open(headers) {
            return respond::bytes(200, text::OPEN, open);
        }
        respond::bytes(200, text::PLAIN, text::plain(&open))
    }
}

/// Counts the events of a watch.
pub struct Watched {
    events: Counter,
    bytes: Histogram,
}

impl Watched {
    /// An event of so many bytes goes out.
    pub fn sent(&self, bytes: usize) {
        self.events.inc();
        self.bytes.observe(bytes as f64);
    }
}
