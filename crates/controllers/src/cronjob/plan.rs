//! Which Jobs a CronJob starts and deletes, and its status, from one view. Pure.

use super::schedule::Schedule;
use gifee_base::{Gvk, Object, clock};
use gifee_reconcile::owner;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// So many missed times are told of.
const MISSED_MAXIMUM: i64 = 100;
const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// A CronJob and its Jobs.
pub struct View {
    /// The object.
    pub object: Arc<Object>,
    /// Its tree.
    pub tree: Value,
    /// The Jobs that it controls, with their trees.
    pub jobs: Vec<(Arc<Object>, Value)>,
}

/// Something to tell.
#[derive(Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether it is a warning.
    pub warning: bool,
    /// Reason.
    pub reason: &'static str,
    /// Message.
    pub message: String,
}

/// A Job to start.
#[derive(Debug)]
pub struct Start {
    /// The Job.
    pub job: Value,
    /// For when.
    pub scheduled: Timestamp,
}

/// What to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Jobs that make room for a new one.
    pub replace: Vec<Arc<Object>>,
    /// Finished Jobs beyond what is kept.
    pub clean: Vec<Arc<Object>>,
    /// The Job to start.
    pub start: Option<Start>,
    /// What the status should be before a Job is started.
    pub status: Value,
    /// What to tell.
    pub notes: Vec<Note>,
    /// When the next time comes.
    pub again: Option<Duration>,
}

impl Plan {
    fn note(&mut self, warning: bool, reason: &'static str, message: String) {
        self.notes.push(Note { warning, reason, message });
    }
}

/// `Complete` or `Failed`, if a Job has come to an end.
fn finished(job: &Value) -> Option<&str> {
    let mut conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    let ended = conditions
        .find(|one| (one["type"] == "Complete" || one["type"] == "Failed") && one["status"] == "True");
    ended.and_then(|one| one["type"].as_str())
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str().and_then(clock::parse_time)
}

/// What a Job is called in `status.active`.
pub fn reference(job: &Object) -> Value {
    json!({ "apiVersion": "batch/v1", "kind": "Job", "name": job.name(), "namespace": job.namespace(),
        "uid": job.uid(), "resourceVersion": job.revision().to_string() })
}

/// Plans one reconcile.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan = Plan { status: view.tree["status"].clone(), ..Plan::default() };
    clean(view, &mut plan);
    let mut active = observe(view, &mut plan);
    if !view.object.deleting() {
        start(view, now, &mut active, &mut plan);
    }
    if active.is_empty() {
        if let Some(status) = plan.status.as_object_mut() {
            status.remove("active");
        }
    } else {
        plan.status["active"] = active.into();
    }
    plan
}

/// What is active is what was said to be and has not ended.
fn observe(view: &View, plan: &mut Plan) -> Vec<Value> {
    let mut active = view.tree["status"]["active"].as_array().cloned().unwrap_or_default();
    for (job, tree) in &view.jobs {
        let at = active.iter().position(|one| one["uid"] == job.uid());
        match (finished(tree), at) {
            (None, None) => {
                let message =
                    format!("Saw a job that the controller did not create or forgot: {}", job.name());
                plan.note(true, "UnexpectedJob", message);
            }
            (Some(how), Some(at)) => {
                active.remove(at);
                let message = format!("Saw completed job: {}, condition: {how}", job.name());
                plan.note(false, "SawCompletedJob", message);
            }
            _ => {}
        }
        if finished(tree) == Some("Complete")
            && let Some(done) = time(&tree["status"]["completionTime"])
            && time(&plan.status["lastSuccessfulTime"]).is_none_or(|last| last < done)
        {
            plan.status["lastSuccessfulTime"] = clock::format_time(done).into();
        }
    }
    active.retain(|one| {
        let there = view.jobs.iter().any(|(job, _)| one["uid"] == job.uid());
        if !there {
            let name = one["name"].as_str().unwrap_or_default();
            plan.note(false, "MissingJob", format!("Active job went missing: {name}"));
        }
        there
    });
    active
}

