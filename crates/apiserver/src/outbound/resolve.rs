//! From a Service to an address.
//!
//! Answers to upstream's `util/proxy.ResolveEndpoint` and `ResolveCluster`.

use gifee_base::{Object, ObjectKey, Status};
use gifee_policy::Lookup;
use serde_json::Value;
use std::sync::Arc;

/// How Services are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// At one of their ready endpoints: needs no service network on this machine.
    #[default]
    Endpoints,
    /// At their cluster IP.
    ClusterIp,
}

/// The address of a Service's port.
///
/// # Errors
/// 404, 503, or 500 in upstream's words.
pub(crate) fn resolve(
    lookup: &dyn Lookup,
    routing: Routing,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<(String, u16), Status> {
    let service = lookup.get("", "services", &ObjectKey::new(namespace, name));
    let service = service.ok_or_else(|| Status::not_found("", "service", name))?;
    let service = service.to_value().map_err(Status::internal)?;
    let spec = &service["spec"];
    let kind = spec["type"].as_str().unwrap_or("ClusterIP");
    let cluster_ip = spec["clusterIP"].as_str().unwrap_or_default();
    let plain = |why: String| Status { message: why.clone(), ..Status::internal(why) };
    match (routing, kind) {
        (Routing::ClusterIp, "ExternalName") => {
            return Ok((spec["externalName"].as_str().unwrap_or_default().to_owned(), port));
        }
        (Routing::ClusterIp, "ClusterIP") if cluster_ip == "None" => {
            return Err(plain("cannot route to service with ClusterIP \"None\"".to_owned()));
        }
        (_, "ClusterIP" | "LoadBalancer" | "NodePort") => {}
        (_, other) => return Err(plain(format!("unsupported service type {other:?}"))),
    }
    let ports = spec["ports"].as_array().into_iter().flatten();
    let found = ports.into_iter().find(|one| one["port"] == port);
    let found = found
        .ok_or_else(|| Status::unavailable(format!("no service port {port} found for service {name:?}")))?;
    if routing == Routing::ClusterIp {
        return Ok((cluster_ip.to_owned(), port));
    }
    let slices = slices(lookup, namespace, name);
    let family = spec["ipFamilies"][0].as_str().unwrap_or_default();
    let port_name = found["name"].as_str().unwrap_or_default();
    endpoint(&slices, port_name, family, &|_| true)
        .ok_or_else(|| Status::unavailable(format!("no endpoints available for service {name:?}")))
}

/// The EndpointSlices of a Service.
pub(crate) fn slices(lookup: &dyn Lookup, namespace: &str, service: &str) -> Vec<Arc<Object>> {
    let mut all = lookup.list("discovery.k8s.io", "endpointslices", namespace);
    all.retain(|slice| slice.label("kubernetes.io/service-name") == Some(service));
    all
}

/// Any ready endpoint of a named port that is good enough, one of the preferred family first.
pub(crate) fn endpoint(
    slices: &[Arc<Object>],
    port_name: &str,
    family: &str,
    good: &dyn Fn(&Value) -> bool,
) -> Option<(String, u16)> {
    let mut ready: Vec<(bool, String, u16)> = Vec::new();
    for slice in slices.iter().filter_map(|slice| slice.to_value().ok()) {
        let preferred = family.is_empty() || slice["addressType"] == family;
        let mut ports = slice["ports"].as_array().into_iter().flatten();
        let port = ports.find(|one| one["name"].as_str().unwrap_or_default() == port_name);
        let Some(port) = port.and_then(|one| number(&one["port"])) else { continue };
        for one in slice["endpoints"].as_array().into_iter().flatten() {
            let is_ready = one["conditions"]["ready"] != false;
            if let (true, Some(address)) = (is_ready && good(one), one["addresses"][0].as_str()) {
                ready.push((preferred, address.to_owned(), port));
            }
        }
    }
    if ready.iter().any(|one| one.0) {
        ready.retain(|one| one.0);
    }
    if ready.is_empty() {
        return None;
    }
    let bytes = uuid::Uuid::new_v4().into_bytes();
    let at = usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) % ready.len();
    let (_, address, port) = ready.swap_remove(at);
    Some((address, port))
}

/// A port number.
pub(crate) fn number(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok())
}
