//! What is special about PriorityClasses.
//!
//! Answers to upstream's `pkg/apis/scheduling/validation`.

use crate::rule::{Errors, METADATA, immutable, required_one_of};
use crate::rules::{RULES, Rules};
use crate::value::{int, text};
use gifee_base::{FieldError, Path};
use serde_json::Value;

pub(super) const USER_PRIORITY_MAXIMUM: i64 = 1_000_000_000;
const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// Rules of PriorityClasses.
pub(crate) const PRIORITY_CLASS: Rules = Rules {
    // It has a generation, which no change raises.
    create: |class, _| class["metadata"]["generation"] = 1.into(),
    validate_create: |errors, class| {
        let (own, value) = (text(&class["metadata"]["name"]), int(&class["value"]));
        if own.starts_with("system-") {
            let why = match SYSTEM_CLASSES.iter().find(|(name, _)| *name == own) {
                Some((_, known)) if *known == value && class["globalDefault"] != true => {
                    return policy(errors, class);
                }
                Some((_, known)) if *known != value => {
                    format!("value of {own} PriorityClass must be {known}")
                }
                Some(_) => format!("globalDefault of {own} PriorityClass must be false"),
                None => format!("{own} is not a known system priority class"),
            };
            let why = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
            );
            errors.push(FieldError::forbidden(&METADATA.child("name"), &why));
        } else if value > USER_PRIORITY_MAXIMUM {
            let why = format!("maximum allowed value of a user defined priority is {USER_PRIORITY_MAXIMUM}");
            errors.push(FieldError::forbidden(&Path::root("value"), &why));
        }
        policy(errors, class);
    },
    validate_update: |errors, class, old| {
        if int(&class["value"]) != int(&old["value"]) {
            errors.push(FieldError::forbidden(&Path::root("value"), "may not be changed in an update."));
        }
        let policy = "preemptionPolicy";
        immutable(errors, &class[policy], &old[policy], &Path::root(policy));
    },
    ..RULES
};

fn policy(errors: &mut Errors, class: &Value) {
    let field = "preemptionPolicy";
    if !class[field].is_null() {
        required_one_of(errors, &class[field], &Path::root(field), &["PreemptLowerPriority", "Never"]);
    }
}
