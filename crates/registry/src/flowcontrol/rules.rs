//! What is special about FlowSchemas, and what they share with PriorityLevelConfigurations.
//!
//! Answers to upstream's `pkg/apis/flowcontrol/validation`.

use super::matching::rule;
use crate::rule::{Errors, SPEC, STATUS, named, one_of, required_because, unique};
use crate::rules::{RULES, Rules};
use crate::value::{int, is_empty, items, same, text};
use gifee_base::{FieldError, name};
use serde_json::Value;

const PRECEDENCE_MAXIMUM: i64 = 10_000;
/// What the server relies on, by name.
const FIXED_SCHEMAS: [(&str, &str); 2] = [
    (
        "exempt",
        r#"{"matchingPrecedence":1,"priorityLevelConfiguration":{"name":"exempt"},"rules":[{"subjects":[{"kind":"Group","group":{"name":"system:masters"}}],"resourceRules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"],"clusterScope":true,"namespaces":["*"]}],"nonResourceRules":[{"verbs":["*"],"nonResourceURLs":["*"]}]}]}"#,
    ),
    (
        "catch-all",
        r#"{"matchingPrecedence":10000,"priorityLevelConfiguration":{"name":"catch-all"},"distinguisherMethod":{"type":"ByUser"},"rules":[{"subjects":[{"kind":"Group","group":{"name":"system:unauthenticated"}},{"kind":"Group","group":{"name":"system:authenticated"}}],"resourceRules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"],"clusterScope":true,"namespaces":["*"]}],"nonResourceRules":[{"verbs":["*"],"nonResourceURLs":["*"]}]}]}"#,
    ),
];

/// Rules of FlowSchemas.
pub(crate) const FLOW_SCHEMA: Rules = Rules {
    status_only: true,
    validate: |errors, schema| {
        let (spec, own) = (&schema["spec"], text(&schema["metadata"]["name"]));
        let precedence = int(&spec["matchingPrecedence"]);
        let at = SPEC.child("matchingPrecedence");
        if precedence <= 0 {
            errors.push(FieldError::invalid(&at, precedence, "must be a positive value"));
        }
        if precedence > PRECEDENCE_MAXIMUM {
            let why = format!("must not be greater than {PRECEDENCE_MAXIMUM}");
            errors.push(FieldError::invalid(&at, precedence, &why));
        }
        if precedence == 1 && own != "exempt" {
            let why = "only the schema named 'exempt' may have matchingPrecedence 1";
            errors.push(FieldError::invalid(&at, precedence, why));
        }
        if !spec["distinguisherMethod"].is_null() {
            let at = SPEC.child("distinguisherMethod");
            let kinds = ["ByNamespace", "ByUser"];
            one_of(errors, &spec["distinguisherMethod"]["type"], &at.child("type"), &kinds);
        }
        let at = SPEC.child("priorityLevelConfiguration");
        let level = &spec["priorityLevelConfiguration"]["name"];
        if is_empty(level) {
            errors.push(FieldError::required(&at.child("name"), "must reference a priority level"));
        } else {
            named(errors, level, &at.child("name"), name::dns_subdomain);
        }
        let at = SPEC.child("rules");
        for (index, one) in items(&spec["rules"]).iter().enumerate() {
            rule(errors, one, &at.index(index));
        }
        if let Some((_, fixed)) = FIXED_SCHEMAS.iter().find(|(name, _)| *name == own) {
            fixed_spec(errors, spec, fixed, &format!("spec of '{own}' must equal the fixed value"));
        }
    },
    validate_part: |errors, schema, _, _| conditions(errors, &schema["status"]),
    ..RULES
};

/// Reports a spec that differs from the one the server itself relies on.
pub(super) fn fixed_spec(errors: &mut Errors, spec: &Value, fixed: &str, why: &str) {
    let fixed: Value = serde_json::from_str(fixed).unwrap_or_default();
    if !same(spec, &fixed) {
        errors.push(FieldError::invalid(&SPEC, spec.clone(), why));
    }
}

/// Conditions that have a type each.
pub(super) fn conditions(errors: &mut Errors, status: &Value) {
    let at = STATUS.child("conditions");
    let mut seen = Vec::new();
    for (index, one) in items(&status["conditions"]).iter().enumerate() {
        let at = at.index(index);
        unique(errors, &mut seen, text(&one["type"]), &at.child("type"));
        required_because(errors, &one["type"], &at.child("type"), "must not be empty");
    }
}
