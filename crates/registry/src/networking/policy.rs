//! What is special about NetworkPolicies.
//!
//! Invariant: a range that stands in a policy may be written again, whatever is wrong with it. Answers to
//! upstream's `pkg/apis/networking/validation` and the strategy of the kind.

use crate::rule::address::{cidr_form, cidr_unless_old, network, parse_cidr, port, port_name};
use crate::rule::{Errors, SPEC, declared_required, label, named_text, one_of, twice};
use crate::rules::{RULES, Rules};
use crate::value::{int, items, text};
use gifee_base::{FieldError, Path};
use serde_json::Value;

const SIDES: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

/// Rules of NetworkPolicies.
pub(crate) const NETWORK_POLICY: Rules = Rules {
    warnings: |warnings, policy, old| {
        if old.is_some_and(|old| old["metadata"]["generation"] == policy["metadata"]["generation"]) {
            return;
        }
        for (side, peers) in SIDES {
            let at = SPEC.child(side);
            for (index, rule) in items(&policy["spec"][side]).iter().enumerate() {
                let at = at.index(index);
                let at = at.child(peers);
                for (index, peer) in items(&rule[peers]).iter().enumerate() {
                    let at = at.index(index);
                    let at = at.child("ipBlock");
                    cidr_form(warnings, &peer["ipBlock"]["cidr"], &at.child("cidr"));
                    let at = at.child("except");
                    for (index, one) in items(&peer["ipBlock"]["except"]).iter().enumerate() {
                        cidr_form(warnings, one, &at.index(index));
                    }
                }
            }
        }
    },
    validate_create: |errors, policy| spec(errors, &policy["spec"], &[]),
    validate_update: |errors, policy, old| {
        let known = ranges(&old["spec"]);
        spec(errors, &policy["spec"], &known);
        twice(errors);
    },
    ..RULES
};

/// All ranges of a policy.
fn ranges(spec: &Value) -> Vec<&str> {
    let mut ranges = Vec::new();
    for (side, peers) in SIDES {
        let peers = items(&spec[side]).iter().flat_map(|rule| items(&rule[peers]));
        for block in peers.map(|peer| &peer["ipBlock"]).filter(|block| !block.is_null()) {
            ranges.push(text(&block["cidr"]));
            ranges.extend(items(&block["except"]).iter().map(text));
        }
    }
    ranges
}

fn spec(errors: &mut Errors, spec: &Value, known: &[&str]) {
    label::selector(errors, &spec["podSelector"], &SPEC.child("podSelector"));
    for (side, peers) in SIDES {
        let at = SPEC.child(side);
        for (index, rule) in items(&spec[side]).iter().enumerate() {
            let at = at.index(index);
            let ports = at.child("ports");
            for (index, one) in items(&rule["ports"]).iter().enumerate() {
                policy_port(errors, one, &ports.index(index));
            }
            let at = at.child(peers);
            for (index, one) in items(&rule[peers]).iter().enumerate() {
                peer(errors, one, known, &at.index(index));
            }
        }
    }
    let (types, at) = (&spec["policyTypes"], SPEC.child("policyTypes"));
    if items(types).len() > 2 {
        let why = "may not specify more than two policyTypes";
        return errors.push(FieldError::invalid(&at, types.clone(), why));
    }
    for (index, one) in items(types).iter().enumerate() {
        one_of(errors, one, &at.index(index), &["Ingress", "Egress"]);
    }
}

fn policy_port(errors: &mut Errors, one: &Value, path: &Path<'_>) {
    if !one["protocol"].is_null() {
        one_of(errors, &one["protocol"], &path.child("protocol"), &["TCP", "UDP", "SCTP"]);
    }
    let (end, at) = (&one["endPort"], path.child("endPort"));
    let mut wrong = |why: &str| {
        if !end.is_null() {
            errors.push(FieldError::invalid(&at, end.clone(), why));
        }
    };
    match &one["port"] {
        Value::Null => wrong("may not be specified when `port` is not specified"),
        Value::String(name) => {
            wrong("may not be specified when `port` is non-numeric");
            named_text(errors, name, &path.child("port"), port_name);
        }
        number => {
            port(errors, number, &path.child("port"));
            if end.is_null() {
                return;
            }
            if int(end) < int(number) {
                let why = "must be greater than or equal to `port`";
                errors.push(FieldError::invalid(&at, end.clone(), why));
            }
            port(errors, end, &at);
        }
    }
}

fn peer(errors: &mut Errors, one: &Value, known: &[&str], path: &Path<'_>) {
    let mut count = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if !one[field].is_null() {
            count += 1;
            label::selector(errors, &one[field], &path.child(field));
        }
    }
    let block = &one["ipBlock"];
    if !block.is_null() {
        ip_block(errors, block, known, &path.child("ipBlock"));
        if count > 0 {
            errors.push(FieldError::forbidden(path, "may not specify both ipBlock and another peer"));
        }
    } else if count == 0 {
        errors.push(FieldError::required(path, "must specify a peer"));
    }
}

fn ip_block(errors: &mut Errors, block: &Value, known: &[&str], path: &Path<'_>) {
    if declared_required(errors, &block["cidr"], &path.child("cidr")) {
        return;
    }
    cidr_unless_old(errors, &block["cidr"], known, &path.child("cidr"));
    let Some((outer, bits)) = parse_cidr(text(&block["cidr"])) else { return };
    let at = path.child("except");
    for (index, one) in items(&block["except"]).iter().enumerate() {
        cidr_unless_old(errors, one, known, &at.index(index));
        let inside = parse_cidr(text(one)).is_none_or(|(inner, inner_bits)| {
            inner.is_ipv4() == outer.is_ipv4()
                && inner_bits > bits
                && network(inner, bits) == network(outer, bits)
        });
        if !inside {
            let why = "must be a strict subset of `cidr`";
            errors.push(FieldError::invalid(&at.index(index), text(one), why));
        }
    }
}
