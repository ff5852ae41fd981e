//! What names exist, and what they lead to.
//!
//! Invariant: an answer is computed from the Services as they are at that moment; nothing of the cluster
//! is cached, so a change is visible to the next query.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::{Cidr, Protocol};

/// Seconds that clients may keep an answer about the cluster.
const TTL: u32 = 5;
const SCHEMA_VERSION: &str = "1.1.0";

/// A named port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Its name; ports without one have no records.
    pub name: String,
    /// Its transport.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

/// A ready endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its address.
    pub address: IpAddr,
    /// Its `hostname`, if it has one.
    pub hostname: Option<String>,
    /// Its ports.
    pub ports: Vec<Port>,
}

impl Place {
    /// The name of the endpoint within its Service.
    fn host(&self) -> String {
        let address = || self.address.to_string().replace(['.', ':'], "-");
        self.hostname.as_ref().map_or_else(address, |name| name.to_ascii_lowercase())
    }
}

/// A Service, as far as names go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// ClusterIPs; none for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalName` of a Service of that type, which has nothing else.
    pub external_name: Option<String>,
    /// Named ports of the Service.
    pub ports: Vec<Port>,
    /// Ready endpoints.
    pub endpoints: Vec<Place>,
}

/// What a query leads to.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Records, and more that the client will ask for next.
    Records(Vec<Record>, Vec<Record>),
    /// Another name.
    Alias(Box<Record>, Name),
    /// The name exists, but has no record of this type.
    NoData,
    /// There is no such name.
    NoName,
    /// Not a name of this cluster.
    Elsewhere,
    /// A name of this cluster that may exist: not all Services are known yet.
    Unknown,
}

/// All names of the cluster.
pub struct Index {
    zone: Name,
    address: IpAddr,
    ranges: Vec<Cidr>,
    namespaces: BTreeMap<String, BTreeMap<String, Service>>,
    /// Names below the zone that an address leads to.
    reverse: HashMap<IpAddr, BTreeSet<String>>,
    complete: bool,
}

fn address_record(address: IpAddr) -> RData {
    match address {
        IpAddr::V4(four) => RData::A(A(four)),
        IpAddr::V6(six) => RData::AAAA(AAAA(six)),
    }
}

fn matches(address: &IpAddr, kind: RecordType) -> bool {
    match address {
        IpAddr::V4(_) => kind == RecordType::A,
        IpAddr::V6(_) => kind == RecordType::AAAA,
    }
}

