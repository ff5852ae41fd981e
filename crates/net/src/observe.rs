//! API objects to plain structs: a Service with its EndpointSlices becomes ports for the rules and a
//! name for the DNS.
//!
//! Answers to kube-proxy's `ServiceChangeTracker` and `EndpointSliceCache`. Invariant: an object that
//! cannot be used (a bad address, a protocol of the future) costs only the part that cannot.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use gifee_reconcile::k8s_openapi::api::core::v1 as core;
use gifee_reconcile::k8s_openapi::api::discovery::v1 as discovery;

use crate::service::{Endpoint, ServicePort, ServicePortName};
use crate::{Protocol, dns};

/// On a Service or slice: some other proxy takes care of it.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
/// `sessionAffinityConfig.clientIP.timeoutSeconds` where it says nothing.
const AFFINITY_SECONDS: u32 = 10_800;

/// What a Service is to this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// For the rules.
    pub ports: Vec<ServicePort>,
    /// For the DNS; `None` while the Service has no address yet.
    pub name: Option<dns::Service>,
}

fn addresses<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<IpAddr> {
    texts.into_iter().filter_map(|text| text.parse().ok()).collect()
}

fn protocol(name: Option<&String>) -> Option<Protocol> {
    name.map_or(Some(Protocol::default()), |name| Protocol::from_name(name))
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// A Service and all its slices, as this node sees them.
pub fn observe(node: &str, service: &core::Service, slices: &[discovery::EndpointSlice]) -> Seen {
    let Some(spec) = &service.spec else { return Seen::default() };
    if spec.type_.as_deref() == Some("ExternalName") {
        let external_name = spec.external_name.clone();
        return Seen {
            ports: Vec::new(),
            name: Some(dns::Service { external_name, ..dns::Service::default() }),
        };
    }
    let texts = spec.cluster_ips.as_deref().unwrap_or_default();
    let cluster_ips =
        addresses(texts.iter().chain(texts.is_empty().then_some(()).and(spec.cluster_ip.as_ref())));
    let headless = texts.iter().chain(&spec.cluster_ip).any(|text| text == "None");
    if cluster_ips.is_empty() && !headless {
        return Seen::default();
    }
    let other = service.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(OTHER_PROXY));
    let ports =
        if headless || other { Vec::new() } else { service_ports(node, service, spec, &cluster_ips, slices) };
    Seen { ports, name: Some(name(spec, cluster_ips, slices)) }
}

fn service_ports(
    node: &str,
    service: &core::Service,
    spec: &core::ServiceSpec,
    cluster_ips: &[IpAddr],
    slices: &[discovery::EndpointSlice],
) -> Vec<ServicePort> {
    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    let affinity_seconds =
        (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| affinity_seconds(spec));
    let external_local = spec.external_traffic_policy.as_deref() == Some("Local");
    let load_balancer_ips = if kind == "LoadBalancer" { load_balancer_ips(service) } else { Vec::new() };
    let ranges =
        spec.load_balancer_source_ranges.iter().flatten().filter_map(|text| text.trim().parse().ok());
    let source_ranges: Vec<crate::Cidr> = ranges.collect();
    let make = |port: &core::ServicePort| {
        let name = ServicePortName {
            namespace: service.metadata.namespace.clone().unwrap_or_default(),
            service: service.metadata.name.clone().unwrap_or_default(),
            protocol: protocol(port.protocol.as_ref())?,
            port: port.name.clone().unwrap_or_default(),
        };
        Some(ServicePort {
            endpoints: endpoints(node, &name, slices),
            name,
            cluster_ips: cluster_ips.to_vec(),
            port: number(port.port)?,
            node_port: port.node_port.and_then(number),
            external_ips: addresses(spec.external_ips.iter().flatten()),
            load_balancer_ips: load_balancer_ips.clone(),
            source_ranges: source_ranges.clone(),
            affinity_seconds,
            external_local,
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        })
    };
    spec.ports.iter().flatten().filter_map(make).collect()
}

