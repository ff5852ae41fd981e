//! Services and endpoints as the rules see them: plain structs, no API types.
//!
//! Invariant: one [`ServicePort`] is one port of one Service. Which endpoints take part is decided
//! here, as kube-proxy decides it, and nowhere else.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use crate::{Cidr, Protocol};

/// Names a port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePortName {
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub service: String,
    /// `spec.ports[].protocol`
    pub protocol: Protocol,
    /// `spec.ports[].name`, empty if the only port has none.
    pub port: String,
}

/// `shop/web/tcp/http`: unique, and made of what a chain's name may hold.
impl fmt::Display for ServicePortName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}/{}/{}", self.namespace, self.service, self.protocol, self.port)
    }
}

/// One port of one Service, with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name.
    pub name: ServicePortName,
    /// `spec.clusterIPs`
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.ports[].port`
    pub port: u16,
    /// `spec.ports[].nodePort`
    pub node_port: Option<u16>,
    /// `spec.externalIPs`
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip` of mode `VIP`.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.loadBalancerSourceRanges`; empty for everyone.
    pub source_ranges: Vec<Cidr>,
    /// Seconds of `ClientIP` affinity, `None` without affinity.
    pub affinity_seconds: Option<u32>,
    /// `externalTrafficPolicy: Local`
    pub external_local: bool,
    /// `internalTrafficPolicy: Local`
    pub internal_local: bool,
    /// All endpoints of this port.
    pub endpoints: Vec<Endpoint>,
}

/// An address that serves a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its port, after named target ports are resolved.
    pub port: u16,
    /// `conditions.ready`
    pub ready: bool,
    /// `conditions.serving`
    pub serving: bool,
    /// `conditions.terminating`
    pub terminating: bool,
    /// Whether it is on this node.
    pub local: bool,
}

/// An address and a port to send a connection to.
pub type Target = (IpAddr, u16);

/// Which endpoints of a port get traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// For traffic that may go to any node.
    pub cluster: Vec<Target>,
    /// For traffic that must stay on this node.
    pub local: Vec<Target>,
    /// Whether any node has a usable endpoint.
    pub any: bool,
}

impl ServicePort {
    /// Whether anything outside the cluster leads here.
    pub fn external(&self) -> bool {
        self.node_port.is_some() || !self.external_ips.is_empty() || !self.load_balancer_ips.is_empty()
    }

    fn uses_local(&self) -> bool {
        self.internal_local || (self.external_local && self.external())
    }

    /// Ready endpoints, and where there are none those that still serve while they terminate.
    pub fn choose(&self, family_of: IpAddr) -> Chosen {
        let same = |endpoint: &&Endpoint| endpoint.address.is_ipv4() == family_of.is_ipv4();
        let pick = |only_local: bool| {
            let candidates =
                || self.endpoints.iter().filter(same).filter(move |endpoint| endpoint.local || !only_local);
            let target = |endpoint: &Endpoint| (endpoint.address, endpoint.port);
            let ready: BTreeSet<Target> =
                candidates().filter(|endpoint| endpoint.ready).map(target).collect();
            if !ready.is_empty() {
                return ready.into_iter().collect();
            }
            let leaving = candidates().filter(|endpoint| endpoint.serving && endpoint.terminating);
            leaving.map(target).collect::<BTreeSet<Target>>().into_iter().collect::<Vec<Target>>()
        };
        let cluster: Vec<Target> = pick(false);
        let local = if self.uses_local() { pick(true) } else { Vec::new() };
        let any = !cluster.is_empty() || !local.is_empty();
        Chosen { cluster, local, any }
    }
}
