//! The status of a deployment: counts and the three conditions. Pure.

use super::scale::Drafts;
use super::view::View;
use gifee_base::clock;
use gifee_reconcile::rollout::Window;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// The reason of a new replica set that could not be made.
pub(super) const CREATE_FAILED: &str = "ReplicaSetCreateError";

/// A condition's reason and message.
pub(super) struct Why {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The conditions while a plan is made.
pub(super) struct Conditions(Vec<Value>);

impl Conditions {
    pub(super) fn of(view: &View) -> Self {
        Self(view.status["conditions"].as_array().cloned().unwrap_or_default())
    }

    pub(super) fn get(&self, kind: &str) -> Option<&Value> {
        self.0.iter().find(|condition| condition["type"] == kind)
    }

    fn remove(&mut self, kind: &str) {
        self.0.retain(|condition| condition["type"] != kind);
    }

    /// Sets a condition, unless it has that status and reason already.
    pub(super) fn set(&mut self, kind: &str, status: &str, why: Why, now: Timestamp) {
        let now = Value::from(clock::format_time(now));
        let mut since = now.clone();
        if let Some(old) = self.get(kind) {
            if old["status"] == status && old["reason"] == why.reason {
                return;
            }
            if old["status"] == status {
                since = old["lastTransitionTime"].clone();
            }
        }
        let condition = json!({
            "type": kind, "status": status, "reason": why.reason, "message": why.message,
            "lastUpdateTime": now, "lastTransitionTime": since,
        });
        // What changed last stands last, as upstream.
        self.remove(kind);
        self.0.push(condition);
    }

    /// Sets a condition even if status and reason are the same: progress was made now.
    fn refresh(&mut self, kind: &str, status: &str, why: Why, now: Timestamp) {
        let since = self.get(kind).filter(|old| old["status"] == status);
        let since = since.map(|old| old["lastTransitionTime"].clone());
        let time = Value::from(clock::format_time(now));
        let condition = json!({
            "type": kind, "status": status, "reason": why.reason, "message": why.message,
            "lastUpdateTime": time, "lastTransitionTime": since.unwrap_or(time),
        });
        self.remove(kind);
        self.0.push(condition);
    }
}

/// Counts, as they stand in the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    replicas: i64,
    updated: i64,
    ready: i64,
    available: i64,
    unavailable: i64,
    terminating: i64,
}

impl Counts {
    fn of(drafts: &Drafts<'_>) -> Self {
        let sum = |get: &dyn Fn(&super::view::SetStatus) -> i32| {
            drafts.new.iter().chain(&drafts.old).map(|draft| i64::from(get(&draft.set.status))).sum::<i64>()
        };
        let available = sum(&|status| status.available);
        Self {
            replicas: sum(&|status| status.replicas),
            updated: drafts.new.as_ref().map_or(0, |new| i64::from(new.set.status.replicas)),
            ready: sum(&|status| status.ready),
            available,
            unavailable: (i64::from(drafts.total()) - available).max(0),
            terminating: sum(&|status| status.terminating),
        }
    }

    fn said(status: &Value) -> Self {
        let number = |name: &str| status[name].as_i64().unwrap_or_default();
        Self {
            replicas: number("replicas"),
            updated: number("updatedReplicas"),
            ready: number("readyReplicas"),
            available: number("availableReplicas"),
            unavailable: number("unavailableReplicas"),
            terminating: number("terminatingReplicas"),
        }
    }

    /// Whether this is progress from what was said before.
    fn progressed(&self, said: &Self) -> bool {
        self.updated > said.updated
            || self.replicas - self.updated < said.replicas - said.updated
            || self.ready > said.ready
            || self.available > said.available
    }
}

/// Whether the rollout is at its end.
pub(super) fn complete(view: &View, drafts: &Drafts<'_>) -> bool {
    let (counts, wanted) = (Counts::of(drafts), i64::from(view.replicas));
    counts.updated == wanted && counts.replicas == wanted && counts.available == wanted
}

