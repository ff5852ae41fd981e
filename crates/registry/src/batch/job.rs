//! What is special about Jobs and CronJobs.
//!
//! Invariant: unless its author says otherwise, a Job selects its pods by its own UID. Answers to upstream's
//! `pkg/apis/batch/validation` and the strategies of the group.

use super::schedule;
use crate::kind::Context;
use crate::podspec;
use crate::rule::{Errors, METADATA, SPEC, STATUS, immutable, label, named, non_negative_fields, one_of};
use crate::rule::{required, required_one_of};
use crate::rules::{RULES, Rules};
use crate::value::{entries, int, is_empty, items, remove, same, text};
use gifee_base::{FieldError, Path, name};
use serde_json::{Value, json};

const JOB_NAME: &str = "batch.kubernetes.io/job-name";
const JOB_NAME_OLD: &str = "job-name";
const UID: &str = "batch.kubernetes.io/controller-uid";
const UID_OLD: &str = "controller-uid";
const CRON_JOB_NAME_MAXIMUM: usize = 52;
const INDEXED_PARALLELISM_MAXIMUM: i64 = 100_000;
const POLICY_RULES_MAXIMUM: usize = 20;

/// Rules of Jobs.
pub(crate) const JOB: Rules = Rules {
    warnings: |warnings, job, old| {
        if old.is_none() {
            crate::podspec::warning::pod_names(warnings, job);
        }
        crate::podspec::warning::template(warnings, job, old);
        let spec = &job["spec"];
        let many = int(&spec["completions"]) > 100_000 && int(&spec["parallelism"]) > 10_000;
        if spec["completionMode"] == "Indexed" && many {
            warnings.push("In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail".into());
        }
    },
    default: default_job,
    create: own_selector,
    validate: |errors, job| {
        job_spec(errors, &job["spec"], true, &SPEC);
        hostname(errors, job);
    },
    validate_create: generated_selector,
    validate_update: job_update,
    validate_part: |errors, job, old, _| job_status(errors, job, old),
    orphans: true,
    ..RULES
};

fn default_job(job: &mut Value) {
    if let Some(spec) = job.pointer_mut("/spec/template/spec") {
        podspec::default_spec(spec);
    }
}

/// Labels of the template and the selector by UID.
fn own_selector(job: &mut Value, context: &Context<'_>) {
    if job["spec"]["manualSelector"] == true {
        return;
    }
    let (own, uid) = (context.key.name.to_string(), text(&job["metadata"]["uid"]).to_owned());
    for (key, value) in [(JOB_NAME_OLD, &own), (JOB_NAME, &own), (UID_OLD, &uid), (UID, &uid)] {
        let labels = &mut job["spec"]["template"]["metadata"]["labels"];
        if labels.get(key).is_none() {
            labels[key] = value.as_str().into();
        }
    }
    let labels = &mut job["spec"]["selector"]["matchLabels"];
    if labels.get(UID).is_none() {
        labels[UID] = uid.into();
    }
    // A Job without labels has those of its pods, the new ones too.
    if is_empty(&job["metadata"]["labels"]) {
        job["metadata"]["labels"] = job["spec"]["template"]["metadata"]["labels"].clone();
    }
}

fn generated_selector(errors: &mut Errors, job: &Value) {
    if job["spec"]["manualSelector"] == true || job["spec"]["selector"].is_null() {
        return;
    }
    let uid = text(&job["metadata"]["uid"]);
    if uid.is_empty() {
        errors.push(FieldError::required(&METADATA.child("uid"), ""));
    }
    let at = SPEC.child("template");
    let at = at.child("metadata");
    let at = at.child("labels");
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    let own = text(&job["metadata"]["name"]);
    for (key, value) in [(UID_OLD, uid), (UID, uid), (JOB_NAME_OLD, own), (JOB_NAME, own)] {
        let why = format!("must be '{value}'");
        match labels.get(key) {
            None => errors.push(FieldError::required(&at.key(key), &why)),
            Some(given) if given != value => {
                errors.push(FieldError::invalid(&at.key(key), labels.clone(), &why));
            }
            Some(_) => {}
        }
    }
    if job["spec"]["selector"]["matchLabels"].get(UID).and_then(Value::as_str) != Some(uid)
        && job["spec"]["selector"]["matchLabels"].get(UID_OLD).and_then(Value::as_str) != Some(uid)
    {
        let given = job["spec"]["selector"].clone();
        errors.push(FieldError::invalid(&SPEC.child("selector"), given, "`selector` not auto-generated"));
    }
}

