//! What is special about Ingresses, IngressClasses, NetworkPolicies, IPAddresses and ServiceCIDRs.
//!
//! Answers to upstream's `pkg/apis/networking/validation`.

use crate::rule::address::{cidr, ip, parse_cidr, port, port_or_name};
use crate::rule::{Errors, SPEC, STATUS, immutable, label, named, named_text, one_of, optional_name};
use crate::rule::{required, required_because, required_name, required_one_of};
use crate::rules::{RULES, Rules};
use crate::value::{int, is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;
use std::net::IpAddr;

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const CONTROLLER_MAXIMUM: usize = 250;

/// Rules of Ingresses.
pub(crate) const INGRESS: Rules = Rules {
    warnings: |warnings, ingress, _| {
        if !ingress["metadata"]["annotations"][CLASS_ANNOTATION].is_null() {
            warnings.push(format!(
                "annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead"
            ));
        }
    },
    status: r#"{"loadBalancer":{}}"#,
    validate: |errors, ingress| {
        let spec = &ingress["spec"];
        if is_empty(&spec["rules"]) && spec["defaultBackend"].is_null() {
            let why = "either `defaultBackend` or `rules` must be specified";
            errors.push(FieldError::invalid(&SPEC, spec["rules"].clone(), why));
        }
        if !spec["defaultBackend"].is_null() {
            backend(errors, &spec["defaultBackend"], &SPEC.child("defaultBackend"));
        }
        let at = SPEC.child("rules");
        for (index, rule) in items(&spec["rules"]).iter().enumerate() {
            ingress_rule(errors, rule, &at.index(index));
        }
        let at = SPEC.child("tls");
        for (index, one) in items(&spec["tls"]).iter().enumerate() {
            let at = at.index(index);
            let hosts = at.child("hosts");
            for (index, host) in items(&one["hosts"]).iter().enumerate() {
                host_name(errors, host, &hosts.index(index));
            }
            optional_name(errors, &one["secretName"], &at.child("secretName"), name::dns_subdomain);
        }
        if !spec["ingressClassName"].is_null() {
            named(errors, &spec["ingressClassName"], &SPEC.child("ingressClassName"), name::dns_subdomain);
        }
    },
    validate_create: |errors, ingress| {
        let annotation = &ingress["metadata"]["annotations"][CLASS_ANNOTATION];
        let class = &ingress["spec"]["ingressClassName"];
        if !annotation.is_null() && !class.is_null() && annotation != class {
            let at = Path::root("annotations");
            let why = "must match `ingressClassName` when both are specified";
            errors.push(FieldError::invalid(&at.child(CLASS_ANNOTATION), annotation.clone(), why));
        }
    },
    validate_part: |errors, ingress, _, _| {
        let at = STATUS.child("loadBalancer");
        let at = at.child("ingress");
        for (index, one) in items(&ingress["status"]["loadBalancer"]["ingress"]).iter().enumerate() {
            let at = at.index(index);
            if !is_empty(&one["ip"]) {
                ip(errors, &one["ip"], &at.child("ip"));
            }
            optional_name(errors, &one["hostname"], &at.child("hostname"), name::dns_subdomain);
        }
    },
    ..RULES
};

fn host_name(errors: &mut Errors, host: &Value, path: &Path<'_>) {
    match text(host).strip_prefix("*.") {
        Some(rest) => {
            for wrong in name::dns_subdomain(rest) {
                let wrong = wrong.replace("a lowercase RFC 1123 subdomain", "a wildcard DNS-1123 subdomain");
                errors.push(FieldError::invalid(path, text(host), &wrong));
            }
        }
        None => named(errors, host, path, name::dns_subdomain),
    }
}

fn ingress_rule(errors: &mut Errors, rule: &Value, path: &Path<'_>) {
    let host = text(&rule["host"]);
    if !host.is_empty() {
        let at = path.child("host");
        if host.parse::<IpAddr>().is_ok() {
            errors.push(FieldError::invalid(&at, host, "must be a DNS name, not an IP address"));
        }
        host_name(errors, &rule["host"], &at);
    }
    if rule["http"].is_null() {
        return;
    }
    let at = path.child("http");
    let at = at.child("paths");
    required(errors, &rule["http"]["paths"], &at);
    for (index, one) in items(&rule["http"]["paths"]).iter().enumerate() {
        let at = at.index(index);
        url_path(errors, one, &at);
        backend(errors, &one["backend"], &at.child("backend"));
    }
}

fn url_path(errors: &mut Errors, one: &Value, path: &Path<'_>) {
    let (kind, given, at) = (&one["pathType"], text(&one["path"]), path.child("path"));
    if required_because(errors, kind, &path.child("pathType"), "pathType must be specified") {
        return;
    }
    match text(kind) {
        "Exact" | "Prefix" => {
            if !given.starts_with('/') {
                errors.push(FieldError::invalid(&at, given, "must be an absolute path"));
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if given.contains(part) {
                    errors.push(FieldError::invalid(&at, given, &format!("must not contain '{part}'")));
                }
            }
            for end in ["/..", "/."] {
                if given.ends_with(end) {
                    errors.push(FieldError::invalid(&at, given, &format!("cannot end with '{end}'")));
                }
            }
        }
        "ImplementationSpecific" => {
            if !given.is_empty() && !given.starts_with('/') {
                errors.push(FieldError::invalid(&at, given, "must be an absolute path"));
            }
        }
        other => {
            let supported = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(FieldError::not_supported(&path.child("pathType"), other, &supported));
        }
    }
}

fn backend(errors: &mut Errors, backend: &Value, path: &Path<'_>) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    if !service.is_null() && !resource.is_null() {
        return errors.push(FieldError::invalid(path, "", "cannot set both resource and service backends"));
    }
    if !resource.is_null() {
        let at = path.child("resource");
        required(errors, &resource["kind"], &at.child("kind"));
        required(errors, &resource["name"], &at.child("name"));
        return;
    }
    let at = path.child("service");
    if service.is_null() {
        return errors.push(FieldError::required(&at.child("name"), ""));
    }
    required_name(errors, &service["name"], &at.child("name"), name::dns_label);
    let (number, label) = (int(&service["port"]["number"]), text(&service["port"]["name"]));
    let at = at.child("port");
    match (number != 0, !label.is_empty()) {
        (true, true) => errors.push(FieldError::invalid(&at, "", "cannot set both port name & port number")),
        (false, false) => errors.push(FieldError::required(&at, "port name or number is required")),
        (true, false) => port(errors, &service["port"]["number"], &at.child("number")),
        (false, true) => {
            named_text(errors, label, &at.child("name"), crate::rule::address::port_name);
        }
    }
}

