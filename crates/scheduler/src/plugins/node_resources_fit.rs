//! A node must have what a pod asks for, and those that have most left are preferred.
//!
//! Answers to NodeResourcesFit with its default strategy, LeastAllocated of CPU and memory.

use super::{Event, Plugin, SCORE_MAXIMUM, Scale, Scoring, Text, Verdict};
use crate::cluster::{Cluster, Load};
use crate::node::Node;
use crate::pod::Template;
use smallvec::SmallVec;

/// NodeResourcesFit
pub const PLUGIN: Plugin = Plugin {
    filter: |pod, view| {
        let template = &pod.template;
        Some(Box::new(|index| fits(template, view.node(index), view.load(index))))
    },
    score: Some(Scoring {
        weight: 1,
        scale: Scale::Absolute,
        prepare: |pod, view, _| {
            let weight = pod.template.weight;
            Some(Box::new(move |index| least_allocated(weight, view.node(index), view.load(index))))
        },
    }),
    hint: |pod, event, cluster| {
        let (grown, index) = match event {
            Event::Node(old, index) => {
                (old.as_ref().is_none_or(|old| grown(old, cluster.node(*index))), *index)
            }
            Event::Freed(_, index) => (true, *index),
            Event::Placed(..) | Event::Namespace => return false,
        };
        // One that can push others out may have a place before it fits.
        grown && (cluster.has_lower(pod) || fits_index(pod, cluster, index))
    },
    ..Plugin::named("NodeResourcesFit")
};

fn fits_index(template: &Template, cluster: &Cluster, index: usize) -> bool {
    fits(template, cluster.node(index), cluster.load(index)) == Verdict::Fits
}

fn grown(old: &Node, new: &Node) -> bool {
    old.allocatable != new.allocatable || old.pods_maximum != new.pods_maximum
}

fn fits(template: &Template, node: &Node, load: &Load) -> Verdict {
    let mut reasons: SmallVec<[Text; 1]> = SmallVec::new();
    let mut resolvable = true;
    if load.count >= node.pods_maximum {
        reasons.push("Too many pods".into());
    }
    let (wanted, has, used) = (&template.requests, &node.allocatable, &load.requested);
    let mut check = |wanted: i64, has: i64, used: i64, reason: &dyn Fn() -> Text| {
        if wanted > 0 && wanted > has - used {
            reasons.push(reason());
            resolvable &= wanted <= has;
        }
    };
    check(wanted.cpu, has.cpu, used.cpu, &|| "Insufficient cpu".into());
    check(wanted.memory, has.memory, used.memory, &|| "Insufficient memory".into());
    check(wanted.storage, has.storage, used.storage, &|| "Insufficient ephemeral-storage".into());
    for (name, amount) in &wanted.others {
        check(*amount, has.other(name), used.other(name), &|| format!("Insufficient {name}").into());
    }
    if reasons.is_empty() { Verdict::Fits } else { Verdict::Rejects { reasons, resolvable } }
}

fn least_allocated(weight: (i64, i64), node: &Node, load: &Load) -> i64 {
    let parts = [
        (node.allocatable.cpu, load.weight.0 + weight.0),
        (node.allocatable.memory, load.weight.1 + weight.1),
    ];
    let (mut sum, mut count) = (0, 0);
    for (has, taken) in parts {
        if has > 0 {
            sum += (has - taken).max(0).saturating_mul(SCORE_MAXIMUM) / has;
            count += 1;
        }
    }
    if count == 0 { 0 } else { sum / count }
}
