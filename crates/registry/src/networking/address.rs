//! What is special about IPAddresses and ServiceCIDRs.
//!
//! Answers to upstream's `pkg/apis/networking/validation`.

use crate::rule::address::{canonical_cidr, families};
use crate::rule::{Errors, IMMUTABLE, SPEC, changed, declared_required, optional_name};
use crate::rules::{RULES, Rules};
use crate::value::{items, text};
use gifee_base::{FieldError, name};
use serde_json::Value;

/// Rules of IPAddresses.
pub(crate) const IP_ADDRESS: Rules = Rules {
    validate_create: |errors, address| {
        let (parent, at) = (&address["spec"]["parentRef"], SPEC.child("parentRef"));
        if parent.is_null() {
            declared_required(errors, parent, &at);
            return;
        }
        optional_name(errors, &parent["group"], &at.child("group"), name::dns_subdomain);
        for field in ["resource", "name"] {
            declared_required(errors, &parent[field], &at.child(field));
            optional_name(errors, &parent[field], &at.child(field), name::path_segment);
        }
        optional_name(errors, &parent["namespace"], &at.child("namespace"), name::path_segment);
    },
    validate_update: |errors, address, old| {
        changed(errors, &address["spec"]["parentRef"], &old["spec"]["parentRef"], &SPEC.child("parentRef"));
    },
    ..RULES
};

/// Rules of ServiceCIDRs.
pub(crate) const SERVICE_CIDR: Rules = Rules {
    validate_create: |errors, range| ranges(errors, &range["spec"]["cidrs"]),
    validate_update: |errors, range, old| {
        let (list, before) = (&range["spec"]["cidrs"], items(&old["spec"]["cidrs"]));
        let (new, at) = (items(list), SPEC.child("cidrs"));
        let added = before.len() == 1 && new.len() == 2;
        if !added && before.len() != new.len() {
            return errors.push(FieldError::invalid(&at, list.clone(), IMMUTABLE));
        }
        for (index, one) in new.iter().enumerate() {
            if before.get(index).is_some_and(|before| before != one) {
                errors.push(FieldError::invalid(&at.index(index), one.clone(), IMMUTABLE));
            }
        }
        if added {
            ranges(errors, list);
        }
    },
    ..RULES
};

fn ranges(errors: &mut Errors, list: &Value) {
    let at = SPEC.child("cidrs");
    match items(list).len() {
        0 => return errors.push(FieldError::required(&at, "at least one CIDR required")),
        1 | 2 => {}
        _ => {
            let error = FieldError::invalid(&at, "", "may only hold up to 2 values");
            return errors.push(error.showing(&format!("{{\"CIDRs\":{list}}}")));
        }
    }
    for (index, one) in items(list).iter().enumerate() {
        canonical_cidr(errors, one, &at.index(index));
    }
    if matches!(families(items(list).iter().map(text)), (2, 0) | (0, 2)) {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(FieldError::invalid(&at, list.clone(), why));
    }
}