fn affinity_seconds(spec: &core::ServiceSpec) -> u32 {
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|config| config.timeout_seconds);
    seconds
        .and_then(|seconds| u32::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0)
        .unwrap_or(AFFINITY_SECONDS)
}

/// Addresses that packets still carry when they arrive; those of mode `Proxy` were rewritten before.
fn load_balancer_ips(service: &core::Service) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
    let virtual_ones = ingress.filter(|one| one.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"));
    addresses(virtual_ones.filter_map(|one| one.ip.as_ref()))
}

fn port_of(slice: &discovery::EndpointSlice, name: &ServicePortName) -> Option<u16> {
    let same = |port: &&discovery::EndpointPort| {
        port.name.as_deref().unwrap_or_default() == name.port
            && protocol(port.protocol.as_ref()) == Some(name.protocol)
    };
    slice.ports.iter().flatten().find(same).and_then(|port| port.port).and_then(number)
}

fn endpoints(node: &str, name: &ServicePortName, slices: &[discovery::EndpointSlice]) -> Vec<Endpoint> {
    // An endpoint can be in two slices while it is moved; the better news counts.
    let mut found: BTreeMap<(IpAddr, u16), Endpoint> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| slice.address_type != "FQDN") {
        let Some(port) = port_of(slice, name) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(address) = endpoint.addresses.first().and_then(|text| text.parse().ok()) else {
                continue;
            };
            let conditions = endpoint.conditions.as_ref();
            let new = Endpoint {
                address,
                port,
                ready: conditions.and_then(|all| all.ready).unwrap_or(true),
                serving: conditions.and_then(|all| all.serving).unwrap_or(true),
                terminating: conditions.and_then(|all| all.terminating).unwrap_or(false),
                local: endpoint.node_name.as_deref() == Some(node),
            };
            let better = found.get(&(address, port)).is_none_or(|old| new.ready && !old.ready);
            if better {
                found.insert((address, port), new);
            }
        }
    }
    found.into_values().collect()
}

fn dns_ports(ports: impl Iterator<Item = (Option<String>, Option<Protocol>, Option<u16>)>) -> Vec<dns::Port> {
    let named = ports.filter_map(|(name, protocol, port)| {
        Some(dns::Port { name: name.filter(|name| !name.is_empty())?, protocol: protocol?, port: port? })
    });
    named.collect()
}

fn name(
    spec: &core::ServiceSpec,
    cluster_ips: Vec<IpAddr>,
    slices: &[discovery::EndpointSlice],
) -> dns::Service {
    let service_port =
        |port: &core::ServicePort| (port.name.clone(), protocol(port.protocol.as_ref()), number(port.port));
    let mut places: BTreeMap<(IpAddr, Option<String>), BTreeSet<dns::Port>> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| slice.address_type != "FQDN") {
        let slice_port = |port: &discovery::EndpointPort| {
            (port.name.clone(), protocol(port.protocol.as_ref()), port.port.and_then(number))
        };
        let ports = dns_ports(slice.ports.iter().flatten().map(slice_port));
        for endpoint in slice.endpoints.iter().flatten() {
            let ready = endpoint.conditions.as_ref().and_then(|all| all.ready).unwrap_or(true);
            if !ready {
                continue;
            }
            for address in addresses(&endpoint.addresses) {
                places.entry((address, endpoint.hostname.clone())).or_default().extend(ports.iter().cloned());
            }
        }
    }
    let place = |((address, hostname), ports): ((IpAddr, Option<String>), BTreeSet<dns::Port>)| dns::Place {
        address,
        hostname,
        ports: ports.into_iter().collect(),
    };
    dns::Service {
        cluster_ips,
        external_name: None,
        ports: dns_ports(spec.ports.iter().flatten().map(service_port)),
        endpoints: places.into_iter().map(place).collect(),
    }
}
