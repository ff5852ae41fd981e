//! What is special about CronJobs.
//!
//! Answers to upstream's `pkg/apis/batch/validation` and the strategy of the kind.

use super::job::{drop_scheduling, job_spec};
use super::schedule;
use crate::podspec;
use crate::rule::{Errors, METADATA, SPEC, declared_required, non_negative, required_one_of};
use crate::rules::{RULES, Rules};
use crate::value::text;
use gifee_base::{FieldError, Path};
use serde_json::Value;

const NAME_MAXIMUM: usize = 52;
const ZONE_PART_MAXIMUM: usize = 14;

/// Rules of CronJobs.
pub(crate) const CRON_JOB: Rules = Rules {
    warnings: |warnings, job, old| {
        if old.is_none() {
            podspec::warning::pod_names(warnings, job);
        }
        if old.is_none_or(|old| old["metadata"]["generation"] != job["metadata"]["generation"]) {
            let at = SPEC.child("jobTemplate");
            let at = at.child("spec");
            let template = &job["spec"]["jobTemplate"]["spec"]["template"];
            podspec::warning::template_at(warnings, template, &at.child("template"));
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
    create: |job, _| {
        if let Some(spec) = job.pointer_mut("/spec/jobTemplate/spec") {
            drop_scheduling(spec, &Value::Null);
        }
    },
    update: |job, old, part, _| {
        if part.is_empty()
            && let Some(spec) = job.pointer_mut("/spec/jobTemplate/spec")
        {
            drop_scheduling(spec, &old["spec"]["jobTemplate"]["spec"]);
        }
    },
    validate_create: |errors, job| {
        cron_spec(errors, &job["spec"], None);
        let own = text(&job["metadata"]["name"]);
        if own.len() > NAME_MAXIMUM {
            let why = format!("must be no more than {NAME_MAXIMUM} characters");
            errors.push(FieldError::invalid(&METADATA.child("name"), own, &why));
        }
    },
    validate_update: |errors, job, old| cron_spec(errors, &job["spec"], Some(&old["spec"])),
    ..RULES
};

fn cron_spec(errors: &mut Errors, spec: &Value, old: Option<&Value>) {
    let (given, at) = (text(&spec["schedule"]), SPEC.child("schedule"));
    if !declared_required(errors, &spec["schedule"], &at) {
        let mut wrong = |why: &str| errors.push(FieldError::invalid(&at, given, why));
        if let Err(why) = schedule::check(given) {
            wrong(&why);
        }
        let allowed = old.is_some_and(|old| text(&old["schedule"]).contains("TZ"));
        match (given.contains("TZ"), allowed) {
            (true, true) if !spec["timeZone"].is_null() => {
                wrong("cannot use both timeZone field and TZ or CRON_TZ in schedule");
            }
            (true, false) => wrong("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
            _ => {}
        }
    }
    let at_field = |field| SPEC.child(field);
    non_negative(errors, &spec["startingDeadlineSeconds"], &at_field("startingDeadlineSeconds"));
    if old.is_none_or(|old| old["timeZone"] != spec["timeZone"]) {
        time_zone(errors, &spec["timeZone"]);
    }
    let policy = &spec["concurrencyPolicy"];
    required_one_of(errors, policy, &at_field("concurrencyPolicy"), &["Allow", "Forbid", "Replace"]);
    let (template, at) = (&spec["jobTemplate"]["spec"], SPEC.child("jobTemplate"));
    job_template(errors, template, &at.child("spec"));
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        non_negative(errors, &spec[field], &at_field(field));
    }
}

fn job_template(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    job_spec(errors, spec, path);
    if !spec["selector"].is_null() {
        let why = "`selector` will be auto-generated";
        errors.push(FieldError::invalid(&path.child("selector"), spec["selector"].clone(), why));
    }
    if spec["manualSelector"] == true {
        errors.push(FieldError::not_supported(&path.child("manualSelector"), true, &["nil", "false"]));
    }
}

fn time_zone(errors: &mut Errors, zone: &Value) {
    let at = SPEC.child("timeZone");
    let given = text(zone);
    let mut wrong = |why: &str| errors.push(FieldError::invalid(&at, given, why));
    if zone.is_null() {
        return;
    }
    if given.is_empty() {
        return wrong("timeZone must be nil or non-empty string");
    }
    let unknown = format!("unknown time zone {given}");
    let part = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.len() <= ZONE_PART_MAXIMUM
            && !part.starts_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
    };
    if !given.split('/').all(part) {
        return wrong(&unknown);
    }
    if given.eq_ignore_ascii_case("local") {
        wrong("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
    }
    // Upstream looks names up as files: case counts.
    let exact = |zone: jiff::tz::TimeZone| zone.iana_name().is_none_or(|name| name == given);
    if !matches!(given, "UTC" | "Local") && !jiff::tz::TimeZone::get(given).is_ok_and(exact) {
        wrong(&unknown);
    }
}
