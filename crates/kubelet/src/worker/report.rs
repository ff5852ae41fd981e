//! Writes the pod's status.
//!
//! Invariant: at most one write is under way, and the next one has the latest status; a status that the server has is
//! not written again. Answers to the kubelet's status manager.

use std::sync::Arc;

use gifee_base::ObjectKey;
use gifee_client::{DeleteOptions, PatchKind};
use gifee_reconcile::{decode, gvr};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value, json};

use super::{Done, Worker};
use crate::pod::conditions::RESIZE;
use crate::pod::status::status;
use crate::pod::{Plan, View, members};

/// The longest pause between two tries to write.
const PAUSE_MAXIMUM: i64 = 30;

/// The conditions that the node writes.
const TYPES: [&str; 8] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "DisruptionTarget",
    RESIZE[0],
    RESIZE[1],
];

/// What was written, and whether something is being written.
#[derive(Default)]
pub(super) struct Report {
    /// The status that the server was last told.
    sent: Option<Value>,
    writing: bool,
    failures: u32,
    retry_at: Option<Timestamp>,
    /// The latest status is with the server.
    settled: bool,
}

/// What a write came to.
pub(super) enum Reported {
    /// The server has it; the pod as it is since then.
    Written(Option<(Arc<Pod>, u64)>),
    /// The pod is gone, or another one has its name.
    Gone,
    /// Try again.
    Failed,
}

impl Report {
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        self.retry_at.filter(|_| !self.writing)
    }

    pub(super) fn recover(&mut self) {
        self.writing = false;
        self.sent = None;
    }

    /// Somebody else has written the pod: what was sent may not stand any more.
    pub(super) fn doubt(&mut self) {
        if !self.writing {
            self.sent = None;
        }
    }

    /// Whether the server has the latest status, so that the pod can be deleted.
    pub(super) fn settled(&self) -> bool {
        self.settled && !self.writing
    }
}

impl Worker {
    /// Writes the status, if it is not what the server has.
    pub(super) fn report(&mut self, view: &View, plan: &Plan) {
        if self.removed {
            self.report.settled = true;
            return;
        }
        self.report.settled = false;
        let retry = self.report.retry_at.is_some_and(|at| at > view.now);
        if self.report.writing || retry {
            return;
        }
        let new = status(view, plan);
        let Ok(new) = serde_json::to_value(&new) else { return };
        let known =
            self.pod.status.as_ref().and_then(|old| serde_json::to_value(old).ok()).unwrap_or_default();
        let Some(change) = difference(&known, &new).filter(|_| self.report.sent.as_ref() != Some(&new))
        else {
            self.report.settled = true;
            return;
        };
        self.report.sent = Some(new);
        self.report.writing = true;
        let (agent, pod) = (self.agent.clone(), self.pod.clone());
        self.spawn(async move {
            let patch = json!({"metadata": {"uid": members::uid(&pod)}, "status": change});
            let key = ObjectKey::new(members::namespace(&pod), members::name(&pod));
            let written = agent.client.patch_status(&gvr::<Pod>(), &key, PatchKind::Strategic, patch).await;
            Done::Reported(Box::new(match written {
                Ok(object) => {
                    let pod = decode::<Pod>(&object).ok();
                    Reported::Written(pod.map(|pod| (Arc::new(pod), object.revision())))
                }
                Err(error) if error.is_not_found() || error.is_conflict() => Reported::Gone,
                Err(error) => {
                    tracing::warn!(pod = members::describe(&pod), %error, "a status was not written");
                    // What the server will never take must not keep the pod from being deleted.
                    let refused = error.status().is_some_and(|status| matches!(status.code, 400 | 413 | 422));
                    if refused { Reported::Written(None) } else { Reported::Failed }
                }
            }))
        });
    }

    pub(super) fn reported(&mut self, reported: Reported) {
        self.report.writing = false;
        self.report.retry_at = None;
        match reported {
            Reported::Written(pod) => {
                self.report.failures = 0;
                if pod.as_ref().is_some_and(|(_, revision)| *revision < self.revision) {
                    self.report.doubt();
                }
                if let Some((pod, revision)) = pod.filter(|(_, revision)| *revision > self.revision) {
                    self.revision = revision;
                    self.take_pod(pod);
                }
            }
            // The watch will say so too.
            Reported::Gone => {}
            Reported::Failed => {
                self.report.sent = None;
                self.report.failures += 1;
                let pause = (1_i64 << self.report.failures.min(5)).min(PAUSE_MAXIMUM);
                self.report.retry_at = Some(self.agent.clock.now() + SignedDuration::from_secs(pause));
            }
        }
    }

