//! What is special about EndpointSlices.
//!
//! Answers to upstream's `pkg/apis/discovery/validation`.

use crate::rule::address::{ordinary_ip, port};
use crate::rule::{Errors, immutable, label, named, named_text, optional_name, required_one_of};
use crate::rules::{RULES, Rules};
use crate::value::{items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const ENDPOINTS_MAXIMUM: usize = 1000;
const ADDRESSES_MAXIMUM: usize = 100;
const PORTS_MAXIMUM: usize = 20_000;

/// Rules of EndpointSlices.
pub(crate) const ENDPOINT_SLICE: Rules = Rules {
    warnings: |warnings, slice, _| {
        if slice["addressType"] == "FQDN" {
            warnings.push("addressType: FQDN endpoints are deprecated".into());
        }
    },
    validate: |errors, slice| {
        let kind = text(&slice["addressType"]);
        let kinds = ["FQDN", "IPv4", "IPv6"];
        required_one_of(errors, &slice["addressType"], &Path::root("addressType"), &kinds);
        let (endpoints, at) = (items(&slice["endpoints"]), Path::root("endpoints"));
        if endpoints.len() > ENDPOINTS_MAXIMUM {
            errors.push(FieldError::too_many(&at, endpoints.len(), ENDPOINTS_MAXIMUM));
        }
        for (index, one) in endpoints.iter().enumerate() {
            endpoint(errors, one, kind, &at.index(index));
        }
        slice_ports(errors, slice);
    },
    validate_update: |errors, slice, old| {
        let field = "addressType";
        immutable(errors, &slice[field], &old[field], &Path::root(field));
    },
    ..RULES
};

fn endpoint(errors: &mut Errors, one: &Value, kind: &str, path: &Path<'_>) {
    let (addresses, at) = (items(&one["addresses"]), path.child("addresses"));
    if addresses.is_empty() {
        errors.push(FieldError::required(&at, "must contain at least 1 address"));
    } else if addresses.len() > ADDRESSES_MAXIMUM {
        errors.push(FieldError::too_many(&at, addresses.len(), ADDRESSES_MAXIMUM));
    }
    for (index, address) in addresses.iter().enumerate() {
        let at = at.index(index);
        match (kind, text(address).parse::<std::net::IpAddr>()) {
            ("FQDN", _) => named(errors, address, &at, name::dns_subdomain),
            ("IPv4", Ok(parsed)) if !parsed.is_ipv4() => {
                errors.push(FieldError::invalid(&at, text(address), "must be an IPv4 address"));
            }
            ("IPv6", Ok(parsed)) if !parsed.is_ipv6() => {
                errors.push(FieldError::invalid(&at, text(address), "must be an IPv6 address"));
            }
            ("IPv4" | "IPv6", _) => ordinary_ip(errors, address, &at),
            _ => {}
        }
    }
    optional_name(errors, &one["nodeName"], &path.child("nodeName"), name::dns_subdomain);
    label::labels(errors, &one["deprecatedTopology"], &path.child("topology"));
    optional_name(errors, &one["hostname"], &path.child("hostname"), name::dns_label);
}

fn slice_ports(errors: &mut Errors, slice: &Value) {
    let (ports, at) = (items(&slice["ports"]), Path::root("ports"));
    if ports.len() > PORTS_MAXIMUM {
        errors.push(FieldError::too_many(&at, ports.len(), PORTS_MAXIMUM));
    }
    let mut seen = Vec::new();
    for (index, one) in ports.iter().enumerate() {
        let at = at.index(index);
        let own = text(&one["name"]);
        if !own.is_empty() {
            named_text(errors, own, &at.child("name"), name::dns_label);
        }
        crate::rule::unique(errors, &mut seen, own, &at.child("name"));
        required_one_of(errors, &one["protocol"], &at.child("protocol"), &["SCTP", "TCP", "UDP"]);
        if !one["port"].is_null() {
            port(errors, &one["port"], &at.child("port"));
        }
        optional_name(errors, &one["appProtocol"], &at.child("appProtocol"), name::qualified);
    }
}
