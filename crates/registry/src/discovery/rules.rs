//! What is special about EndpointSlices.
//!
//! Answers to upstream's `pkg/apis/discovery/validation` and the strategy of the kind.

use crate::rule::address::{ip_form, ordinary_ip, port};
use crate::rule::{
    Errors, changed, declared, given_name, named, named_text, required, required_one_of, unique,
};
use crate::rules::{RULES, Rules};
use crate::value::{int, items, remove, same, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const ENDPOINTS_MAXIMUM: usize = 1000;
const ADDRESSES_MAXIMUM: usize = 100;
const PORTS_MAXIMUM: usize = 20_000;
const HINTS_MAXIMUM: usize = 8;

/// Rules of EndpointSlices.
pub(crate) const ENDPOINT_SLICE: Rules = Rules {
    warnings: |warnings, slice, old| {
        if slice["addressType"] == "FQDN" {
            warnings.push("addressType: FQDN endpoints are deprecated".into());
        } else if old.is_none_or(|old| old["endpoints"] != slice["endpoints"]) {
            let at = Path::root("endpoints");
            for (index, one) in items(&slice["endpoints"]).iter().enumerate() {
                let at = at.index(index);
                let at = at.child("addresses");
                for (index, address) in items(&one["addresses"]).iter().enumerate() {
                    ip_form(warnings, address, &at.index(index));
                }
            }
        }
    },
    create: |slice, _| drop_topology(slice),
    update: |slice, old, _, _| {
        if !same(&slice["endpoints"], &old["endpoints"]) {
            drop_topology(slice);
        }
        // Consumers find slices by their labels, so these count as wanted, too.
        if !same(&slice["metadata"]["labels"], &old["metadata"]["labels"]) {
            let generation = int(&old["metadata"]["generation"]);
            slice["metadata"]["generation"] = (generation + 1).into();
        }
    },
    validate: |errors, slice| {
        let kind = text(&slice["addressType"]);
        let kinds = ["FQDN", "IPv4", "IPv6"];
        declared(errors, |errors| {
            required_one_of(errors, &slice["addressType"], &Path::root("addressType"), &kinds);
        });
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
        changed(errors, &slice[field], &old[field], &Path::root(field));
    },
    ..RULES
};

/// Where endpoints are is said in fields of their own in this version.
fn drop_topology(slice: &mut Value) {
    for endpoint in slice.get_mut("endpoints").and_then(Value::as_array_mut).into_iter().flatten() {
        remove(endpoint, "deprecatedTopology");
    }
}

fn endpoint(errors: &mut Errors, one: &Value, kind: &str, path: &Path<'_>) {
    let (addresses, at) = (items(&one["addresses"]), path.child("addresses"));
    declared(errors, |errors| {
        if addresses.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else if addresses.len() > ADDRESSES_MAXIMUM {
            errors.push(FieldError::too_many(&at, addresses.len(), ADDRESSES_MAXIMUM));
        }
    });
    for (index, address) in addresses.iter().enumerate() {
        let at = at.index(index);
        match (kind, text(address).parse::<std::net::IpAddr>()) {
            ("FQDN", _) => full_name(errors, address, &at),
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
    given_name(errors, &one["nodeName"], &path.child("nodeName"), name::dns_subdomain);
    given_name(errors, &one["hostname"], &path.child("hostname"), name::dns_label);
    let (hints, at) = (&one["hints"], path.child("hints"));
    each_hint(errors, &hints["forZones"], name::label_value, &at.child("forZones"));
    each_hint(errors, &hints["forNodes"], name::dns_subdomain, &at.child("forNodes"));
}

/// A domain of at least two parts, perhaps with a dot at its end.
fn full_name(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    if required(errors, value, path) {
        return;
    }
    let given = text(value).strip_suffix('.').unwrap_or(text(value));
    let wrong = name::dns_subdomain(given);
    if !wrong.is_empty() {
        return errors.push(FieldError::invalid(path, given, &wrong.join(",")));
    }
    if !given.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        return errors.push(FieldError::invalid(path, given, why));
    }
    for label in given.split('.') {
        named_text(errors, label, path, name::dns_label);
    }
}

/// For whom an endpoint is meant.
fn each_hint(errors: &mut Errors, list: &Value, rule: fn(&str) -> Vec<String>, path: &Path<'_>) {
    let list = items(list);
    if list.len() > HINTS_MAXIMUM {
        return errors.push(FieldError::too_many(path, list.len(), HINTS_MAXIMUM));
    }
    let mut seen = Vec::new();
    for (index, one) in list.iter().enumerate() {
        let at = path.index(index);
        unique(errors, &mut seen, text(&one["name"]), &at.child("name"));
        named(errors, &one["name"], &at.child("name"), rule);
    }
}

fn slice_ports(errors: &mut Errors, slice: &Value) {
    let (ports, at) = (items(&slice["ports"]), Path::root("ports"));
    if ports.len() > PORTS_MAXIMUM {
        errors.push(FieldError::too_many(&at, ports.len(), PORTS_MAXIMUM));
        return;
    }
    let mut seen = Vec::new();
    for (index, one) in ports.iter().enumerate() {
        let at = at.index(index);
        let own = text(&one["name"]);
        if !own.is_empty() {
            named_text(errors, own, &at.child("name"), name::dns_label);
        }
        unique(errors, &mut seen, own, &at.child("name"));
        if !one["port"].is_null() {
            port(errors, &one["port"], &at.child("port"));
        }
        required_one_of(errors, &one["protocol"], &at.child("protocol"), &["SCTP", "TCP", "UDP"]);
        given_name(errors, &one["appProtocol"], &at.child("appProtocol"), name::qualified);
    }
}
