//! What is special about StorageVersionMigrations.
//!
//! Answers to upstream's `pkg/apis/storagemigration/validation`.

use crate::rule::shown::{self, showing};
use crate::rule::{Errors, IMMUTABLE, SPEC, STATUS, condition, joined, required_because};
use crate::rules::{RULES, Rules};
use crate::value::{is_empty, items, text};
use gifee_base::{FieldError, name};
use serde_json::Value;

/// Rules of StorageVersionMigrations.
pub(crate) const MIGRATION: Rules = Rules {
    status_only: true,
    validate: |errors, migration| {
        let (resource, at) = (&migration["spec"]["resource"], SPEC.child("resource"));
        let own = &resource["resource"];
        if !required_because(errors, own, &at.child("resource"), "resource is required to be set") {
            joined(errors, text(own), &at.child("resource"), name::dns1035_label);
        }
        if !is_empty(&resource["group"]) {
            joined(errors, text(&resource["group"]), &at.child("group"), name::dns_subdomain);
        }
    },
    validate_update: |errors, migration, old| {
        if !crate::value::same(&migration["spec"], &old["spec"]) {
            let error = FieldError::invalid(&SPEC, "", IMMUTABLE);
            errors.push(showing(error, &migration["spec"], shown::MIGRATION));
        }
    },
    validate_part: |errors, migration, old, _| status(errors, migration, old),
    ..RULES
};

fn status(errors: &mut Errors, migration: &Value, old: &Value) {
    let version = |one: &Value| text(&one["status"]["resourceVersion"]).to_owned();
    let (new, before, at) = (version(migration), version(old), STATUS.child("resourceVersion"));
    let plain = new.bytes().all(|byte| byte.is_ascii_digit()) && !new.starts_with('0');
    if !new.is_empty() && !plain {
        let why = format!("resource version is not well formed: {new}");
        errors.push(FieldError::invalid(&at, new.as_str(), &why));
    }
    let list = &migration["status"]["conditions"];
    let conditions = STATUS.child("conditions");
    condition::conditions(errors, list, &conditions);
    if !before.is_empty() && before != new {
        errors.push(FieldError::invalid(&at, new, IMMUTABLE));
    }
    let holds = |one: &Value, kind: &str| {
        items(&one["status"]["conditions"]).iter().any(|one| one["type"] == kind && one["status"] == "True")
    };
    let is = |kind: &str| holds(migration, kind);
    let lost = |kind: &str| holds(old, kind) && !is(kind);
    for (wrong, why) in [
        (
            is("Succeeded") && is("Failed"),
            "Both success and failed conditions cannot be true at the same time",
        ),
        (is("Succeeded") && is("Running"), "Running condition cannot be true when success condition is true"),
        (is("Failed") && is("Running"), "Running condition cannot be true when failed condition is true"),
        (lost("Succeeded"), "Success condition cannot be set to false once it is true"),
        (lost("Failed"), "Failed condition cannot be set to false once it is true"),
    ] {
        if wrong {
            errors.push(FieldError::invalid(&conditions, list.clone(), why));
        }
    }
}
