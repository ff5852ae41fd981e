//! What is special about Leases.
//!
//! Answers to upstream's `pkg/apis/coordination/validation` and the strategy of the kind.

use crate::rule::SPEC;
use crate::rules::{RULES, Rules};
use crate::value::remove;
use gifee_base::FieldError;
use serde_json::Value;

/// Election by a strategy is not served by default; a Lease that has one keeps it.
const ELECTION: [&str; 2] = ["strategy", "preferredHolder"];

fn drop_election(lease: &mut Value, old: &Value) {
    for field in ELECTION {
        if old["spec"][field].is_null() && !lease["spec"][field].is_null() {
            remove(&mut lease["spec"], field);
        }
    }
}

/// Rules of Leases.
pub(crate) const LEASE: Rules = Rules {
    create: |lease, _| drop_election(lease, &Value::Null),
    update: |lease, old, _, _| drop_election(lease, old),
    validate: |errors, lease| {
        let spec = &lease["spec"];
        let (seconds, turns) = (&spec["leaseDurationSeconds"], &spec["leaseTransitions"]);
        if seconds.as_i64().is_some_and(|seconds| seconds <= 0) {
            let at = SPEC.child("leaseDurationSeconds");
            errors.push(FieldError::invalid(&at, seconds.clone(), "must be greater than 0"));
        }
        if turns.as_i64().is_some_and(|turns| turns < 0) {
            let why = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(&SPEC.child("leaseTransitions"), turns.clone(), why));
        }
    },
    ..RULES
};
