//! Rules of claims of devices, their templates, and what was allocated to them.

use super::device::{
    CONFIGS_MAXIMUM, binding_conditions, configuration, document, full_name, identity, selectors, toleration,
    uid,
};
use crate::podspec::node_selector;
use crate::rule::list::{each, each_once};
use crate::rule::{
    Errors, IMMUTABLE, SPEC, STATUS, changed, label, named_text, required, required_name, required_one_of,
};
use crate::rules::{RULES, Rules};
use crate::value::{int, is_empty, items, same, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const REQUESTS_MAXIMUM: usize = 32;
const CONSTRAINTS_MAXIMUM: usize = 32;
const ALTERNATIVES_MAXIMUM: usize = 8;
const CONSUMERS_MAXIMUM: usize = 256;
const RESULTS_MAXIMUM: usize = 32;
const CONDITIONS_MAXIMUM: usize = 8;
const DATA_MAXIMUM: usize = 10 * 1024;
const ADDRESSES_MAXIMUM: usize = 16;
const NO_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

fn name_of(one: &Value) -> String {
    text(&one["name"]).to_owned()
}

fn itself(one: &Value) -> String {
    text(one).to_owned()
}

fn claim_spec(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let (devices, at) = (&spec["devices"], path.child("devices"));
    each_once(errors, &devices["requests"], REQUESTS_MAXIMUM, &at.child("requests"), name_of, request);
    let constraints = at.child("constraints");
    each(errors, &devices["constraints"], CONSTRAINTS_MAXIMUM, &constraints, |errors, one, path| {
        references(errors, &one["requests"], devices, &path.child("requests"));
        if !one["matchAttribute"].is_null() {
            full_name(errors, &one["matchAttribute"], &path.child("matchAttribute"));
        } else if !one["distinctAttribute"].is_null() {
            full_name(errors, &one["distinctAttribute"], &path.child("distinctAttribute"));
        } else {
            let why = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
            errors.push(FieldError::required(path, why));
        }
    });
    each(errors, &devices["config"], CONFIGS_MAXIMUM, &at.child("config"), |errors, one, path| {
        references(errors, &one["requests"], devices, &path.child("requests"));
        configuration(errors, one, path);
    });
}

/// Names of requests, or of alternatives of them.
fn references(errors: &mut Errors, list: &Value, devices: &Value, path: &Path<'_>) {
    each_once(errors, list, REQUESTS_MAXIMUM, path, itself, |errors, one, path| {
        reference(errors, one, devices, path);
    });
}

fn reference(errors: &mut Errors, one: &Value, devices: &Value, path: &Path<'_>) {
    let given = text(one);
    let mut parts = given.split('/');
    let (first, second, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    if more.is_some() {
        return errors.push(FieldError::invalid(path, given, NO_REQUEST));
    }
    for part in std::iter::once(first).chain(second) {
        named_text(errors, part, path, name::dns_label);
    }
    let request = items(&devices["requests"]).iter().find(|request| request["name"] == first);
    let known = request.is_some_and(|request| {
        second.is_none_or(|second| items(&request["firstAvailable"]).iter().any(|one| one["name"] == second))
    });
    if !known {
        errors.push(FieldError::invalid(path, given, NO_REQUEST));
    }
}

fn request(errors: &mut Errors, request: &Value, path: &Path<'_>) {
    named_text(errors, text(&request["name"]), &path.child("name"), name::dns_label);
    let (exactly, first) = (&request["exactly"], &request["firstAvailable"]);
    match (exactly.is_null(), is_empty(first)) {
        (true, true) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required";
            errors.push(FieldError::required(path, why));
        }
        (false, false) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(FieldError::invalid(path, Value::Null, why));
        }
        (false, true) => device_request(errors, exactly, &path.child("exactly")),
        (true, false) => {
            let at = path.child("firstAvailable");
            each_once(errors, first, ALTERNATIVES_MAXIMUM, &at, name_of, |errors, one, path| {
                named_text(errors, text(&one["name"]), &path.child("name"), name::dns_label);
                device_request(errors, one, path);
            });
        }
    }
}

fn device_request(errors: &mut Errors, request: &Value, path: &Path<'_>) {
    let class = &request["deviceClassName"];
    required_name(errors, class, &path.child("deviceClassName"), name::dns_subdomain);
    selectors(errors, &request["selectors"], &Value::Null, &path.child("selectors"));
    let (mode, count) = (text(&request["allocationMode"]), &request["count"]);
    match mode {
        "All" if int(count) != 0 => {
            let why = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(&path.child("count"), int(count), why));
        }
        "ExactCount" if int(count) <= 0 => {
            errors.push(FieldError::invalid(&path.child("count"), int(count), "must be greater than zero"));
        }
        "All" | "ExactCount" => {}
        other => {
            let modes = ["All", "ExactCount"];
            errors.push(FieldError::not_supported(&path.child("allocationMode"), other, &modes));
        }
    }
    let at = path.child("tolerations");
    for (index, one) in items(&request["tolerations"]).iter().enumerate() {
        toleration(errors, one, &at.index(index));
    }
}

/// Rules of ResourceClaims.
pub(crate) const CLAIM: Rules = Rules {
    status_only: true,
    validate_create: |errors, claim| claim_spec(errors, &claim["spec"], &SPEC),
    validate_update: |errors, claim, old| changed(errors, &claim["spec"], &old["spec"], &SPEC),
    validate_part: |errors, claim, old, _| claim_status(errors, claim, old),
    ..RULES
};

