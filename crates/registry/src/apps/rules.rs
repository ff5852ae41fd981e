//! What is special about Deployments and ReplicaSets, and what all that have a template of pods share.
//!
//! Answers to upstream's `pkg/apis/apps/validation` and the strategies of the group.

use crate::kind::Order;
use crate::podspec;
use crate::rule::{Errors, SPEC, STATUS, at_most_all, immutable, int_or_percent, label, non_negative_fields};
use crate::rule::{non_negative, percent};
use crate::rules::{RULES, Rules};
use crate::value::{int, restore, same, text};
use gifee_base::{FieldError, Path};
use serde_json::Value;

const OVER: &str = "cannot be greater than status.replicas";
pub(super) const UNMATCHED: &str = "`selector` does not match template `labels`";

pub(super) fn default_template(object: &mut Value) {
    if let Some(spec) = object.pointer_mut("/spec/template/spec") {
        podspec::default_spec(spec);
    }
}

/// Reports a template whose pods would end.
pub(crate) fn runs_forever(errors: &mut Errors, spec: &Value, kind: &str, path: &Path<'_>) {
    if spec["restartPolicy"] != "Always" {
        let given = text(&spec["restartPolicy"]);
        errors.push(FieldError::not_supported(&path.child("restartPolicy"), given, &["Always"]));
    }
    if !spec["activeDeadlineSeconds"].is_null() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(&path.child("activeDeadlineSeconds"), &why));
    }
}

/// A selector that must be there and select something; whether it selects at all. `broken`: what is said once more of
/// one that cannot select.
pub(super) fn selector(errors: &mut Errors, selector: &Value, empty: &str, broken: &str) -> bool {
    let at = SPEC.child("selector");
    if selector.is_null() {
        errors.push(FieldError::required(&at, ""));
        return true;
    }
    let before = errors.len();
    label::selector(errors, selector, &at);
    let works = errors.len() == before;
    if label::selects_everything(selector) {
        let why = format!("empty selector is invalid for {empty}");
        errors.push(FieldError::invalid(&at, selector.clone(), &why));
    }
    if !works {
        errors.push(FieldError::invalid(&at, selector.clone(), broken));
    }
    works
}

/// Reports a template that its selector does not select; one that is not there selects nothing.
pub(super) fn selected(errors: &mut Errors, selector: &Value, template: &Value, path: &Path<'_>) {
    let labels = &template["metadata"]["labels"];
    if selector.is_null() || !label::selects(selector, labels) {
        let metadata = path.child("metadata");
        errors.push(FieldError::invalid(&metadata.child("labels"), labels.clone(), UNMATCHED));
    }
}

/// A selector that selects the labels of its template, and the template.
fn selected_template(errors: &mut Errors, spec: &Value) {
    let at = SPEC.child("template");
    if selector(errors, &spec["selector"], "deployment", "invalid label selector") {
        selected(errors, &spec["selector"], &spec["template"], &at);
        podspec::template(errors, &spec["template"], &at);
        runs_forever(errors, &spec["template"]["spec"], "ReplicaSet", &at.child("spec"));
    }
}

fn same_selector(errors: &mut Errors, object: &Value, old: &Value) {
    immutable(errors, &object["spec"]["selector"], &old["spec"]["selector"], &SPEC.child("selector"));
}

/// Counts that may not exceed the replicas; `least` is how the count that availability is within is named.
pub(super) fn at_most_replicas(errors: &mut Errors, status: &Value, fields: &[&str], least: &str) {
    for field in fields {
        if int(&status[*field]) > int(&status["replicas"]) {
            errors.push(FieldError::invalid(&STATUS.child(field), int(&status[*field]), OVER));
        }
    }
    if int(&status["availableReplicas"]) > int(&status["readyReplicas"]) {
        let given = int(&status["availableReplicas"]);
        let why = format!("cannot be greater than {least}");
        errors.push(FieldError::invalid(&STATUS.child("availableReplicas"), given, &why));
    }
}

/// Reports a count of collisions that goes back.
pub(super) fn collisions(errors: &mut Errors, object: &Value, old: &Value) {
    let count = |one: &Value| one["status"]["collisionCount"].as_i64();
    if count(old).is_some_and(|before| count(object).is_none_or(|now| now < before)) {
        let at = STATUS.child("collisionCount");
        let now = count(object).unwrap_or_default();
        errors.push(FieldError::invalid(&at, now, "cannot be decremented"));
    }
}

/// Warnings of objects whose pods are named after them.
fn warnings(warnings: &mut Vec<String>, object: &Value, old: Option<&Value>) {
    if old.is_none() {
        podspec::warning::pod_names(warnings, object);
    }
    podspec::warning::template(warnings, object, old);
}

