//! What one instance forwards: its rules in effect, and the flows that must follow them.
//!
//! Invariant: after [`Forwarding::services`] or [`Forwarding::pod`] returns, new connections go where
//! they should, and so do UDP flows that were there before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::conntrack::{Flow, Flows, host_addresses};
use crate::nft::{Family, Owner, Rules, Scope, compile_base, compile_pod, compile_service};
use crate::service::{Endpoint, ServicePort, ServicePortName, Target};
use crate::{Attachment, Config, Error, HostPort, Protocol};

/// Rules and flows of one family.
pub struct Forwarding {
    rules: Rules,
    flows: Flows,
    scope: Scope,
    ports: BTreeMap<ServicePortName, ServicePort>,
}

/// Where UDP packets to one place may go.
struct Route {
    /// `None` for all addresses of the host.
    address: Option<IpAddr>,
    port: u16,
    servers: BTreeSet<Target>,
}

impl Route {
    fn is_stale(&self, flow: &Flow, host: &BTreeSet<IpAddr>) -> bool {
        let (address, port) = flow.destination;
        let here = self.address.map_or_else(|| host.contains(&address), |own| own == address);
        port == self.port && here && !self.servers.contains(&flow.server)
    }
}

/// A port that this process serves itself: the cluster DNS.
pub fn own_port(config: &Config, protocol: Protocol, port: u16, target: Target) -> ServicePort {
    let (address, target_port) = target;
    let name = ServicePortName {
        namespace: "gifee".into(),
        service: "cluster-dns".into(),
        protocol,
        port: "dns".into(),
    };
    let endpoint =
        Endpoint { address, port: target_port, ready: true, serving: true, terminating: false, local: true };
    ServicePort {
        name,
        cluster_ips: vec![config.cluster_dns],
        port,
        node_port: None,
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        affinity_seconds: None,
        external_local: false,
        internal_local: false,
        endpoints: vec![endpoint],
    }
}

fn service_routes(port: &ServicePort, servers: &BTreeSet<Target>) -> Vec<Route> {
    let own = port.cluster_ips.iter().chain(&port.external_ips).chain(&port.load_balancer_ips);
    let addresses =
        own.map(|address| Route { address: Some(*address), port: port.port, servers: servers.clone() });
    let node =
        port.node_port.map(|node_port| Route { address: None, port: node_port, servers: servers.clone() });
    addresses.chain(node).collect()
}

impl Forwarding {
    /// Opens the instance's rules, with what this process serves itself and the pods it knows.
    pub fn open(config: &Config, own: &[ServicePort], pods: &[Attachment]) -> Result<Self, Error> {
        let scope = Scope { cluster_cidr: config.cluster_cidr };
        let family = Family::of(config.pod_cidr.base());
        let mut known = vec![(Owner::Base, compile_base(config))];
        known.extend(pods.iter().map(|pod| (Owner::Pod(pod.sandbox_id.clone()), compile_pod(pod))));
        let served = own.iter().map(|port| (Owner::Own(port.name.clone()), compile_service(scope, port)));
        let rules = Rules::open(config.table(), family, known, served.collect())?;
        let mut forwarding = Self { rules, flows: Flows::open(family)?, scope, ports: BTreeMap::new() };
        let routes = own.iter().filter(|port| port.name.protocol == Protocol::Udp).flat_map(|port| {
            let servers = port.endpoints.iter().map(|endpoint| (endpoint.address, endpoint.port)).collect();
            service_routes(port, &servers)
        });
        forwarding.forget(&routes.collect::<Vec<Route>>());
        Ok(forwarding)
    }

    /// Puts changed ports of Services in effect; `None` for those that are gone.
    pub fn services(&mut self, changes: Vec<(ServicePortName, Option<ServicePort>)>) -> Result<(), Error> {
        let mut updates = Vec::new();
        let mut routes = Vec::new();
        for (name, new) in changes {
            let old = match &new {
                Some(port) => self.ports.insert(name.clone(), port.clone()),
                None => self.ports.remove(&name),
            };
            if old == new {
                continue;
            }
            if name.protocol == Protocol::Udp {
                routes.extend(self.changed_routes(old.as_ref(), new.as_ref()));
            }
            let fragment = new.map(|port| compile_service(self.scope, &port));
            updates.push((Owner::Service(name), fragment));
        }
        self.rules.change(updates)?;
        self.forget(&routes);
        Ok(())
    }

    /// Where UDP packets go now, for every place that the old or the new port names.
    fn changed_routes(&self, old: Option<&ServicePort>, new: Option<&ServicePort>) -> Vec<Route> {
        let servers: BTreeSet<Target> = new.map_or_else(BTreeSet::new, |port| {
            let chosen = port.choose(self.scope.cluster_cidr.base());
            chosen.cluster.into_iter().chain(chosen.local).collect()
        });
        let mut routes = old.map_or_else(Vec::new, |port| service_routes(port, &BTreeSet::new()));
        let now = new.map_or_else(Vec::new, |port| service_routes(port, &servers));
        routes.retain(|route| {
            !now.iter().any(|other| (other.address, other.port) == (route.address, route.port))
        });
        routes.extend(now);
        routes
    }

    /// Says that all Services are known: what an earlier process left is replaced.
    pub fn complete(&mut self) -> Result<(), Error> {
        self.rules.complete()
    }

    /// Puts the whole in effect again, after somebody else changed it.
    pub fn repair(&mut self) -> Result<(), Error> {
        self.rules.replace()
    }

    /// Who the kernel says has made a change, when it was made here.
    pub fn port_number(&self) -> u32 {
        self.rules.port_number()
    }

    /// Opens the host ports of a pod.
    pub fn open_pod(&mut self, pod: &Attachment) -> Result<(), Error> {
        self.rules.change(vec![(Owner::Pod(pod.sandbox_id.clone()), Some(compile_pod(pod)))])?;
        let Some(&address) = pod.addresses.first() else { return Ok(()) };
        let route = |port: &HostPort| Route {
            address: port.host_ip.filter(|host| !host.is_unspecified()),
            port: port.host_port,
            servers: BTreeSet::from([(address, port.container_port)]),
        };
        let udp = pod.host_ports.iter().filter(|port| port.protocol == Protocol::Udp);
        self.forget(&udp.map(route).collect::<Vec<Route>>());
        Ok(())
    }

    /// Closes the host ports of a pod, and forgets the flows it answered.
    pub fn close_pod(&mut self, pod: &Attachment) -> Result<(), Error> {
        self.rules.change(vec![(Owner::Pod(pod.sandbox_id.clone()), None)])?;
        if pod.host_ports.iter().any(|port| port.protocol == Protocol::Udp) {
            let forgotten = self.flows.forget_udp(|flow| pod.addresses.contains(&flow.server.0));
            let _ = forgotten
                .inspect_err(|error| tracing::warn!(%error, "UDP flows may go on to a pod that is gone"));
        }
        Ok(())
    }

    /// A kernel that cannot tell its flows still forwards: old UDP flows then end by their own time.
    fn forget(&mut self, routes: &[Route]) {
        if routes.is_empty() {
            return;
        }
        let forgotten = host_addresses().and_then(|host| {
            self.flows.forget_udp(|flow| routes.iter().any(|route| route.is_stale(flow, &host)))
        });
        match forgotten {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "forgot UDP flows to endpoints that are gone"),
            Err(error) => tracing::warn!(%error, "UDP flows may go on to endpoints that are gone"),
        }
    }
}