/// The whole status. `rolling` says whether the progress of a rollout counts now.
pub(super) fn status(
    view: &View,
    drafts: &Drafts<'_>,
    mut conditions: Conditions,
    rolling: bool,
    now: Timestamp,
) -> Value {
    let counts = Counts::of(drafts);
    let said = Counts::said(&view.status);
    let minimum = i64::from(view.minimum_available());
    let (status, reason, verb) = match counts.available >= minimum {
        true => ("True", "MinimumReplicasAvailable", "has"),
        false => ("False", "MinimumReplicasUnavailable", "does not have"),
    };
    let message = format!("Deployment {verb} minimum availability.");
    conditions.set("Available", status, Why { reason, message }, now);
    if view.progress_deadline_seconds.is_none() {
        conditions.remove("Progressing");
    } else if rolling {
        progress(view, drafts, &mut conditions, (counts, said), now);
    }
    let failure = drafts.new.iter().chain(&drafts.old).find_map(|draft| draft.set.status.failure.as_ref());
    if rolling {
        match failure {
            Some(failure) => {
                let text = |name: &str| failure[name].as_str().unwrap_or_default().to_owned();
                let reason = if text("reason") == "FailedDelete" { "FailedDelete" } else { "FailedCreate" };
                conditions.set("ReplicaFailure", "True", Why { reason, message: text("message") }, now);
            }
            None => conditions.remove("ReplicaFailure"),
        }
    }
    let mut status = json!({
        "observedGeneration": view.object.generation(),
        "terminatingReplicas": counts.terminating,
        "conditions": conditions.0,
    });
    for (name, count) in [
        ("replicas", counts.replicas),
        ("updatedReplicas", counts.updated),
        ("readyReplicas", counts.ready),
        ("availableReplicas", counts.available),
        ("unavailableReplicas", counts.unavailable),
    ] {
        if count > 0 {
            status[name] = count.into();
        }
    }
    if !view.status["collisionCount"].is_null() {
        status["collisionCount"] = view.status["collisionCount"].clone();
    }
    status
}

fn progress(
    view: &View,
    drafts: &Drafts<'_>,
    conditions: &mut Conditions,
    (counts, said): (Counts, Counts),
    now: Timestamp,
) {
    let current = conditions.get("Progressing").cloned();
    let reason = current.as_ref().map_or(&Value::Null, |current| &current["reason"]);
    let at_rest = counts.replicas == counts.updated && reason == "NewReplicaSetAvailable";
    if at_rest {
        return;
    }
    let subject = match &drafts.new {
        Some(new) => format!("ReplicaSet {:?}", new.set.object.name()),
        None => format!("Deployment {:?}", view.object.name()),
    };
    if complete(view, drafts) {
        let message = format!("{subject} has successfully progressed.");
        conditions.set("Progressing", "True", Why { reason: "NewReplicaSetAvailable", message }, now);
    } else if counts.progressed(&said) {
        let message = format!("{subject} is progressing.");
        conditions.refresh("Progressing", "True", Why { reason: "ReplicaSetUpdated", message }, now);
    } else if window(view, conditions).is_some_and(|window| window.left(now).is_zero()) {
        let message = format!("{subject} has timed out progressing.");
        conditions.set("Progressing", "False", Why { reason: "ProgressDeadlineExceeded", message }, now);
    }
}

/// The time that a rollout under way has to make progress.
fn window(view: &View, conditions: &Conditions) -> Option<Window> {
    let current = conditions.get("Progressing")?;
    let settled = ["NewReplicaSetAvailable", "ProgressDeadlineExceeded", "DeploymentPaused"];
    if settled.iter().any(|reason| current["reason"] == *reason) {
        return None;
    }
    let since = current["lastUpdateTime"].as_str().and_then(clock::parse_time)?;
    Some(Window { since, seconds: view.progress_deadline_seconds? })
}

/// When the deadline of a rollout under way must be looked at.
pub(super) fn again(view: &View, status: &Value, now: Timestamp) -> Option<Duration> {
    if view.paused {
        return None;
    }
    let conditions = Conditions(status["conditions"].as_array().cloned().unwrap_or_default());
    window(view, &conditions).map(|window| window.wake(now))
}

/// The status once the new replica set could not be made; none if it says so already, or nobody waits.
pub(super) fn not_created(view: &View, message: String, now: Timestamp) -> Option<Value> {
    view.progress_deadline_seconds?;
    let mut conditions = Conditions::of(view);
    conditions.set("Progressing", "False", Why { reason: CREATE_FAILED, message }, now);
    let mut status = view.status.clone();
    status["conditions"] = conditions.0.into();
    (status != view.status).then_some(status)
}
