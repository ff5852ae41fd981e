//! What is special about Jobs, and their specs in CronJobs.
//!
//! Invariant: unless its author says otherwise, a Job selects its pods by its own UID. Answers to upstream's
//! `pkg/apis/batch/validation` and the strategies of the group.

use super::policy::{failure_policy, success_policy};
use super::status::{holds, status};
use crate::kind::Context;
use crate::podspec;
use crate::rule::shown::{self, Form, showing};
use crate::rule::{
    Errors, METADATA, SPEC, collect, domain_path, immutable, label, non_negative_fields, one_of,
};
use crate::rules::{RULES, Rules};
use crate::value::{int, is_empty, remove, same, text};
use gifee_base::{FieldError, Path, name};
use serde_json::{Value, json};

const JOB_NAME: &str = "batch.kubernetes.io/job-name";
const JOB_NAME_OLD: &str = "job-name";
const UID: &str = "batch.kubernetes.io/controller-uid";
const UID_OLD: &str = "controller-uid";
const INDEXED_PARALLELISM_MAXIMUM: i64 = 100_000;
const FAILED_INDEXES_MAXIMUM: i64 = 100_000;
/// More completions than these are tracked only within the two limits that follow.
const MANY_COMPLETIONS: i64 = 100_000;
const MANY_PARALLELISM_MAXIMUM: i64 = 10_000;
const MANY_FAILED_MAXIMUM: i64 = 10_000;
const MANAGED_BY_MAXIMUM: usize = 63;

/// Rules of Jobs.
pub(crate) const JOB: Rules = Rules {
    warnings: |warnings, job, old| {
        if old.is_none() {
            podspec::warning::pod_names(warnings, job);
        }
        podspec::warning::template(warnings, job, old);
        let spec = &job["spec"];
        let many = int(&spec["completions"]) > 100_000 && int(&spec["parallelism"]) > 10_000;
        if spec["completionMode"] == "Indexed" && many {
            warnings.push("In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail".into());
        }
    },
    default: |job| {
        if let Some(spec) = job.pointer_mut("/spec/template/spec") {
            podspec::default_spec(spec);
        }
    },
    create: own_selector,
    update: |job, old, part, _| {
        if part.is_empty() {
            drop_scheduling(&mut job["spec"], &old["spec"]);
        }
    },
    validate_create: |errors, job| whole(errors, job, true),
    validate_update: |errors, job, old| {
        let had = |label: &str| !old["spec"]["template"]["metadata"]["labels"][label].is_null();
        whole(errors, job, had(JOB_NAME) && had(UID));
        // Upstream's rules of changes ask for the spec once more.
        spec_and_selector(errors, &job["spec"]);
        update(errors, job, old);
    },
    validate_part: |errors, job, old, _| status(errors, job, old),
    orphans: true,
    ..RULES
};

/// Scheduling of a Job's pods together is not served yet, but what has it keeps it.
pub(super) fn drop_scheduling(spec: &mut Value, old: &Value) {
    if old["scheduling"].is_null() {
        remove(spec, "scheduling");
    }
}

/// Labels of the template and the selector by UID.
fn own_selector(job: &mut Value, context: &Context<'_>) {
    drop_scheduling(&mut job["spec"], &Value::Null);
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

/// `prefixed`: the labels with Kubernetes' prefix must be there, too.
fn whole(errors: &mut Errors, job: &Value, prefixed: bool) {
    generated_selector(errors, job, prefixed);
    spec_and_selector(errors, &job["spec"]);
    hostname(errors, job);
}

fn spec_and_selector(errors: &mut Errors, spec: &Value) {
    let at = SPEC.child("template");
    job_spec(errors, spec, &SPEC);
    let (selector, labels) = (&spec["selector"], &spec["template"]["metadata"]["labels"]);
    let wrong = collect(|errors| label::selector(errors, selector, &SPEC.child("selector")));
    if selector.is_null() {
        errors.push(FieldError::required(&SPEC.child("selector"), ""));
    }
    if wrong.is_empty() && (selector.is_null() || !label::selects(selector, labels)) {
        let metadata = at.child("metadata");
        let why = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(&metadata.child("labels"), labels.clone(), why));
    }
    errors.extend(wrong);
}

