//! The slices of a service's endpoints. Pure.
//!
//! Endpoints stay in the slice that they are in; a slice is only written if one of its own changed, or if
//! it takes in new ones.

use crate::endpoints::service::{
    HEADLESS, Service, TRIGGER_TIME, address, eligible, target_port, trigger_time,
};
use gifee_base::{Gvk, Object, clock};
use gifee_reconcile::pod::Brief;
use gifee_reconcile::{owner, patch};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A slice holds at most so many endpoints.
pub const ENDPOINTS_MAXIMUM: usize = 100;
/// The service that a slice belongs to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Who keeps a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The keeper of slices made here.
pub const MANAGER: &str = "endpointslice-controller.k8s.io";

/// A service, its pods and its slices.
pub struct View {
    /// The service.
    pub service: Service,
    /// The pods that it selects.
    pub pods: Vec<Brief>,
    /// Zone of each node that has one.
    pub zones: BTreeMap<String, String>,
    /// Its slices with their trees, by name.
    pub slices: Vec<(Arc<Object>, Value)>,
}

/// What to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Slices to create.
    pub create: Vec<Value>,
    /// Slices to change, with merge patches.
    pub change: Vec<(Arc<Object>, Value)>,
    /// Slices to delete.
    pub delete: Vec<Arc<Object>>,
}

/// A slice as it should become.
struct Draft<'a> {
    slice: &'a (Arc<Object>, Value),
    endpoints: Vec<Value>,
    touched: bool,
}

/// Ports and the endpoints that have them, by UID.
type Group = (Value, BTreeMap<String, Value>);

/// Plans one reconcile.
pub fn plan(view: &View) -> Plan {
    let mut plan = Plan::default();
    let labels = labels(&view.service);
    for (slice, tree) in &view.slices {
        if !view.service.families.iter().any(|family| tree["addressType"] == *family) {
            plan.delete.push(slice.clone());
        }
    }
    for family in &view.service.families {
        plan_family(view, family, &labels, &mut plan);
    }
    plan
}

fn plan_family(view: &View, family: &str, labels: &Value, plan: &mut Plan) {
    let mut groups = groups(view, family);
    let mut spare: Vec<&(Arc<Object>, Value)> = Vec::new();
    let mut kept = 0;
    let mut drafts: BTreeMap<String, Vec<Draft<'_>>> = BTreeMap::new();
    for slice in view.slices.iter().filter(|(_, tree)| tree["addressType"] == family) {
        let key = list(&slice.1["ports"]).to_string();
        match groups.get_mut(&key) {
            Some((_, wanted)) => drafts.entry(key).or_default().push(keep(slice, wanted)),
            None => spare.push(slice),
        }
    }
    // Ports and endpoints of slices that do not exist yet.
    let mut new: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, (ports, wanted)) in groups {
        let mut rest: Vec<Value> = wanted.into_values().collect();
        let mut own = drafts.remove(&key).unwrap_or_default();
        fill(&mut own, &mut rest);
        for draft in own {
            if draft.endpoints.is_empty() {
                spare.push(draft.slice);
                continue;
            }
            kept += 1;
            change(view, draft.slice, labels, &ports, draft.endpoints, plan);
        }
        for chunk in rest.chunks(ENDPOINTS_MAXIMUM) {
            new.push((ports.clone(), chunk.to_vec()));
        }
    }
    // A service without endpoints still has a slice that says so.
    if kept == 0 && new.is_empty() {
        new.push((json!([]), Vec::new()));
    }
    for (ports, endpoints) in new {
        // A slice that is no longer needed is better changed than deleted and made anew.
        let reuse = spare
            .iter()
            .position(|(_, tree)| list(&tree["ports"]) == ports)
            .or((!spare.is_empty()).then_some(0));
        match reuse {
            Some(at) => {
                let slice = spare.remove(at);
                change(view, slice, labels, &ports, endpoints, plan);
            }
            None => plan.create.push(create(view, family, labels, ports, endpoints)),
        }
    }
    plan.delete.extend(spare.into_iter().map(|(slice, _)| slice.clone()));
}

/// Takes what a slice already has of the wanted endpoints, in their present state.
fn keep<'a>(slice: &'a (Arc<Object>, Value), wanted: &mut BTreeMap<String, Value>) -> Draft<'a> {
    let present = list(&slice.1["endpoints"]);
    let present = present.as_array().cloned().unwrap_or_default();
    let uid = |endpoint: &Value| endpoint["targetRef"]["uid"].as_str().unwrap_or_default().to_owned();
    let endpoints: Vec<Value> = present.iter().filter_map(|one| wanted.remove(&uid(one))).collect();
    Draft { slice, touched: endpoints != present, endpoints }
}

