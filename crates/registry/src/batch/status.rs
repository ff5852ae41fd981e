//! What is wrong with a change of a Job's status.
//!
//! Invariant: a rule that came late binds only those who touch what it is about, so that old Jobs can be finished.
//! Answers to upstream's `pkg/apis/batch/validation` and the strategy that chooses among its options.

use super::indexes;
use crate::rule::{Errors, STATUS, non_negative_fields};
use crate::value::{int, is_empty, items, same, text};
use gifee_base::FieldError;
use serde_json::Value;

/// Whether a condition holds.
pub(super) fn holds(job: &Value, kind: &str) -> bool {
    items(&job["status"]["conditions"]).iter().any(|one| one["type"] == kind && one["status"] == "True")
}

fn finished(job: &Value) -> bool {
    holds(job, "Complete") || holds(job, "Failed")
}

/// A change of the status.
pub(super) fn status(errors: &mut Errors, job: &Value, old: &Value) {
    let fields = ["active", "succeeded", "failed", "ready", "terminating"];
    non_negative_fields(errors, &job["status"], &STATUS, &fields);
    uncounted(errors, job);
    conditions(errors, job, old);
    times(errors, job, old);
    causes(errors, job, old);
    pods(errors, job, old);
    lists(errors, job, old);
    late(errors, job, old);
    criteria(errors, job);
    transitions(errors, job, old);
}

fn changed(job: &Value, old: &Value, field: &str) -> bool {
    !same(&job["status"][field], &old["status"][field])
}

fn turned(job: &Value, old: &Value, kind: &str) -> bool {
    holds(job, kind) != holds(old, kind)
}

fn refuse(errors: &mut Errors, wrong: bool, why: &str) {
    if wrong {
        errors.push(FieldError::omitted(&STATUS.child("conditions"), why));
    }
}

fn uncounted(errors: &mut Errors, job: &Value) {
    let at = STATUS.child("uncountedTerminatedPods");
    let mut seen = Vec::new();
    for list in ["succeeded", "failed"] {
        let at = at.child(list);
        for (index, uid) in items(&job["status"]["uncountedTerminatedPods"][list]).iter().enumerate() {
            if text(uid).is_empty() {
                errors.push(FieldError::invalid(&at.index(index), "", "must not be empty"));
            } else {
                crate::rule::unique(errors, &mut seen, text(uid), &at.index(index));
            }
        }
    }
}

fn conditions(errors: &mut Errors, job: &Value, old: &Value) {
    let complete = turned(job, old, "Complete");
    if complete || turned(job, old, "Failed") {
        let wrong = holds(job, "Complete") && holds(job, "Failed");
        refuse(errors, wrong, "cannot set Complete=True and Failed=true conditions");
    }
    if complete || turned(job, old, "FailureTarget") {
        let wrong = holds(job, "Complete") && holds(job, "FailureTarget");
        refuse(errors, wrong, "cannot set Complete=True and FailureTarget=true conditions");
    }
}

fn times(errors: &mut Errors, job: &Value, old: &Value) {
    let (end, start) = (&job["status"]["completionTime"], &job["status"]["startTime"]);
    let at = STATUS.child("completionTime");
    if turned(job, old, "Complete") || changed(job, old, "completionTime") {
        if !end.is_null() && !holds(job, "Complete") {
            let why = "cannot set completionTime when there is no Complete=True condition";
            errors.push(FieldError::invalid(&at, end.clone(), why));
        }
        if end.is_null() && holds(job, "Complete") {
            errors.push(FieldError::required(&at, "completionTime is required for Complete jobs"));
        }
    }
    if changed(job, old, "startTime") || changed(job, old, "completionTime") {
        let time = |value: &Value| text(value).parse::<jiff::Timestamp>().ok();
        if let (Some(ended), Some(started)) = (time(end), time(start))
            && ended < started
        {
            errors.push(FieldError::invalid(&at, end.clone(), "must be equal to or after `startTime`"));
        }
    }
}