/// Rules of ResourceClaimTemplates.
pub(crate) const CLAIM_TEMPLATE: Rules = Rules {
    validate_create: |errors, template| {
        let metadata = SPEC.child("metadata");
        label::labels(errors, &template["spec"]["metadata"]["labels"], &metadata.child("labels"));
        let annotations = &template["spec"]["metadata"]["annotations"];
        label::annotations(errors, annotations, &metadata.child("annotations"));
        claim_spec(errors, &template["spec"]["spec"], &SPEC.child("spec"));
    },
    validate_update: |errors, template, old| {
        if !same(&template["spec"], &old["spec"]) {
            errors.push(FieldError::invalid(&SPEC, template["spec"].clone(), IMMUTABLE));
        }
    },
    ..RULES
};

/// Driver, pool, device and share: what an allocated device is known by.
fn device_key(device: &Value) -> String {
    let parts = ["driver", "pool", "device", "shareID"];
    parts
        .iter()
        .map(|part| text(&device[*part]))
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/")
}

fn claim_status(errors: &mut Errors, claim: &Value, old: &Value) {
    let (status, old_status) = (&claim["status"], &old["status"]);
    let (reserved, at) = (&status["reservedFor"], STATUS.child("reservedFor"));
    let uid_of = |one: &Value| text(&one["uid"]).to_owned();
    each_once(errors, reserved, CONSUMERS_MAXIMUM, &at, uid_of, |errors, one, path| {
        for field in ["resource", "name", "uid"] {
            required(errors, &one[field], &path.child(field));
        }
    });
    let allocation = &status["allocation"];
    let allocated: Vec<String> = items(&allocation["devices"]["results"]).iter().map(device_key).collect();
    each_once(
        errors,
        &status["devices"],
        usize::MAX,
        &STATUS.child("devices"),
        device_key,
        |errors, one, path| {
            device_status(errors, one, &allocated, path);
        },
    );
    if !is_empty(reserved) {
        if allocation.is_null() {
            errors.push(FieldError::forbidden(&at, "may not be specified when `allocated` is not set"));
        } else if claim["metadata"]["deletionTimestamp"].is_string()
            && items(reserved).iter().any(|one| !items(&old_status["reservedFor"]).contains(one))
        {
            let why =
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.push(FieldError::forbidden(&at, why));
        }
    }
    let at = STATUS.child("allocation");
    if allocation.is_null() {
        return;
    }
    if old_status["allocation"].is_null() {
        allocation_result(errors, allocation, &claim["spec"]["devices"], &at);
    } else if !same(allocation, &old_status["allocation"]) {
        errors.push(FieldError::invalid(&at, allocation.clone(), IMMUTABLE));
    }
}

fn allocation_result(errors: &mut Errors, allocation: &Value, wanted: &Value, path: &Path<'_>) {
    let (devices, at) = (&allocation["devices"], path.child("devices"));
    each(errors, &devices["results"], RESULTS_MAXIMUM, &at.child("results"), |errors, one, path| {
        reference(errors, &one["request"], wanted, &path.child("request"));
        identity(errors, one, path);
        binding_conditions(errors, one, path);
        if !one["shareID"].is_null() {
            uid(errors, &one["shareID"], &path.child("shareID"));
        }
    });
    each(errors, &devices["config"], 2 * CONFIGS_MAXIMUM, &at.child("config"), |errors, one, path| {
        let sources = ["FromClaim", "FromClass"];
        required_one_of(errors, &one["source"], &path.child("source"), &sources);
        references(errors, &one["requests"], wanted, &path.child("requests"));
        configuration(errors, one, path);
    });
    if !allocation["nodeSelector"].is_null() {
        node_selector(errors, &allocation["nodeSelector"], &path.child("nodeSelector"));
    }
}

fn device_status(errors: &mut Errors, device: &Value, allocated: &[String], path: &Path<'_>) {
    identity(errors, device, path);
    if !device["shareID"].is_null() {
        uid(errors, &device["shareID"], &path.child("shareID"));
    }
    let key = device_key(device);
    if !allocated.contains(&key) {
        errors.push(FieldError::invalid(path, key, "must be an allocated device in the claim"));
    }
    let conditions = items(&device["conditions"]);
    if conditions.len() > CONDITIONS_MAXIMUM {
        let at = path.child("conditions");
        errors.push(FieldError::too_many(&at, conditions.len(), CONDITIONS_MAXIMUM));
    }
    crate::rule::condition::conditions(errors, &device["conditions"], &path.child("conditions"));
    if !device["data"].is_null() {
        document(errors, &device["data"], DATA_MAXIMUM, &path.child("data"));
    }
    let (network, at) = (&device["networkData"], path.child("networkData"));
    for (field, maximum) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if text(&network[field]).len() > maximum {
            errors.push(FieldError::too_long(&at.child(field), maximum));
        }
    }
    each_once(errors, &network["ips"], ADDRESSES_MAXIMUM, &at.child("ips"), itself, |errors, one, path| {
        let form =
            crate::rule::address::parse_cidr(text(one)).map(|(address, bits)| format!("{address}/{bits}"));
        let why = match form {
            None => "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".to_owned(),
            Some(form) if form != text(one) => format!("must be in canonical form ({form:?})"),
            Some(_) => return,
        };
        errors.push(FieldError::invalid(path, text(one), &why));
    });
}
