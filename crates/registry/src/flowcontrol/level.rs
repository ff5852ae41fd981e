//! What is special about PriorityLevelConfigurations.
//!
//! Invariant: requests that nothing else takes always find a level, and those of administrators one without limits.
//! Answers to upstream's `pkg/apis/flowcontrol/validation`.

use super::rules::{conditions, fixed_spec};
use crate::rule::{Errors, SPEC, declared, declared_required, in_range};
use crate::rules::{RULES, Rules};
use crate::value::{int, text};
use gifee_base::{FieldError, Path};
use serde_json::Value;

const QUEUES_MAXIMUM: i64 = 10_000_000;
/// Bits of a hash that queues are dealt by.
const HASH_BITS: i64 = 60;
const CATCH_ALL: &str = r#"{"type":"Limited","limited":{"nominalConcurrencyShares":5,"lendablePercent":0,"limitResponse":{"type":"Reject"}}}"#;

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
            "Exempt" => {
                lendable(errors, exempt, &SPEC.child("exempt"));
                forbidden(errors, limited, &SPEC.child("limited"));
            }
            "Limited" => {
                if !declared_required(errors, limited, &SPEC.child("limited")) {
                    limited_level(errors, limited);
                }
                forbidden(errors, exempt, &SPEC.child("exempt"));
            }
            "" => drop(declared_required(errors, &spec["type"], &SPEC.child("type"))),
            other => {
                errors.push(FieldError::not_supported(&SPEC.child("type"), other, &["Exempt", "Limited"]));
            }
        }
        if own == "catch-all" {
            fixed_spec(errors, spec, CATCH_ALL, "spec of 'catch-all' must equal the fixed value");
        }
    },
    validate_part: |errors, level, _, _| conditions(errors, &level["status"]),
    ..RULES
};

fn forbidden(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    if !value.is_null() {
        declared(errors, |errors| errors.push(FieldError::forbidden(path, "")));
    }
}

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
    let (queuing, at_queuing) = (&response["queuing"], at.child("queuing"));
    match text(&response["type"]) {
        "Reject" => forbidden(errors, queuing, &at_queuing),
        "Queue" => {
            if !declared_required(errors, queuing, &at_queuing) {
                queues(errors, queuing, &at_queuing);
            }
        }
        "" => drop(declared_required(errors, &response["type"], &at.child("type"))),
        other => errors.push(FieldError::not_supported(&at.child("type"), other, &["Queue", "Reject"])),
    }
}

/// Bits of a hash that it takes to deal a hand of so many queues.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // Both are far below 2^52.
fn entropy(queues: i64, hand: i64) -> i64 {
    ((queues as f64).log2() * hand as f64).ceil() as i64
}

fn queues(errors: &mut Errors, queuing: &Value, path: &Path<'_>) {
    let number = |field: &str| int(&queuing[field]);
    let (queues, hand) = (number("queues"), number("handSize"));
    let mut wrong = |field: &str, why: &str| {
        errors.push(FieldError::invalid(&path.child(field), number(field), why));
    };
    if number("queueLengthLimit") <= 0 {
        wrong("queueLengthLimit", "must be positive");
    }
    if queues <= 0 {
        wrong("queues", "must be positive");
    } else if queues > QUEUES_MAXIMUM {
        wrong("queues", &format!("must not be greater than {QUEUES_MAXIMUM}"));
    }
    if hand <= 0 {
        wrong("handSize", "must be positive");
    } else if hand > queues {
        wrong("handSize", &format!("should not be greater than queues ({queues})"));
    } else if entropy(queues, hand) > HASH_BITS {
        let why = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
        );
        wrong("handSize", &why);
    }
}