/// A number, or the number of a percentage; 0 if it is neither.
pub(super) fn amount(value: &Value) -> i64 {
    percent(value).or_else(|| value.as_i64()).or_else(|| text(value).parse().ok()).unwrap_or_default()
}

/// Rules of Deployments.
pub(crate) const DEPLOYMENT: Rules = Rules {
    warnings,
    default: default_template,
    update: |deployment, old, part, _| {
        if part == "status" {
            restore(&mut deployment["metadata"], &old["metadata"], "labels");
        } else if !same(&deployment["metadata"]["annotations"], &old["metadata"]["annotations"]) {
            // Replica sets get copies of annotations, so these count as wanted, too.
            let generation = int(&old["metadata"]["generation"]);
            deployment["metadata"]["generation"] = (generation + 1).into();
        }
    },
    validate: |errors, deployment| {
        let spec = &deployment["spec"];
        non_negative(errors, &spec["replicas"], &SPEC.child("replicas"));
        selected_template(errors, spec);
        deployment_strategy(errors, &spec["strategy"]);
        let fields = ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"];
        non_negative_fields(errors, spec, &SPEC, &fields);
        let deadline = &spec["progressDeadlineSeconds"];
        if !deadline.is_null() && int(deadline) <= int(&spec["minReadySeconds"]) {
            let why = "must be greater than minReadySeconds";
            errors.push(FieldError::invalid(&SPEC.child("progressDeadlineSeconds"), int(deadline), why));
        }
    },
    validate_update: same_selector,
    validate_part: |errors, deployment, old, _| {
        let status = &deployment["status"];
        let fields = [
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ];
        non_negative_fields(errors, status, &STATUS, &fields);
        let counts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
        at_most_replicas(errors, status, &counts, "readyReplicas");
        collisions(errors, deployment, old);
    },
    ..RULES
};

fn deployment_strategy(errors: &mut Errors, strategy: &Value) {
    let at = SPEC.child("strategy");
    let rolling = &strategy["rollingUpdate"];
    match text(&strategy["type"]) {
        "Recreate" => {
            if !rolling.is_null() {
                let why = "may not be specified when strategy `type` is 'Recreate'";
                errors.push(FieldError::forbidden(&at.child("rollingUpdate"), why));
            }
        }
        "RollingUpdate" => {
            let at = at.child("rollingUpdate");
            if rolling.is_null() {
                errors.push(FieldError::required(&at, "this should be defaulted and never be nil"));
                return;
            }
            let (down, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            int_or_percent(errors, down, &at.child("maxUnavailable"));
            int_or_percent(errors, surge, &at.child("maxSurge"));
            if amount(down) == 0 && amount(surge) == 0 {
                let why = "may not be 0 when `maxSurge` is 0";
                errors.push(FieldError::invalid(&at.child("maxUnavailable"), down.clone(), why));
            }
            at_most_all(errors, down, &at.child("maxUnavailable"));
        }
        other => {
            let error = FieldError::not_supported(&at, "", &["Recreate", "RollingUpdate"]);
            errors.push(error.showing(&shown_strategy(other, &shown_rolling(rolling))));
        }
    }
}

/// A strategy of updates as upstream's internal form has it.
pub(super) fn shown_strategy(kind: &str, parameters: &str) -> String {
    format!("{{\"Type\":{kind:?},\"RollingUpdate\":{parameters}}}")
}

/// The parameters of a rolling update, likewise.
pub(super) fn shown_rolling(rolling: &Value) -> String {
    if rolling.is_null() {
        return "null".to_owned();
    }
    let number = |field: &str| if rolling[field].is_null() { 0.into() } else { rolling[field].clone() };
    let (down, surge) = (number("maxUnavailable"), number("maxSurge"));
    format!("{{\"MaxUnavailable\":{down},\"MaxSurge\":{surge}}}")
}

/// Rules of ReplicaSets.
pub(crate) const REPLICA_SET: Rules = Rules {
    warnings,
    default: default_template,
    status: r#"{"replicas":0}"#,
    validate: |errors, set| {
        non_negative_fields(errors, &set["spec"], &SPEC, &["replicas", "minReadySeconds"]);
        selected_template(errors, &set["spec"]);
    },
    order: Order::ObjectTwice,
    validate_update: same_selector,
    validate_part: |errors, set, _, _| {
        let status = &set["status"];
        let fields = [
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "observedGeneration",
            "terminatingReplicas",
        ];
        non_negative_fields(errors, status, &STATUS, &fields);
        at_most_replicas(errors, status, &fields[1..4], "readyReplicas");
    },
    ..RULES
};