fn generated_selector(errors: &mut Errors, job: &Value, prefixed: bool) {
    let selector = &job["spec"]["selector"];
    if job["spec"]["manualSelector"] == true || selector.is_null() {
        return;
    }
    let (uid, own) = (text(&job["metadata"]["uid"]), text(&job["metadata"]["name"]));
    if uid.is_empty() {
        errors.push(FieldError::required(&METADATA.child("uid"), ""));
    }
    let at = SPEC.child("template");
    let at = at.child("metadata");
    let at = at.child("labels");
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    let all = [(UID_OLD, uid), (JOB_NAME_OLD, own), (UID, uid), (JOB_NAME, own)];
    let expected = &all[..if prefixed { 4 } else { 2 }];
    for (key, value) in expected {
        let why = format!("must be '{value}'");
        match labels.get(key) {
            None => errors.push(FieldError::required(&at.key(key), &why)),
            Some(given) if given != value => {
                errors.push(FieldError::invalid(&at.key(key), labels.clone(), &why));
            }
            Some(_) => {}
        }
    }
    let expected: Value = expected.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let works = collect(|errors| label::selector(errors, selector, &SPEC)).is_empty();
    if works && !label::selects(selector, &expected) {
        let why = "`selector` not auto-generated";
        errors.push(FieldError::invalid(&SPEC.child("selector"), selector.clone(), why));
    }
}

fn hostname(errors: &mut Errors, job: &Value) {
    let spec = &job["spec"];
    let count = int(&spec["completions"]);
    if spec["completionMode"] != "Indexed" || count <= 0 {
        return;
    }
    let own = text(&job["metadata"]["name"]);
    let longest = format!("{own}-{}", count - 1);
    if !name::dns_label(&longest).is_empty() {
        let why = format!("will not able to create pod with invalid DNS label: {longest}");
        errors.push(FieldError::invalid(&METADATA.child("name"), own, &why));
    }
}

/// The spec of a Job, alone or in the template of a CronJob, but for its selector.
pub(super) fn job_spec(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
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
    if !spec["maxFailedIndexes"].is_null() && spec["backoffLimitPerIndex"].is_null() {
        let why = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(&path.child("backoffLimitPerIndex"), why));
    }
    if !spec["managedBy"].is_null() {
        let at = path.child("managedBy");
        domain_path(errors, text(&spec["managedBy"]), &at);
        if text(&spec["managedBy"]).len() > MANAGED_BY_MAXIMUM {
            errors.push(FieldError::too_long(&at, MANAGED_BY_MAXIMUM));
        }
    }
    completion(errors, spec, path);
    failure_policy(errors, spec, path);
    success_policy(errors, spec, path);
    let replacement = "podReplacementPolicy";
    if !spec[replacement].is_null() {
        let supported: &[&str] =
            if spec["podFailurePolicy"].is_null() { &["Failed", "TerminatingOrFailed"] } else { &["Failed"] };
        one_of(errors, &spec[replacement], &path.child(replacement), supported);
    }
    let at = path.child("template");
    podspec::template(errors, &spec["template"], &at);
    let at = at.child("spec");
    let at = at.child("restartPolicy");
    match text(&spec["template"]["spec"]["restartPolicy"]) {
        "Always" | "" => errors.push(FieldError::required(&at, "valid values: \"OnFailure\", \"Never\"")),
        policy @ "OnFailure" => {
            if !spec["podFailurePolicy"].is_null() {
                let why = "only \"Never\" is supported when podFailurePolicy is specified";
                errors.push(FieldError::invalid(&at, policy, why));
            }
        }
        "Never" => {}
        other => errors.push(FieldError::not_supported(&at, other, &["OnFailure", "Never"])),
    }
}

fn completion(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let mode = &spec["completionMode"];
    if !mode.is_null() {
        one_of(errors, mode, &path.child("completionMode"), &["NonIndexed", "Indexed"]);
    }
    match text(mode) {
        "Indexed" => indexed(errors, spec, path),
        "" | "NonIndexed" => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if !spec[field].is_null() {
                    let why = "requires indexed completion mode";
                    errors.push(FieldError::invalid(&path.child(field), spec[field].clone(), why));
                }
            }
        }
        _ => {}
    }
}