/// Rules of IngressClasses.
pub(crate) const INGRESS_CLASS: Rules = Rules {
    validate: |errors, class| {
        let (spec, at) = (&class["spec"], SPEC.child("controller"));
        let controller = text(&spec["controller"]);
        if controller.len() > CONTROLLER_MAXIMUM {
            errors.push(FieldError::too_long(&at, CONTROLLER_MAXIMUM));
        }
        domain_path(errors, controller, &at);
        let parameters = &spec["parameters"];
        if parameters.is_null() {
            return;
        }
        let at = SPEC.child("parameters");
        optional_name(errors, &parameters["apiGroup"], &at.child("apiGroup"), name::dns_subdomain);
        required_name(errors, &parameters["kind"], &at.child("kind"), name::path_segment);
        required_name(errors, &parameters["name"], &at.child("name"), name::path_segment);
        let scope = &parameters["scope"];
        required_one_of(errors, scope, &at.child("scope"), &["Cluster", "Namespace"]);
        let namespace = &parameters["namespace"];
        if scope == "Namespace" {
            required_name(errors, namespace, &at.child("namespace"), name::dns_label);
        } else if !namespace.is_null() {
            let why = "`parameters.scope` is set to 'Cluster'";
            errors.push(FieldError::forbidden(&at.child("namespace"), why));
        }
    },
    validate_update: |errors, class, old| {
        let controller = |one: &Value| one["spec"]["controller"].clone();
        immutable(errors, &controller(class), &controller(old), &SPEC.child("controller"));
    },
    ..RULES
};

/// A domain and a path, such as `example.com/signer`.
pub(crate) fn domain_path(errors: &mut Errors, given: &str, path: &Path<'_>) {
    if given.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let Some((domain, rest)) =
        given.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return errors.push(FieldError::invalid(path, given, why));
    };
    for wrong in name::dns_subdomain(domain) {
        errors.push(FieldError::invalid(path, domain, &wrong));
    }
    if rest.contains(|one: char| one.is_whitespace() || one == '%') {
        errors.push(FieldError::invalid(path, rest, "Invalid path"));
    }
}

/// Rules of NetworkPolicies.
pub(crate) const NETWORK_POLICY: Rules = Rules {
    validate: |errors, policy| {
        let spec = &policy["spec"];
        label::selector(errors, &spec["podSelector"], &SPEC.child("podSelector"));
        for (side, peers) in [("ingress", "from"), ("egress", "to")] {
            let at = SPEC.child(side);
            for (index, rule) in items(&spec[side]).iter().enumerate() {
                let at = at.index(index);
                let ports = at.child("ports");
                for (index, one) in items(&rule["ports"]).iter().enumerate() {
                    policy_port(errors, one, &ports.index(index));
                }
                let at = at.child(peers);
                for (index, one) in items(&rule[peers]).iter().enumerate() {
                    peer(errors, one, &at.index(index));
                }
            }
        }
        let (types, at) = (&spec["policyTypes"], SPEC.child("policyTypes"));
        if items(types).len() > 2 {
            let why = "may not specify more than two policyTypes";
            return errors.push(FieldError::invalid(&at, types.clone(), why));
        }
        for (index, one) in items(types).iter().enumerate() {
            one_of(errors, one, &at.index(index), &["Egress", "Ingress"]);
        }
    },
    ..RULES
};

