//! What the controller reads of a Job, and what it writes of its status.

use super::policy::{FailurePolicy, SuccessPolicy};
use gifee_base::clock;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The value of `spec.managedBy` that means this controller.
const OURSELVES: &str = "kubernetes.io/job-controller";

/// A Job's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    parallelism: Option<i32>,
    completions: Option<i32>,
    /// `spec.activeDeadlineSeconds`
    pub active_deadline_seconds: Option<i64>,
    backoff_limit: Option<i32>,
    backoff_limit_per_index: Option<i32>,
    max_failed_indexes: Option<i32>,
    completion_mode: Option<String>,
    suspend: Option<bool>,
    pod_replacement_policy: Option<String>,
    managed_by: Option<String>,
    /// `spec.podFailurePolicy`
    pub pod_failure_policy: Option<FailurePolicy>,
    /// `spec.successPolicy`
    pub success_policy: Option<SuccessPolicy>,
    /// `spec.selector`
    pub selector: Value,
    /// `spec.template`
    pub template: Value,
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

impl Spec {
    /// How many pods may run at once.
    pub fn parallelism(&self) -> u32 {
        count(self.parallelism.unwrap_or(1))
    }

    /// How many pods must succeed; none: one, whichever.
    pub fn completions(&self) -> Option<u32> {
        self.completions.map(count)
    }

    /// The bound of completion indexes.
    pub fn index_bound(&self) -> u32 {
        self.completions().unwrap_or_default()
    }

    /// How many pods may fail.
    pub fn backoff_limit(&self) -> u32 {
        count(self.backoff_limit.unwrap_or(6))
    }

    /// How many pods of an index may fail before the index has.
    pub fn backoff_limit_per_index(&self) -> Option<u32> {
        self.backoff_limit_per_index.map(count)
    }

    /// How many indexes may fail before the Job has.
    pub fn max_failed_indexes(&self) -> Option<u32> {
        self.max_failed_indexes.map(count)
    }

    /// Whether pods have completion indexes.
    pub fn indexed(&self) -> bool {
        self.completion_mode.as_deref() == Some("Indexed")
    }

    /// Whether the completion mode is one that is known.
    pub fn known(&self) -> bool {
        matches!(self.completion_mode.as_deref(), None | Some("Indexed" | "NonIndexed"))
    }

    /// Whether no pod should run.
    pub fn suspended(&self) -> bool {
        self.suspend == Some(true)
    }

    /// Whether somebody else looks after the Job.
    pub fn managed_elsewhere(&self) -> bool {
        self.managed_by.as_deref().is_some_and(|by| by != OURSELVES)
    }

    /// Whether a pod is replaced only when it has ended, not when it is on its way out.
    pub fn replaces_only_failed(&self) -> bool {
        self.pod_replacement_policy.as_deref() == Some("Failed") || self.pod_failure_policy.is_some()
    }

    /// Whether containers are restarted in place.
    pub fn restarts_in_place(&self) -> bool {
        self.template["spec"]["restartPolicy"] == "OnFailure"
    }
}

/// A condition that has become true, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Reason; may be empty.
    pub reason: String,
    /// Message; may be empty.
    pub message: String,
}

impl Cause {
    /// With a reason and a message.
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into() }
    }
}

/// A Job's status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Pods that run or wait to.
    pub active: u32,
    /// Active pods that are ready.
    pub ready: Option<u32>,
    /// Pods on their way out.
    pub terminating: Option<u32>,
    /// Pods that succeeded and are counted.
    pub succeeded: u32,
    /// Pods that failed and are counted.
    pub failed: u32,
    /// `status.completedIndexes`
    pub completed_indexes: String,
    /// `status.failedIndexes`
    pub failed_indexes: Option<String>,
    /// UIDs of pods that succeeded and may not be counted yet; none: the field is absent.
    pub uncounted: Option<Uncounted>,
    /// `status.startTime`
    pub start_time: Option<Timestamp>,
    /// `status.completionTime`
    pub completion_time: Option<Timestamp>,
    conditions: Vec<Value>,
}

/// `status.uncountedTerminatedPods`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uncounted {
    /// UIDs of pods that succeeded.
    pub succeeded: Vec<String>,
    /// UIDs of pods that failed.
    pub failed: Vec<String>,
}