fn hostname(errors: &mut Errors, job: &Value) {
    let spec = &job["spec"];
    let count = int(&spec["completions"]);
    if spec["completionMode"] != "Indexed" || count <= 0 {
        return;
    }
    let own = text(&job["metadata"]["name"]);
    for wrong in name::dns_label(&format!("{own}-{}", count - 1)) {
        let why = format!("will not able to create pod with invalid DNS label: {wrong}");
        errors.push(FieldError::invalid(&METADATA.child("name"), own, &why));
    }
}

/// The spec of a Job, alone (`own`) or in the template of a CronJob.
fn job_spec(errors: &mut Errors, spec: &Value, own: bool, path: &Path<'_>) {
    let fields = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    non_negative_fields(errors, spec, path, &fields);
    completion(errors, spec, path);
    failure_policy(errors, spec, path);
    success_policy(errors, spec, path);
    let replacement = "podReplacementPolicy";
    if !spec[replacement].is_null() {
        let supported: &[&str] =
            if spec["podFailurePolicy"].is_null() { &["Failed", "TerminatingOrFailed"] } else { &["Failed"] };
        one_of(errors, &spec[replacement], &path.child(replacement), supported);
    }
    if !spec["managedBy"].is_null() {
        let at = path.child("managedBy");
        named(errors, &spec["managedBy"], &at, name::qualified);
        if text(&spec["managedBy"]).len() > 63 {
            errors.push(FieldError::too_long(&at, 63));
        }
    }
    let (template, at) = (&spec["template"], path.child("template"));
    if own {
        let selector = &spec["selector"];
        if selector.is_null() {
            errors.push(FieldError::required(&path.child("selector"), ""));
        } else {
            label::selector(errors, selector, &path.child("selector"));
        }
        let labels = &template["metadata"]["labels"];
        if !selector.is_null() && !label::selects(selector, labels) {
            let metadata = at.child("metadata");
            let why = "`selector` does not match template `labels`";
            errors.push(FieldError::invalid(&metadata.child("labels"), labels.clone(), why));
        }
    }
    podspec::template(errors, template, &at);
    let at = at.child("spec");
    let at = at.child("restartPolicy");
    let policy = text(&template["spec"]["restartPolicy"]);
    match policy {
        "OnFailure" | "Never" => {
            if !spec["podFailurePolicy"].is_null() && policy != "Never" {
                let why = "only \"Never\" is supported when podFailurePolicy is specified";
                errors.push(FieldError::invalid(&at, policy, why));
            }
        }
        "Always" => {
            errors.push(FieldError::required(&at, "valid values: \"OnFailure\", \"Never\""));
        }
        other => errors.push(FieldError::not_supported(&at, other, &["OnFailure", "Never"])),
    }
}

fn completion(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let mode = &spec["completionMode"];
    if mode.is_null() {
        return;
    }
    one_of(errors, mode, &path.child("completionMode"), &["Indexed", "NonIndexed"]);
    if mode == "Indexed" {
        if spec["completions"].is_null() {
            let why = "when completion mode is Indexed";
            errors.push(FieldError::required(&path.child("completions"), why));
        }
        if int(&spec["parallelism"]) > INDEXED_PARALLELISM_MAXIMUM {
            let why = format!(
                "must be less than or equal to {INDEXED_PARALLELISM_MAXIMUM} when completion mode is Indexed"
            );
            errors.push(FieldError::invalid(&path.child("parallelism"), int(&spec["parallelism"]), &why));
        }
        if !spec["maxFailedIndexes"].is_null() && spec["backoffLimitPerIndex"].is_null() {
            let why = "when maxFailedIndexes is specified";
            errors.push(FieldError::required(&path.child("backoffLimitPerIndex"), why));
        }
        return;
    }
    for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
        if !spec[field].is_null() {
            let why = "requires indexed completion mode";
            errors.push(FieldError::invalid(&path.child(field), spec[field].clone(), why));
        }
    }
}

