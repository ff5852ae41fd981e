//! What is special about Deployments, ReplicaSets, StatefulSets, DaemonSets and ControllerRevisions.
//!
//! Answers to upstream's `pkg/apis/apps/validation` and the strategies of the group.

use crate::podspec;
use crate::rule::{Errors, SPEC, STATUS, at_most_all, immutable, int_or_percent, label, non_negative_fields};
use crate::rule::{percent, required, required_one_of};
use crate::rules::{RULES, Rules};
use crate::value::{int, remove, restore, same, text};
use gifee_base::{FieldError, Path};
use serde_json::{Value, json};

const OVER: &str = "cannot be greater than status.replicas";

fn default_template(object: &mut Value) {
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

/// A selector that selects the labels of its template, and the template.
fn selected_template(errors: &mut Errors, spec: &Value, kind: &str, empty: &str) {
    let (selector, at) = (&spec["selector"], SPEC.child("selector"));
    if selector.is_null() {
        errors.push(FieldError::required(&at, ""));
    } else {
        label::selector(errors, selector, &at);
        if label::selects_everything(selector) {
            let why = format!("empty selector is invalid for {empty}");
            errors.push(FieldError::invalid(&at, selector.clone(), &why));
        }
    }
    let (template, at) = (&spec["template"], SPEC.child("template"));
    let labels = &template["metadata"]["labels"];
    if !selector.is_null() && !label::selects_everything(selector) && !label::selects(selector, labels) {
        let metadata = at.child("metadata");
        let why = "`selector` does not match template `labels`";
        let given = if labels.is_null() { json!({}) } else { labels.clone() };
        errors.push(FieldError::invalid(&metadata.child("labels"), given, why));
    }
    podspec::template(errors, template, &at);
    runs_forever(errors, &template["spec"], kind, &at.child("spec"));
}

fn same_selector(errors: &mut Errors, object: &Value, old: &Value) {
    immutable(errors, &object["spec"]["selector"], &old["spec"]["selector"], &SPEC.child("selector"));
}

fn at_most_replicas(errors: &mut Errors, status: &Value, fields: &[&str]) {
    for field in fields {
        if int(&status[*field]) > int(&status["replicas"]) {
            errors.push(FieldError::invalid(&STATUS.child(field), int(&status[*field]), OVER));
        }
    }
    if int(&status["availableReplicas"]) > int(&status["readyReplicas"]) {
        let given = int(&status["availableReplicas"]);
        let why = "cannot be greater than readyReplicas";
        errors.push(FieldError::invalid(&STATUS.child("availableReplicas"), given, why));
    }
}

/// Rules of Deployments.
pub(crate) const DEPLOYMENT: Rules = Rules {
    warnings: |warnings, object, old| {
        if old.is_none() {
            crate::podspec::warning::pod_names(warnings, object);
        }
        crate::podspec::warning::template(warnings, object, old);
    },
    default: default_template,
    update: |deployment, old, part, _| {
        if part == "status" {
            restore(&mut deployment["metadata"], &old["metadata"], "labels");
        }
    },
    validate: |errors, deployment| {
        let spec = &deployment["spec"];
        non_negative_fields(errors, spec, &SPEC, &["replicas"]);
        selected_template(errors, spec, "ReplicaSet", "deployment");
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
        ];
        non_negative_fields(errors, status, &STATUS, &fields);
        let count = |one: &Value| int(&one["status"]["collisionCount"]);
        non_negative_fields(errors, status, &STATUS, &["collisionCount"]);
        at_most_replicas(errors, status, &["updatedReplicas", "readyReplicas", "availableReplicas"]);
        if count(deployment) < count(old) {
            let why = "cannot be decremented";
            errors.push(FieldError::invalid(&STATUS.child("collisionCount"), count(deployment), why));
        }
    },
    ..RULES
};

fn is_none(value: &Value) -> bool {
    !value.is_null() && percent(value).unwrap_or_else(|| int(value)) == 0
}

