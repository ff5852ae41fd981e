//! Rules for Services.
//!
//! Answers to `ValidateService` and its update rules of upstream's core validation.

use super::{is_headless, is_reached_from_outside, kind, needs_health_port};
use crate::core::endpoints::PROTOCOLS;
use crate::rule::address::{cidr, families, ip, ordinary_ip, port, port_or_name};
use crate::rule::shown::{self, showing};
use crate::rule::{Errors, METADATA, SPEC, STATUS, label, named_text, one_of, required_one_of};
use crate::value::{int, is_empty, items, same, text};
use gifee_base::{FieldError, Path, name};
use serde_json::{Value, json};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];
const AFFINITY_MAXIMUM: i64 = 86_400;
const BALANCED_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const TOPOLOGY: &str = "service.kubernetes.io/topology-mode";
pub(super) const TOPOLOGY_OLD: &str = "service.kubernetes.io/topology-aware-hints";

/// A Service.
pub(super) fn service(errors: &mut Errors, service: &Value) {
    topology(errors, &service["metadata"]["annotations"]);
    let spec = &service["spec"];
    if is_empty(&spec["ports"]) && !is_headless(service) && kind(service) != "ExternalName" {
        errors.push(FieldError::required(&SPEC.child("ports"), ""));
    }
    by_type(errors, service);
    ports(errors, service);
    label::labels(errors, &spec["selector"], &SPEC.child("selector"));
    affinity(errors, spec);
    addresses(errors, service);
    let at = SPEC.child("externalIPs");
    for (index, one) in items(&spec["externalIPs"]).iter().enumerate() {
        ordinary_ip(errors, one, &at.index(index));
    }
    required_one_of(errors, &spec["type"], &SPEC.child("type"), &TYPES);
    repeated_ports(errors, service);
    source_ranges(errors, service);
    balancer(errors, service);
    traffic(errors, service);
}

/// Two annotations say the same thing.
fn topology(errors: &mut Errors, annotations: &Value) {
    let (new, old) = (&annotations[TOPOLOGY], &annotations[TOPOLOGY_OLD]);
    if !new.is_null() && !old.is_null() && new != old {
        let why = format!("must match annotations[{TOPOLOGY_OLD}] when both are specified");
        let at = METADATA.child("annotations");
        errors.push(FieldError::invalid(&at.key(TOPOLOGY), text(new), &why));
    }
}

fn by_type(errors: &mut Errors, service: &Value) {
    let spec = &service["spec"];
    let at = SPEC.child("clusterIPs");
    match kind(service) {
        shown @ ("LoadBalancer" | "NodePort") if is_headless(service) => {
            let why = format!("may not be set to 'None' for {shown} services");
            errors.push(FieldError::invalid(&at.index(0), "None", &why));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !is_empty(&spec[field]) {
                    let why = "may not be set for ExternalName services";
                    errors.push(FieldError::forbidden(&SPEC.child(field), why));
                }
            }
            let host = text(&spec["externalName"]);
            let host = host.strip_suffix('.').unwrap_or(host);
            if host.is_empty() {
                errors.push(FieldError::required(&SPEC.child("externalName"), ""));
            } else {
                named_text(errors, host, &SPEC.child("externalName"), name::dns_subdomain);
            }
        }
        _ => {}
    }
}

fn ports(errors: &mut Errors, service: &Value) {
    let (list, path) = (items(&service["spec"]["ports"]), SPEC.child("ports"));
    let mut seen = Vec::new();
    for (index, one) in list.iter().enumerate() {
        let at = path.index(index);
        let own = text(&one["name"]);
        if own.is_empty() {
            if list.len() > 1 {
                errors.push(FieldError::required(&at.child("name"), ""));
            }
        } else {
            named_text(errors, own, &at.child("name"), name::dns_label);
            crate::rule::unique(errors, &mut seen, own, &at.child("name"));
        }
        port(errors, &one["port"], &at.child("port"));
        required_one_of(errors, &one["protocol"], &at.child("protocol"), &PROTOCOLS);
        port_or_name(errors, &one["targetPort"], &at.child("targetPort"));
        if let Some(protocol) = one["appProtocol"].as_str() {
            named_text(errors, protocol, &at.child("appProtocol"), name::qualified);
        }
    }
}

