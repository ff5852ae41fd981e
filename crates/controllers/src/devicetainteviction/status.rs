//! What is said of a DeviceTaintRule in its status: whom it makes go, or would. Pure.

use super::plan::{NO_EXECUTE, text};
use gifee_base::clock;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// Type of the condition.
const CONDITION: &str = "EvictionInProgress";
/// The effect of a rule that only tries out whom it would make go.
pub const NONE: &str = "None";
/// The shortest time between two changes of the condition of one generation.
pub const PERIOD: Duration = Duration::from_secs(10);

/// What a rule concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Devices in slices that it selects.
    pub published: usize,
    /// Devices that claims hold and that it selects.
    pub allocated: usize,
    /// Pods that have to go because of it, or would have to.
    pub pods: usize,
    /// The namespaces of these.
    pub namespaces: usize,
    /// Pods that went because of it, since this controller began.
    pub evicted: usize,
}

fn effect(rule: &Value) -> &str {
    text(&rule["spec"]["taint"]["effect"])
}

/// Whether anything must be counted to say something of a rule.
pub fn counts(rule: &Value) -> bool {
    matches!(effect(rule), NO_EXECUTE | NONE)
}

fn present(rule: &Value) -> Option<&Value> {
    rule["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == CONDITION)
}

/// How long is to be waited before a rule's condition is changed again.
pub fn wait(rule: &Value, now: Timestamp) -> Option<Duration> {
    let present = present(rule)?;
    if present["observedGeneration"].as_i64() != rule["metadata"]["generation"].as_i64() {
        return None;
    }
    let since = clock::parse_time(text(&present["lastTransitionTime"]))?;
    let passed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    PERIOD.checked_sub(passed).filter(|left| !left.is_zero())
}

fn number(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// The condition that a rule is to have; none if it has it.
pub fn condition(rule: &Value, counts: Counts, now: Timestamp) -> Option<Value> {
    let namespaces = number(counts.namespaces, "namespace", "different namespaces");
    let (status, reason, mut message) = match effect(rule) {
        NO_EXECUTE if counts.pods > 0 => {
            let pods = number(counts.pods, "pod needs", "pods need");
            ("True", "PodsPendingEviction", format!("{pods} to be evicted in {namespaces}."))
        }
        NO_EXECUTE if counts.evicted > 0 => ("False", "Completed", String::new()),
        NO_EXECUTE => ("False", "NotStarted", String::new()),
        NONE => {
            let published = number(counts.published, "published device", "published devices");
            let allocated = number(counts.allocated, "allocated device", "allocated devices");
            let pods = number(counts.pods, "pod", "pods");
            let message = format!(
                "{published} selected. {allocated} selected. {pods} would be evicted in {namespaces} if the effect was NoExecute. This information will not be updated again. Recreate the DeviceTaintRule to trigger an update."
            );
            ("False", "NoEffect", message)
        }
        _ => ("False", "OtherEffect", "Eviction only happens for the NoExecute effect.".to_owned()),
    };
    if counts.evicted > 0 {
        let space = if message.is_empty() { "" } else { " " };
        let pods = number(counts.evicted, "pod", "pods");
        message = format!("{message}{space}{pods} evicted since starting the controller.");
    }
    let mut condition = json!({
        "type": CONDITION, "status": status, "reason": reason, "message": message,
        "observedGeneration": rule["metadata"]["generation"].as_i64().unwrap_or_default(),
    });
    let fields = ["status", "reason", "message", "observedGeneration"];
    if present(rule).is_some_and(|one| fields.iter().all(|field| one[*field] == condition[*field])) {
        return None;
    }
    condition["lastTransitionTime"] = clock::format_time(now).into();
    Some(condition)
}
