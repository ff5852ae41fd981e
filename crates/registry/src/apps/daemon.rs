//! What is special about DaemonSets and ControllerRevisions.
//!
//! Invariant: the generation of a DaemonSet's template is the server's; it is kept where apps/v1 shows it, in an
//! annotation. Answers to upstream's `pkg/apis/apps/validation`, its strategies, and its conversion of DaemonSets.

use super::rules::{
    UNMATCHED, amount, collisions, default_template, runs_forever, shown_rolling, shown_strategy,
};
use crate::kind::Order;
use crate::podspec;
use crate::rule::{Errors, ROOT, SPEC, STATUS, at_most_all, immutable, int_or_percent, label};
use crate::rule::{non_negative_fields, required};
use crate::rules::{RULES, Rules};
use crate::value::{same, text};
use gifee_base::{FieldError, Path};
use serde_json::Value;

const GENERATION: &str = "deprecated.daemonset.template.generation";

/// The generation of the template; 0 if nothing is said of it.
fn template_generation(set: &Value) -> i64 {
    text(&set["metadata"]["annotations"][GENERATION]).parse().unwrap_or_default()
}

fn set_generation(set: &mut Value, generation: i64) {
    set["metadata"]["annotations"][GENERATION] = generation.to_string().into();
}

/// Rules of DaemonSets.
pub(crate) const DAEMON_SET: Rules = Rules {
    warnings: |warnings, set, old| {
        if old.is_none_or(|old| template_generation(old) != template_generation(set)) {
            let at = SPEC.child("template");
            podspec::warning::template_at(warnings, &set["spec"]["template"], &at);
        }
    },
    default: default_template,
    status: r#"{"currentNumberScheduled":0,"desiredNumberScheduled":0,"numberMisscheduled":0,"numberReady":0}"#,
    create: |set, _| set_generation(set, template_generation(set).max(1)),
    update: |set, old, _, _| {
        let changed = !same(&set["spec"]["template"], &old["spec"]["template"]);
        set_generation(set, template_generation(old).max(1) + i64::from(changed));
    },
    validate: |errors, set| {
        let (spec, at) = (&set["spec"], SPEC.child("template"));
        selected_template(errors, spec);
        podspec::template(errors, &spec["template"], &at);
        runs_forever(errors, &spec["template"]["spec"], "DaemonSet", &at.child("spec"));
        non_negative_fields(errors, spec, &SPEC, &["minReadySeconds"]);
        strategy(errors, &spec["updateStrategy"]);
        non_negative_fields(errors, spec, &SPEC, &["revisionHistoryLimit"]);
    },
    order: Order::ObjectTwice,
    validate_update: |errors, set, old| {
        immutable(errors, &set["spec"]["selector"], &old["spec"]["selector"], &SPEC.child("selector"));
    },
    validate_part: |errors, set, old, _| {
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
        collisions(errors, set, old);
    },
    ..RULES
};

fn selected_template(errors: &mut Errors, spec: &Value) {
    let (selector, at) = (&spec["selector"], SPEC.child("selector"));
    let before = errors.len();
    label::selector(errors, selector, &at);
    let works = errors.len() == before;
    let labels = &spec["template"]["metadata"]["labels"];
    if works && (selector.is_null() || !label::selects(selector, labels)) {
        let at = SPEC.child("template");
        let at = at.child("metadata");
        errors.push(FieldError::invalid(&at.child("labels"), labels.clone(), UNMATCHED));
    }
    if !selector.is_null() && label::selects_everything(selector) {
        let why = "empty selector is invalid for daemonset";
        errors.push(FieldError::invalid(&at, selector.clone(), why));
    }
}

fn strategy(errors: &mut Errors, strategy: &Value) {
    let at = SPEC.child("updateStrategy");
    let rolling = &strategy["rollingUpdate"];
    match text(&strategy["type"]) {
        "OnDelete" => return,
        "RollingUpdate" => {}
        other => {
            let error = FieldError::not_supported(&at, "", &["RollingUpdate", "OnDelete"]);
            return errors.push(error.showing(&shown_strategy(other, &shown_rolling(rolling))));
        }
    }
    let at = at.child("rollingUpdate");
    if required(errors, rolling, &at) {
        return;
    }
    let (down, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    let fields = [(down, "maxUnavailable"), (surge, "maxSurge")];
    for (value, field) in fields {
        int_or_percent(errors, value, &at.child(field));
    }
    for (value, field) in fields {
        at_most_all(errors, value, &at.child(field));
    }
    match (amount(down) != 0, amount(surge) != 0) {
        (true, true) => {
            let why = "may not be set when maxUnavailable is non-zero";
            errors.push(FieldError::invalid(&at.child("maxSurge"), surge.clone(), why));
        }
        (false, false) => {
            let why = "cannot be 0 when maxSurge is 0";
            errors.push(FieldError::required(&at.child("maxUnavailable"), why));
        }
        _ => {}
    }
}

/// Rules of ControllerRevisions.
pub(crate) const CONTROLLER_REVISION: Rules = Rules {
    validate: |errors, revision| non_negative_fields(errors, revision, &ROOT, &["revision"]),
    validate_create: |errors, revision| {
        let at = Path::root("data");
        if revision["data"].is_null() {
            errors.push(FieldError::required(&at, "data is mandatory"));
        } else if !revision["data"].is_object() {
            errors.push(FieldError::required(&at, "data must be a valid JSON object"));
        }
    },
    validate_update: |errors, revision, old| {
        immutable(errors, &revision["data"], &old["data"], &Path::root("data"));
    },
    ..RULES
};
