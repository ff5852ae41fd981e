//! One port of a Service, compiled.
//!
//! Answers to `syncProxyRules` of kube-proxy's nftables mode. Invariant: what a port contributes
//! depends on that port alone, so that a change of one Service touches nothing of another.

use std::net::IpAddr;

use super::base::{
    FIREWALL_IPS, HAIRPINS, MASQUERADE_MARK, NO_ENDPOINT_NODEPORTS, NO_ENDPOINT_SERVICES, REJECT,
    SERVICE_IPS, SERVICE_NODEPORTS,
};
use super::ir::{Atom, Chain, Field, Fragment, Holds, Rule, Set, Statement, Value, Verdict};
use crate::Cidr;
use crate::service::{Chosen, ServicePort, Target};

/// What compilation needs to know of the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// All pods' addresses: other sources come from outside.
    pub cluster_cidr: Cidr,
}

struct Compiler<'a> {
    scope: Scope,
    port: &'a ServicePort,
    chosen: Chosen,
    out: Fragment,
}

fn goto(chain: String) -> Verdict {
    Verdict::Goto(chain)
}

/// What one port of a Service adds to the table of the family of `scope`'s range.
pub fn compile_service(scope: Scope, port: &ServicePort) -> Fragment {
    let chosen = port.choose(scope.cluster_cidr.base());
    let mut compiler = Compiler { scope, port, chosen, out: Fragment::default() };
    compiler.internal();
    if port.external() {
        compiler.external();
        compiler.firewall();
    }
    compiler.policies();
    compiler.out
}