/// Puts the rest into slices with room, those first that are written anyway.
fn fill(drafts: &mut [Draft<'_>], rest: &mut Vec<Value>) {
    for touched in [true, false] {
        for draft in drafts.iter_mut().filter(|draft| draft.touched == touched) {
            let room = ENDPOINTS_MAXIMUM.saturating_sub(draft.endpoints.len()).min(rest.len());
            draft.endpoints.extend(rest.drain(..room));
        }
    }
}

fn change(
    view: &View,
    slice: &(Arc<Object>, Value),
    labels: &Value,
    ports: &Value,
    endpoints: Vec<Value>,
    plan: &mut Plan,
) {
    let (object, tree) = slice;
    let shape = |labels: &Value, ports: &Value, endpoints: &Value| json!({ "metadata": { "labels": labels }, "ports": list(ports), "endpoints": list(endpoints) });
    let old = shape(&tree["metadata"]["labels"], &tree["ports"], &tree["endpoints"]);
    let new = shape(labels, ports, &endpoints.into());
    if let Some(mut change) = patch::difference(&old, &new) {
        if let Some(time) = trigger_time(&view.service, &view.pods) {
            change["metadata"]["annotations"][TRIGGER_TIME] = clock::format_time(time).into();
        }
        plan.change.push((object.clone(), patch::pinned(object, change)));
    }
}

fn create(view: &View, family: &str, labels: &Value, ports: Value, endpoints: Vec<Value>) -> Value {
    let service = &view.service.object;
    let mut metadata = json!({
        "generateName": format!("{}-", service.name()),
        "namespace": service.namespace(),
        "labels": labels,
        "ownerReferences": [owner::controller_reference(service, &Gvk::new("", "v1", "Service"))],
    });
    if let Some(time) = trigger_time(&view.service, &view.pods) {
        metadata["annotations"] = json!({ TRIGGER_TIME: clock::format_time(time) });
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
        "addressType": family, "endpoints": endpoints, "ports": ports,
    })
}

/// Null and missing lists are empty ones.
fn list(value: &Value) -> Value {
    if value.is_null() { json!([]) } else { value.clone() }
}

fn labels(service: &Service) -> Value {
    let mut labels: Map<String, Value> = service
        .object
        .labels()
        .filter(|(key, _)| ![SERVICE_NAME, MANAGED_BY, HEADLESS].contains(key))
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    if service.headless() {
        labels.insert(HEADLESS.into(), "".into());
    }
    labels.insert(SERVICE_NAME.into(), service.object.name().into());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels.into()
}

/// The wanted endpoints of a family, by the text of their ports.
fn groups(view: &View, family: &str) -> BTreeMap<String, Group> {
    let service = &view.service;
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for pod in view.pods.iter().filter(|pod| eligible(pod, true)) {
        let Some(ip) = address(pod, family) else { continue };
        let ports: Vec<Value> = service
            .ports
            .iter()
            .filter_map(|port| {
                let mut found = json!({
                    "name": port["name"].as_str().unwrap_or_default(),
                    "port": target_port(pod, port)?,
                    "protocol": port["protocol"].as_str().unwrap_or("TCP"),
                });
                if !port["appProtocol"].is_null() {
                    found["appProtocol"] = port["appProtocol"].clone();
                }
                Some(found)
            })
            .collect();
        if ports.is_empty() && !service.portless() {
            continue;
        }
        let ports = Value::from(ports);
        let (_, endpoints) = groups.entry(ports.to_string()).or_insert_with(|| (ports, BTreeMap::new()));
        endpoints.insert(pod.object.uid().to_owned(), endpoint(view, pod, &ip));
    }
    groups
}

fn endpoint(view: &View, pod: &Brief, ip: &str) -> Value {
    let (serving, terminating) = (pod.ready(), pod.deleted.is_some());
    let ready = view.service.publish_not_ready || (serving && !terminating);
    let mut endpoint = json!({
        "addresses": [ip],
        "conditions": {
            "ready": ready,
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": { "kind": "Pod", "namespace": pod.object.namespace(), "name": pod.object.name(),
            "uid": pod.object.uid() },
    });
    if !pod.spec.node_name.is_empty() {
        endpoint["nodeName"] = pod.spec.node_name.as_str().into();
    }
    if let Some(zone) = view.zones.get(&pod.spec.node_name) {
        endpoint["zone"] = zone.as_str().into();
    }
    if let Some(hostname) = view.service.hostname(pod) {
        endpoint["hostname"] = hostname.into();
    }
    let hints = hints(&view.service.traffic_distribution, &endpoint);
    if ready && hints != json!({}) {
        endpoint["hints"] = hints;
    }
    endpoint
}

/// For whom an endpoint is, by where it is: its own zone, and its own node before it.
fn hints(distribution: &str, endpoint: &Value) -> Value {
    let mut hints = json!({});
    let fields: &[(&str, &str)] = match distribution {
        "PreferClose" | "PreferSameZone" => &[("forZones", "zone")],
        "PreferSameNode" => &[("forZones", "zone"), ("forNodes", "nodeName")],
        _ => &[],
    };
    for (hint, place) in fields.iter().filter(|(_, place)| endpoint[place].is_string()) {
        hints[hint] = json!([{ "name": endpoint[place] }]);
    }
    hints
}