fn start(view: &View, now: Timestamp, active: &mut Vec<Value>, plan: &mut Plan) {
    let spec = &view.tree["spec"];
    let text = spec["schedule"].as_str().unwrap_or_default();
    let zone = match spec["timeZone"].as_str() {
        None => TimeZone::UTC,
        Some(name) => match TimeZone::get(name) {
            Ok(zone) => zone,
            Err(_) => {
                let message = format!("invalid timeZone: {name:?}: unknown time zone {name}");
                plan.note(true, "UnknownTimeZone", message);
                return;
            }
        },
    };
    if spec["suspend"] == true {
        return;
    }
    let Some(schedule) = Schedule::parse(text, zone) else {
        plan.note(true, "UnparseableSchedule", format!("unparseable schedule: {text:?}"));
        return;
    };
    plan.again = schedule.after(now).map(|next| until(now, next));
    let deadline = spec["startingDeadlineSeconds"].as_i64();
    let created = time(&view.tree["metadata"]["creationTimestamp"]).unwrap_or(now);
    let last = time(&view.tree["status"]["lastScheduleTime"]);
    let mut earliest = last.unwrap_or(created);
    if let Some(deadline) = deadline {
        let bound = Timestamp::from_second(now.as_second().saturating_sub(deadline)).unwrap_or(earliest);
        earliest = earliest.max(bound);
    }
    let Some((scheduled, missed)) = schedule.last(earliest, now) else { return };
    if missed > MISSED_MAXIMUM {
        let message =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.note(true, "TooManyMissedTimes", message.into());
    }
    if deadline.is_some_and(|deadline| scheduled.as_second().saturating_add(deadline) < now.as_second()) {
        let time = scheduled.strftime("%a, %d %b %Y %H:%M:%S +0000");
        let message = format!("Missed scheduled time to start a job: {time}");
        plan.note(true, "MissSchedule", message);
        return;
    }
    let name = format!("{}-{}", view.object.name(), scheduled.as_second() / 60);
    if last == Some(scheduled) || active.iter().any(|one| one["name"] == name) {
        return;
    }
    match spec["concurrencyPolicy"].as_str() {
        Some("Forbid") if !active.is_empty() => {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.note(false, "JobAlreadyActive", message.into());
            return;
        }
        Some("Replace") => {
            let running =
                view.jobs.iter().filter(|(job, _)| active.iter().any(|one| one["uid"] == job.uid()));
            plan.replace = running.map(|(job, _)| job.clone()).collect();
            active.clear();
        }
        _ => {}
    }
    plan.start = Some(Start { job: job(view, &name, scheduled, &schedule), scheduled });
}

/// A little later than the time, so that it has come.
fn until(now: Timestamp, next: Timestamp) -> Duration {
    let left = next.duration_since(now).unsigned_abs();
    left + Duration::from_millis(100)
}

fn job(view: &View, name: &str, scheduled: Timestamp, schedule: &Schedule) -> Value {
    let template = &view.tree["spec"]["jobTemplate"];
    let local = scheduled.to_zoned(schedule.zone().clone());
    let shown = local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    let mut metadata = json!({
        "name": name, "namespace": view.object.namespace(),
        "annotations": template["metadata"]["annotations"].as_object().cloned().unwrap_or_default(),
        "ownerReferences": [owner::controller_reference(&view.object, &Gvk::new("batch", "v1", "CronJob"))],
    });
    metadata["annotations"][SCHEDULED_AT] =
        shown.strip_suffix("+00:00").map_or(shown.clone(), |utc| format!("{utc}Z")).into();
    if let Some(labels) = template["metadata"]["labels"].as_object() {
        metadata["labels"] = labels.clone().into();
    }
    json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"] })
}

/// Finished Jobs beyond the limits, the oldest first.
fn clean(view: &View, plan: &mut Plan) {
    for (kind, field, default) in
        [("Complete", "successfulJobsHistoryLimit", 3), ("Failed", "failedJobsHistoryLimit", 1)]
    {
        let limit = view.tree["spec"][field].as_i64().unwrap_or(default);
        let mut ended: Vec<_> = view.jobs.iter().filter(|(_, tree)| finished(tree) == Some(kind)).collect();
        ended.sort_by_key(|(job, tree)| (time(&tree["status"]["startTime"]), job.name().to_owned()));
        let surplus = ended.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
        plan.clean.extend(ended.into_iter().take(surplus).map(|(job, _)| job.clone()));
    }
}
