//! What is special about devices, their classes and claims.
//!
//! Answers to upstream's `pkg/apis/resource/validation`.

use crate::rule::{Errors, SPEC, immutable, label, named_text, required, required_name, required_one_of};
use crate::rules::{RULES, Rules};
use crate::value::{int, is_empty, items, same, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const SELECTORS_MAXIMUM: usize = 32;
const REQUESTS_MAXIMUM: usize = 32;

fn selectors(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    let list = items(list);
    if list.len() > SELECTORS_MAXIMUM {
        errors.push(FieldError::too_many(path, list.len(), SELECTORS_MAXIMUM));
    }
    for (index, one) in list.iter().enumerate() {
        let at = path.index(index);
        if one["cel"].is_null() {
            errors.push(FieldError::required(&at.child("cel"), ""));
        } else {
            let at = at.child("cel");
            required(errors, &one["cel"]["expression"], &at.child("expression"));
        }
    }
}

/// Rules of DeviceClasses.
pub(crate) const DEVICE_CLASS: Rules = Rules {
    validate: |errors, class| {
        selectors(errors, &class["spec"]["selectors"], &SPEC.child("selectors"));
    },
    ..RULES
};

fn claim_spec(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let (devices, at) = (&spec["devices"], path.child("devices"));
    let (requests, at) = (items(&devices["requests"]), at.child("requests"));
    if requests.len() > REQUESTS_MAXIMUM {
        errors.push(FieldError::too_many(&at, requests.len(), REQUESTS_MAXIMUM));
    }
    let mut seen = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let at = at.index(index);
        required_name(errors, &request["name"], &at.child("name"), name::dns_label);
        crate::rule::unique(errors, &mut seen, text(&request["name"]), &at.child("name"));
        let (exactly, first) = (&request["exactly"], &request["firstAvailable"]);
        match (exactly.is_null(), is_empty(first)) {
            (true, true) => {
                let why = "exactly one of `exactly` or `firstAvailable` is required";
                errors.push(FieldError::required(&at, why));
            }
            (false, false) => {
                let why = "exactly one of `exactly` or `firstAvailable` must be specified";
                errors.push(FieldError::invalid(&at, Value::Null, why));
            }
            (false, true) => device_request(errors, exactly, &at.child("exactly")),
            (true, false) => {
                let at = at.child("firstAvailable");
                for (index, one) in items(first).iter().enumerate() {
                    device_request(errors, one, &at.index(index));
                }
            }
        }
    }
}

fn device_request(errors: &mut Errors, request: &Value, path: &Path<'_>) {
    let class = &request["deviceClassName"];
    required_name(errors, class, &path.child("deviceClassName"), name::dns_subdomain);
    selectors(errors, &request["selectors"], &path.child("selectors"));
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
}

/// Rules of ResourceClaims.
pub(crate) const CLAIM: Rules = Rules {
    status_only: true,
    validate: |errors, claim| claim_spec(errors, &claim["spec"], &SPEC),
    validate_update: |errors, claim, old| {
        if !same(&claim["spec"], &old["spec"]) {
            errors.push(FieldError::invalid(&SPEC, claim["spec"].clone(), "field is immutable"));
        }
    },
    ..RULES
};

/// Rules of ResourceClaimTemplates.
pub(crate) const CLAIM_TEMPLATE: Rules = Rules {
    validate: |errors, template| {
        let metadata = SPEC.child("metadata");
        label::labels(errors, &template["spec"]["metadata"]["labels"], &metadata.child("labels"));
        label::annotations(
            errors,
            &template["spec"]["metadata"]["annotations"],
            &metadata.child("annotations"),
        );
        claim_spec(errors, &template["spec"]["spec"], &SPEC.child("spec"));
    },
    validate_update: CLAIM.validate_update,
    ..RULES
};

/// Rules of ResourceSlices.
pub(crate) const SLICE: Rules = Rules {
    validate: |errors, slice| {
        let spec = &slice["spec"];
        required_name(errors, &spec["driver"], &SPEC.child("driver"), name::dns_subdomain);
        let at = SPEC.child("pool");
        required(errors, &spec["pool"]["name"], &at.child("name"));
        if int(&spec["pool"]["resourceSliceCount"]) <= 0 && is_empty(&spec["sharedCounters"]) {
            let given = int(&spec["pool"]["resourceSliceCount"]);
            errors.push(FieldError::invalid(
                &at.child("resourceSliceCount"),
                given,
                "must be greater than zero",
            ));
        }
        let given = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"]
            .iter()
            .filter(|field| !is_empty(&spec[**field]) && spec[**field] != false)
            .count();
        if given != 1 {
            let why =
                "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
            errors.push(FieldError::required(&SPEC, why));
        }
        let at = SPEC.child("devices");
        let mut seen = Vec::new();
        for (index, one) in items(&spec["devices"]).iter().enumerate() {
            let at = at.index(index);
            required_name(errors, &one["name"], &at.child("name"), name::dns_label);
            crate::rule::unique(errors, &mut seen, text(&one["name"]), &at.child("name"));
        }
    },
    validate_update: |errors, slice, old| {
        for field in ["nodeName", "driver"] {
            immutable(errors, &slice["spec"][field], &old["spec"][field], &SPEC.child(field));
        }
    },
    ..RULES
};

/// Rules of DeviceTaintRules.
pub(crate) const TAINT_RULE: Rules = Rules {
    status_only: true,
    create: |rule, context| {
        if rule["spec"]["taint"].is_object() && rule["spec"]["taint"]["timeAdded"].is_null() {
            rule["spec"]["taint"]["timeAdded"] = context.now.into();
        }
    },
    validate: |errors, rule| {
        let (taint, at) = (&rule["spec"]["taint"], SPEC.child("taint"));
        required_name(errors, &taint["key"], &at.child("key"), name::qualified);
        named_text(errors, text(&taint["value"]), &at.child("value"), name::label_value);
        let effects = ["NoExecute", "NoSchedule", "None"];
        required_one_of(errors, &taint["effect"], &at.child("effect"), &effects);
    },
    ..RULES
};
