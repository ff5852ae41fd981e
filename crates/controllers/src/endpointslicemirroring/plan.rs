//! The slices that say what Endpoints say. Pure.

use crate::endpointslice::plan::Plan;
use gifee_base::{Gvk, Object};
use gifee_reconcile::{owner, patch};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A slice holds at most so many endpoints; what of a subset is beyond that is not mirrored.
pub const ENDPOINTS_MAXIMUM: usize = 1000;
/// The keeper of slices made here.
pub const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// Who keeps a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The service that a slice belongs to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// On Endpoints that are not mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// On Endpoints that were a lock.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that are about the Endpoints themselves.
const OWN: [&str; 2] =
    ["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];

/// Endpoints, whether they are to be mirrored, and the slices that mirror them.
pub struct View {
    /// The Endpoints; none if they are gone or nobody's.
    pub endpoints: Option<(Arc<Object>, Value)>,
    /// Slices made here, with their trees.
    pub slices: Vec<(Arc<Object>, Value)>,
}

/// Whether Endpoints are somebody else's than the controller's of Services with selectors.
pub fn mirrored(endpoints: &Value, service: &Value) -> bool {
    let metadata = &endpoints["metadata"];
    metadata["labels"][SKIP] != "true"
        && metadata["annotations"][LEADER].is_null()
        && service.is_object()
        && service["spec"]["selector"].is_null()
}

/// Family and ports, as text, to what a slice of them holds: ports, and endpoints by address.
type Wanted = BTreeMap<(String, String), (Value, BTreeMap<String, Value>)>;

fn wanted(endpoints: &Value) -> Wanted {
    let mut wanted = Wanted::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        let ports: Vec<Value> = subset["ports"].as_array().into_iter().flatten().map(port).collect();
        let ports = Value::from(ports);
        for (list, ready) in [("addresses", true), ("notReadyAddresses", false)] {
            for address in subset[list].as_array().into_iter().flatten() {
                let ip = address["ip"].as_str().unwrap_or_default();
                let family = match ip.parse() {
                    Ok(IpAddr::V4(_)) => "IPv4",
                    Ok(IpAddr::V6(_)) => "IPv6",
                    Err(_) => continue,
                };
                let key = (family.to_owned(), ports.to_string());
                let (_, found) = wanted.entry(key).or_insert_with(|| (ports.clone(), BTreeMap::new()));
                if found.len() < ENDPOINTS_MAXIMUM {
                    found.entry(ip.to_owned()).or_insert_with(|| endpoint(address, ip, ready));
                }
            }
        }
    }
    wanted
}

fn port(port: &Value) -> Value {
    let mut shown = json!({
        "name": port["name"].as_str().unwrap_or_default(), "port": port["port"],
        "protocol": port["protocol"].as_str().unwrap_or("TCP"),
    });
    if !port["appProtocol"].is_null() {
        shown["appProtocol"] = port["appProtocol"].clone();
    }
    shown
}

fn endpoint(address: &Value, ip: &str, ready: bool) -> Value {
    let mut endpoint = json!({ "addresses": [ip], "conditions": { "ready": ready } });
    for field in ["targetRef", "nodeName", "hostname"] {
        if !address[field].is_null() && address[field] != "" {
            endpoint[field] = address[field].clone();
        }
    }
    endpoint
}

/// Plans one reconcile.
pub fn plan(view: &View) -> Plan {
    let mut plan = Plan::default();
    let Some((object, tree)) = &view.endpoints else {
        plan.delete = view.slices.iter().map(|(slice, _)| slice.clone()).collect();
        return plan;
    };
    let metadata = metadata(object, tree);
    let mut wanted = wanted(tree);
    for (slice, present) in &view.slices {
        let family = present["addressType"].as_str().unwrap_or_default().to_owned();
        let ports = if present["ports"].is_null() { json!([]) } else { present["ports"].clone() };
        let Some((_, endpoints)) = wanted.remove(&(family, ports.to_string())) else {
            plan.delete.push(slice.clone());
            continue;
        };
        let shape = |metadata: &Value, endpoints: &Value| {
            let or_empty = |value: &Value| if value.is_null() { json!({}) } else { value.clone() };
            json!({ "metadata": { "labels": or_empty(&metadata["labels"]),
                "annotations": or_empty(&metadata["annotations"]) }, "endpoints": endpoints })
        };
        let endpoints: Vec<Value> = endpoints.into_values().collect();
        let old = shape(&present["metadata"], &present["endpoints"]);
        if let Some(change) = patch::difference(&old, &shape(&metadata, &endpoints.into())) {
            plan.change.push((slice.clone(), patch::pinned(slice, change)));
        }
    }
    for ((family, _), (ports, endpoints)) in wanted {
        let endpoints: Vec<Value> = endpoints.into_values().collect();
        plan.create.push(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
            "addressType": family, "ports": ports, "endpoints": endpoints,
        }));
    }
    plan
}

fn metadata(object: &Object, tree: &Value) -> Value {
    let copied = |field: &str, but: &[&str]| -> Map<String, Value> {
        let all = tree["metadata"][field].as_object().into_iter().flatten();
        all.filter(|(key, _)| !but.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let mut labels = copied("labels", &[]);
    labels.insert(SERVICE_NAME.into(), object.name().into());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    let mut metadata = json!({
        "generateName": format!("{}-", object.name()), "namespace": object.namespace(), "labels": labels,
        "ownerReferences": [owner::controller_reference(object, &Gvk::new("", "v1", "Endpoints"))],
    });
    let annotations = copied("annotations", &OWN);
    if !annotations.is_empty() {
        metadata["annotations"] = annotations.into();
    }
    metadata
}
