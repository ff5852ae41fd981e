//! A node must have what a pod asks for, and those that have most left are preferred.
//!
//! Answers to NodeResourcesFit with its strategies.

use super::{Event, Plugin, SCORE_MAXIMUM, Scale, Scoring, Text, Verdict};
use crate::cluster::{Cluster, Load};
use crate::node::Node;
use crate::pod::Template;
use crate::profile::{Fit, Strategy};
use smallvec::SmallVec;

/// NodeResourcesFit
pub const PLUGIN: Plugin = Plugin {
    filter: |pod, view| {
        let template = &pod.template;
        let ignores = |name: &str| view.profile.fit.ignores(name);
        Some(Box::new(move |index| fits(template, view.node(index), view.load(index), &ignores)))
    },
    score: Some(Scoring {
        weight: 1,
        scale: Scale::Absolute,
        prepare: |pod, view, _| {
            let (template, fit) = (&pod.template, &view.profile.fit);
            Some(Box::new(move |index| score(template, fit, view.node(index), view.load(index))))
        },
    }),
    hint: |pod, event, cluster| {
        let (grown, index, shown) = match event {
            Event::Node(old, index) => {
                (old.as_ref().is_none_or(|old| grown(old, cluster.node(*index))), *index, true)
            }
            // One of lower priority could have been pushed out before, too.
            Event::Freed(freed, index) => (true, *index, freed.priority >= pod.priority),
            Event::Placed(..)
            | Event::Namespace
            | Event::Storage(_)
            | Event::Group(_)
            | Event::Devices(_) => return false,
        };
        // One that can push others out may have a place before it fits.
        grown && ((shown && cluster.has_lower(pod)) || fits_index(pod, cluster, index))
    },
    advise: |pod, view, index| Some(lack(&pod.template, view.node(index), view.load(index))),
    ..Plugin::named("NodeResourcesFit")
};

const MEBIBYTE: i64 = 1 << 20;

/// What a node has too little of: thousandths of what is wanted, at most, and for a person.
fn lack(template: &Template, node: &Node, load: &Load) -> (i64, String) {
    let (wanted, has, used) = (&template.requests, &node.allocatable, &load.requested);
    let mut lacks: Vec<(i64, String)> = Vec::new();
    let mut check = |name: &str, (wanted, has, used): (i64, i64, i64), text: &dyn Fn(i64) -> String| {
        let short = wanted.saturating_sub(has.saturating_sub(used));
        if wanted > 0 && short > 0 {
            lacks.push((short.saturating_mul(1000) / wanted, format!("{} more {name}", text(short))));
        }
    };
    let mebibytes = |short: i64| format!("{}Mi", short / MEBIBYTE + i64::from(short % MEBIBYTE != 0));
    check("cpu", (wanted.cpu, has.cpu, used.cpu), &|short| format!("{short}m"));
    check("memory", (wanted.memory, has.memory, used.memory), &mebibytes);
    check("ephemeral-storage", (wanted.storage, has.storage, used.storage), &mebibytes);
    for (name, amount) in &wanted.others {
        check(name, (*amount, has.other(name), used.other(name)), &|short| short.to_string());
    }
    if load.count >= node.pods_maximum {
        lacks.push((1000, "room for one more pod".into()));
    }
    let most = lacks.iter().map(|(part, _)| *part).max().unwrap_or_default();
    (most, lacks.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" and "))
}

/// Whether the only thing that keeps a pod from a node is the room that others are to have there.
pub fn is_crowded_out(template: &Template, cluster: &Cluster, index: usize) -> bool {
    let mut load = cluster.load(index).clone();
    let ahead = cluster.nominees(index).iter().filter(|(_, one)| one.priority >= template.priority);
    ahead.for_each(|(_, one)| load.add(one));
    fits(template, cluster.node(index), &load, &|_| false) != Verdict::Fits
}

fn fits_index(template: &Template, cluster: &Cluster, index: usize) -> bool {
    fits(template, cluster.node(index), cluster.load(index), &|_| false) == Verdict::Fits
}

fn grown(old: &Node, new: &Node) -> bool {
    old.allocatable != new.allocatable || old.pods_maximum != new.pods_maximum
}

fn fits(template: &Template, node: &Node, load: &Load, ignores: &dyn Fn(&str) -> bool) -> Verdict {
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
    for (name, amount) in wanted.others.iter().filter(|(name, _)| !(is_extended(name) && ignores(name))) {
        check(*amount, has.other(name), used.other(name), &|| format!("Insufficient {name}").into());
    }
    if reasons.is_empty() { Verdict::Fits } else { Verdict::Rejects { reasons, resolvable } }
}

/// Whether a resource is neither Kubernetes' own nor huge pages.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

/// A node's score, from 0 to 100.
fn score(template: &Template, fit: &Fit, node: &Node, load: &Load) -> i64 {
    let (mut sum, mut weights) = (0, 0);
    for (name, weight) in &fit.resources {
        let Some((taken, has)) = use_of(template, node, load, name, true) else { continue };
        let score = match &fit.strategy {
            Strategy::LeastAllocated => (has - taken).max(0).saturating_mul(SCORE_MAXIMUM) / has,
            Strategy::MostAllocated => taken.min(has).saturating_mul(SCORE_MAXIMUM) / has,
            Strategy::Ratio(shape) => {
                let percent =
                    if taken > has { SCORE_MAXIMUM } else { taken.saturating_mul(SCORE_MAXIMUM) / has };
                on_line(shape, percent)
            }
        };
        // Points of the line that score nothing do not count.
        if score > 0 || !matches!(fit.strategy, Strategy::Ratio(_)) {
            sum += score * weight;
            weights += weight;
        }
    }
    match (weights, &fit.strategy) {
        (0, _) => 0,
        (_, Strategy::Ratio(_)) => (2 * sum + weights) / (2 * weights),
        _ => sum / weights,
    }
}

/// What would be taken of a resource with the pod, and what there is; none if the resource does not count there.
/// `complete` says whether containers that ask for nothing count with a share.
pub(super) fn use_of(
    template: &Template,
    node: &Node,
    load: &Load,
    name: &str,
    complete: bool,
) -> Option<(i64, i64)> {
    let (wanted, has, used) = (&template.requests, &node.allocatable, &load.requested);
    let (taken, has) = match name {
        "cpu" if complete => (load.weight.0.saturating_add(template.weight.0), has.cpu),
        "cpu" => (used.cpu.saturating_add(wanted.cpu), has.cpu),
        "memory" if complete => (load.weight.1.saturating_add(template.weight.1), has.memory),
        "memory" => (used.memory.saturating_add(wanted.memory), has.memory),
        "ephemeral-storage" => (used.storage.saturating_add(wanted.storage), has.storage),
        name if wanted.other(name) == 0 => return None,
        name => (used.other(name).saturating_add(wanted.other(name)), has.other(name)),
    };
    (has > 0).then_some((taken, has))
}

fn on_line(shape: &[(i64, i64)], at: i64) -> i64 {
    let Some(next) = shape.iter().position(|(utilization, _)| at <= *utilization) else {
        return shape.last().map_or(0, |(_, score)| *score);
    };
    let (right, high) = shape[next];
    let Some((left, low)) = next.checked_sub(1).map(|before| shape[before]) else { return high };
    low + (high - low) * (at - left) / (right - left)
}
