//! What the server counts, under upstream's names.
//!
//! Invariant: labels come from rows and fixed words, never from what a client sent, so their number is bounded.

use crate::body::Body;
use crate::cache::Caches;
use crate::fairness::Meter;
use crate::info::RequestInfo;
use crate::kinds::Resource;
use crate::respond;
use http::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// Upper bounds of the buckets of request durations, in seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    group: Arc<str>,
    version: Arc<str>,
    resource: Arc<str>,
    subresource: Arc<str>,
    scope: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    verb: &'static str,
    group: Arc<str>,
    resource: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    group: Arc<str>,
    resource: Arc<str>,
}

/// All counters.
pub struct Metrics {
    registry: Registry,
    empty: Arc<str>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram>,
    watches: Family<ResourceLabels, Gauge>,
    objects: Family<ResourceLabels, Gauge>,
    panics: Counter,
}

impl Metrics {
    /// All at zero.
    pub fn new(fairness: &Meter) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            empty: "".into(),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            watches: Family::default(),
            objects: Family::default(),
            panics: Counter::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "apiserver_request",
            "Requests by verb, resource and code",
            metrics.requests.clone(),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "Time to the response's headers, by verb and resource",
            metrics.durations.clone(),
        );
        registry.register("apiserver_registered_watchers", "Running watches", metrics.watches.clone());
        registry.register("apiserver_storage_objects", "Stored objects", metrics.objects.clone());
        registry.register("apiserver_request_panics", "Requests that panicked", metrics.panics.clone());
        fairness.register(registry);
        metrics
    }

    /// A request panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// A request was answered.
    pub fn answered(&self, info: &RequestInfo<'_>, resource: Option<&Resource>, code: u16, took: Duration) {
        let name = |text: Option<&Arc<str>>| text.unwrap_or(&self.empty).clone();
        let kind = resource.map(|resource| &resource.kind);
        let part = kind.and_then(|kind| kind.subresources.iter().find(|one| *one.name == *info.subresource));
        let scope = match (kind, info.name.is_empty(), info.namespace.is_empty()) {
            (None, _, _) => "",
            (_, false, _) => "resource",
            (_, true, false) => "namespace",
            (_, true, true) => "cluster",
        };
        let verb = verb(info.verb);
        let labels = RequestLabels {
            verb,
            group: name(kind.map(|kind| &kind.gvk.group)),
            version: name(kind.map(|kind| &kind.gvk.version)),
            resource: name(kind.map(|kind| &kind.resource)),
            subresource: name(part.map(|part| &part.name)),
            scope,
            code,
        };
        let durations =
            DurationLabels { verb, group: labels.group.clone(), resource: labels.resource.clone() };
        self.requests.get_or_create(&labels).inc();
        if verb != "WATCH" && verb != "CONNECT" {
            self.durations.get_or_create(&durations).observe(took.as_secs_f64());
        }
    }

    /// A watch begins.
    pub fn watching(&self, resource: &Resource) -> Watching {
        let labels = ResourceLabels {
            group: resource.kind.gvk.group.clone(),
            resource: resource.kind.resource.clone(),
        };
        let gauge = self.watches.get_or_create(&labels).clone();
        gauge.inc();
        Watching(gauge)
    }

    /// Everything, as Prometheus reads it.
    pub fn respond(&self, caches: &Caches) -> Response<Body> {
        for (storage, count) in caches.counts() {
            let labels = ResourceLabels { group: storage.0, resource: storage.1 };
            self.objects.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        // Writing to memory does not fail.
        let _ = encode(&mut text, &self.registry);
        respond::bytes(200, "application/openmetrics-text; version=1.0.0; charset=utf-8", text)
    }
}

fn verb(verb: &str) -> &'static str {
    match verb {
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

/// Counts as one running watch as long as it lives.
pub struct Watching(Gauge);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.dec();
    }
}