fn failure_policy(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let policy = &spec["podFailurePolicy"];
    if policy.is_null() {
        return;
    }
    let at = path.child("podFailurePolicy");
    let at = at.child("rules");
    let rules = items(&policy["rules"]);
    if rules.len() > POLICY_RULES_MAXIMUM {
        errors.push(FieldError::too_many(&at, rules.len(), POLICY_RULES_MAXIMUM));
    }
    for (index, rule) in rules.iter().enumerate() {
        let at = at.index(index);
        let actions = ["Count", "FailIndex", "FailJob", "Ignore"];
        required_one_of(errors, &rule["action"], &at.child("action"), &actions);
        let (codes, conditions) = (&rule["onExitCodes"], &rule["onPodConditions"]);
        match (codes.is_null(), is_empty(conditions)) {
            (true, true) => {
                let why = "specifying one of OnExitCodes and OnPodConditions is required";
                errors.push(FieldError::invalid(&at, "", why));
            }
            (false, false) => {
                let why = "specifying both OnExitCodes and OnPodConditions is not supported";
                errors.push(FieldError::invalid(&at, rule.clone(), why));
            }
            (false, true) => {
                let at = at.child("onExitCodes");
                required_one_of(errors, &codes["operator"], &at.child("operator"), &["In", "NotIn"]);
                let values = at.child("values");
                if is_empty(&codes["values"]) {
                    let why = "at least one value is required";
                    errors.push(FieldError::invalid(&values, codes["values"].clone(), why));
                }
                for (index, code) in items(&codes["values"]).iter().enumerate() {
                    if codes["operator"] == "In" && int(code) == 0 {
                        let why = "must not be 0 for the In operator";
                        errors.push(FieldError::invalid(&values.index(index), 0, why));
                    }
                }
            }
            (true, false) => {}
        }
    }
}

fn success_policy(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let policy = &spec["successPolicy"];
    if policy.is_null() {
        return;
    }
    let at = path.child("successPolicy");
    if spec["completionMode"] != "Indexed" {
        let why = "requires indexed completion mode";
        errors.push(FieldError::invalid(&at, policy.clone(), why));
        return;
    }
    let at = at.child("rules");
    if is_empty(&policy["rules"]) {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(&at, why));
    }
    for (index, rule) in items(&policy["rules"]).iter().enumerate() {
        if rule["succeededCount"].is_null() && rule["succeededIndexes"].is_null() {
            let why = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(FieldError::required(&at.index(index), why));
        }
    }
}

/// What a suspended Job that never ran may still change of its template: where its pods run.
fn without_placement(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(spec) = template.get_mut("spec") {
        for field in ["nodeSelector", "tolerations", "schedulingGates"] {
            remove(spec, field);
        }
        if let Some(affinity) = spec.get_mut("affinity") {
            remove(affinity, "nodeAffinity");
        }
    }
    if let Some(metadata) = template.get_mut("metadata") {
        let (mut kept, labels) = (json!({}), metadata["labels"].clone());
        for (key, value) in entries(&labels) {
            if [JOB_NAME, JOB_NAME_OLD, UID, UID_OLD].contains(&key) {
                kept[key] = value.clone();
            }
        }
        metadata["labels"] = kept;
        remove(metadata, "annotations");
    }
    template
}

fn job_update(errors: &mut Errors, job: &Value, old: &Value) {
    let (spec, before) = (&job["spec"], &old["spec"]);
    let elastic = before["completionMode"] == "Indexed"
        && !spec["completions"].is_null()
        && spec["completions"] == spec["parallelism"];
    if !same(&spec["completions"], &before["completions"]) && !elastic {
        immutable(errors, &spec["completions"], &before["completions"], &SPEC.child("completions"));
    }
    immutable(errors, &spec["selector"], &before["selector"], &SPEC.child("selector"));
    let suspended = before["suspend"] == true && old["status"]["startTime"].is_null();
    let (new, fixed) = if suspended {
        (without_placement(&spec["template"]), without_placement(&before["template"]))
    } else {
        (spec["template"].clone(), before["template"].clone())
    };
    if !same(&new, &fixed) {
        let given = spec["template"].clone();
        errors.push(FieldError::invalid(&SPEC.child("template"), given, crate::rule::IMMUTABLE));
    }
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        immutable(errors, &spec[field], &before[field], &SPEC.child(field));
    }
}

