//! Services as both endpoints controllers see them: which pods they select, on which ports.

use gifee_base::{Gvr, LabelSelector, Object, ObjectKey};
use gifee_client::{Cache, Change, Queue, Scope};
use gifee_reconcile::pod::{Brief, Container};
use gifee_reconcile::{Context, Error, Result};
use jiff::Timestamp;
use parking_lot::RwLock;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// The time of the change that led to a write, for measuring how long it takes to arrive.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// On endpoints of services without an address of their own.
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// A service, as far as its endpoints depend on it.
pub struct Service {
    /// The object.
    pub object: Arc<Object>,
    /// `spec.clusterIP`
    pub cluster_ip: String,
    /// `IPv4`, `IPv6`
    pub families: Vec<&'static str>,
    /// `spec.ports`
    pub ports: Vec<Value>,
    /// `spec.publishNotReadyAddresses`
    pub publish_not_ready: bool,
    /// `spec.trafficDistribution`; empty: any endpoint is as good as another.
    pub traffic_distribution: String,
}

impl Service {
    /// Reads a service; none if its endpoints are not made from pods.
    ///
    /// # Errors
    /// If the bytes are no service.
    pub fn read(object: &Arc<Object>) -> Result<Option<Self>> {
        let tree = object.to_value().map_err(|error| Error::invalid(object.key(), error))?;
        let spec = &tree["spec"];
        if spec["selector"].is_null() || spec["type"] == "ExternalName" {
            return Ok(None);
        }
        let cluster_ip = spec["clusterIP"].as_str().unwrap_or_default().to_owned();
        let mut families: Vec<&'static str> = Vec::new();
        for family in spec["ipFamilies"].as_array().into_iter().flatten() {
            families.push(if family == "IPv6" { "IPv6" } else { "IPv4" });
        }
        if families.is_empty() {
            families = match cluster_ip.parse() {
                Ok(IpAddr::V4(_)) => vec!["IPv4"],
                Ok(IpAddr::V6(_)) => vec!["IPv6"],
                // Headless, by a server that does not say the families: whatever the pods have.
                Err(_) => vec!["IPv4", "IPv6"],
            };
        }
        Ok(Some(Self {
            object: object.clone(),
            cluster_ip,
            families,
            ports: spec["ports"].as_array().cloned().unwrap_or_default(),
            publish_not_ready: spec["publishNotReadyAddresses"] == true,
            traffic_distribution: spec["trafficDistribution"].as_str().unwrap_or_default().to_owned(),
        }))
    }

    /// Whether it has no address of its own.
    pub fn headless(&self) -> bool {
        matches!(self.cluster_ip.as_str(), "" | "None")
    }

    /// Whether it is one without ports, which only a headless one may be.
    pub fn portless(&self) -> bool {
        self.ports.is_empty() && self.cluster_ip == "None"
    }

    /// The host name under which a pod is found through this service.
    pub fn hostname<'p>(&self, pod: &'p Brief) -> Option<&'p str> {
        let named = !pod.spec.hostname.is_empty() && pod.spec.subdomain == self.object.name();
        (named && pod.object.namespace() == self.object.namespace()).then_some(pod.spec.hostname.as_str())
    }
}

/// Whether a pod can be an endpoint at all.
pub fn eligible(pod: &Brief, even_terminating: bool) -> bool {
    let address = !pod.status.pod_ip.is_empty() || !pod.status.pod_ips.is_empty();
    address && !pod.terminal() && (even_terminating || pod.deleted.is_none())
}

/// The first address of a family.
pub fn address(pod: &Brief, family: &str) -> Option<String> {
    let listed = pod.status.pod_ips.iter().map(|ip| ip.ip.as_str());
    let all: Vec<&str> =
        if pod.status.pod_ips.is_empty() { vec![pod.status.pod_ip.as_str()] } else { listed.collect() };
    let parsed = all.into_iter().filter_map(|text| text.parse::<IpAddr>().ok());
    parsed.into_iter().find(|ip| ip.is_ipv6() == (family == "IPv6")).map(|ip| ip.to_string())
}

/// The number of a service's port on a pod; none if the pod has no port of that name.
pub fn target_port(pod: &Brief, port: &Value) -> Option<i64> {
    let protocol = port["protocol"].as_str().unwrap_or("TCP");
    match &port["targetPort"] {
        Value::String(name) => {
            let sidecars = pod.spec.init_containers.iter().filter(|one| one.restart_policy == "Always");
            let containers: Vec<&Container> = pod.spec.containers.iter().chain(sidecars).collect();
            let ports = containers.into_iter().flat_map(|container| &container.ports);
            let same = |found: &str| found == protocol || (found.is_empty() && protocol == "TCP");
            let mut named = ports.filter(|one| one.name == *name && same(&one.protocol));
            named.next().map(|one| i64::from(one.container_port))
        }
        Value::Number(number) => number.as_i64(),
        _ => port["port"].as_i64(),
    }
}