fn causes(errors: &mut Errors, job: &Value, old: &Value) {
    if turned(job, old, "Failed") || changed(job, old, "failedIndexes") {
        let wrong = holds(job, "Failed") && !holds(job, "FailureTarget");
        refuse(errors, wrong, "cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if turned(job, old, "Complete") || turned(job, old, "SuccessCriteriaMet") {
        let wrong = holds(job, "Complete") && !holds(job, "SuccessCriteriaMet");
        refuse(
            errors,
            wrong,
            "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
        );
    }
}

/// What a finished Job cannot have any more, and must have.
fn pods(errors: &mut Errors, job: &Value, old: &Value) {
    let status = &job["status"];
    let ends = finished(job) != finished(old);
    if !finished(job) {
        return;
    }
    if (ends || changed(job, old, "active")) && int(&status["active"]) > 0 {
        let why = "active>0 is invalid for finished job";
        errors.push(FieldError::invalid(&STATUS.child("active"), int(&status["active"]), why));
    }
    if (ends || changed(job, old, "startTime")) && status["startTime"].is_null() {
        errors
            .push(FieldError::required(&STATUS.child("startTime"), "startTime is required for finished job"));
    }
    let uncounted = &status["uncountedTerminatedPods"];
    if (ends || changed(job, old, "uncountedTerminatedPods"))
        && ["failed", "succeeded"].iter().any(|list| !is_empty(&uncounted[*list]))
    {
        let shown =
            format!("{{\"Succeeded\":{},\"Failed\":{}}}", uncounted["succeeded"], uncounted["failed"]);
        let at = STATUS.child("uncountedTerminatedPods");
        errors.push(FieldError::invalid(&at, "", "must be empty for finished job").showing(&shown));
    }
}

fn lists(errors: &mut Errors, job: &Value, old: &Value) {
    let (status, spec) = (&job["status"], &job["spec"]);
    let (completed, failed) = (text(&status["completedIndexes"]), &status["failedIndexes"]);
    let (new_completed, new_failed) =
        (changed(job, old, "completedIndexes"), failed != &old["status"]["failedIndexes"]);
    let limit = spec["completions"].as_i64();
    let per_index = !spec["backoffLimitPerIndex"].is_null();
    let (at_completed, at_failed) = (STATUS.child("completedIndexes"), STATUS.child("failedIndexes"));
    if let Some(limit) = limit {
        if let (true, Err(why)) = (new_completed, indexes::count(completed, limit)) {
            let why = format!("error parsing completedIndexes: {why}");
            errors.push(FieldError::invalid(&at_completed, completed, &why));
        }
        if let (true, Err(why)) = (new_failed && per_index, indexes::count(text(failed), limit)) {
            let why = format!("error parsing failedIndexes: {why}");
            errors.push(FieldError::invalid(&at_failed, text(failed), &why));
        }
    }
    if new_completed && !completed.is_empty() && spec["completionMode"] != "Indexed" {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(FieldError::invalid(&at_completed, completed, why));
    }
    if new_failed && !per_index && !failed.is_null() {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(FieldError::invalid(&at_failed, failed.clone(), why));
    }
    if let Some(limit) = limit.filter(|_| new_completed || new_failed)
        && let Some(both) = indexes::overlap(completed, text(failed), limit)
    {
        let why = format!("failedIndexes and completedIndexes overlap at index: {both}");
        errors.push(FieldError::invalid(&at_failed, failed.clone(), &why));
    }
}

fn late(errors: &mut Errors, job: &Value, old: &Value) {
    let status = &job["status"];
    let ends = finished(job) != finished(old);
    if (ends || changed(job, old, "terminating")) && finished(job) && int(&status["terminating"]) > 0 {
        let why = "terminating>0 is invalid for finished job";
        errors.push(FieldError::invalid(&STATUS.child("terminating"), int(&status["terminating"]), why));
    }
    if (changed(job, old, "ready") || changed(job, old, "active"))
        && int(&status["ready"]) > int(&status["active"])
    {
        let why = "cannot set more ready pods than active";
        errors.push(FieldError::invalid(&STATUS.child("ready"), int(&status["ready"]), why));
    }
}

fn criteria(errors: &mut Errors, job: &Value) {
    let met = holds(job, "SuccessCriteriaMet");
    let both = met && holds(job, "Failed");
    refuse(errors, both, "cannot set SuccessCriteriaMet=True and Failed=true conditions");
    let both = met && holds(job, "FailureTarget");
    refuse(errors, both, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    let wrong = !job["spec"]["successPolicy"].is_null() && !met && holds(job, "Complete");
    let why = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
    refuse(errors, wrong, why);
}

fn transitions(errors: &mut Errors, job: &Value, old: &Value) {
    for kind in ["Failed", "Complete", "FailureTarget"] {
        let wrong = holds(old, kind) && !holds(job, kind);
        refuse(errors, wrong, &format!("cannot disable the terminal {kind}=True condition"));
    }
    let (new, before, spec) = (&job["status"], &old["status"], &job["spec"]);
    // An elastic Job may be scaled down below what has succeeded.
    let elastic = spec["completionMode"] == "Indexed" && spec["completions"] == spec["parallelism"];
    for (field, bound) in [("failed", true), ("succeeded", !elastic)] {
        if bound && int(&new[field]) < int(&before[field]) {
            let why = format!("cannot decrease the {field} counter");
            errors.push(FieldError::invalid(&STATUS.child(field), int(&new[field]), &why));
        }
    }
    let (end, ended) = (&new["completionTime"], &before["completionTime"]);
    if !end.is_null() && !ended.is_null() && end != ended {
        errors.push(FieldError::invalid(
            &STATUS.child("completionTime"),
            end.clone(),
            crate::rule::IMMUTABLE,
        ));
    }
    let (start, started) = (&new["startTime"], &before["startTime"]);
    if !started.is_null() && start != started && spec["suspend"] != true {
        let why = "field is immutable for unsuspended job once set";
        errors.push(FieldError::invalid(&STATUS.child("startTime"), start.clone(), why));
    }
    let (met, was_met) = (holds(job, "SuccessCriteriaMet"), holds(old, "SuccessCriteriaMet"));
    refuse(errors, was_met && !met, "cannot disable the SuccessCriteriaMet=True condition");
    let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
    refuse(errors, holds(old, "Complete") && !was_met && met, why);
}
