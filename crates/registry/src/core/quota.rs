//! What is special about ResourceQuotas and LimitRanges.
//!
//! Answers to upstream's rules of both.

use crate::rule::resource::{
    container_resource_name, is_quota, may_overcommit, quantity, quota_list, resource_name,
};
use crate::rule::shown::{self, showing};
use crate::rule::{Errors, IMMUTABLE, SPEC, STATUS, named, unique};
use crate::rules::{RULES, Rules};
use crate::value::{entries, is_empty, items, text};
use gifee_base::{FieldError, Path, Quantity, name};
use serde_json::Value;
use std::collections::BTreeMap;

const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

/// Rules of ResourceQuotas.
pub(crate) const QUOTA: Rules = Rules {
    validate: |errors, quota| {
        let spec = &quota["spec"];
        quota_list(errors, &spec["hard"], &SPEC.child("hard"));
        scopes(errors, spec);
        selector(errors, spec);
    },
    validate_create: |errors, quota| quota_status(errors, &quota["status"]),
    validate_part: |errors, quota, _, _| quota_status(errors, &quota["status"]),
    validate_update: |errors, quota, old| {
        let sorted = |one: &Value| {
            let mut list: Vec<String> =
                items(&one["spec"]["scopes"]).iter().map(|one| text(one).to_owned()).collect();
            list.sort();
            list
        };
        if sorted(quota) != sorted(old) {
            let given = quota["spec"]["scopes"].clone();
            errors.push(FieldError::invalid(&SPEC.child("scopes"), given, IMMUTABLE));
        }
    },
    ..RULES
};

fn quota_status(errors: &mut Errors, status: &Value) {
    for list in ["hard", "used"] {
        quota_list(errors, &status[list], &STATUS.child(list));
    }
}

fn fits(scope: &str, resource: &str) -> bool {
    let compute = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => {
            resource == "pods" || compute.contains(&resource) || resource.contains('/')
        }
        "VolumeAttributesClass" => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage") || resource.contains('/')
        }
        _ => true,
    }
}

fn conflicting(errors: &mut Errors, spec: &Value, given: &[&str], path: &Path<'_>) {
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|one| given.contains(one)) {
            errors.push(FieldError::invalid(path, spec["scopes"].clone(), "conflicting scopes"));
        }
    }
}

fn scopes(errors: &mut Errors, spec: &Value) {
    let at = SPEC.child("scopes");
    let given: Vec<&str> = items(&spec["scopes"]).iter().map(text).collect();
    for scope in &given {
        if !SCOPES.contains(scope) {
            errors.push(FieldError::invalid(&at, spec["scopes"].clone(), "unsupported scope"));
        }
        for (resource, _) in entries(&spec["hard"]) {
            if is_quota(resource) && !fits(scope, resource) {
                let why = "unsupported scope applied to resource";
                errors.push(FieldError::invalid(&at, spec["scopes"].clone(), why));
            }
        }
    }
    conflicting(errors, spec, &given, &at);
}

fn selector(errors: &mut Errors, spec: &Value) {
    let at = SPEC.child("scopeSelector");
    let at = at.child("matchExpressions");
    let expressions = items(&spec["scopeSelector"]["matchExpressions"]);
    for one in expressions {
        let (scope, operator) = (text(&one["scopeName"]), text(&one["operator"]));
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid(&at.child("scopeName"), scope, "unsupported scope"));
        }
        for (resource, _) in entries(&spec["hard"]) {
            if is_quota(resource) && !fits(scope, resource) {
                let why = "unsupported scope applied to resource";
                let error = FieldError::invalid(&at, "", why);
                errors.push(showing(error, &spec["scopeSelector"], shown::SCOPE_SELECTOR));
            }
        }
        let exists = !matches!(scope, "PriorityClass" | "VolumeAttributesClass");
        if exists && SCOPES.contains(&scope) && operator != "Exists" {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(FieldError::invalid(&at.child("operator"), operator, why));
        }
        match operator {
            "In" | "NotIn" if is_empty(&one["values"]) => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(&at.child("values"), why));
            }
            "Exists" | "DoesNotExist" if !is_empty(&one["values"]) => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(FieldError::invalid(&at.child("values"), one["values"].clone(), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let why = "not a valid selector operator";
                errors.push(FieldError::invalid(&at.child("operator"), other, why));
            }
        }
    }
    let given: Vec<&str> = expressions.iter().map(|one| text(&one["scopeName"])).collect();
    conflicting(errors, spec, &given, &at);
}

/// Rules of LimitRanges.
pub(crate) const LIMIT_RANGE: Rules = Rules {
    validate: |errors, range| {
        let at = SPEC.child("limits");
        let mut seen = Vec::new();
        for (index, limit) in items(&range["spec"]["limits"]).iter().enumerate() {
            let at = at.index(index);
            named(errors, &limit["type"], &at.child("type"), limit_type);
            unique(errors, &mut seen, text(&limit["type"]), &at.child("type"));
            limit_amounts(errors, limit, &at);
        }
    },
    ..RULES
};