fn deployment_strategy(errors: &mut Errors, strategy: &Value) {
    let at = SPEC.child("strategy");
    let (kind, rolling) = (text(&strategy["type"]), &strategy["rollingUpdate"]);
    match kind {
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
            if is_none(down) && is_none(surge) {
                let why = "may not be 0 when `maxSurge` is 0";
                errors.push(FieldError::invalid(&at.child("maxUnavailable"), down.clone(), why));
            }
            at_most_all(errors, down, &at.child("maxUnavailable"));
        }
        other => {
            let supported = ["Recreate", "RollingUpdate"];
            errors.push(FieldError::not_supported(&at.child("type"), other, &supported));
        }
    }
}

/// Rules of ReplicaSets.
pub(crate) const REPLICA_SET: Rules = Rules {
    warnings: |warnings, object, old| {
        if old.is_none() {
            crate::podspec::warning::pod_names(warnings, object);
        }
        crate::podspec::warning::template(warnings, object, old);
    },
    default: default_template,
    status: r#"{"replicas":0}"#,
    validate: |errors, set| {
        non_negative_fields(errors, &set["spec"], &SPEC, &["replicas", "minReadySeconds"]);
        selected_template(errors, &set["spec"], "ReplicaSet", "deployment");
    },
    validate_update: same_selector,
    validate_part: |errors, set, _, _| crate::core::endpoints::replica_status(errors, &set["status"]),
    ..RULES
};

/// Rules of StatefulSets.
pub(crate) const STATEFUL_SET: Rules = Rules {
    warnings: |warnings, object, old| {
        if old.is_none() {
            crate::podspec::warning::pod_names(warnings, object);
        }
        crate::podspec::warning::template(warnings, object, old);
        if object["spec"]["revisionHistoryLimit"].as_i64().is_some_and(|limit| limit < 0) {
            warnings.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".into());
        }
    },
    default: default_template,
    status: r#"{"availableReplicas":0,"replicas":0}"#,
    validate: stateful_set,
    validate_update: stateful_set_update,
    validate_part: |errors, set, old, _| {
        let status = &set["status"];
        let fields =
            ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "observedGeneration"];
        non_negative_fields(errors, status, &STATUS, &fields);
        at_most_replicas(errors, status, &["readyReplicas", "currentReplicas", "updatedReplicas"]);
        let count = |one: &Value| int(&one["status"]["collisionCount"]);
        if count(set) < count(old) {
            let why = "cannot be decremented";
            errors.push(FieldError::invalid(&STATUS.child("collisionCount"), count(set), why));
        }
    },
    ..RULES
};

fn stateful_set(errors: &mut Errors, set: &Value) {
    let spec = &set["spec"];
    let policies = ["OrderedReady", "Parallel"];
    let at = SPEC.child("podManagementPolicy");
    match text(&spec["podManagementPolicy"]) {
        "" => errors.push(FieldError::required(&at, "")),
        one if !policies.contains(&one) => {
            let why = "must be 'OrderedReady' or 'Parallel'";
            errors.push(FieldError::invalid(&at, one, why));
        }
        _ => {}
    }
    stateful_strategy(errors, &spec["updateStrategy"]);
    let (keep, at) = (&spec["persistentVolumeClaimRetentionPolicy"], "persistentVolumeClaimRetentionPolicy");
    if !keep.is_null() {
        let at = SPEC.child(at);
        for field in ["whenDeleted", "whenScaled"] {
            crate::rule::one_of(errors, &keep[field], &at.child(field), &["Retain", "Delete"]);
        }
    }
    non_negative_fields(errors, spec, &SPEC, &["replicas", "minReadySeconds"]);
    let start = &spec["ordinals"]["start"];
    if start.as_i64().is_some_and(|start| start < 0) {
        let at = SPEC.child("ordinals");
        errors.push(FieldError::invalid(&at.child("start"), start.clone(), crate::rule::NEGATIVE));
    }
    selected_template(errors, spec, "StatefulSet", "statefulset");
}

