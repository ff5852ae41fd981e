//! Which pods to create and delete, and the status, from one view. Pure.

use gifee_base::{Object, clock};
use gifee_reconcile::owner::Claims;
use gifee_reconcile::pod::Brief;
use gifee_reconcile::rollout::availability;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// At most this many pods are created or deleted by one reconcile.
pub const BURST: usize = 500;
/// Deletions prefer pods with a lower number in this annotation.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What a replica set looks like.
pub struct View {
    /// The object.
    pub set: Arc<Object>,
    /// `spec.replicas`
    pub replicas: i32,
    /// `spec.minReadySeconds`
    pub minimum_ready_seconds: i32,
    /// Labels of the pod template.
    pub template_labels: Vec<(String, String)>,
    /// `status`
    pub status: Value,
    /// Which pods are its own or should be.
    pub claims: Claims,
    /// Its own pods, those to be adopted among them, none to be released.
    pub pods: Vec<Brief>,
    /// How many active pods of sets with the same owner run on each node.
    pub related: HashMap<String, usize>,
    /// Why the last try to create or delete failed: reason and message.
    pub failure: Option<(&'static str, String)>,
    /// Whether the status says how many pods are on their way out.
    pub counts_terminating: bool,
}

/// What to do.
#[derive(Debug, Default)]
pub struct Plan {
    /// Pods to adopt.
    pub adopt: Vec<Arc<Object>>,
    /// Pods to release.
    pub release: Vec<Arc<Object>>,
    /// How many pods to create.
    pub create: usize,
    /// Pods to delete, the first ones first.
    pub delete: Vec<Arc<Object>>,
    /// What the status should be.
    pub status: Value,
    /// When a pod becomes available by mere time.
    pub again: Option<Duration>,
}

/// Plans one reconcile.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let mut plan =
        Plan { adopt: view.claims.adopt.clone(), release: view.claims.release.clone(), ..Plan::default() };
    let active: Vec<&Brief> = view.pods.iter().filter(|pod| pod.active()).collect();
    let wanted = usize::try_from(view.replicas).unwrap_or_default();
    if !view.set.deleting() {
        if active.len() < wanted {
            plan.create = (wanted - active.len()).min(BURST);
        } else if active.len() > wanted {
            let count = (active.len() - wanted).min(BURST);
            plan.delete = rank(&active, &view.related, now)
                .into_iter()
                .take(count)
                .map(|pod| pod.object.clone())
                .collect();
        }
    }
    plan.status = status(view, now);
    let ready = active.iter().filter_map(|pod| pod.ready_since());
    plan.again = availability::wake(ready, view.minimum_ready_seconds, now);
    plan
}

/// The pods in the order in which they should go.
fn rank<'a>(active: &[&'a Brief], related: &HashMap<String, usize>, now: Timestamp) -> Vec<&'a Brief> {
    let mut ranked = active.to_vec();
    let crowd = |pod: &Brief| related.get(&pod.spec.node_name).copied().unwrap_or_default();
    ranked.sort_by(|a, b| {
        let unassigned = |pod: &Brief| pod.spec.node_name.is_empty();
        unassigned(b)
            .cmp(&unassigned(a))
            .then_with(|| phase_order(a).cmp(&phase_order(b)))
            .then_with(|| a.ready().cmp(&b.ready()))
            .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
            .then_with(|| crowd(b).cmp(&crowd(a)))
            .then_with(|| less_ready_first(a, b, now))
            .then_with(|| b.restarts().cmp(&a.restarts()))
            .then_with(|| younger_first(a.created, b.created, now))
            .then_with(|| a.object.uid().cmp(b.object.uid()))
    });
    ranked
}

pub(crate) fn phase_order(pod: &Brief) -> u8 {
    match pod.status.phase.as_str() {
        "" | "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

fn deletion_cost(pod: &Brief) -> i32 {
    pod.annotation(DELETION_COST).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Pods that have been ready for less time go first; times are compared by magnitude only, so that
/// among pods of about the same age others decide.
fn less_ready_first(a: &Brief, b: &Brief, now: Timestamp) -> Ordering {
    if !a.ready() || !b.ready() {
        return Ordering::Equal;
    }
    younger_first(a.ready_since(), b.ready_since(), now)
}

fn younger_first(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => magnitude(a, now).cmp(&magnitude(b, now)),
        // One whose time is not known counts as just made.
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn magnitude(since: Timestamp, now: Timestamp) -> u32 {
    let seconds = (now.as_second() - since.as_second()).max(0);
    u64::try_from(seconds).unwrap_or_default().checked_ilog2().map_or(0, |log| log + 1)
}

/// What the status should be.
pub fn status(view: &View, now: Timestamp) -> Value {
    let active: Vec<&Brief> = view.pods.iter().filter(|pod| pod.active()).collect();
    let labelled =
        |pod: &&&Brief| view.template_labels.iter().all(|(key, value)| pod.object.label(key) == Some(value));
    let count = |test: &dyn Fn(&&&Brief) -> bool| active.iter().filter(test).count();
    let ready = count(&|pod| pod.ready());
    let available = count(&|pod| pod.available(view.minimum_ready_seconds, now));
    let terminating = view.pods.iter().filter(|pod| pod.deleted.is_some() && !pod.terminal()).count();
    let mut status = json!({ "replicas": active.len(), "observedGeneration": view.set.generation() });
    if view.counts_terminating {
        status["terminatingReplicas"] = terminating.into();
    }
    for (name, count) in [
        ("fullyLabeledReplicas", count(&labelled)),
        ("readyReplicas", ready),
        ("availableReplicas", available),
    ] {
        if count > 0 {
            status[name] = count.into();
        }
    }
    let conditions = conditions(view, now);
    if !conditions.is_empty() {
        status["conditions"] = conditions.into();
    }
    status
}

fn conditions(view: &View, now: Timestamp) -> Vec<Value> {
    let present = view.status["conditions"].as_array().cloned().unwrap_or_default();
    let old = present.iter().find(|condition| condition["type"] == "ReplicaFailure").cloned();
    let mut conditions: Vec<Value> =
        present.into_iter().filter(|condition| condition["type"] != "ReplicaFailure").collect();
    match (&view.failure, old) {
        (Some((reason, _)), Some(old)) if old["reason"] == *reason => conditions.push(old),
        (Some((reason, message)), _) => conditions.push(json!({
            "type": "ReplicaFailure", "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": clock::format_time(now),
        })),
        (None, _) => {}
    }
    conditions
}