fn repeated_ports(errors: &mut Errors, service: &Value) {
    let (list, path) = (items(&service["spec"]["ports"]), SPEC.child("ports"));
    let node = |one: &Value| int(&one["nodePort"]);
    if kind(service) == "ClusterIP" {
        for (index, _) in list.iter().enumerate().filter(|(_, one)| node(one) != 0) {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(&path.index(index).child("nodePort"), why));
        }
    }
    let mut seen = Vec::new();
    for (index, one) in list.iter().enumerate().filter(|(_, one)| node(one) != 0) {
        let pair = (text(&one["protocol"]), node(one));
        if seen.contains(&pair) {
            errors.push(FieldError::duplicate(&path.index(index).child("nodePort"), pair.1));
        }
        seen.push(pair);
    }
    seen.clear();
    for (index, one) in list.iter().enumerate() {
        let pair = (text(&one["protocol"]), int(&one["port"]));
        if seen.contains(&pair) {
            let key = json!({ "port": pair.1, "protocol": pair.0 });
            let error = FieldError::duplicate(&path.index(index), "");
            errors.push(showing(error, &key, shown::SERVICE_PORT));
        }
        seen.push(pair);
    }
}

fn affinity(errors: &mut Errors, spec: &Value) {
    let config = &spec["sessionAffinityConfig"];
    required_one_of(errors, &spec["sessionAffinity"], &SPEC.child("sessionAffinity"), &["ClientIP", "None"]);
    let at = SPEC.child("sessionAffinityConfig");
    match text(&spec["sessionAffinity"]) {
        "ClientIP" => {
            let why = "when session affinity type is ClientIP";
            let client = at.child("clientIP");
            let timeout = client.child("timeoutSeconds");
            if config.is_null() {
                errors.push(FieldError::required(&at, why));
            } else if config["clientIP"].is_null() {
                errors.push(FieldError::required(&client, why));
            } else {
                match config["clientIP"]["timeoutSeconds"].as_i64() {
                    None => errors.push(FieldError::required(&timeout, why)),
                    Some(seconds) if !(1..=AFFINITY_MAXIMUM).contains(&seconds) => {
                        let why = format!("must be greater than 0 and less than {AFFINITY_MAXIMUM}");
                        errors.push(FieldError::invalid(&timeout, seconds, &why));
                    }
                    Some(_) => {}
                }
            }
        }
        "None" if !config.is_null() => {
            errors.push(FieldError::forbidden(&at, "must not be set when session affinity is None"));
        }
        _ => {}
    }
}

/// What is wrong with addresses and families.
pub(super) fn addresses(errors: &mut Errors, service: &Value) {
    if kind(service) == "ExternalName" {
        return;
    }
    let spec = &service["spec"];
    let (one, list) = (text(&spec["clusterIP"]), items(&spec["clusterIPs"]));
    let at = SPEC.child("clusterIPs");
    let given = || spec["clusterIPs"].clone();
    match (one.is_empty(), list.first()) {
        (false, None) => errors.push(FieldError::required(&at, "")),
        (false, Some(first)) if first != one => {
            errors.push(FieldError::invalid(&at, given(), "first value must match `clusterIP`"));
        }
        (true, Some(_)) => {
            let why = "must be empty when `clusterIP` is not specified";
            errors.push(FieldError::invalid(&at, given(), why));
        }
        _ => {}
    }
    let families_at = SPEC.child("ipFamilies");
    let mut seen = Vec::new();
    for (index, family) in items(&spec["ipFamilies"]).iter().enumerate() {
        one_of(errors, family, &families_at.index(index), &["IPv4", "IPv6"]);
        crate::rule::unique(errors, &mut seen, text(family), &families_at.index(index));
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if !spec["ipFamilyPolicy"].is_null() {
        one_of(errors, &spec["ipFamilyPolicy"], &SPEC.child("ipFamilyPolicy"), &policies);
    }
    let before = errors.len();
    for (index, one) in list.iter().enumerate() {
        if index == 0 && one == "None" {
            if list.len() > 1 {
                let why = "'None' must be the first and only value";
                errors.push(FieldError::invalid(&at, given(), why));
            }
        } else {
            ip(errors, one, &at.index(index));
        }
    }
    let right = errors.len() == before;
    if list.len() > 2 {
        errors.push(FieldError::invalid(&at, given(), "may only hold up to 2 values"));
    }
    if right {
        address_families(errors, spec, &at);
    }
}

fn address_families(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let list = items(&spec["clusterIPs"]);
    let (four, six) = families(list.iter().map(text));
    if list.len() > 1 && (four == 0 || six == 0) {
        let why = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(path, spec["clusterIPs"].clone(), why));
    }
    for (index, (one, family)) in list.iter().zip(items(&spec["ipFamilies"])).enumerate() {
        let Some(own) = super::family::of(text(one)) else { continue };
        if family != own && matches!(text(family), "IPv4" | "IPv6") {
            let why = format!("expected an {} value as indicated by `ipFamilies[{index}]`", text(family));
            errors.push(FieldError::invalid(&path.index(index), text(one), &why));
        }
    }
}

