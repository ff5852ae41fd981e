//! What is special about FlowSchemas and PriorityLevelConfigurations.
//!
//! Answers to upstream's `pkg/apis/flowcontrol/validation`.

use super::matching::rule;
use crate::rule::{Errors, SPEC, in_range, named, one_of};
use crate::rules::{RULES, Rules};
use crate::value::{int, is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const PRECEDENCE_MAXIMUM: i64 = 10_000;

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
    },
    ..RULES
};

/// Rules of PriorityLevelConfigurations.
pub(crate) const PRIORITY_LEVEL: Rules = Rules {
    status_only: true,
    validate: |errors, level| {
        let (spec, own) = (&level["spec"], text(&level["metadata"]["name"]));
        let (limited, exempt) = (&spec["limited"], &spec["exempt"]);
        let kind = text(&spec["type"]);
        if (own == "exempt") != (kind == "Exempt") {
            let why = "type must be 'Exempt' if and only if name is 'exempt'";
            errors.push(FieldError::invalid(&SPEC.child("type"), kind, why));
        }
        match kind {
            "Exempt" if !limited.is_null() => {
                let why = "must be nil if the type is not Limited";
                errors.push(FieldError::forbidden(&SPEC.child("limited"), why));
            }
            "Limited" => {
                if !exempt.is_null() {
                    let why = "must be nil if the type is Limited";
                    errors.push(FieldError::forbidden(&SPEC.child("exempt"), why));
                }
                if limited.is_null() {
                    let why = "must not be empty when type is Limited";
                    errors.push(FieldError::required(&SPEC.child("limited"), why));
                } else {
                    limited_level(errors, limited);
                }
            }
            "Exempt" => lendable(errors, exempt, &SPEC.child("exempt")),
            other => {
                errors.push(FieldError::not_supported(&SPEC.child("type"), other, &["Exempt", "Limited"]));
            }
        }
    },
    ..RULES
};

/// Shares, and how many of them others may use.
fn lendable(errors: &mut Errors, level: &Value, path: &Path<'_>) {
    let shares = &level["nominalConcurrencyShares"];
    if shares.as_i64().is_some_and(|shares| shares < 0) {
        let why = "must be a non-negative integer";
        errors.push(FieldError::invalid(&path.child("nominalConcurrencyShares"), shares.clone(), why));
    }
    in_range(errors, &level["lendablePercent"], &path.child("lendablePercent"), 0, 100);
}

fn limited_level(errors: &mut Errors, limited: &Value) {
    let at = SPEC.child("limited");
    lendable(errors, limited, &at);
    let borrowing = &limited["borrowingLimitPercent"];
    if borrowing.as_i64().is_some_and(|percent| percent < 0) {
        let why = "if specified, must be a non-negative integer";
        errors.push(FieldError::invalid(&at.child("borrowingLimitPercent"), borrowing.clone(), why));
    }
    let (response, at) = (&limited["limitResponse"], at.child("limitResponse"));
    let queuing = &response["queuing"];
    match text(&response["type"]) {
        "Reject" if !queuing.is_null() => {
            let why = "must be nil if limited.limitResponse.type is not Limited";
            errors.push(FieldError::forbidden(&at.child("queuing"), why));
        }
        "Queue" if queuing.is_null() => {
            let why = "must not be empty if limited.limitResponse.type is Limited";
            errors.push(FieldError::required(&at.child("queuing"), why));
        }
        "Queue" => {
            let at = at.child("queuing");
            for field in ["queueLengthLimit", "queues", "handSize"] {
                if int(&queuing[field]) <= 0 {
                    let why = "must be positive";
                    errors.push(FieldError::invalid(&at.child(field), int(&queuing[field]), why));
                }
            }
            if int(&queuing["handSize"]) > int(&queuing["queues"]) {
                let why = format!("should not be greater than queues ({})", int(&queuing["queues"]));
                errors.push(FieldError::invalid(&at.child("handSize"), int(&queuing["handSize"]), &why));
            }
        }
        "Reject" => {}
        "" => errors.push(FieldError::required(&at.child("type"), "must not be empty")),
        other => errors.push(FieldError::not_supported(&at.child("type"), other, &["Queue", "Reject"])),
    }
}