impl Compiler<'_> {
    fn same_family<'b>(&self, addresses: &'b [IpAddr]) -> impl Iterator<Item = IpAddr> + use<'b> {
        let four = self.scope.cluster_cidr.base().is_ipv4();
        addresses.iter().copied().filter(move |address| address.is_ipv4() == four)
    }

    fn service_key(&self, address: IpAddr) -> Vec<Atom> {
        vec![Atom::Address(address), Atom::Protocol(self.port.name.protocol), Atom::Port(self.port.port)]
    }

    fn element(&mut self, set: &str, key: Vec<Atom>, value: Value) {
        self.out.elements.insert((set.to_owned(), key), value);
    }

    fn cluster_chain(&self) -> String {
        format!("service-{}", self.port.name)
    }

    fn local_chain(&self) -> String {
        format!("local-{}", self.port.name)
    }

    /// Traffic that no endpoint can take: refused if nobody has one, dropped if only other nodes do.
    fn unserved(&self) -> Value {
        Value::Verdict(if self.chosen.any { Verdict::Drop } else { goto(REJECT.to_owned()) })
    }

    fn internal(&mut self) {
        let usable = if self.port.internal_local { !self.chosen.local.is_empty() } else { self.chosen.any };
        let chain = if self.port.internal_local { self.local_chain() } else { self.cluster_chain() };
        for address in self.same_family(&self.port.cluster_ips) {
            let key = self.service_key(address);
            if usable {
                self.element(SERVICE_IPS, key, Value::Verdict(goto(chain.clone())));
            } else {
                self.element(NO_ENDPOINT_SERVICES, key, self.unserved());
            }
        }
    }

    fn external(&mut self) {
        let usable = if self.port.external_local { !self.chosen.local.is_empty() } else { self.chosen.any };
        let chain = format!("external-{}", self.port.name);
        let addresses: Vec<IpAddr> = self
            .same_family(&self.port.external_ips)
            .chain(self.same_family(&self.port.load_balancer_ips))
            .collect();
        for address in addresses {
            let key = self.service_key(address);
            if self.chosen.any {
                self.element(SERVICE_IPS, key.clone(), Value::Verdict(goto(chain.clone())));
            }
            if !usable {
                self.element(NO_ENDPOINT_SERVICES, key, self.unserved());
            }
        }
        if let Some(node_port) = self.port.node_port {
            let key = vec![Atom::Protocol(self.port.name.protocol), Atom::Port(node_port)];
            if self.chosen.any {
                self.element(SERVICE_NODEPORTS, key.clone(), Value::Verdict(goto(chain.clone())));
            }
            if !usable {
                self.element(NO_ENDPOINT_NODEPORTS, key, self.unserved());
            }
        }
        if self.chosen.any {
            let rules = self.external_rules(usable);
            self.out.chains.insert(chain, Chain { base: None, rules });
        }
    }

    fn external_rules(&self, usable: bool) -> Vec<Rule> {
        let to_cluster = Statement::Verdict(goto(self.cluster_chain()));
        if !self.port.external_local {
            // It may leave for another node, whose answer must come back through this one.
            return vec![vec![Statement::Mark(MASQUERADE_MARK)], vec![to_cluster]];
        }
        let mut rules = Vec::new();
        if !self.chosen.cluster.is_empty() {
            // Pods and the host itself are as if they had gone out and come back: any endpoint will do.
            let from_pods =
                Statement::Address { field: Field::Source, equal: true, range: self.scope.cluster_cidr };
            rules.push(vec![from_pods, to_cluster.clone()]);
            rules.push(vec![Statement::Local(Field::Source), Statement::Mark(MASQUERADE_MARK), to_cluster]);
        }
        if usable {
            rules.push(vec![Statement::Verdict(goto(self.local_chain()))]);
        }
        rules
    }

    fn firewall(&mut self) {
        if self.port.source_ranges.is_empty() || self.port.load_balancer_ips.is_empty() {
            return;
        }
        let chain = format!("firewall-{}", self.port.name);
        let four = self.scope.cluster_cidr.base().is_ipv4();
        let allow = |range: Cidr| {
            vec![
                Statement::Address { field: Field::Source, equal: true, range },
                Statement::Verdict(Verdict::Return),
            ]
        };
        let mut rules: Vec<Rule> = self
            .port
            .source_ranges
            .iter()
            .filter(|range| range.base().is_ipv4() == four)
            .map(|range| allow(*range))
            .collect();
        rules.push(vec![Statement::Verdict(Verdict::Drop)]);
        self.out.chains.insert(chain.clone(), Chain { base: None, rules });
        for address in self.same_family(&self.port.load_balancer_ips) {
            let key = self.service_key(address);
            self.element(FIREWALL_IPS, key, Value::Verdict(goto(chain.clone())));
        }
    }

    fn policies(&mut self) {
        let port = self.port;
        let cluster_used = !port.internal_local || port.external();
        if cluster_used && !self.chosen.cluster.is_empty() {
            let targets = self.chosen.cluster.clone();
            self.policy(self.cluster_chain(), &targets, !port.internal_local);
        }
        if !self.chosen.local.is_empty() {
            let targets = self.chosen.local.clone();
            self.policy(self.local_chain(), &targets, port.internal_local);
        }
        for (address, _) in self.chosen.cluster.clone().into_iter().chain(self.chosen.local.clone()) {
            self.element(HAIRPINS, vec![Atom::Address(address), Atom::Address(address)], Value::Member);
        }
    }

    fn policy(&mut self, chain: String, targets: &[Target], internal: bool) {
        let mut rules = Vec::new();
        if internal {
            // Someone outside routed a ClusterIP to this node: the answer must come back through it.
            for address in self.same_family(&self.port.cluster_ips) {
                let width = crate::cidr::width(address);
                let range = Cidr::new(address, width).expect("the full width is a prefix length");
                rules.push(vec![
                    Statement::Address { field: Field::Destination, equal: true, range },
                    Statement::Address { field: Field::Source, equal: false, range: self.scope.cluster_cidr },
                    Statement::Mark(MASQUERADE_MARK),
                ]);
            }
        }
        match (self.port.affinity_seconds, targets) {
            (Some(seconds), _) => self.affinity(seconds, targets, &mut rules),
            (None, [(address, port)]) => rules.push(vec![Statement::Translate(*address, *port)]),
            (None, _) => rules.push(vec![Statement::TranslateRandom(targets.to_vec())]),
        }
        self.out.chains.insert(chain, Chain { base: None, rules });
    }

    /// Clients are remembered per endpoint, so that an endpoint's end forgets only its own clients.
    fn affinity(&mut self, seconds: u32, targets: &[Target], rules: &mut Vec<Rule>) {
        let mut chains = Vec::new();
        for (address, port) in targets {
            let end = format!("{}/{}/{port}", self.port.name, address.to_string().replace(':', "."));
            let set = format!("affinity-{end}");
            let chain = format!("endpoint-{end}");
            self.out
                .sets
                .insert(set.clone(), Set { key: vec![Field::Source], holds: Holds::Members, dynamic: true });
            rules.push(vec![
                Statement::In { key: vec![Field::Source], set: set.clone() },
                Statement::Verdict(goto(chain.clone())),
            ]);
            let translate =
                vec![vec![Statement::Update { set, seconds }], vec![Statement::Translate(*address, *port)]];
            self.out.chains.insert(chain.clone(), Chain { base: None, rules: translate });
            chains.push(chain);
        }
        rules.push(vec![Statement::GotoRandom(chains)]);
    }
}
