//! What is special about PodGroups.
//!
//! Invariant: a group says how it is scheduled once; only how many pods must start together may change. Answers to
//! upstream's declared validation of `scheduling/v1beta1` and `pkg/registry/scheduling/podgroup`.

use super::rules::USER_PRIORITY_MAXIMUM;
use crate::rule::list::each_once;
use crate::rule::{Errors, IMMUTABLE, SPEC, STATUS, changed, condition};
use crate::rule::{exactly_one, optional_name, required_name};
use crate::rules::{RULES, Rules};
use crate::value::{int, remove, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const CLAIMS_MAXIMUM: usize = 4;
/// Fields of features that version 1.37 leaves off.
const DISABLED: [&str; 3] = ["parentCompositePodGroupName", "preemptionPolicy", "schedulingConstraints"];
const FIXED: [&str; 5] = ["workloadRef", "resourceClaims", "disruptionMode", "priorityClassName", "priority"];
const CLAIM_SOURCES: [&str; 2] = ["resourceClaimName", "resourceClaimTemplateName"];

/// Rules of PodGroups.
pub(crate) const POD_GROUP: Rules = Rules {
    create: |group, _| {
        for field in DISABLED {
            remove(&mut group["spec"], field);
        }
    },
    update: |group, _, _, _| {
        for field in DISABLED {
            remove(&mut group["spec"], field);
        }
    },
    validate: |errors, group| spec(errors, &group["spec"]),
    validate_update: |errors, group, old| {
        let (spec, old) = (&group["spec"], &old["spec"]);
        for field in FIXED {
            changed(errors, &spec[field], &old[field], &SPEC.child(field));
        }
        let (policy, before) = (&spec["schedulingPolicy"], &old["schedulingPolicy"]);
        let at = SPEC.child("schedulingPolicy");
        if policy["basic"].is_null() != before["basic"].is_null() {
            errors.push(FieldError::invalid(&at.child("basic"), Value::Null, IMMUTABLE));
        }
        let said = match (before["gang"].is_null(), policy["gang"].is_null()) {
            (true, false) => "field cannot be set once created",
            (false, true) => "field cannot be cleared once set",
            _ => return,
        };
        errors.push(FieldError::invalid(&at.child("gang"), Value::Null, said));
    },
    validate_part: |errors, group, _, _| {
        condition::conditions(errors, &group["status"]["conditions"], &STATUS.child("conditions"));
        let (list, at) = (&group["status"]["resourceClaimStatuses"], STATUS.child("resourceClaimStatuses"));
        each_once(
            errors,
            list,
            CLAIMS_MAXIMUM,
            &at,
            |one| text(&one["name"]).to_owned(),
            |errors, one, path| {
                let field = "resourceClaimName";
                optional_name(errors, &one[field], &path.child(field), name::dns_subdomain);
            },
        );
    },
    ..RULES
};

fn spec(errors: &mut Errors, spec: &Value) {
    let (reference, at) = (&spec["workloadRef"], SPEC.child("workloadRef"));
    if !reference.is_null() {
        required_name(errors, &reference["workloadName"], &at.child("workloadName"), name::dns_subdomain);
        required_name(errors, &reference["templateName"], &at.child("templateName"), name::dns_label);
    }
    let (policy, at) = (&spec["schedulingPolicy"], SPEC.child("schedulingPolicy"));
    exactly_one(errors, policy, &at, &["basic", "gang"]);
    if !policy["gang"].is_null() {
        let (count, at) = (&policy["gang"]["minCount"], at.child("gang"));
        let at = at.child("minCount");
        match int(count) {
            0 => errors.push(FieldError::required(&at, "")),
            ..0 => errors.push(FieldError::invalid(&at, count.clone(), "must be greater than or equal to 1")),
            _ => {}
        }
    }
    let name_of = |one: &Value| text(&one["name"]).to_owned();
    let (claims, at) = (&spec["resourceClaims"], SPEC.child("resourceClaims"));
    each_once(errors, claims, CLAIMS_MAXIMUM, &at, name_of, claim);
    if !spec["disruptionMode"].is_null() {
        exactly_one(errors, &spec["disruptionMode"], &SPEC.child("disruptionMode"), &["single", "all"]);
    }
    let field = "priorityClassName";
    optional_name(errors, &spec[field], &SPEC.child(field), name::dns_subdomain);
    if int(&spec["priority"]) > USER_PRIORITY_MAXIMUM {
        let why = format!("must be less than or equal to {USER_PRIORITY_MAXIMUM}");
        errors.push(FieldError::invalid(&SPEC.child("priority"), spec["priority"].clone(), &why));
    }
}

fn claim(errors: &mut Errors, claim: &Value, path: &Path<'_>) {
    required_name(errors, &claim["name"], &path.child("name"), name::dns_label);
    exactly_one(errors, claim, path, &CLAIM_SOURCES);
    for source in CLAIM_SOURCES {
        optional_name(errors, &claim[source], &path.child(source), name::dns_subdomain);
    }
}
