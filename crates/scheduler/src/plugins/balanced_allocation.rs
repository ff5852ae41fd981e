//! Prefers nodes on which CPU and memory would be used to a like part.
//!
//! Answers to NodeResourcesBalancedAllocation.

use super::{Plugin, SCORE_MAXIMUM, Scale, Scoring};
use crate::cluster::Load;
use crate::node::Node;
use crate::resources::Resources;

/// NodeResourcesBalancedAllocation
pub const PLUGIN: Plugin = Plugin {
    score: Some(Scoring {
        weight: 1,
        scale: Scale::Absolute,
        prepare: |pod, view, _| {
            let wanted = &pod.template.requests;
            if wanted.cpu == 0 && wanted.memory == 0 {
                return None;
            }
            Some(Box::new(|index| balance(wanted, view.node(index), view.load(index))))
        },
    }),
    ..Plugin::named("NodeResourcesBalancedAllocation")
};

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn balance(wanted: &Resources, node: &Node, load: &Load) -> i64 {
    let part = |has: i64, taken: i64| (has > 0).then(|| (taken as f64 / has as f64).min(1.0));
    let cpu = part(node.allocatable.cpu, load.requested.cpu + wanted.cpu);
    let memory = part(node.allocatable.memory, load.requested.memory + wanted.memory);
    // The standard deviation of two values is half their distance.
    let deviation = match (cpu, memory) {
        (Some(cpu), Some(memory)) => (cpu - memory).abs() / 2.0,
        _ => 0.0,
    };
    ((1.0 - deviation) * SCORE_MAXIMUM as f64) as i64
}
