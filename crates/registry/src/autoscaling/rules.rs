//! What is special about HorizontalPodAutoscalers, in both versions.
//!
//! Answers to upstream's `pkg/apis/autoscaling/validation`.

use super::conversion::{METRICS, to_stored};
use crate::rule::resource::quantity;
use crate::rule::{Errors, NOT_POSITIVE, SPEC, STATUS, declared, non_negative_fields, optional_one_of};
use crate::rule::{required_because, required_name};
use crate::rules::{RULES, Rules};
use crate::value::{int, is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

/// Kinds of metrics and the fields of their sources, in the order in which sources are looked at.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const WINDOW_MAXIMUM: i64 = 3_600;
const PERIOD_MAXIMUM: i64 = 1_800;

/// Rules of autoscaling/v2.
pub(crate) const V2: Rules = Rules {
    status: r#"{"desiredReplicas":0}"#,
    validate_create: validate,
    validate_update: |errors, autoscaler, _| validate(errors, autoscaler),
    validate_part: |errors, autoscaler, _, _| status(errors, autoscaler),
    ..RULES
};

/// Rules of autoscaling/v1: those of v2, about the same object in that form.
pub(crate) const V1: Rules = Rules {
    default: |autoscaler| {
        let others = !autoscaler["metadata"]["annotations"][METRICS].is_null();
        let Some(spec) = autoscaler.get_mut("spec").filter(|spec| spec.is_object()) else { return };
        if spec["targetCPUUtilizationPercentage"].is_null() && !others {
            spec["targetCPUUtilizationPercentage"] = 80.into();
        }
    },
    status: r#"{"currentReplicas":0,"desiredReplicas":0}"#,
    validate_create: |errors, autoscaler| validate(errors, &to_stored(autoscaler.clone())),
    validate_update: |errors, autoscaler, _| validate(errors, &to_stored(autoscaler.clone())),
    validate_part: |errors, autoscaler, _, _| status(errors, autoscaler),
    ..RULES
};

fn validate(errors: &mut Errors, autoscaler: &Value) {
    let spec = &autoscaler["spec"];
    let (least, most) = (&spec["minReplicas"], int(&spec["maxReplicas"]));
    if least.as_i64().is_some_and(|least| least < 0) {
        let why = "must be greater than or equal to 0";
        let error = FieldError::invalid(&SPEC.child("minReplicas"), least.clone(), why);
        declared(errors, |errors| errors.push(error));
    }
    let at = SPEC.child("maxReplicas");
    declared(errors, |errors| match most {
        0 => errors.push(FieldError::required(&at, "")),
        ..0 => errors.push(FieldError::invalid(&at, most, "must be greater than or equal to 1")),
        _ => {}
    });
    if least.as_i64().is_some_and(|least| most < least) {
        errors.push(FieldError::invalid(&at, most, "must be greater than or equal to `minReplicas`"));
    }
    reference(errors, &spec["scaleTargetRef"], &SPEC.child("scaleTargetRef"));
    let at = SPEC.child("metrics");
    for (index, one) in items(&spec["metrics"]).iter().enumerate() {
        metric(errors, one, &at.index(index));
    }
    let from_outside = |one: &Value| matches!(text(&one["type"]), "Object" | "External");
    if least == 0 && !items(&spec["metrics"]).iter().any(from_outside) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden(&at, why));
    }
    let at = SPEC.child("behavior");
    for side in ["scaleUp", "scaleDown"] {
        behavior(errors, &spec["behavior"][side], &at.child(side));
    }
}

fn reference(errors: &mut Errors, one: &Value, path: &Path<'_>) {
    required_name(errors, &one["kind"], &path.child("kind"), name::path_segment);
    required_name(errors, &one["name"], &path.child("name"), name::path_segment);
}

fn metric(errors: &mut Errors, one: &Value, path: &Path<'_>) {
    let mut kinds: Vec<&str> = SOURCES.iter().map(|(kind, _)| *kind).collect();
    kinds.sort_unstable();
    let (kind, at) = (text(&one["type"]), path.child("type"));
    if kind.is_empty() {
        errors.push(FieldError::required(&at, "must specify a metric source type"));
    }
    let wanted = SOURCES.iter().find(|(name, _)| *name == kind).map(|(_, field)| *field);
    if wanted.is_none() {
        errors.push(FieldError::not_supported(&at, kind, &kinds));
    }
    // Of several sources the first is looked at.
    let given: Vec<&str> =
        SOURCES.iter().map(|(_, field)| *field).filter(|field| !one[*field].is_null()).collect();
    if let Some(field) = given.first() {
        source(errors, field, &one[*field], &path.child(field));
    }
    match wanted {
        Some(field) if one[field].is_null() => {
            let why = "must populate information for the given metric source";
            errors.push(FieldError::required(&path.child(field), why));
        }
        Some(_) => {}
        None => errors.push(FieldError::not_supported(&at, kind, &kinds)),
    }
    if given.len() != 1 {
        for other in given.iter().filter(|other| wanted != Some(**other)) {
            let why = "must populate the given metric source only";
            errors.push(FieldError::forbidden(&path.child(other), why));
        }
    }
}

