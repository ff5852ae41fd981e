//! What a migration says of itself. Pure.

use gifee_base::clock;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The condition of a migration that is under way.
pub const RUNNING: &str = "Running";
/// The condition of one that wrote everything.
pub const SUCCEEDED: &str = "Succeeded";
/// The condition of one that did not.
pub const FAILED: &str = "Failed";

/// Whether a migration has come to its end.
pub fn ended(migration: &Value) -> bool {
    let conditions = migration["status"]["conditions"].as_array().into_iter().flatten();
    let end = |one: &Value| one["type"] == SUCCEEDED || one["type"] == FAILED;
    conditions.filter(|one| one["status"] == "True").any(end)
}

/// The status with a condition `(type, reason, message)` that is now true; the end of a migration ends its run.
pub fn status(old: &Value, (kind, reason, message): (&str, &str, &str), now: Timestamp) -> Value {
    let mut status = old.clone();
    let mut conditions = old["conditions"].as_array().cloned().unwrap_or_default();
    let now = clock::format_time(now);
    let mut set = |kind: &str, is: &str| {
        let condition = json!({
            "type": kind, "status": is, "reason": reason, "message": message, "lastTransitionTime": now,
        });
        match conditions.iter_mut().find(|one| one["type"] == kind) {
            Some(one) if one["status"] == is => {}
            Some(one) => *one = condition,
            None => conditions.push(condition),
        }
    };
    set(kind, "True");
    if kind != RUNNING {
        set(RUNNING, "False");
    }
    status["conditions"] = conditions.into();
    status
}
