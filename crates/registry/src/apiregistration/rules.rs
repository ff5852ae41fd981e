//! What is special about APIServices.
//!
//! Answers to upstream's `kube-aggregator/pkg/apis/apiregistration/validation`.

use crate::rule::{METADATA, SPEC, in_range, required_name};
use crate::rules::{RULES, Rules};
use crate::value::{is_empty, text};
use gifee_base::{FieldError, name};
use serde_json::{Value, json};

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
        if !group.is_empty() {
            crate::rule::named_text(errors, group, &SPEC.child("group"), name::dns_subdomain);
        }
        required_name(errors, &spec["version"], &SPEC.child("version"), name::dns1035_label);
        let at = SPEC.child("groupPriorityMinimum");
        if spec["groupPriorityMinimum"].as_i64().unwrap_or_default() <= 0 {
            let given = spec["groupPriorityMinimum"].as_i64().unwrap_or_default();
            errors.push(FieldError::invalid(&at, given, "must be positive and less than 20000"));
        }
        in_range(errors, &spec["groupPriorityMinimum"], &at, i64::MIN, 20_000);
        if spec["versionPriority"].as_i64().unwrap_or_default() <= 0 {
            let given = spec["versionPriority"].as_i64().unwrap_or_default();
            let why = "must be positive and less than 1000";
            errors.push(FieldError::invalid(&SPEC.child("versionPriority"), given, why));
        }
        reference(errors, spec);
    },
    ..RULES
};

fn reference(errors: &mut crate::rule::Errors, spec: &Value) {
    let (service, bundle) = (&spec["service"], !is_empty(&spec["caBundle"]));
    let insecure = spec["insecureSkipTLSVerify"] == true;
    if service.is_null() {
        if bundle {
            let why = "local APIServices may not have a caBundle";
            errors.push(FieldError::invalid(&SPEC.child("caBundle"), "", why));
        }
        if insecure {
            let why = "local APIServices may not have insecureSkipTLSVerify";
            errors.push(FieldError::invalid(&SPEC.child("insecureSkipTLSVerify"), true, why));
        }
        return;
    }
    let at = SPEC.child("service");
    for field in ["namespace", "name"] {
        crate::rule::required(errors, &service[field], &at.child(field));
    }
    in_range(errors, &service["port"], &at.child("port"), 1, 65_535);
    if insecure && bundle {
        let why = "may not be true if caBundle is present";
        errors.push(FieldError::invalid(&SPEC.child("insecureSkipTLSVerify"), true, why));
    }
}
