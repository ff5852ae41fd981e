//! What is special about Leases.
//!
//! Answers to upstream's `pkg/apis/coordination/validation`.

use crate::rule::SPEC;
use crate::rules::{RULES, Rules};
use crate::value::is_empty;
use gifee_base::FieldError;

/// Rules of Leases.
pub(crate) const LEASE: Rules = Rules {
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
        if !spec["preferredHolder"].is_null() && is_empty(&spec["strategy"]) {
            let why = "strategy must be specified when `preferredHolder` is specified";
            errors.push(FieldError::forbidden(&SPEC.child("preferredHolder"), why));
        }
    },
    ..RULES
};