fn source(errors: &mut Errors, field: &str, source: &Value, path: &Path<'_>) {
    match field {
        "resource" | "containerResource" => {
            let why = "must specify a resource name";
            required_because(errors, &source["name"], &path.child("name"), why);
            if field == "containerResource" {
                let why = "must specify a container";
                required_because(errors, &source["container"], &path.child("container"), why);
            }
        }
        _ => {
            if field == "object" {
                reference(errors, &source["describedObject"], &path.child("describedObject"));
            }
            let at = path.child("metric");
            required_name(errors, &source["metric"]["name"], &at.child("name"), name::path_segment);
        }
    }
    let at = path.child("target");
    target(errors, &source["target"], &at);
    amounts(errors, field, &source["target"], &at);
}

/// Which of the amounts of a target each kind of metric needs, and which it does not take together.
fn amounts(errors: &mut Errors, field: &str, target: &Value, path: &Path<'_>) {
    let has = |field: &str| !target[field].is_null();
    let (value, average, share) = (has("value"), has("averageValue"), has("averageUtilization"));
    match field {
        "object" if !value && !average => {
            let why = "must set either a target value or averageValue";
            errors.push(FieldError::required(&path.child("averageValue"), why));
        }
        "external" if !value && !average => {
            let why = "must set either a target value for metric or a per-pod target";
            errors.push(FieldError::required(&path.child("averageValue"), why));
        }
        "external" if value && average => {
            let why = "may not set both a target value for metric and a per-pod target";
            errors.push(FieldError::forbidden(&path.child("value"), why));
        }
        "pods" if quantity(&target["averageValue"]).sign() != 1 => {
            let why = "must specify a positive target averageValue";
            errors.push(FieldError::required(&path.child("averageValue"), why));
        }
        "resource" | "containerResource" if !share && !average => {
            let why = "must set either a target raw value or a target utilization";
            errors.push(FieldError::required(&path.child("averageUtilization"), why));
        }
        "resource" | "containerResource" if share && average => {
            let why = "may not set both a target raw value and a target utilization";
            errors.push(FieldError::forbidden(&path.child("averageValue"), why));
        }
        _ => {}
    }
}

fn target(errors: &mut Errors, target: &Value, path: &Path<'_>) {
    let kind = text(&target["type"]);
    if kind.is_empty() {
        errors.push(FieldError::required(&path.child("type"), "must specify a metric target type"));
    }
    if !["AverageValue", "Utilization", "Value"].contains(&kind) {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(&path.child("type"), kind, why));
    }
    for field in ["value", "averageValue"] {
        if !target[field].is_null() && quantity(&target[field]).sign() != 1 {
            errors.push(FieldError::invalid(&path.child(field), target[field].clone(), "must be positive"));
        }
    }
    let share = &target["averageUtilization"];
    if share.as_i64().is_some_and(|share| share < 1) {
        let why = "must be greater than 0";
        errors.push(FieldError::invalid(&path.child("averageUtilization"), share.clone(), why));
    }
}

fn behavior(errors: &mut Errors, rules: &Value, path: &Path<'_>) {
    if rules.is_null() {
        return;
    }
    let window = &rules["stabilizationWindowSeconds"];
    if int(window) < 0 {
        let why = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(&path.child("stabilizationWindowSeconds"), int(window), why));
    }
    if int(window) > WINDOW_MAXIMUM {
        let why = format!("must be less than or equal to {WINDOW_MAXIMUM}");
        errors.push(FieldError::invalid(&path.child("stabilizationWindowSeconds"), int(window), &why));
    }
    let tolerance = &rules["tolerance"];
    if !tolerance.is_null() && quantity(tolerance).sign() < 0 {
        let why = "must be greater or equal to zero";
        errors.push(FieldError::invalid(&path.child("tolerance"), tolerance.clone(), why));
    }
    let select = &rules["selectPolicy"];
    optional_one_of(errors, select, &path.child("selectPolicy"), &["Disabled", "Max", "Min"]);
    let at = path.child("policies");
    if is_empty(&rules["policies"]) {
        errors.push(FieldError::required(&at, "must specify at least one Policy"));
    }
    for (index, policy) in items(&rules["policies"]).iter().enumerate() {
        let at = at.index(index);
        crate::rule::one_of(errors, &policy["type"], &at.child("type"), &["Percent", "Pods"]);
        for field in ["value", "periodSeconds"] {
            if int(&policy[field]) <= 0 {
                errors.push(FieldError::invalid(&at.child(field), int(&policy[field]), NOT_POSITIVE));
            }
        }
        if int(&policy["periodSeconds"]) > PERIOD_MAXIMUM {
            let why = format!("must be less than or equal to {PERIOD_MAXIMUM}");
            errors.push(FieldError::invalid(&at.child("periodSeconds"), int(&policy["periodSeconds"]), &why));
        }
    }
}

fn status(errors: &mut Errors, autoscaler: &Value) {
    let fields = ["currentReplicas", "desiredReplicas"];
    non_negative_fields(errors, &autoscaler["status"], &STATUS, &fields);
}