    /// Deletes the object, until the server agrees or it is gone.
    pub(super) fn delete(&mut self) {
        let (agent, pod) = (self.agent.clone(), self.pod.clone());
        self.spawn(async move {
            let key = ObjectKey::new(members::namespace(&pod), members::name(&pod));
            let options =
                DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::of_uid(members::uid(&pod)) };
            let mut pause = 1;
            loop {
                match agent.client.delete(&gvr::<Pod>(), &key, &options).await {
                    Ok(_) => break,
                    Err(error) if error.is_not_found() || error.is_conflict() => break,
                    Err(error) => {
                        tracing::warn!(pod = members::describe(&pod), %error, "a pod was not deleted");
                        tokio::time::sleep(std::time::Duration::from_secs(pause)).await;
                        pause = (pause * 2).min(30);
                    }
                }
            }
            Done::Deleted
        });
    }
}

/// What has to be patched, strategically, to get from one status to another; `None` if nothing.
pub(super) fn difference(old: &Value, new: &Value) -> Option<Value> {
    let (empty, mut change) = (Map::new(), Map::new());
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    for (name, value) in new {
        let before = old.get(name).unwrap_or(&Value::Null);
        if before == value {
            continue;
        }
        match name.as_str() {
            // Merged by type: those of others stay. All of ours go together, so that they are never half old.
            "conditions" => {
                let own = |value: &Value| -> Vec<Value> {
                    let list = value.as_array().into_iter().flatten();
                    list.filter(|one| one["type"].as_str().is_some_and(|name| TYPES.contains(&name)))
                        .cloned()
                        .collect()
                };
                let (before, after) = (own(before), own(value));
                if before != after {
                    change.insert(name.clone(), conditions(&before, after));
                }
            }
            // Merged by address, which is not what is meant.
            "podIPs" | "hostIPs" if !before.is_null() => {
                let mut list = vec![json!({"$patch": "replace"})];
                list.extend(value.as_array().cloned().unwrap_or_default());
                change.insert(name.clone(), list.into());
            }
            _ => {
                change.insert(name.clone(), value.clone());
            }
        }
    }
    // What others write stays.
    const OWN: [&str; 9] = [
        "message",
        "reason",
        "podIP",
        "podIPs",
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
        "hostIP",
        "hostIPs",
    ];
    for name in OWN.iter().filter(|name| old.contains_key(**name) && !new.contains_key(**name)) {
        change.insert((*name).to_owned(), Value::Null);
    }
    (!change.is_empty()).then_some(Value::Object(change))
}

/// Adds a null for each field that a condition had and has no more, and takes away those that are no more.
fn conditions(old: &[Value], changed: Vec<Value>) -> Value {
    let with_nulls = changed.into_iter().map(|mut one| {
        let before = old.iter().find(|old| old["type"] == one["type"]).and_then(Value::as_object);
        for name in before.into_iter().flat_map(Map::keys) {
            if one.get(name).is_none() {
                one[name.as_str()] = Value::Null;
            }
        }
        one
    });
    let mut all: Vec<Value> = with_nulls.collect();
    let gone = |old: &&Value| all.iter().all(|one| one["type"] != old["type"]);
    let gone: Vec<Value> =
        old.iter().filter(gone).map(|old| json!({"type": old["type"], "$patch": "delete"})).collect();
    all.extend(gone);
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(old: Value, new: Value, expect: Expect) {
        expect.assert_eq(&difference(&old, &new).map(|change| change.to_string()).unwrap_or_default());
    }

    #[test]
    fn only_what_changed_is_patched() {
        let ready = |status: &str| json!({"type": "Ready", "status": status});
        check(json!({"phase": "Running"}), json!({"phase": "Running"}), expect![""]);
        check(
            json!({"phase": "Pending", "qosClass": "x", "conditions": [ready("False"), {"type": "Other"}]}),
            json!({"phase": "Running", "conditions": [ready("True"), {"type": "Other"}]}),
            expect![[r#"{"conditions":[{"status":"True","type":"Ready"}],"phase":"Running"}"#]],
        );
        check(
            json!({"conditions": [{"type": "Ready", "status": "False", "reason": "x"}]}),
            json!({"conditions": [ready("True")]}),
            expect![[r#"{"conditions":[{"reason":null,"status":"True","type":"Ready"}]}"#]],
        );
        check(
            json!({"conditions": [ready("True"), {"type": "PodResizeInProgress", "status": "True"}]}),
            json!({"conditions": [ready("True")]}),
            expect![[
                r#"{"conditions":[{"status":"True","type":"Ready"},{"$patch":"delete","type":"PodResizeInProgress"}]}"#
            ]],
        );
        check(
            json!({"podIPs": [{"ip": "1"}], "message": "m"}),
            json!({"podIPs": [{"ip": "2"}]}),
            expect![[r#"{"message":null,"podIPs":[{"$patch":"replace"},{"ip":"2"}]}"#]],
        );
    }
}
