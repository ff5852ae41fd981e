//! The fixed part of a table, and what a pod's host ports add to it.
//!
//! Answers to the base chains of kube-proxy's nftables mode, the portmap plugin, and the masquerading
//! of a bridge plugin. Invariant: no chain has a drop policy, and no rule here decides about traffic
//! that is not to or from this instance's pods and Services.

use std::net::{IpAddr, Ipv4Addr};

use super::ir::{
    Atom, Base, Chain, Field, Fragment, Holds, Hook, Kind, Rule, Set, Statement, Value, Verdict,
};
use crate::{Attachment, Cidr, Config};

/// Marks a packet whose source is to be hidden; the bit kube-proxy uses for the same.
pub const MASQUERADE_MARK: u32 = 0x4000;

/// ClusterIPs, external and load balancer addresses, by (address, protocol, port).
pub const SERVICE_IPS: &str = "service-ips";
/// Node ports, by (protocol, port).
pub const SERVICE_NODEPORTS: &str = "service-nodeports";
/// Addresses as in [`SERVICE_IPS`] that have no endpoint to go to.
pub const NO_ENDPOINT_SERVICES: &str = "no-endpoint-services";
/// Node ports that have no endpoint to go to.
pub const NO_ENDPOINT_NODEPORTS: &str = "no-endpoint-nodeports";
/// Load balancer addresses with source ranges.
pub const FIREWALL_IPS: &str = "firewall-ips";
/// Host ports on all addresses.
pub const HOST_PORTS: &str = "host-ports";
/// Host ports on one address.
pub const HOST_PORT_IPS: &str = "host-port-ips";
/// Pairs (pod, same pod): connections that come back to where they started.
pub const HAIRPINS: &str = "hairpins";
/// Where a connection nobody serves ends.
pub const REJECT: &str = "reject-it";

const SERVICES: &str = "services";
const ENDPOINTS_CHECK: &str = "endpoints-check";
const FIREWALL_CHECK: &str = "firewall-check";

// Where chains stand: before and after kernel's destination translation (-100), and before tracking.
const RAW: i32 = -300;
const BEFORE_TRANSLATION: i32 = -110;
const TRANSLATION: i32 = -100;
const AFTER_TRANSLATION: i32 = -90;
const SOURCE_TRANSLATION: i32 = 100;

const SERVICE_KEY: [Field; 3] = [Field::Destination, Field::Protocol, Field::Port];
const PORT_KEY: [Field; 2] = [Field::Protocol, Field::Port];

fn jump(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Jump(chain.to_owned()))
}

fn chain(base: Option<(Kind, Hook, i32)>, rules: Vec<Rule>) -> Chain {
    Chain { base: base.map(|(kind, hook, priority)| Base { kind, hook, priority }), rules }
}

fn sets() -> Vec<(&'static str, Set)> {
    let set = |key: &[Field], holds| Set { key: key.to_vec(), holds, dynamic: false };
    vec![
        (SERVICE_IPS, set(&SERVICE_KEY, Holds::Verdicts)),
        (SERVICE_NODEPORTS, set(&PORT_KEY, Holds::Verdicts)),
        (NO_ENDPOINT_SERVICES, set(&SERVICE_KEY, Holds::Verdicts)),
        (NO_ENDPOINT_NODEPORTS, set(&PORT_KEY, Holds::Verdicts)),
        (FIREWALL_IPS, set(&SERVICE_KEY, Holds::Verdicts)),
        (HOST_PORTS, set(&PORT_KEY, Holds::Targets)),
        (HOST_PORT_IPS, set(&SERVICE_KEY, Holds::Targets)),
        (HAIRPINS, set(&[Field::Source, Field::Destination], Holds::Members)),
    ]
}

fn filter_chains() -> Vec<(&'static str, Chain)> {
    let check = |target: &str| vec![vec![Statement::New, jump(target)]];
    vec![
        (
            "filter-prerouting",
            chain(Some((Kind::Filter, Hook::Prerouting, BEFORE_TRANSLATION)), check(FIREWALL_CHECK)),
        ),
        (
            "filter-input",
            chain(Some((Kind::Filter, Hook::Input, BEFORE_TRANSLATION)), check(ENDPOINTS_CHECK)),
        ),
        (
            "filter-forward",
            chain(Some((Kind::Filter, Hook::Forward, BEFORE_TRANSLATION)), check(ENDPOINTS_CHECK)),
        ),
        (
            "filter-output",
            chain(Some((Kind::Filter, Hook::Output, BEFORE_TRANSLATION)), check(FIREWALL_CHECK)),
        ),
        // After translation, so that what the host may short-circuit to another node is not refused.
        (
            "filter-output-late",
            chain(Some((Kind::Filter, Hook::Output, AFTER_TRANSLATION)), check(ENDPOINTS_CHECK)),
        ),
    ]
}

fn translation_chains() -> Vec<(&'static str, Chain)> {
    let services = vec![
        vec![Statement::VerdictMap { key: SERVICE_KEY.to_vec(), map: SERVICE_IPS.to_owned() }],
        vec![
            Statement::Local(Field::Destination),
            Statement::VerdictMap { key: PORT_KEY.to_vec(), map: SERVICE_NODEPORTS.to_owned() },
        ],
        vec![Statement::TranslateMap { key: SERVICE_KEY.to_vec(), map: HOST_PORT_IPS.to_owned() }],
        vec![
            Statement::Local(Field::Destination),
            Statement::TranslateMap { key: PORT_KEY.to_vec(), map: HOST_PORTS.to_owned() },
        ],
    ];
    vec![
        (
            "nat-prerouting",
            chain(Some((Kind::Nat, Hook::Prerouting, TRANSLATION)), vec![vec![jump(SERVICES)]]),
        ),
        ("nat-output", chain(Some((Kind::Nat, Hook::Output, TRANSLATION)), vec![vec![jump(SERVICES)]])),
        (SERVICES, chain(None, services)),
    ]
}

