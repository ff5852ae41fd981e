//! Which conditions, taints and labels a node should have, and which of its pods cannot be ready. Pure.

use super::node::Node;
use gifee_base::{Object, clock};
use gifee_reconcile::health::Permit;
use gifee_reconcile::pod::Brief;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a node may be silent.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// After this it is unreachable.
    pub monitor_grace: Duration,
    /// The same for a node that never said how it is.
    pub startup_grace: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { monitor_grace: Duration::from_secs(50), startup_grace: Duration::from_secs(60) }
    }
}

impl Timing {
    fn grace(&self, node: &Node) -> Duration {
        if node.condition("Ready").is_some() { self.monitor_grace } else { self.startup_grace }
    }

    /// The status of the Ready condition that a node should have after this silence; none if it never had
    /// one.
    pub fn readiness<'a>(&self, node: &'a Node, silent: Duration) -> Option<&'a str> {
        if silent >= self.grace(node) {
            return Some("Unknown");
        }
        node.condition("Ready").map(|ready| ready["status"].as_str().unwrap_or_default())
    }
}

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The taint that a condition in a status brings: `(condition, status, key)`.
const CONDITION_TAINTS: &[(&str, &str, &str)] = &[
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// What the node agent answers for; `NetworkUnavailable` is somebody else's.
const AGENT_CONDITIONS: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Old labels that follow new ones.
const LABELS: &[(&str, &str)] =
    &[("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")];

/// What a node looks like.
pub struct View {
    /// The node.
    pub node: Node,
    /// How long it may be silent.
    pub timing: Timing,
    /// Time since it last gave a sign of life.
    pub silent: Duration,
    /// Whether its pods may be evicted now, should that be needed.
    pub permit: Permit,
    /// Pods bound to it.
    pub pods: Vec<Brief>,
}

/// What to do.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Conditions that change, whole.
    pub conditions: Vec<Value>,
    /// Whether it was ready until now.
    pub lost: bool,
    /// All taints, if they change.
    pub taints: Option<Vec<Value>>,
    /// Labels to set.
    pub labels: Map<String, Value>,
    /// Pods whose Ready condition becomes False.
    pub unready: Vec<Arc<Object>>,
    /// When to look again although nothing happens.
    pub again: Option<Duration>,
}

/// Plans one reconcile.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let node = &view.node;
    let mut plan = Plan { labels: labels(&node.object), ..Plan::default() };
    let ready = view.timing.readiness(node, view.silent);
    match view.timing.grace(node).checked_sub(view.silent) {
        Some(left) if !left.is_zero() => plan.again = Some(left),
        _ => plan.conditions = unknown(node, now),
    }
    plan.lost = ready != Some("True") && node.condition("Ready").is_some_and(|one| one["status"] == "True");
    if ready == Some("Unknown") {
        let pods = view.pods.iter().filter(|pod| pod.ready());
        plan.unready = pods.map(|pod| pod.object.clone()).collect();
    }
    let wanted = taints(view, &plan.conditions, ready, now);
    plan.taints = (wanted != node.taints).then_some(wanted);
    if let Permit::Later(wait) = view.permit
        && needs_permit(node, ready)
    {
        plan.again = Some(plan.again.map_or(wait, |again| again.min(wait)));
    }
    plan
}

/// Whether a NoExecute taint would come to a node that has none yet: only this is rationed.
pub fn needs_permit(node: &Node, ready: Option<&str>) -> bool {
    matches!(ready, Some("False" | "Unknown"))
        && !node
            .taints
            .iter()
            .any(|taint| is(taint, NOT_READY, "NoExecute") || is(taint, UNREACHABLE, "NoExecute"))
}

/// The conditions of a node that nobody answers for.
fn unknown(node: &Node, now: Timestamp) -> Vec<Value> {
    let now = clock::format_time(now);
    let change = |kind: &&str| match node.condition(kind) {
        None => Some(json!({
            "type": kind, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
            "message": "Kubelet never posted node status.",
            "lastHeartbeatTime": node.created, "lastTransitionTime": now,
        })),
        Some(condition) if condition["status"] != "Unknown" => {
            let mut condition = condition.clone();
            condition["status"] = "Unknown".into();
            condition["reason"] = "NodeStatusUnknown".into();
            condition["message"] = "Kubelet stopped posting node status.".into();
            condition["lastTransitionTime"] = now.as_str().into();
            Some(condition)
        }
        Some(_) => None,
    };
    AGENT_CONDITIONS.iter().filter_map(change).collect()
}

/// All taints that the node should have: those of others as they are, then what its conditions ask for.
fn taints(view: &View, changed: &[Value], ready: Option<&str>, now: Timestamp) -> Vec<Value> {
    let node = &view.node;
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (kind, status, key) in CONDITION_TAINTS {
        let condition = changed.iter().find(|one| one["type"] == *kind).or_else(|| node.condition(kind));
        if condition.is_some_and(|condition| condition["status"] == *status) {
            wanted.push((key, "NoSchedule"));
        }
    }
    if node.unschedulable {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let execute = match ready {
        Some("False") => Some(NOT_READY),
        Some("Unknown") => Some(UNREACHABLE),
        _ => None,
    };
    if let Some(key) = execute {
        match view.permit {
            Permit::Now => wanted.push((key, "NoExecute")),
            Permit::Never => {}
            Permit::Later(_) | Permit::Held if needs_permit(node, ready) => {}
            // It has the one or the other: which one, follows the condition at once.
            Permit::Later(_) | Permit::Held => wanted.push((key, "NoExecute")),
        }
    }
    // Without a Ready condition nothing is known that could contradict a NoExecute taint.
    let kept = |taint: &&Value| {
        !own(taint, ready.is_some()) || wanted.iter().any(|(key, effect)| is(taint, key, effect))
    };
    let mut taints: Vec<Value> = node.taints.iter().filter(kept).cloned().collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| is(taint, key, effect)) {
            taints.push(json!({ "key": key, "effect": effect, "timeAdded": clock::format_time(now) }));
        }
    }
    taints
}

fn is(taint: &Value, key: &str, effect: &str) -> bool {
    taint["key"] == key && taint["effect"] == effect
}

/// Whether a taint is this controller's to take away.
fn own(taint: &Value, judged: bool) -> bool {
    let key = taint["key"].as_str().unwrap_or_default();
    match taint["effect"].as_str() {
        Some("NoSchedule") => key == UNSCHEDULABLE || CONDITION_TAINTS.iter().any(|(_, _, one)| *one == key),
        Some("NoExecute") => judged && (key == NOT_READY || key == UNREACHABLE),
        _ => false,
    }
}

fn labels(node: &Object) -> Map<String, Value> {
    let mut labels = Map::new();
    for (primary, secondary) in LABELS {
        if let Some(value) = node.label(primary)
            && node.label(secondary) != Some(value)
        {
            labels.insert((*secondary).to_owned(), value.into());
        }
    }
    labels
}
