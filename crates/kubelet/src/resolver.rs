//! What a pod is called, and how it resolves names.
//!
//! Answers to the kubelet's `GeneratePodHostNameAndDomain` and `network/dns`.

use gifee_oci::spec::Dns;
use k8s_openapi::api::core::v1::{Pod, PodDNSConfig};

use crate::config::Config;
use crate::pod::members;

/// What resolvers understand.
const SERVERS: usize = 3;
const SEARCHES: usize = 32;

/// The host name, and the full name if there is one.
pub fn names(pod: &Pod, domain: &str) -> (String, Option<String>) {
    let spec = members::spec(pod);
    if let Some(name) = spec.hostname_override.clone().filter(|name| !name.is_empty()) {
        return (name, None);
    }
    let own = spec.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or_else(|| members::name(pod));
    let host = own.get(..63).unwrap_or(own).trim_end_matches(['-', '.']).to_owned();
    let subdomain = spec.subdomain.as_deref().filter(|name| !name.is_empty());
    let full = subdomain.map(|sub| format!("{host}.{sub}.{}.svc.{domain}", members::namespace(pod)));
    match full {
        Some(full) if spec.set_hostname_as_fqdn == Some(true) => (full.clone(), Some(full)),
        full => (host, full),
    }
}

/// How it resolves names; `host` is the machine's `resolv.conf`.
pub fn dns(pod: &Pod, config: &Config, host: &str) -> Dns {
    let spec = members::spec(pod);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirst" => !members::host_network(pod),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut dns = if policy == "None" {
        Dns::default()
    } else if cluster && !config.cluster_dns.is_empty() {
        let (domain, namespace) = (&config.cluster_domain, members::namespace(pod));
        let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
        searches.extend(parse(host).searches);
        Dns {
            servers: config.cluster_dns.iter().map(ToString::to_string).collect(),
            searches,
            options: vec!["ndots:5".to_owned()],
        }
    } else {
        parse(host)
    };
    if let Some(own) = &spec.dns_config {
        merge(&mut dns, own);
    }
    dns.servers = unique(dns.servers, SERVERS);
    dns.searches = unique(dns.searches, SEARCHES);
    dns
}

fn unique(list: Vec<String>, maximum: usize) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for one in list {
        if !kept.contains(&one) && kept.len() < maximum {
            kept.push(one);
        }
    }
    kept
}

fn merge(dns: &mut Dns, own: &PodDNSConfig) {
    dns.servers.extend(own.nameservers.iter().flatten().cloned());
    dns.searches.extend(own.searches.iter().flatten().cloned());
    for option in own.options.iter().flatten() {
        let name = option.name.clone().unwrap_or_default();
        dns.options.retain(|old| old.split(':').next() != Some(name.as_str()));
        dns.options.push(match option.value.as_deref().filter(|value| !value.is_empty()) {
            Some(value) => format!("{name}:{value}"),
            None => name,
        });
    }
}

/// Reads a `resolv.conf`.
fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_owned)),
            Some("search" | "domain") => {
                dns.searches = words.map(|word| word.to_owned()).filter(|word| word != ".").collect();
            }
            Some("options") => dns.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    dns
}