fn stateful_strategy(errors: &mut Errors, strategy: &Value) {
    let at = SPEC.child("updateStrategy");
    let rolling = &strategy["rollingUpdate"];
    match text(&strategy["type"]) {
        "" => errors.push(FieldError::required(&at, "")),
        kind @ ("OnDelete" | "RollingUpdate") => {
            let at = at.child("rollingUpdate");
            if kind == "OnDelete" && !rolling.is_null() {
                let why = "only allowed for updateStrategy 'RollingUpdate'";
                errors.push(FieldError::invalid(&at, rolling.clone(), why));
            }
            non_negative_fields(errors, rolling, &at, &["partition"]);
            let down = &rolling["maxUnavailable"];
            if !down.is_null() {
                let at = at.child("maxUnavailable");
                int_or_percent(errors, down, &at);
                if is_none(down) {
                    errors.push(FieldError::invalid(&at, down.clone(), "cannot be 0"));
                }
                at_most_all(errors, down, &at);
            }
        }
        other => {
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(FieldError::invalid(&at, other, why));
        }
    }
}

const STATEFUL_MUTABLE: [&str; 8] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
    "status",
];

fn stateful_set_update(errors: &mut Errors, set: &Value, old: &Value) {
    let fixed = |one: &Value| {
        let mut spec = one["spec"].clone();
        for field in STATEFUL_MUTABLE {
            remove(&mut spec, field);
        }
        for claim in spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut).into_iter().flatten()
        {
            remove(claim, "status");
        }
        spec
    };
    if !same(&fixed(set), &fixed(old)) {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        errors.push(FieldError::forbidden(&SPEC, why));
    }
}

/// Rules of DaemonSets.
pub(crate) const DAEMON_SET: Rules = Rules {
    warnings: |warnings, object, old| {
        crate::podspec::warning::template(warnings, object, old);
    },
    default: default_template,
    status: r#"{"currentNumberScheduled":0,"desiredNumberScheduled":0,"numberMisscheduled":0,"numberReady":0}"#,
    validate: |errors, set| {
        let spec = &set["spec"];
        selected_template(errors, spec, "DaemonSet", "daemonset");
        non_negative_fields(errors, spec, &SPEC, &["minReadySeconds"]);
        daemon_strategy(errors, &spec["updateStrategy"]);
        non_negative_fields(errors, spec, &SPEC, &["revisionHistoryLimit"]);
    },
    validate_update: |errors, set, old| {
        same_selector(errors, set, old);
        let generation = |one: &Value| int(&one["spec"]["templateGeneration"]);
        if generation(set) < generation(old) {
            let at = SPEC.child("templateGeneration");
            errors.push(FieldError::invalid(&at, generation(set), "must not be decremented"));
        }
    },
    validate_part: |errors, set, _, _| {
        let fields = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        non_negative_fields(errors, &set["status"], &STATUS, &fields);
    },
    ..RULES
};

fn daemon_strategy(errors: &mut Errors, strategy: &Value) {
    let at = SPEC.child("updateStrategy");
    let rolling = &strategy["rollingUpdate"];
    required_one_of(errors, &strategy["type"], &at.child("type"), &["RollingUpdate", "OnDelete"]);
    if strategy["type"] != "RollingUpdate" {
        return;
    }
    let at = at.child("rollingUpdate");
    if required(errors, rolling, &at) {
        return;
    }
    let (down, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    for (value, field) in [(down, "maxUnavailable"), (surge, "maxSurge")] {
        int_or_percent(errors, value, &at.child(field));
        at_most_all(errors, value, &at.child(field));
    }
    let zero = |value: &Value| value.is_null() || is_none(value);
    if zero(down) && zero(surge) {
        let why = "cannot be 0 when maxSurge is 0";
        errors.push(FieldError::required(&at.child("maxUnavailable"), why));
    } else if !zero(down) && !zero(surge) {
        let why = "may not be set when maxUnavailable is non-zero";
        errors.push(FieldError::invalid(&at.child("maxSurge"), surge.clone(), why));
    }
}

/// Rules of ControllerRevisions.
pub(crate) const CONTROLLER_REVISION: Rules = Rules {
    validate: |errors, revision| {
        if revision["data"].is_null() {
            errors.push(FieldError::required(&Path::root("data"), "data is mandatory"));
        }
        non_negative_fields(errors, revision, &crate::rule::ROOT, &["revision"]);
    },
    validate_update: |errors, revision, old| {
        immutable(errors, &revision["data"], &old["data"], &Path::root("data"));
    },
    ..RULES
};