fn check_chains(service_range: Cidr) -> Vec<(&'static str, Chain)> {
    let endpoints = vec![
        vec![Statement::VerdictMap { key: SERVICE_KEY.to_vec(), map: NO_ENDPOINT_SERVICES.to_owned() }],
        vec![
            Statement::Local(Field::Destination),
            Statement::VerdictMap { key: PORT_KEY.to_vec(), map: NO_ENDPOINT_NODEPORTS.to_owned() },
        ],
        // What still goes to a ClusterIP now has no such port or no such Service; it must not leave.
        vec![
            Statement::Address { field: Field::Destination, equal: true, range: service_range },
            Statement::Verdict(Verdict::Goto(REJECT.to_owned())),
        ],
    ];
    let firewall =
        vec![vec![Statement::VerdictMap { key: SERVICE_KEY.to_vec(), map: FIREWALL_IPS.to_owned() }]];
    let reject =
        vec![vec![Statement::Protocol(crate::Protocol::Tcp), Statement::Reset], vec![Statement::Reject]];
    vec![
        (ENDPOINTS_CHECK, chain(None, endpoints)),
        (FIREWALL_CHECK, chain(None, firewall)),
        (REJECT, chain(None, reject)),
    ]
}

fn loopback() -> Cidr {
    Cidr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8).expect("8 is a prefix length of IPv4")
}

fn guard(prefix: &str) -> Chain {
    // Pod links route loopback addresses so that localhost node ports work. Without this a pod could
    // reach what the host serves on its loopback only.
    let from_pods = Statement::Interface { input: true, equal: true, name: prefix.to_owned(), prefix: true };
    let drop = |field| {
        vec![
            from_pods.clone(),
            Statement::Address { field, equal: true, range: loopback() },
            Statement::Verdict(Verdict::Drop),
        ]
    };
    chain(Some((Kind::Filter, Hook::Prerouting, RAW)), vec![drop(Field::Destination), drop(Field::Source)])
}

fn postrouting(config: &Config, prefix: &str) -> Chain {
    let out = |equal, name: &str, prefix| Statement::Interface {
        input: false,
        equal,
        name: name.to_owned(),
        prefix,
    };
    let multicast =
        Cidr::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4).expect("4 is a prefix length of IPv4");
    let away = |range| Statement::Address { field: Field::Destination, equal: false, range };
    let rules = vec![
        vec![Statement::Marked(MASQUERADE_MARK), Statement::Unmark(MASQUERADE_MARK), Statement::Masquerade],
        vec![
            Statement::Translated,
            Statement::In { key: vec![Field::Source, Field::Destination], set: HAIRPINS.to_owned() },
            Statement::Masquerade,
        ],
        vec![
            Statement::Translated,
            Statement::Address { field: Field::Source, equal: true, range: loopback() },
            out(false, "lo", false),
            Statement::Masquerade,
        ],
        vec![
            Statement::Address { field: Field::Source, equal: true, range: config.pod_cidr },
            away(config.cluster_cidr),
            away(multicast),
            out(false, prefix, true),
            Statement::Masquerade,
        ],
    ];
    chain(Some((Kind::Nat, Hook::Postrouting, SOURCE_TRANSLATION)), rules)
}

/// The part of the table that does not depend on any Service or pod.
pub fn compile_base(config: &Config) -> Fragment {
    let prefix = config.interface_prefix();
    let mut fragment = Fragment::default();
    fragment.sets.extend(sets().into_iter().map(|(name, set)| (name.to_owned(), set)));
    let chains =
        filter_chains().into_iter().chain(translation_chains()).chain(check_chains(config.service_cidr));
    fragment.chains.extend(chains.map(|(name, chain)| (name.to_owned(), chain)));
    fragment.chains.insert("loopback-guard".to_owned(), guard(&prefix));
    fragment.chains.insert("nat-postrouting".to_owned(), postrouting(config, &prefix));
    fragment
}

/// What a pod's host ports add.
pub fn compile_pod(pod: &Attachment) -> Fragment {
    let mut fragment = Fragment::default();
    let Some(&address) = pod.addresses.first() else { return fragment };
    for port in &pod.host_ports {
        let value = Value::Target(address, port.container_port);
        let tail = [Atom::Protocol(port.protocol), Atom::Port(port.host_port)];
        match port.host_ip.filter(|host| !host.is_unspecified()) {
            None => fragment.elements.insert((HOST_PORTS.to_owned(), tail.to_vec()), value),
            Some(host) => {
                let key = [&[Atom::Address(host)], &tail[..]].concat();
                fragment.elements.insert((HOST_PORT_IPS.to_owned(), key), value)
            }
        };
    }
    if !pod.host_ports.is_empty() {
        let pair = vec![Atom::Address(address), Atom::Address(address)];
        fragment.elements.insert((HAIRPINS.to_owned(), pair), Value::Member);
    }
    fragment
}