fn source_ranges(errors: &mut Errors, service: &Value) {
    let ranges = items(&service["spec"]["loadBalancerSourceRanges"]);
    let annotation = &service["metadata"]["annotations"][SOURCE_RANGES];
    let balanced = kind(service) == "LoadBalancer";
    if !ranges.is_empty() {
        let at = SPEC.child("LoadBalancerSourceRanges");
        if !balanced {
            errors.push(FieldError::forbidden(&at, BALANCED_ONLY));
        }
        for (index, one) in ranges.iter().enumerate() {
            cidr(errors, &text(one).trim().into(), &at.index(index));
        }
    } else if !annotation.is_null() {
        let at = METADATA.child("annotations");
        let at = at.key(SOURCE_RANGES);
        if !balanced {
            errors.push(FieldError::forbidden(&at, BALANCED_ONLY));
        }
        let given = text(annotation).trim();
        for one in given.split(',').filter(|_| !given.is_empty()) {
            cidr(errors, &one.trim().into(), &at);
        }
    }
}

fn balancer(errors: &mut Errors, service: &Value) {
    let spec = &service["spec"];
    let balanced = kind(service) == "LoadBalancer";
    let ports = &spec["allocateLoadBalancerNodePorts"];
    if !ports.is_null() && !balanced {
        errors.push(FieldError::forbidden(&SPEC.child("allocateLoadBalancerNodePorts"), BALANCED_ONLY));
    }
    if ports.is_null() && balanced {
        errors.push(FieldError::required(&Path::root("allocateLoadBalancerNodePorts"), ""));
    }
    class(errors, service);
}

fn class(errors: &mut Errors, service: &Value) {
    let (class, at) = (&service["spec"]["loadBalancerClass"], SPEC.child("loadBalancerClass"));
    if !class.is_null() && kind(service) != "LoadBalancer" {
        errors.push(FieldError::forbidden(&at, BALANCED_ONLY));
    } else if !class.is_null() {
        named_text(errors, text(class), &at, name::qualified);
    }
}

fn traffic(errors: &mut Errors, service: &Value) {
    let spec = &service["spec"];
    let (external, at) = (&spec["externalTrafficPolicy"], SPEC.child("externalTrafficPolicy"));
    if is_reached_from_outside(service) {
        required_one_of(errors, external, &at, &POLICIES);
    } else if !is_empty(external) {
        let why = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(&at, text(external), why));
    }
    let (health, at) = (int(&spec["healthCheckNodePort"]), SPEC.child("healthCheckNodePort"));
    if health != 0 {
        if needs_health_port(service) {
            port(errors, &spec["healthCheckNodePort"], &at);
        } else {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(&at, health, why));
        }
    }
    let (internal, at) = (&spec["internalTrafficPolicy"], SPEC.child("internalTrafficPolicy"));
    if !internal.is_null() {
        one_of(errors, internal, &at, &POLICIES);
    } else if super::needs_address(service) {
        errors.push(FieldError::required(&at, ""));
    }
    let (spread, at) = (&spec["trafficDistribution"], SPEC.child("trafficDistribution"));
    if !spread.is_null() {
        one_of(errors, spread, &at, &["PreferClose", "PreferSameZone", "PreferSameNode"]);
    }
}

const ONCE: &str = "may not change once set";

/// A change of a Service.
pub(super) fn change(errors: &mut Errors, service: &Value, old: &Value) {
    if kind(service) != "ExternalName" && kind(old) != "ExternalName" {
        changed_addresses(errors, service, old);
        if !is_headless(service) && !is_headless(old) {
            changed_families(errors, service, old);
        }
    }
    let (spec, before) = (&service["spec"], &old["spec"]);
    let balanced = |service| kind(service) == "LoadBalancer";
    let given = &spec["loadBalancerClass"];
    if balanced(service) && balanced(old) && !same(given, &before["loadBalancerClass"]) {
        errors.push(FieldError::invalid(&SPEC.child("loadBalancerClass"), given.clone(), ONCE));
    }
    class(errors, service);
    let health = |spec: &Value| int(&spec["healthCheckNodePort"]);
    if needs_health_port(service) && needs_health_port(old) && health(spec) != health(before) {
        errors.push(FieldError::forbidden(&SPEC.child("healthCheckNodePort"), "field is immutable"));
    }
}