/// The latest moment at which a pod became ready, or else when the service was made.
pub fn trigger_time(service: &Service, pods: &[Brief]) -> Option<Timestamp> {
    let tree = || service.object.to_value().ok();
    let ready = pods.iter().filter_map(|pod| pod.condition("Ready")?.last_transition_time).max();
    ready.or_else(|| crate::replicaset::created(&tree()?))
}

/// Finds the services whose endpoints a change concerns.
pub struct Services {
    /// All services.
    pub services: Arc<Cache>,
    /// All pods.
    pub pods: Arc<Cache>,
    /// Selectors by namespace and name.
    selectors: RwLock<HashMap<String, BTreeMap<String, LabelSelector>>>,
}

impl Services {
    /// On the shared caches of a context.
    pub fn new(context: &Context) -> Arc<Self> {
        Arc::new(Self {
            services: context.caches.scope(Scope::all(Gvr::core("services"))),
            pods: context.caches.pods(),
            selectors: RwLock::default(),
        })
    }

    /// Fills a queue with the keys of services to look at.
    pub async fn listen(self: &Arc<Self>, queue: &Arc<Queue<ObjectKey>>) {
        self.services.synced().await;
        self.pods.synced().await;
        let (this, sink) = (self.clone(), queue.clone());
        self.services.subscribe(move |change| {
            this.note(change);
            sink.add(change.object().key());
        });
        let (this, sink) = (self.clone(), queue.clone());
        self.pods.subscribe(move |change| this.pod_changed(change, &sink));
    }

    fn note(&self, change: &Change<'_>) {
        let object = change.object();
        let mut selectors = self.selectors.write();
        let names = selectors.entry(object.namespace().to_owned()).or_default();
        match change.new.and_then(|service| selector(service)) {
            Some(selector) => {
                names.insert(object.name().to_owned(), selector);
            }
            None => {
                names.remove(object.name());
            }
        }
        if names.is_empty() {
            selectors.remove(object.namespace());
        }
    }

    fn pod_changed(&self, change: &Change<'_>, queue: &Queue<ObjectKey>) {
        let namespace = change.object().namespace();
        let selectors = self.selectors.read();
        let all = selectors.get(namespace).into_iter().flatten();
        let mut selected =
            all.filter(|(_, selector)| change.sides().any(|pod| pod.selected(selector))).peekable();
        // Most pods are of no service, and are not even read.
        if selected.peek().is_none() || !concerns(change) {
            return;
        }
        selected.for_each(|(name, _)| queue.add(ObjectKey::new(namespace, name)));
    }

    /// The pods that a service selects.
    ///
    /// # Errors
    /// If a pod cannot be read.
    pub fn selected(&self, service: &Object) -> Result<Vec<Brief>> {
        let Some(selector) = selector(service) else { return Ok(Vec::new()) };
        let pods = self.pods.read();
        let selected = pods.namespace(service.namespace()).filter(|pod| pod.selected(&selector));
        selected.map(Brief::read).collect()
    }
}

fn selector(service: &Object) -> Option<LabelSelector> {
    #[derive(serde::Deserialize)]
    struct Whole {
        spec: Spec,
    }
    #[derive(serde::Deserialize)]
    struct Spec {
        selector: Option<BTreeMap<String, String>>,
    }
    let whole: Whole = serde_json::from_slice(service.raw()).ok()?;
    let pairs = whole.spec.selector?;
    Some(LabelSelector::from_pairs(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))))
}

/// Whether a change of a pod could change an endpoint.
fn concerns(change: &Change<'_>) -> bool {
    let side = |side: Option<&Arc<Object>>| side.and_then(|pod| Brief::read(pod).ok());
    let (old, new) = (side(change.old), side(change.new));
    let visible = |pod: &Brief| eligible(pod, true);
    match (&old, &new) {
        (Some(old), Some(new)) => {
            let facts = |pod: &Brief| {
                let ips: Vec<String> = pod.status.pod_ips.iter().map(|ip| ip.ip.clone()).collect();
                let host =
                    (pod.spec.node_name.clone(), pod.spec.hostname.clone(), pod.spec.subdomain.clone());
                (visible(pod), pod.ready(), pod.deleted.is_some(), pod.status.pod_ip.clone(), ips, host)
            };
            let labels = |pod: &Brief| {
                let labels = pod.object.labels().map(|(key, value)| (key.to_owned(), value.to_owned()));
                labels.collect::<BTreeMap<_, _>>()
            };
            facts(old) != facts(new) || labels(old) != labels(new) || old.object.uid() != new.object.uid()
        }
        (one, other) => one.as_ref().or(other.as_ref()).is_some_and(visible),
    }
}