fn indexed(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let (completions, parallelism) = (spec["completions"].as_i64(), int(&spec["parallelism"]));
    if completions.is_none() {
        let why = "when completion mode is Indexed";
        errors.push(FieldError::required(&path.child("completions"), why));
    }
    let mut at_most = |field: &str, value: i64, maximum: i64, rest: &str| {
        if value > maximum {
            let why = format!("must be less than or equal to {maximum}{rest}");
            errors.push(FieldError::invalid(&path.child(field), value, &why));
        }
    };
    at_most("parallelism", parallelism, INDEXED_PARALLELISM_MAXIMUM, " when completion mode is Indexed");
    let failed = spec["maxFailedIndexes"].as_i64();
    if let Some(failed) = failed {
        if completions.is_some_and(|completions| failed > completions) {
            let why = "must be less than or equal to completions";
            errors.push(FieldError::invalid(&path.child("maxFailedIndexes"), failed, why));
        }
        if failed > FAILED_INDEXES_MAXIMUM {
            let why = format!("must be less than or equal to {FAILED_INDEXES_MAXIMUM}");
            errors.push(FieldError::invalid(&path.child("maxFailedIndexes"), failed, &why));
        }
    }
    if completions.is_none_or(|completions| completions <= MANY_COMPLETIONS)
        || spec["backoffLimitPerIndex"].is_null()
    {
        return;
    }
    if failed.is_none() {
        let why = format!("must be specified when completions is above {MANY_COMPLETIONS}");
        errors.push(FieldError::required(&path.child("maxFailedIndexes"), &why));
    }
    let limits = [
        ("parallelism", parallelism, MANY_PARALLELISM_MAXIMUM),
        ("maxFailedIndexes", failed.unwrap_or_default(), MANY_FAILED_MAXIMUM),
    ];
    for (field, value, maximum) in limits {
        if value > maximum {
            let why = format!(
                "must be less than or equal to {maximum} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
            );
            errors.push(FieldError::invalid(&path.child(field), value, &why));
        }
    }
}

/// What a suspended Job that has no pods may still change of its pods: where they run and what they get.
fn without_mutable(template: &Value) -> Value {
    let mut spec = template["spec"].clone();
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        remove(&mut spec, field);
    }
    if let Some(affinity) = spec.get_mut("affinity") {
        remove(affinity, "nodeAffinity");
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            remove(container, "resources");
        }
    }
    spec
}

fn update(errors: &mut Errors, job: &Value, old: &Value) {
    let (spec, before) = (&job["spec"], &old["spec"]);
    let (completions, at) = (&spec["completions"], SPEC.child("completions"));
    if spec["completionMode"] != "Indexed" {
        immutable(errors, completions, &before["completions"], &at);
    } else if completions != &before["completions"]
        && !completions.is_null()
        && completions != &spec["parallelism"]
    {
        let why = "can only be modified in tandem with spec.parallelism";
        errors.push(FieldError::invalid(&at, completions.clone(), why));
    }
    immutable(errors, &spec["selector"], &before["selector"], &SPEC.child("selector"));
    let idle =
        old["status"]["startTime"].is_null() || holds(old, "Suspended") && int(&old["status"]["active"]) == 0;
    let at = SPEC.child("template");
    if before["suspend"] == true && idle {
        if !same(&without_mutable(&spec["template"]), &without_mutable(&before["template"])) {
            let given = spec["template"]["spec"].clone();
            errors.push(FieldError::invalid(&at.child("spec"), given, crate::rule::IMMUTABLE));
        }
    } else {
        immutable(errors, &spec["template"], &before["template"], &at);
    }
    let fields = [
        ("completionMode", Form::Given),
        ("podFailurePolicy", shown::FAILURE_POLICY),
        ("backoffLimitPerIndex", Form::Given),
        ("managedBy", Form::Given),
        ("successPolicy", shown::SUCCESS_POLICY),
    ];
    for (field, form) in fields.into_iter().filter(|(field, _)| !same(&spec[*field], &before[*field])) {
        let error = FieldError::invalid(&SPEC.child(field), "", crate::rule::IMMUTABLE);
        errors.push(showing(error, &spec[field], form));
    }
}