fn policy_port(errors: &mut Errors, one: &Value, path: &Path<'_>) {
    if !one["protocol"].is_null() {
        one_of(errors, &one["protocol"], &path.child("protocol"), &["SCTP", "TCP", "UDP"]);
    }
    let end = &one["endPort"];
    if one["port"].is_null() {
        if !end.is_null() {
            let why = "may not be specified when `port` is not specified";
            errors.push(FieldError::invalid(&path.child("endPort"), end.clone(), why));
        }
        return;
    }
    port_or_name(errors, &one["port"], &path.child("port"));
    if end.is_null() {
        return;
    }
    if one["port"].is_string() {
        let why = "may not be specified when `port` is non-numeric";
        errors.push(FieldError::invalid(&path.child("endPort"), end.clone(), why));
    } else if int(end) < int(&one["port"]) {
        let why = "must be greater than or equal to `port`";
        errors.push(FieldError::invalid(&path.child("endPort"), end.clone(), why));
    } else {
        port(errors, end, &path.child("endPort"));
    }
}

fn peer(errors: &mut Errors, one: &Value, path: &Path<'_>) {
    let block = &one["ipBlock"];
    let selectors = ["podSelector", "namespaceSelector"];
    for field in selectors {
        if !one[field].is_null() {
            label::selector(errors, &one[field], &path.child(field));
        }
    }
    let selected = selectors.iter().any(|field| !one[*field].is_null());
    if block.is_null() {
        if !selected {
            errors.push(FieldError::required(path, "must specify a peer"));
        }
        return;
    }
    ip_block(errors, block, &path.child("ipBlock"));
    if selected {
        errors.push(FieldError::forbidden(path, "may not specify both ipBlock and another peer"));
    }
}

fn ip_block(errors: &mut Errors, block: &Value, path: &Path<'_>) {
    if required(errors, &block["cidr"], &path.child("cidr")) {
        return;
    }
    cidr(errors, &block["cidr"], &path.child("cidr"));
    let Some((network, bits)) = parse_cidr(text(&block["cidr"])) else { return };
    let at = path.child("except");
    for (index, one) in items(&block["except"]).iter().enumerate() {
        cidr(errors, one, &at.index(index));
        let inside = parse_cidr(text(one)).is_none_or(|(inner, inner_bits)| {
            inner_bits > bits && prefix(inner, bits) == prefix(network, bits)
        });
        if !inside {
            let why = "must be a strict subset of `cidr`";
            errors.push(FieldError::invalid(&at.index(index), text(one), why));
        }
    }
}

/// The first bits of an address, and its family.
fn prefix(address: IpAddr, bits: u8) -> (bool, u128) {
    let (number, width) = match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    (width == 32, number.checked_shr(width - u32::from(bits)).unwrap_or_default())
}

/// What is wrong with the name of an IPAddress: it is the address, in its shortest form.
pub(crate) fn address_name(text: &str) -> Vec<String> {
    match text.parse::<IpAddr>() {
        Ok(address) if address.to_string() == text => Vec::new(),
        Ok(_) => vec!["must be a canonical format IP address".to_owned()],
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

/// Rules of IPAddresses.
pub(crate) const IP_ADDRESS: Rules = Rules {
    validate: |errors, address| {
        let (parent, at) = (&address["spec"]["parentRef"], SPEC.child("parentRef"));
        if parent.is_null() {
            return errors.push(FieldError::required(&at, ""));
        }
        optional_name(errors, &parent["group"], &at.child("group"), name::dns_subdomain);
        required_name(errors, &parent["resource"], &at.child("resource"), name::path_segment);
        required_name(errors, &parent["name"], &at.child("name"), name::path_segment);
        optional_name(errors, &parent["namespace"], &at.child("namespace"), name::path_segment);
    },
    validate_update: |errors, address, old| {
        let parent = |one: &Value| one["spec"]["parentRef"].clone();
        immutable(errors, &parent(address), &parent(old), &SPEC.child("parentRef"));
    },
    ..RULES
};

/// Rules of ServiceCIDRs.
pub(crate) const SERVICE_CIDR: Rules = Rules {
    validate: |errors, range| {
        let (list, at) = (&range["spec"]["cidrs"], SPEC.child("cidrs"));
        required_because(errors, list, &at, "at least one CIDR required");
        if items(list).len() > 2 {
            let why = "may only hold up to 2 values";
            return errors.push(FieldError::invalid(&at, list.clone(), why));
        }
        for (index, one) in items(list).iter().enumerate() {
            cidr(errors, one, &at.index(index));
        }
        let families = crate::rule::address::families(items(list).iter().map(text));
        if items(list).len() == 2 && families != (1, 1) {
            let why =
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
            errors.push(FieldError::invalid(&at, list.clone(), why));
        }
    },
    validate_update: |errors, range, old| {
        let cidrs = |one: &Value| one["spec"]["cidrs"].clone();
        let (new, before) = (cidrs(range), cidrs(old));
        let kept = items(&before).len() <= items(&new).len() && items(&new).starts_with(items(&before));
        if !kept {
            immutable(errors, &new, &before, &SPEC.child("cidrs"));
        }
    },
    ..RULES
};
