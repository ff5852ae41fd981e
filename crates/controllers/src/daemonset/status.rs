//! The status of a DaemonSet. Pure.

use super::view::{View, oldest_first};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The whole status, without the count of collisions, which only grows when a revision is made.
pub fn status(view: &View, now: Timestamp) -> Value {
    let (mut desired, mut current, mut misscheduled) = (0, 0, 0);
    let (mut ready, mut available, mut updated) = (0, 0, 0);
    for spot in view.spots.values() {
        let Some(verdict) = spot.verdict else { continue };
        let first = spot.pods.iter().min_by(|a, b| oldest_first(a, b));
        if !verdict.run {
            misscheduled += i64::from(first.is_some());
            continue;
        }
        desired += 1;
        let Some(pod) = first else { continue };
        current += 1;
        ready += i64::from(pod.ready());
        available += i64::from(view.available(pod, now));
        updated += i64::from(view.updated(pod));
    }
    let mut status = json!({
        "observedGeneration": view.set.generation(),
        "desiredNumberScheduled": desired,
        "currentNumberScheduled": current,
        "numberMisscheduled": misscheduled,
        "numberReady": ready,
    });
    for (name, count) in [
        ("updatedNumberScheduled", updated),
        ("numberAvailable", available),
        ("numberUnavailable", desired - available),
    ] {
        if count > 0 {
            status[name] = count.into();
        }
    }
    for name in ["conditions", "collisionCount"] {
        if !view.status()[name].is_null() {
            status[name] = view.status()[name].clone();
        }
    }
    status
}
