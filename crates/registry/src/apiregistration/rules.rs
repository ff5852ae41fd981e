//! What is special about APIServices.
//!
//! Answers to upstream's `kube-aggregator/pkg/apis/apiregistration/validation`.

use crate::rule::{Errors, METADATA, SPEC, STATUS, named, one_of, range_text, required};
use crate::rules::{RULES, Rules};
use crate::value::{int, is_empty, items, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gifee_base::{FieldError, name};
use serde_json::{Value, json};

const GROUP_PRIORITY_MAXIMUM: i64 = 20_000;
const VERSION_PRIORITY_MAXIMUM: i64 = 1_000;

/// Rules of APIServices.
pub(crate) const API_SERVICE: Rules = Rules {
    status_only: true,
    create: |service, context| {
        if service["spec"]["service"].is_null() {
            service["status"]["conditions"] = json!([{
                "type": "Available", "status": "True", "reason": "Local",
                "message": "Local APIServices are always available", "lastTransitionTime": context.now,
            }]);
        }
    },
    validate: |errors, service| {
        let (spec, own) = (&service["spec"], text(&service["metadata"]["name"]));
        let (group, version) = (text(&spec["group"]), text(&spec["version"]));
        let required = format!("{version}.{group}");
        if own != required {
            let why = format!("must be `spec.version+\".\"+spec.group`: {required:?}");
            errors.push(FieldError::invalid(&METADATA.child("name"), own, &why));
        }
        if group.is_empty() && version != "v1" {
            let why = "only v1 may have an empty group and it better be legacy kube";
            errors.push(FieldError::required(&SPEC.child("group"), why));
        }
        if !group.is_empty() {
            named(errors, &spec["group"], &SPEC.child("group"), name::dns_subdomain);
        }
        named(errors, &spec["version"], &SPEC.child("version"), name::dns1035_label);
        for (field, maximum) in
            [("groupPriorityMinimum", GROUP_PRIORITY_MAXIMUM), ("versionPriority", VERSION_PRIORITY_MAXIMUM)]
        {
            let given = int(&spec[field]);
            if !(1..=maximum).contains(&given) {
                let why = format!("must be positive and less than {maximum}");
                errors.push(FieldError::invalid(&SPEC.child(field), given, &why));
            }
        }
        reference(errors, spec);
    },
    validate_part: |errors, service, _, _| {
        let at = STATUS.child("conditions");
        for (index, one) in items(&service["status"]["conditions"]).iter().enumerate() {
            let at = at.index(index);
            one_of(errors, &one["status"], &at.child("status"), &["True", "False", "Unknown"]);
        }
    },
    ..RULES
};

fn reference(errors: &mut Errors, spec: &Value) {
    let (service, bundle) = (&spec["service"], !is_empty(&spec["caBundle"]));
    let (insecure, at_insecure) =
        (spec["insecureSkipTLSVerify"] == true, SPEC.child("insecureSkipTLSVerify"));
    if service.is_null() {
        if bundle {
            let length = STANDARD.decode(text(&spec["caBundle"])).unwrap_or_default().len();
            let why = "local APIServices may not have a caBundle";
            errors.push(FieldError::invalid(&SPEC.child("caBundle"), format!("{length} bytes"), why));
        }
        if insecure {
            let why = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(FieldError::invalid(&at_insecure, true, why));
        }
        return;
    }
    let at = SPEC.child("service");
    for field in ["namespace", "name"] {
        required(errors, &service[field], &at.child(field));
    }
    let port = int(&service["port"]);
    if !(1..=65_535).contains(&port) {
        let why = format!("port is not valid: {}", range_text(1, 65_535));
        errors.push(FieldError::invalid(&at.child("port"), port, &why));
    }
    if insecure && bundle {
        errors.push(FieldError::invalid(&at_insecure, true, "may not be true if caBundle is present"));
    }
}
