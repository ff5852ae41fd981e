//! What the containers of a pod ask for together.
//!
//! Answers to `AggregateContainerRequests` of upstream's component-helpers: containers that run before the others count
//! for as much as they need at once.

use crate::rule::resource::quantity;
use crate::value::items;
use gifee_base::Quantity;
use serde_json::Value;

/// The amount of a resource on one side (`requests` or `limits`); None if no container names it.
pub(super) fn sum(spec: &Value, side: &str, resource: &str) -> Option<Quantity> {
    let of = |container: &Value| container["resources"][side].get(resource).map(quantity);
    let plus = |one: Option<Quantity>, other: Option<Quantity>| match (one, other) {
        (Some(one), Some(other)) => Some(one.plus(other)),
        (one, other) => one.or(other),
    };
    let mut running = items(&spec["containers"]).iter().map(of).fold(None, plus);
    let (mut beside, mut before) = (None, None);
    for container in items(&spec["initContainers"]) {
        let own = of(container);
        let at_once = if container["restartPolicy"] == "Always" {
            running = plus(running, own);
            beside = plus(beside, own);
            beside
        } else {
            plus(own, beside)
        };
        before = before.max(at_once);
    }
    running.max(before)
}
