//! The status of a budget from its pods and what their controllers want. Pure.

use gifee_base::clock;
use gifee_reconcile::pod::Brief;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// An eviction that has not led to a deletion after so long is forgotten.
const EVICTION_SECONDS: i64 = 120;

/// What the controllers of a budget's pods want.
#[derive(Debug, Default)]
pub struct Scales {
    /// Replicas by the UID of what is scaled.
    pub wanted: BTreeMap<String, i64>,
    /// Pods without a controller.
    pub unmanaged: Vec<String>,
}

/// A budget and its pods.
pub struct View {
    /// `metadata.generation`
    pub generation: i64,
    /// The budget.
    pub budget: Value,
    /// The pods that it selects.
    pub pods: Vec<Brief>,
    /// What their controllers want; not asked if the budget counts pods alone.
    pub scales: Result<Scales, String>,
}

/// What to do.
#[derive(Debug)]
pub struct Plan {
    /// What the status should be.
    pub status: Value,
    /// When an eviction is forgotten by mere time.
    pub again: Option<Duration>,
}

/// Whether a budget is about a number of pods, whoever controls them.
pub fn by_number(budget: &Value) -> bool {
    budget["spec"]["maxUnavailable"].is_null() && !budget["spec"]["minAvailable"].is_string()
}

/// A number, or a percentage of a total, rounded up.
fn scaled(value: &Value, total: i64) -> i64 {
    match value {
        Value::String(text) => {
            let percent =
                text.strip_suffix('%').and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
            total.saturating_mul(percent).div_euclid(100)
                + i64::from(total.saturating_mul(percent).rem_euclid(100) > 0)
        }
        other => other.as_i64().unwrap_or_default(),
    }
}

/// Plans one reconcile.
pub fn plan(view: &View, now: Timestamp) -> Plan {
    let spec = &view.budget["spec"];
    let mut status = view.budget["status"].as_object().cloned().unwrap_or_default();
    let scales = match &view.scales {
        Ok(scales) => scales,
        Err(why) => {
            status.insert("disruptionsAllowed".into(), 0.into());
            status.insert("observedGeneration".into(), view.generation.into());
            set_condition(&mut status, view.generation, now, ("False", "SyncFailed", why));
            return Plan { status: status.into(), again: None };
        }
    };
    let total: i64 = scales.wanted.values().sum();
    let (expected, desired) = if !spec["maxUnavailable"].is_null() {
        (total, (total - scaled(&spec["maxUnavailable"], total)).max(0))
    } else if spec["minAvailable"].is_string() {
        (total, scaled(&spec["minAvailable"], total))
    } else {
        (
            i64::try_from(view.pods.len()).unwrap_or(i64::MAX),
            spec["minAvailable"].as_i64().unwrap_or_default(),
        )
    };
    let (evicted, again) = evicted(view, now);
    let healthy =
        |pod: &&Brief| pod.deleted.is_none() && !evicted.contains_key(pod.object.name()) && pod.ready();
    let current = i64::try_from(view.pods.iter().filter(healthy).count()).unwrap_or(i64::MAX);
    let allowed = if expected <= 0 { 0 } else { (current - desired).max(0) };
    for (field, value) in [
        ("currentHealthy", current),
        ("desiredHealthy", desired),
        ("expectedPods", expected),
        ("disruptionsAllowed", allowed),
        ("observedGeneration", view.generation),
    ] {
        status.insert(field.into(), value.into());
    }
    if evicted.is_empty() {
        status.remove("disruptedPods");
    } else {
        status.insert("disruptedPods".into(), evicted.into());
    }
    let state = if allowed > 0 { ("True", "SufficientPods", "") } else { ("False", "InsufficientPods", "") };
    set_condition(&mut status, view.generation, now, state);
    Plan { status: status.into(), again }
}

/// The evictions that still count, and when the first of them ends.
fn evicted(view: &View, now: Timestamp) -> (Map<String, Value>, Option<Duration>) {
    let (mut kept, mut again) = (Map::new(), None::<i64>);
    for (name, since) in view.budget["status"]["disruptedPods"].as_object().into_iter().flatten() {
        let pod = view.pods.iter().find(|pod| pod.object.name() == name);
        let Some(time) = since.as_str().and_then(clock::parse_time) else { continue };
        let left = time.as_second() + EVICTION_SECONDS - now.as_second();
        if pod.is_some_and(|pod| pod.deleted.is_none()) && left > 0 {
            kept.insert(name.clone(), since.clone());
            again = Some(again.map_or(left, |again| again.min(left)));
        }
    }
    (kept, again.and_then(|left| u64::try_from(left).ok()).map(Duration::from_secs))
}

fn set_condition(
    status: &mut Map<String, Value>,
    generation: i64,
    now: Timestamp,
    (value, reason, message): (&str, &str, &str),
) {
    let mut conditions = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let at = conditions.iter().position(|one| one["type"] == "DisruptionAllowed");
    let since = at.map(|at| &conditions[at]).filter(|old| old["status"] == value);
    let since = since.and_then(|old| old["lastTransitionTime"].as_str().map(str::to_owned));
    let condition = json!({
        "type": "DisruptionAllowed", "status": value, "reason": reason, "message": message,
        "observedGeneration": generation, "lastTransitionTime": since.unwrap_or_else(|| clock::format_time(now)),
    });
    match at {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    status.insert("conditions".into(), conditions.into());
}
