//! The quality of service class that a pod spec amounts to.
//!
//! Answers to upstream's `pkg/apis/core/v1/helper/qos`.

use crate::rule::resource::quantity;
use crate::value::{is_empty, items};
use gifee_base::Quantity;
use serde_json::Value;

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// Processors and memory of one side of a resource requirement, absent if zero.
fn side(resources: &Value, side: &str) -> [Option<Quantity>; 2] {
    COUNTED.map(|name| {
        let amount = resources[side].get(name).map(quantity)?;
        (amount.sign() > 0).then_some(amount)
    })
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(crate) fn class(spec: &Value) -> &'static str {
    let own = &spec["resources"];
    let lists = ["containers", "initContainers"].into_iter().flat_map(|list| items(&spec[list]));
    let mut all: Vec<&Value> = lists.map(|container| &container["resources"]).collect();
    if !is_empty(&own["requests"]) || !is_empty(&own["limits"]) {
        all = vec![own];
    }
    let mut asked = false;
    let mut guaranteed = true;
    let mut sums = [[Quantity::ZERO; 2]; 2];
    for resources in all {
        let sides = [side(resources, "requests"), side(resources, "limits")];
        for (sum, side) in sums.iter_mut().zip(&sides) {
            for (sum, amount) in sum.iter_mut().zip(side) {
                asked |= amount.is_some();
                *sum = sum.plus(amount.unwrap_or(Quantity::ZERO));
            }
        }
        guaranteed &= sides[1].iter().all(Option::is_some);
    }
    match (asked, guaranteed && sums[0] == sums[1]) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