fn job_status(errors: &mut Errors, job: &Value, old: &Value) {
    let status = &job["status"];
    let fields = ["active", "succeeded", "failed", "ready", "terminating"];
    non_negative_fields(errors, status, &STATUS, &fields);
    let is = |one: &Value, kind: &str| {
        items(&one["status"]["conditions"]).iter().any(|one| one["type"] == kind && one["status"] == "True")
    };
    let at = STATUS.child("conditions");
    if is(job, "Complete") && is(job, "Failed") {
        errors.push(FieldError::invalid(&at, true, "cannot set Complete=True and Failed=True"));
    }
    for kind in ["Complete", "Failed"] {
        if is(old, kind) && !is(job, kind) {
            let why = format!("cannot disable the terminal {kind}=True condition");
            errors.push(FieldError::invalid(&at, false, &why));
        }
    }
    let finished = is(job, "Complete") || is(job, "Failed");
    if finished && int(&status["active"]) > 0 {
        let why = "active>0 is invalid for finished job";
        errors.push(FieldError::invalid(&STATUS.child("active"), int(&status["active"]), why));
    }
    if !is(job, "Complete") && !status["completionTime"].is_null() {
        let why = "cannot set completionTime when there is no Complete=True condition";
        let given = status["completionTime"].clone();
        errors.push(FieldError::invalid(&STATUS.child("completionTime"), given, why));
    }
    if is(job, "Complete") && status["completionTime"].is_null() {
        let why = "completionTime is required for Complete jobs";
        errors.push(FieldError::required(&STATUS.child("completionTime"), why));
    }
}

/// Rules of CronJobs.
pub(crate) const CRON_JOB: Rules = Rules {
    warnings: |warnings, job, old| {
        if old.is_none() {
            let wrong = name::dns_label(text(&job["metadata"]["name"]));
            if !wrong.is_empty() {
                warnings.push(format!(
                    "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
                    wrong.join(" ")
                ));
            }
        }
        if old.is_none_or(|old| old["metadata"]["generation"] != job["metadata"]["generation"]) {
            let at = SPEC.child("jobTemplate");
            let at = at.child("spec");
            let template = &job["spec"]["jobTemplate"]["spec"]["template"];
            crate::podspec::warning::template_at(warnings, template, &at.child("template"));
        }
        if text(&job["spec"]["schedule"]).contains("TZ") {
            warnings.push("CRON_TZ or TZ used in \"spec.schedule\" is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".into());
        }
    },
    default: |job| {
        if let Some(spec) = job.pointer_mut("/spec/jobTemplate/spec/template/spec") {
            podspec::default_spec(spec);
        }
    },
    validate: |errors, job| {
        let spec = &job["spec"];
        let own = text(&job["metadata"]["name"]);
        if own.len() > CRON_JOB_NAME_MAXIMUM {
            let why = format!("must be no more than {CRON_JOB_NAME_MAXIMUM} characters");
            errors.push(FieldError::invalid(&METADATA.child("name"), own, &why));
        }
        if !required(errors, &spec["schedule"], &SPEC.child("schedule"))
            && let Err(why) = schedule::check(text(&spec["schedule"]))
        {
            errors.push(FieldError::invalid(&SPEC.child("schedule"), text(&spec["schedule"]), &why));
        }
        time_zone(errors, &spec["timeZone"]);
        let fields = ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"];
        non_negative_fields(errors, spec, &SPEC, &fields);
        let policy = &spec["concurrencyPolicy"];
        required_one_of(errors, policy, &SPEC.child("concurrencyPolicy"), &["Allow", "Forbid", "Replace"]);
        let (template, at) = (&spec["jobTemplate"], SPEC.child("jobTemplate"));
        let at = at.child("spec");
        if template["spec"]["manualSelector"] == true {
            errors.push(FieldError::not_supported(&at.child("manualSelector"), true, &["nil", "false"]));
        }
        job_spec(errors, &template["spec"], false, &at);
    },
    ..RULES
};

fn time_zone(errors: &mut Errors, zone: &Value) {
    let at = SPEC.child("timeZone");
    let given = text(zone);
    let why = if zone.is_null() {
        return;
    } else if given.is_empty() {
        "timeZone must be nil or non-empty string".to_owned()
    } else if given.eq_ignore_ascii_case("local") {
        "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".to_owned()
    } else if given != "UTC" && jiff::tz::TimeZone::get(given).is_err() {
        format!("unknown time zone {given}")
    } else {
        return;
    };
    errors.push(FieldError::invalid(&at, given, &why));
}