impl Uncounted {
    /// How many in both lists.
    pub fn total(&self) -> usize {
        self.succeeded.len() + self.failed.len()
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Status {
    /// Reads a status.
    pub fn read(tree: &Value) -> Self {
        let number = |name: &str| tree[name].as_u64().and_then(|number| u32::try_from(number).ok());
        let time = |name: &str| tree[name].as_str().and_then(clock::parse_time);
        let uncounted = &tree["uncountedTerminatedPods"];
        Self {
            active: number("active").unwrap_or_default(),
            ready: number("ready"),
            terminating: number("terminating"),
            succeeded: number("succeeded").unwrap_or_default(),
            failed: number("failed").unwrap_or_default(),
            completed_indexes: tree["completedIndexes"].as_str().unwrap_or_default().to_owned(),
            failed_indexes: tree["failedIndexes"].as_str().map(str::to_owned),
            uncounted: uncounted.is_object().then(|| Uncounted {
                succeeded: texts(&uncounted["succeeded"]),
                failed: texts(&uncounted["failed"]),
            }),
            start_time: time("startTime"),
            completion_time: time("completionTime"),
            conditions: tree["conditions"].as_array().cloned().unwrap_or_default(),
        }
    }

    /// The tree with this status; fields that are not known here stay as they are.
    pub fn write(&self, tree: &Value) -> Value {
        let mut fields = tree.as_object().cloned().unwrap_or_default();
        for (name, count) in [("active", self.active), ("succeeded", self.succeeded), ("failed", self.failed)]
        {
            set(&mut fields, name, (count > 0).then(|| count.into()));
        }
        set(&mut fields, "ready", self.ready.map(Value::from));
        set(&mut fields, "terminating", self.terminating.map(Value::from));
        let completed = (!self.completed_indexes.is_empty()).then(|| self.completed_indexes.as_str().into());
        set(&mut fields, "completedIndexes", completed);
        set(&mut fields, "failedIndexes", self.failed_indexes.as_deref().map(Value::from));
        let uncounted = self.uncounted.as_ref().map(|uncounted| {
            let mut lists = Map::new();
            for (name, list) in [("succeeded", &uncounted.succeeded), ("failed", &uncounted.failed)] {
                set(&mut lists, name, (!list.is_empty()).then(|| list.as_slice().into()));
            }
            lists.into()
        });
        set(&mut fields, "uncountedTerminatedPods", uncounted);
        for (name, time) in [("startTime", self.start_time), ("completionTime", self.completion_time)] {
            set(&mut fields, name, time.map(|time| clock::format_time(time).into()));
        }
        set(&mut fields, "conditions", (!self.conditions.is_empty()).then(|| self.conditions.clone().into()));
        fields.into()
    }

    /// Whether a condition holds, and why.
    pub fn holds(&self, kind: &str) -> Option<Cause> {
        let found = self.conditions.iter().find(|one| one["type"] == kind && one["status"] == "True")?;
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        Some(Cause { reason: text("reason"), message: text("message") })
    }

    /// Whether the Job has come to an end.
    pub fn finished(&self) -> bool {
        self.holds("Complete").is_some() || self.holds("Failed").is_some()
    }

    /// When the Job came to an end.
    pub fn finished_at(&self) -> Option<Timestamp> {
        let ended =
            |one: &&Value| (one["type"] == "Complete" || one["type"] == "Failed") && one["status"] == "True";
        self.conditions.iter().find(ended)?["lastTransitionTime"].as_str().and_then(clock::parse_time)
    }

    /// Sets a condition; whether that changes anything. One that is not there is not false either.
    pub fn set(&mut self, kind: &str, holds: bool, cause: &Cause, now: Timestamp) -> bool {
        let status = if holds { "True" } else { "False" };
        let old = self.conditions.iter().position(|one| one["type"] == kind);
        if let Some(at) = old {
            let same =
                |field: &str, text: &str| self.conditions[at][field].as_str().unwrap_or_default() == text;
            if same("status", status) && same("reason", &cause.reason) && same("message", &cause.message) {
                return false;
            }
        } else if !holds {
            return false;
        }
        let now = clock::format_time(now);
        let mut new =
            json!({ "type": kind, "status": status, "lastProbeTime": now, "lastTransitionTime": now });
        for (field, text) in [("reason", &cause.reason), ("message", &cause.message)] {
            if !text.is_empty() {
                new[field] = text.as_str().into();
            }
        }
        match old {
            Some(at) => self.conditions[at] = new,
            None => self.conditions.push(new),
        }
        true
    }
}

fn set(fields: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match value {
        Some(value) => {
            fields.insert(name.to_owned(), value);
        }
        None => {
            fields.remove(name);
        }
    }
}
