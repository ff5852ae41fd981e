//! The Endpoints object of a service. Pure.

use super::service::{HEADLESS, Service, TRIGGER_TIME, address, eligible, target_port, trigger_time};
use gifee_base::{Object, clock};
use gifee_reconcile::patch;
use gifee_reconcile::pod::Brief;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// More addresses are cut off, ready ones last.
const ADDRESSES_MAXIMUM: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

/// A service, its pods and its endpoints.
pub struct View {
    /// The service.
    pub service: Service,
    /// The pods that it selects.
    pub pods: Vec<Brief>,
    /// The endpoints as they are, with their tree.
    pub present: Option<(Arc<Object>, Value)>,
}

/// What to do.
#[derive(Debug)]
pub enum Plan {
    /// Nothing.
    Rest,
    /// Create this object.
    Create(Value),
    /// Patch the present one with this merge patch.
    Patch(Value),
}

/// By address and UID.
type Addresses = BTreeMap<(String, String), Value>;

/// Plans one reconcile.
pub fn plan(view: &View) -> Plan {
    let (subsets, truncated) = truncate(subsets(view));
    let mut labels: Map<String, Value> =
        view.service.object.labels().map(|(key, value)| (key.to_owned(), value.into())).collect();
    labels.remove(HEADLESS);
    if view.service.headless() {
        labels.insert(HEADLESS.into(), "".into());
    }
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    let mut annotations = Map::new();
    if let Some(time) = trigger_time(&view.service, &view.pods) {
        annotations.insert(TRIGGER_TIME.into(), clock::format_time(time).into());
    }
    if truncated {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    }
    let Some((object, tree)) = &view.present else {
        return Plan::Create(json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": { "name": view.service.object.name(), "labels": labels, "annotations": annotations },
            "subsets": subsets,
        }));
    };
    let shape = |labels: &Value, subsets: &Value, truncated: bool| {
        let subsets = if subsets.is_null() { json!([]) } else { subsets.clone() };
        json!({ "metadata": { "labels": labels }, "subsets": subsets, "truncated": truncated })
    };
    let old_annotations = &tree["metadata"]["annotations"];
    let old = shape(&tree["metadata"]["labels"], &tree["subsets"], !old_annotations[OVER_CAPACITY].is_null());
    let new = shape(&labels.into(), &subsets.into(), truncated);
    let Some(mut change) = patch::difference(&old, &new) else { return Plan::Rest };
    if let Some(map) = change.as_object_mut() {
        map.remove("truncated");
    }
    for key in [TRIGGER_TIME, OVER_CAPACITY] {
        change["metadata"]["annotations"][key] = annotations.remove(key).unwrap_or_default();
    }
    Plan::Patch(patch::pinned(object, change))
}

/// Addresses by the ports that they have, in a fixed order.
fn subsets(view: &View) -> Vec<Value> {
    let service = &view.service;
    // By the text of the ports: ready addresses and others.
    let mut grouped: BTreeMap<String, (Value, [Addresses; 2])> = BTreeMap::new();
    for pod in view.pods.iter().filter(|pod| eligible(pod, service.publish_not_ready)) {
        let Some(ip) = address(pod, service.families[0]) else { continue };
        let mut ports: Vec<Value> =
            service.ports.iter().filter_map(|port| endpoint_port(pod, port)).collect();
        if ports.is_empty() && !service.portless() {
            continue;
        }
        ports.sort_by_key(Value::to_string);
        let ports = Value::from(ports);
        let ready = service.publish_not_ready || pod.ready();
        let (_, groups) = grouped.entry(ports.to_string()).or_insert_with(|| (ports, Default::default()));
        let uid = pod.object.uid().to_owned();
        groups[usize::from(!ready)].insert((ip.clone(), uid), endpoint_address(service, pod, &ip));
    }
    let list = |addresses: BTreeMap<_, Value>| addresses.into_values().collect::<Vec<_>>();
    grouped
        .into_values()
        .map(|(ports, [ready, other])| {
            let mut subset = json!({});
            for (name, addresses) in [("addresses", list(ready)), ("notReadyAddresses", list(other))] {
                if !addresses.is_empty() {
                    subset[name] = addresses.into();
                }
            }
            if ports.as_array().is_some_and(|ports| !ports.is_empty()) {
                subset["ports"] = ports;
            }
            subset
        })
        .collect()
}

fn endpoint_port(pod: &Brief, port: &Value) -> Option<Value> {
    let number = target_port(pod, port)?;
    let mut found = json!({ "port": number, "protocol": port["protocol"].as_str().unwrap_or("TCP") });
    for field in ["name", "appProtocol"] {
        if port[field].as_str().is_some_and(|text| !text.is_empty()) {
            found[field] = port[field].clone();
        }
    }
    Some(found)
}

fn endpoint_address(service: &Service, pod: &Brief, ip: &str) -> Value {
    let mut address = json!({
        "ip": ip,
        "targetRef": { "kind": "Pod", "namespace": pod.object.namespace(), "name": pod.object.name(),
            "uid": pod.object.uid() },
    });
    if !pod.spec.node_name.is_empty() {
        address["nodeName"] = pod.spec.node_name.as_str().into();
    }
    if let Some(hostname) = service.hostname(pod) {
        address["hostname"] = hostname.into();
    }
    address
}

/// Cuts to the maximum, ready addresses before others; whether anything was cut.
fn truncate(mut subsets: Vec<Value>) -> (Vec<Value>, bool) {
    let mut room = ADDRESSES_MAXIMUM;
    let mut truncated = false;
    for name in ["addresses", "notReadyAddresses"] {
        for subset in &mut subsets {
            if let Some(list) = subset[name].as_array_mut() {
                truncated |= list.len() > room;
                list.truncate(room);
                room -= list.len();
            }
        }
    }
    for subset in &mut subsets {
        if let Some(map) = subset.as_object_mut() {
            map.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
        }
    }
    (subsets, truncated)
}