/// `10-244-0-5` or `fd00--5`.
fn dashed(label: &str) -> Option<IpAddr> {
    let four = label.bytes().filter(|byte| *byte == b'-').count() == 3 && !label.contains("--");
    if four && let Ok(address) = label.replace('-', ".").parse() {
        return Some(IpAddr::V4(address));
    }
    label.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

fn below(namespace: &str, service: &str) -> String {
    format!("{service}.{namespace}.svc")
}

impl Index {
    /// A cluster without Services. `address` is the cluster DNS's; addresses of `ranges` are the
    /// cluster's own, and asked for nowhere else.
    pub fn new(domain: &str, address: IpAddr, ranges: Vec<Cidr>) -> Option<Self> {
        let mut zone = Name::from_ascii(domain.to_ascii_lowercase()).ok()?;
        zone.set_fqdn(true);
        Some(Self {
            zone,
            address,
            ranges,
            namespaces: BTreeMap::new(),
            reverse: HashMap::new(),
            complete: false,
        })
    }

    /// Replaces what is known of a Service; `None` when it is gone.
    pub fn set(&mut self, namespace: &str, name: &str, service: Option<Service>) {
        let services = self.namespaces.entry(namespace.to_owned()).or_default();
        let old = match &service {
            Some(new) => services.insert(name.to_owned(), new.clone()),
            None => services.remove(name),
        };
        if services.is_empty() {
            self.namespaces.remove(namespace);
        }
        for (address, target) in old.iter().flat_map(|old| reverse_names(namespace, name, old)) {
            if let Some(names) = self.reverse.get_mut(&address) {
                names.remove(&target);
                if names.is_empty() {
                    self.reverse.remove(&address);
                }
            }
        }
        for (address, target) in service.iter().flat_map(|new| reverse_names(namespace, name, new)) {
            self.reverse.entry(address).or_default().insert(target);
        }
    }

    /// Says that all Services are known: from now on an unknown name does not exist.
    pub fn complete(&mut self) {
        self.complete = true;
    }

    fn absolute(&self, relative: &str) -> Option<Name> {
        Name::from_ascii(relative).ok()?.append_domain(&self.zone).ok()
    }

    /// The record that tells clients how long an absence may be remembered.
    pub fn authority(&self) -> Record {
        let server = self.absolute("ns.dns").unwrap_or_else(|| self.zone.clone());
        let mailbox = self.absolute("hostmaster").unwrap_or_else(|| self.zone.clone());
        let data = RData::SOA(SOA::new(server, mailbox, 1, 7200, 1800, 86400, TTL));
        Record::from_rdata(self.zone.clone(), TTL, data)
    }

    /// What a name leads to. Records carry the name as it was asked.
    pub fn answer(&self, name: &Name, kind: RecordType) -> Answer {
        match self.find(name, kind) {
            Answer::NoName if !self.complete => Answer::Unknown,
            answer => answer,
        }
    }

    fn find(&self, name: &Name, kind: RecordType) -> Answer {
        if self.zone.zone_of(name) {
            let own = name.num_labels().saturating_sub(self.zone.num_labels());
            let labels: Vec<String> = name
                .iter()
                .take(usize::from(own))
                .map(|label| String::from_utf8_lossy(label).to_ascii_lowercase())
                .collect();
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            return self.in_zone(name, &labels, kind);
        }
        match name.parse_arpa_name() {
            Ok(range) if range.prefix_len() == range.max_prefix_len() => {
                self.of_address(name, range.addr(), kind)
            }
            _ => Answer::Elsewhere,
        }
    }

    fn of_address(&self, name: &Name, address: IpAddr, kind: RecordType) -> Answer {
        let Some(targets) = self.reverse.get(&address) else {
            let own = self.ranges.iter().any(|range| range.contains(address));
            return if own { Answer::NoName } else { Answer::Elsewhere };
        };
        let pointer = |target: &String| Some(RData::PTR(PTR(self.absolute(target)?)));
        self.found(name, kind == RecordType::PTR, targets.iter().filter_map(pointer).collect())
    }

    fn found(&self, name: &Name, right_kind: bool, data: Vec<RData>) -> Answer {
        if !right_kind || data.is_empty() {
            return Answer::NoData;
        }
        let record = |data| Record::from_rdata(name.clone(), TTL, data);
        Answer::Records(data.into_iter().map(record).collect(), Vec::new())
    }

    fn in_zone(&self, name: &Name, labels: &[&str], kind: RecordType) -> Answer {
        match labels {
            [] => match kind {
                RecordType::SOA => Answer::Records(vec![self.authority()], Vec::new()),
                RecordType::NS => {
                    let server = self.absolute("ns.dns").map(|server| RData::NS(NS(server)));
                    self.found(name, true, server.into_iter().collect())
                }
                _ => Answer::NoData,
            },
            ["dns-version"] => {
                let text = RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_owned()]));
                self.found(name, kind == RecordType::TXT, vec![text])
            }
            ["dns" | "svc" | "pod"] | [_, "pod"] => Answer::NoData,
            ["ns", "dns"] => {
                self.found(name, matches(&self.address, kind), vec![address_record(self.address)])
            }
            [address, _, "pod"] => match dashed(address) {
                Some(address) => self.found(name, matches(&address, kind), vec![address_record(address)]),
                None => Answer::NoName,
            },
            [namespace, "svc"] => {
                if self.namespaces.contains_key(*namespace) {
                    Answer::NoData
                } else {
                    Answer::NoName
                }
            }
            [front @ .., service, namespace, "svc"] => {
                match self.namespaces.get(*namespace).and_then(|services| services.get(*service)) {
                    Some(found) => self.of_service(name, front, &below(namespace, service), found, kind),
                    None => Answer::NoName,
                }
            }
            _ => Answer::NoName,
        }
    }

    fn of_service(
        &self,
        name: &Name,
        front: &[&str],
        base: &str,
        service: &Service,
        kind: RecordType,
    ) -> Answer {
        if let Some(external) = &service.external_name {
            return if front.is_empty() { self.external(name, external) } else { Answer::NoName };
        }
        let headless = service.cluster_ips.is_empty();
        match front {
            [] => {
                let addresses: BTreeSet<IpAddr> = if headless {
                    service.endpoints.iter().map(|endpoint| endpoint.address).collect()
                } else {
                    service.cluster_ips.iter().copied().collect()
                };
                if addresses.is_empty() {
                    // The specification wants it so, not as a name without data.
                    return Answer::NoName;
                }
                if kind == RecordType::SRV {
                    return self.ports(name, base, service, |_| true);
                }
                let data =
                    addresses.iter().filter(|address| matches(address, kind)).copied().map(address_record);
                self.found(name, true, data.collect())
            }
            [protocol @ ("_tcp" | "_udp" | "_sctp")] => {
                let any = service.ports.iter().any(|port| port.protocol.to_string() == protocol[1..]);
                if any { Answer::NoData } else { Answer::NoName }
            }
            [host] => {
                let here = || service.endpoints.iter().filter(|endpoint| endpoint.host() == *host);
                if here().next().is_none() {
                    return Answer::NoName;
                }
                let right = here().map(|endpoint| endpoint.address).filter(|address| matches(address, kind));
                self.found(
                    name,
                    true,
                    right.collect::<BTreeSet<IpAddr>>().into_iter().map(address_record).collect(),
                )
            }
            [port, protocol] => {
                let wanted = |candidate: &Port| {
                    port.strip_prefix('_') == Some(candidate.name.to_ascii_lowercase().as_str())
                        && protocol.strip_prefix('_') == Some(candidate.protocol.to_string().as_str())
                };
                match self.ports(name, base, service, wanted) {
                    Answer::Records(..) if kind != RecordType::SRV => Answer::NoData,
                    Answer::NoData => Answer::NoName,
                    other => other,
                }
            }
            _ => Answer::NoName,
        }
    }

    fn external(&self, name: &Name, target: &str) -> Answer {
        let Ok(mut target) = Name::from_ascii(target) else { return Answer::NoData };
        target.set_fqdn(true);
        let record = Record::from_rdata(name.clone(), TTL, RData::CNAME(CNAME(target.clone())));
        Answer::Alias(Box::new(record), target)
    }

    /// `SRV` records of the named ports that are wanted, with the addresses they lead to.
    fn ports(&self, name: &Name, base: &str, service: &Service, wanted: impl Fn(&Port) -> bool) -> Answer {
        let mut targets: BTreeSet<(u16, String)> = BTreeSet::new();
        let mut addresses: BTreeSet<(String, IpAddr)> = BTreeSet::new();
        let named = |port: &&Port| !port.name.is_empty() && wanted(port);
        if service.cluster_ips.is_empty() {
            for endpoint in &service.endpoints {
                let host = format!("{}.{base}", endpoint.host());
                for port in endpoint.ports.iter().filter(named) {
                    targets.insert((port.port, host.clone()));
                    addresses.insert((host.clone(), endpoint.address));
                }
            }
        } else {
            for port in service.ports.iter().filter(named) {
                targets.insert((port.port, base.to_owned()));
                addresses.extend(service.cluster_ips.iter().map(|address| (base.to_owned(), *address)));
            }
        }
        // All weigh the same; the sum stays what one alone would weigh.
        let weight = u16::try_from(100 / targets.len().max(1)).unwrap_or(0).max(1);
        let record = |(port, target): &(u16, String)| {
            Some(RData::SRV(SRV::new(0, weight, *port, self.absolute(target)?)))
        };
        let more = |(target, address): &(String, IpAddr)| {
            Some(Record::from_rdata(self.absolute(target)?, TTL, address_record(*address)))
        };
        match self.found(name, true, targets.iter().filter_map(record).collect()) {
            Answer::Records(records, _) => {
                Answer::Records(records, addresses.iter().filter_map(more).collect())
            }
            other => other,
        }
    }
}

fn reverse_names(namespace: &str, name: &str, service: &Service) -> Vec<(IpAddr, String)> {
    let base = below(namespace, name);
    let own = service.cluster_ips.iter().map(|address| (*address, base.clone()));
    // An endpoint of a Service with a ClusterIP has a name only if it was given one.
    let headless = service.cluster_ips.is_empty();
    let named = service.endpoints.iter().filter(|endpoint| headless || endpoint.hostname.is_some());
    own.chain(named.map(|endpoint| (endpoint.address, format!("{}.{base}", endpoint.host())))).collect()
}