fn changed_addresses(errors: &mut Errors, service: &Value, old: &Value) {
    if is_headless(service) && is_headless(old) {
        return;
    }
    let at = SPEC.child("clusterIPs");
    let given = &service["spec"]["clusterIPs"];
    let (new, before) = (items(given), items(&old["spec"]["clusterIPs"]));
    if new.len() == before.len() {
        for (index, _) in before.iter().zip(new).enumerate().filter(|(_, (old, new))| old != new) {
            errors.push(FieldError::invalid(&at.index(index), given.clone(), ONCE));
        }
        return;
    }
    if new.is_empty() {
        let why = "primary clusterIP can not be unset";
        errors.push(FieldError::invalid(&at.index(0), Value::Array(Vec::new()), why));
    } else if before.first().is_some_and(|first| *first != new[0]) {
        errors.push(FieldError::invalid(&at.index(0), given.clone(), ONCE));
    }
    if new.len() == 1 && before.len() > 1 && service["spec"]["ipFamilyPolicy"] != "SingleStack" {
        let why = "must be set to 'SingleStack' when releasing the secondary clusterIP";
        let policy = service["spec"]["ipFamilyPolicy"].clone();
        errors.push(FieldError::invalid(&SPEC.child("ipFamilyPolicy"), policy, why));
    }
}

fn changed_families(errors: &mut Errors, service: &Value, old: &Value) {
    let given = &service["spec"]["ipFamilies"];
    let (new, before) = (items(given), items(&old["spec"]["ipFamilies"]));
    let at = SPEC.child("ipFamilies");
    let first = at.index(0);
    if new.len() == before.len() {
        for _ in new.iter().zip(before).filter(|(new, old)| new != old) {
            errors.push(FieldError::invalid(&first, given.clone(), ONCE));
        }
        return;
    }
    if new.len() < before.len() && is_empty(&service["spec"]["clusterIPs"]) {
        let why = "primary ipFamily can not be unset";
        errors.push(FieldError::invalid(&first, given.clone(), why));
    }
    if let (Some(new), Some(before)) = (new.first(), before.first())
        && new != before
    {
        // Upstream shows the addresses here.
        errors.push(FieldError::invalid(&first, service["spec"]["clusterIPs"].clone(), ONCE));
    }
    if new.len() == 1 && before.len() > 1 && service["spec"]["ipFamilyPolicy"] != "SingleStack" {
        let why = "must be set to 'SingleStack' when releasing the secondary ipFamily";
        let policy = service["spec"]["ipFamilyPolicy"].clone();
        errors.push(FieldError::invalid(&SPEC.child("ipFamilyPolicy"), policy, why));
    }
}

/// A change of the status: where a load balancer is reached.
pub(super) fn status(errors: &mut Errors, service: &Value) {
    let ingress = &service["status"]["loadBalancer"]["ingress"];
    let at = STATUS.child("loadBalancer");
    let at = at.child("ingress");
    if kind(service) != "LoadBalancer" && !is_empty(ingress) {
        let why = "may only be used when `spec.type` is 'LoadBalancer'";
        return errors.push(FieldError::forbidden(&at, why));
    }
    for (index, one) in items(ingress).iter().enumerate() {
        let at = at.index(index);
        let (address, mode) = (!is_empty(&one["ip"]), &one["ipMode"]);
        if address {
            ip(errors, &one["ip"], &at.child("ip"));
        }
        if mode.is_null() {
            if address {
                let why = "must be specified when `ip` is set";
                errors.push(FieldError::required(&at.child("ipMode"), why));
            }
        } else if !address {
            let why = "may not be specified when `ip` is not set";
            errors.push(FieldError::forbidden(&at.child("ipMode"), why));
        } else {
            one_of(errors, mode, &at.child("ipMode"), &["Proxy", "VIP"]);
        }
        let host = text(&one["hostname"]);
        if !host.is_empty() {
            named_text(errors, host, &at.child("hostname"), name::dns_subdomain);
            if super::family::of(host).is_some() {
                let why = "must be a DNS name, not an IP address";
                errors.push(FieldError::invalid(&at.child("hostname"), host, why));
            }
        }
    }
}