fn limit_type(text: &str) -> Vec<String> {
    let mut wrong = name::qualified(text);
    if wrong.is_empty()
        && !text.contains('/')
        && !matches!(text, "Pod" | "Container" | "PersistentVolumeClaim")
    {
        wrong.push("must be a standard limit type or fully qualified".to_owned());
    }
    wrong
}

/// The amounts of one resource in the lists of a limit.
#[derive(Default)]
struct Amounts {
    min: Option<Quantity>,
    max: Option<Quantity>,
    default: Option<Quantity>,
    request: Option<Quantity>,
    ratio: Option<Quantity>,
}

fn limit_amounts(errors: &mut Errors, limit: &Value, path: &Path<'_>) {
    let pod = limit["type"] == "Pod";
    let mut resources: BTreeMap<&str, Amounts> = BTreeMap::new();
    for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        let at = path.child(list);
        if pod && matches!(list, "default" | "defaultRequest") {
            if !is_empty(&limit[list]) {
                errors.push(FieldError::forbidden(&at, "may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        for (one, value) in entries(&limit[list]) {
            if matches!(text(&limit["type"]), "Pod" | "Container") {
                container_resource_name(errors, one, &at.key(one));
            } else {
                resource_name(errors, one, &at.key(one));
            }
            let amounts = resources.entry(one).or_default();
            let slot = match list {
                "max" => &mut amounts.max,
                "min" => &mut amounts.min,
                "default" => &mut amounts.default,
                "defaultRequest" => &mut amounts.request,
                _ => &mut amounts.ratio,
            };
            *slot = Some(quantity(value));
        }
    }
    let storage = |list: &str| limit[list].get("storage").is_some();
    if limit["type"] == "PersistentVolumeClaim" && !storage("min") && !storage("max") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(&path.child("limits"), why));
    }
    for (one, amounts) in resources {
        compare(errors, one, &amounts, path);
    }
}

/// Amounts up to here are compared in thousandths, as upstream does.
const MILLI_MAXIMUM: i64 = i64::MAX / 1000;

fn ratio_fits(errors: &mut Errors, one: &str, amounts: &Amounts, path: &Path<'_>) {
    let Some(ratio) = amounts.ratio else { return };
    let at = path.child("maxLimitRequestRatio");
    let mut wrong = |why: &str| errors.push(FieldError::invalid(&at.key(one), ratio.to_string(), why));
    if ratio < Quantity::from_milli(1000) {
        wrong(&format!("ratio {ratio} is less than 1"));
    }
    let (Some(min), Some(max)) = (amounts.min, amounts.max) else { return };
    let small = [ratio, min, max].iter().all(|one| one.value() < MILLI_MAXIMUM);
    let of = |one: Quantity| if small { one.milli() } else { one.value() };
    #[allow(clippy::cast_precision_loss)] // Upstream compares floating-point numbers.
    let (given, limit) =
        (of(ratio) as f64 / if small { 1000.0 } else { 1.0 }, of(max) as f64 / of(min) as f64);
    if given > limit {
        wrong(&format!("ratio {ratio} is greater than max/min = {limit:.6}"));
    }
}

fn compare(errors: &mut Errors, one: &str, amounts: &Amounts, path: &Path<'_>) {
    let mut order = |low: Option<Quantity>, high: Option<Quantity>, field: &str, shown, names: [&str; 2]| {
        if let (Some(low), Some(high)) = (low, high)
            && low > high
        {
            let why = format!("{} value {low} is greater than {} value {high}", names[0], names[1]);
            let given: Quantity = if shown == 0 { low } else { high };
            errors.push(FieldError::invalid(&path.child(field).key(one), given.to_string(), &why));
        }
    };
    let Amounts { min, max, default, request, .. } = *amounts;
    order(min, max, "min", 0, ["min", "max"]);
    order(min, request, "defaultRequest", 1, ["min", "default request"]);
    order(request, max, "defaultRequest", 0, ["default request", "max"]);
    order(request, default, "defaultRequest", 0, ["default request", "default limit"]);
    order(min, default, "default", 0, ["min", "default"]);
    order(default, max, "default", 1, ["default", "max"]);
    ratio_fits(errors, one, amounts, path);
    if let (Some(default), Some(request)) = (default, request)
        && default != request
        && !may_overcommit(one)
    {
        let why = format!("default value {default} must equal to defaultRequest value {request} in {one}");
        let at = path.child("defaultRequest");
        errors.push(FieldError::invalid(&at.key(one), request.to_string(), &why));
    }
}
