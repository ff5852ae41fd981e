//! Prefers nodes on which CPU and memory, or other resources, would be used to a like part.
//!
//! Answers to NodeResourcesBalancedAllocation.

use super::node_resources_fit::use_of;
use super::{Plugin, SCORE_MAXIMUM, Scale, Scoring};
use crate::cluster::Load;
use crate::node::Node;
use crate::pod::Template;
use crate::profile::Profile;
use smallvec::SmallVec;

/// NodeResourcesBalancedAllocation
pub const PLUGIN: Plugin = Plugin {
    score: Some(Scoring {
        weight: 1,
        scale: Scale::Absolute,
        prepare: |pod, view, _| {
            let template = &pod.template;
            // One that asks for none of them would always go where others have kept the balance.
            let asks = |(name, _): &(Box<str>, i64)| match &**name {
                "cpu" => template.requests.cpu > 0,
                "memory" => template.requests.memory > 0,
                "ephemeral-storage" => template.requests.storage > 0,
                name => template.requests.other(name) > 0,
            };
            if !view.profile.balanced.iter().any(asks) {
                return None;
            }
            Some(Box::new(|index| balance(template, view.profile, view.node(index), view.load(index))))
        },
    }),
    ..Plugin::named("NodeResourcesBalancedAllocation")
};

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn balance(template: &Template, profile: &Profile, node: &Node, load: &Load) -> i64 {
    let parts: SmallVec<[f64; 4]> = profile
        .balanced
        .iter()
        .filter_map(|(name, _)| use_of(template, node, load, name, false))
        .map(|(taken, has)| (taken as f64 / has as f64).min(1.0))
        .collect();
    let deviation = match parts.as_slice() {
        [] | [_] => 0.0,
        // The standard deviation of two values is half their distance.
        [one, other] => ((one - other) / 2.0).abs(),
        several => {
            let mean = several.iter().sum::<f64>() / several.len() as f64;
            let squares: f64 = several.iter().map(|part| (part - mean) * (part - mean)).sum();
            (squares / several.len() as f64).sqrt()
        }
    };
    ((1.0 - deviation) * SCORE_MAXIMUM as f64) as i64
}
