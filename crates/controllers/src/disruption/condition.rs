//! The condition with which a pod says that it is taken away through no fault of its own.

use gifee_base::{Object, clock, object};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) const KIND: &str = "DisruptionTarget";

/// The condition that a pod should get, for a strategic merge patch of its status; none if it has it.
pub(crate) fn condition(
    pod: &Object,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Result<Option<Value>, object::Error> {
    let tree = pod.to_value()?;
    let mut conditions = tree["status"]["conditions"].as_array().into_iter().flatten();
    let present = conditions.find(|one| one["type"] == KIND).unwrap_or(&Value::Null);
    let mut condition = json!({ "type": KIND, "status": "True", "reason": reason, "message": message });
    if condition.as_object().into_iter().flatten().all(|(field, value)| present[field] == *value) {
        return Ok(None);
    }
    let since = match &present["lastTransitionTime"] {
        Value::String(since) if present["status"] == "True" => since.clone(),
        _ => clock::format_time(now),
    };
    condition["lastTransitionTime"] = since.into();
    condition["observedGeneration"] = pod.generation().into();
    Ok(Some(condition))
}
