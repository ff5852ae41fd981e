//! When a Job has failed or succeeded early: its policies about failed pods and about completed indexes.
//!
//! Answers to upstream's `pkg/apis/batch/validation`.

use super::indexes;
use crate::rule::shown::{self, showing};
use crate::rule::{Errors, named, non_negative, one_of};
use crate::value::{int, is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const FAILURE_RULES_MAXIMUM: usize = 20;
const CODES_MAXIMUM: usize = 255;
const PATTERNS_MAXIMUM: usize = 20;
const SUCCESS_RULES_MAXIMUM: usize = 20;
const INDEXES_MAXIMUM: usize = 64 * 1024;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

/// Reports a value that is missing, with those it may have, or that is none of them.
fn required_one_of(errors: &mut Errors, value: &Value, path: &Path<'_>, supported: &[&str]) {
    if is_empty(value) {
        let quoted: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
        let why = format!("valid values: [{}]", quoted.join(" "));
        errors.push(FieldError::required(path, &why));
    } else {
        one_of(errors, value, path, supported);
    }
}

/// The policy about failed pods.
pub(super) fn failure_policy(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let policy = &spec["podFailurePolicy"];
    if policy.is_null() {
        return;
    }
    let at = path.child("podFailurePolicy");
    let (rules, at) = (items(&policy["rules"]), at.child("rules"));
    if rules.len() > FAILURE_RULES_MAXIMUM {
        errors.push(FieldError::too_many(&at, rules.len(), FAILURE_RULES_MAXIMUM));
    }
    for (index, rule) in rules.iter().enumerate() {
        failure_rule(errors, rule, spec, &at.index(index));
    }
}

fn failure_rule(errors: &mut Errors, rule: &Value, spec: &Value, path: &Path<'_>) {
    let at = path.child("action");
    if rule["action"] != "FailIndex" {
        required_one_of(errors, &rule["action"], &at, &ACTIONS);
    } else if spec["backoffLimitPerIndex"].is_null() {
        let why = "requires the backoffLimitPerIndex to be set";
        errors.push(FieldError::invalid(&at, "FailIndex", why));
    }
    let (codes, conditions) = (&rule["onExitCodes"], items(&rule["onPodConditions"]));
    if !codes.is_null() {
        exit_codes(errors, codes, &spec["template"]["spec"], &path.child("onExitCodes"));
    }
    let at = path.child("onPodConditions");
    if conditions.len() > PATTERNS_MAXIMUM {
        errors.push(FieldError::too_many(&at, conditions.len(), PATTERNS_MAXIMUM));
    }
    for (index, one) in conditions.iter().enumerate() {
        let at = at.index(index);
        named(errors, &one["type"], &at.child("type"), name::qualified);
        required_one_of(errors, &one["status"], &at.child("status"), &["False", "True", "Unknown"]);
    }
    match (codes.is_null(), conditions.is_empty()) {
        (true, true) => {
            let why = "specifying one of OnExitCodes and OnPodConditions is required";
            errors.push(FieldError::omitted(path, why));
        }
        (false, false) => {
            let why = "specifying both OnExitCodes and OnPodConditions is not supported";
            errors.push(FieldError::omitted(path, why));
        }
        _ => {}
    }
}

fn exit_codes(errors: &mut Errors, codes: &Value, pod: &Value, path: &Path<'_>) {
    let operator = &codes["operator"];
    required_one_of(errors, operator, &path.child("operator"), &["In", "NotIn"]);
    let container = &codes["containerName"];
    let known = || {
        ["containers", "initContainers"]
            .iter()
            .any(|list| items(&pod[*list]).iter().any(|one| one["name"] == *container))
    };
    if !container.is_null() && !known() {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.push(FieldError::invalid(&path.child("containerName"), container.clone(), why));
    }
    let (values, at) = (items(&codes["values"]), path.child("values"));
    if values.is_empty() {
        errors.push(FieldError::invalid(&at, codes["values"].clone(), "at least one value is required"));
    } else if values.len() > CODES_MAXIMUM {
        errors.push(FieldError::too_many(&at, values.len(), CODES_MAXIMUM));
    }
    for (index, code) in values.iter().enumerate() {
        let at = at.index(index);
        if operator == "In" && int(code) == 0 {
            errors.push(FieldError::invalid(&at, int(code), "must not be 0 for the In operator"));
        }
        if values[..index].contains(code) {
            errors.push(FieldError::duplicate(&at, code.clone()));
        }
    }
    if !values.is_sorted_by_key(int) {
        errors.push(FieldError::invalid(&at, codes["values"].clone(), "must be ordered"));
    }
}

/// The policy about completed indexes.
pub(super) fn success_policy(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let policy = &spec["successPolicy"];
    if policy.is_null() {
        return;
    }
    let at = path.child("successPolicy");
    let (rules, at_rules) = (items(&policy["rules"]), at.child("rules"));
    if spec["completionMode"] != "Indexed" {
        let error = FieldError::invalid(&at, "", "requires indexed completion mode");
        return errors.push(showing(error, policy, shown::SUCCESS_POLICY));
    }
    if rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(&at_rules, why));
    }
    if rules.len() > SUCCESS_RULES_MAXIMUM {
        errors.push(FieldError::too_many(&at_rules, rules.len(), SUCCESS_RULES_MAXIMUM));
    }
    for (index, rule) in rules.iter().enumerate() {
        success_rule(errors, rule, int(&spec["completions"]), &at_rules.index(index));
    }
}

fn success_rule(errors: &mut Errors, rule: &Value, completions: i64, path: &Path<'_>) {
    let (indexes, count) = (&rule["succeededIndexes"], rule["succeededCount"].as_i64());
    if count.is_none() && indexes.is_null() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(FieldError::required(path, why));
    }
    let mut total = 0;
    if !indexes.is_null() {
        let at = path.child("succeededIndexes");
        if text(indexes).len() > INDEXES_MAXIMUM {
            errors.push(FieldError::too_long(&at, INDEXES_MAXIMUM));
        }
        match indexes::count(text(indexes), completions) {
            Ok(count) => total = count,
            Err(why) => {
                let why = format!("error parsing succeededIndexes: {why}");
                errors.push(FieldError::invalid(&at, text(indexes), &why));
            }
        }
    }
    let Some(count) = count else { return };
    let at = path.child("succeededCount");
    non_negative(errors, &rule["succeededCount"], &at);
    if count > completions {
        let why =
            format!("must be less than or equal to {completions} (the number of specified completions)");
        errors.push(FieldError::invalid(&at, count, &why));
    }
    if !indexes.is_null() && count > total {
        let why = format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.push(FieldError::invalid(&at, count, &why));
    }
}
