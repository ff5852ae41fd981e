//! What is special about PodDisruptionBudgets.
//!
//! Answers to upstream's `pkg/apis/policy/validation`.

use crate::rule::{SPEC, STATUS, at_most_all, condition, int_or_percent, label};
use crate::rule::{non_negative_fields, optional_one_of};
use crate::rules::{RULES, Rules};
use gifee_base::FieldError;

/// Rules of PodDisruptionBudgets.
pub(crate) const BUDGET: Rules = Rules {
    status: r#"{"currentHealthy":0,"desiredHealthy":0,"disruptionsAllowed":0,"expectedPods":0}"#,
    validate: |errors, budget| {
        let spec = &budget["spec"];
        if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
            let why = "minAvailable and maxUnavailable cannot be both set";
            let shown = format!(
                "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
                spec["minAvailable"],
                spec["selector"],
                spec["maxUnavailable"],
                spec["unhealthyPodEvictionPolicy"]
            );
            errors.push(FieldError::invalid(&SPEC, "", why).showing(&shown));
        }
        for field in ["minAvailable", "maxUnavailable"] {
            int_or_percent(errors, &spec[field], &SPEC.child(field));
            at_most_all(errors, &spec[field], &SPEC.child(field));
        }
        label::selector(errors, &spec["selector"], &SPEC.child("selector"));
        let policy = "unhealthyPodEvictionPolicy";
        let supported = ["AlwaysAllow", "IfHealthyBudget"];
        optional_one_of(errors, &spec[policy], &SPEC.child(policy), &supported);
    },
    validate_part: |errors, budget, _, _| {
        condition::conditions(errors, &budget["status"]["conditions"], &STATUS.child("conditions"));
        let fields = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        non_negative_fields(errors, &budget["status"], &STATUS, &fields);
    },
    ..RULES
};
