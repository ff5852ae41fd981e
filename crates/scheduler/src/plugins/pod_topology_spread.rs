//! Spreads pods over domains: as evenly as they must be, and as they should.
//!
//! Answers to PodTopologySpread.

use super::{Event, Plugin, Scale, Scoring, Verdict};
use crate::node::Node;
use crate::placement::{Feasible, View};
use crate::pod::Template;
use crate::relations::{Counter, HOSTNAME, Role};
use crate::terms::Spread;
use std::collections::HashSet;

/// PodTopologySpread
pub const PLUGIN: Plugin = Plugin {
    relational: true,
    filter: |pod, view| {
        let cluster = view.cluster;
        let limits: Vec<(&Counter, i64)> = constraints(view, true)
            .map(|(one, counter)| (counter, allowed(&pod.template, one, counter)))
            .collect();
        if limits.is_empty() {
            return None;
        }
        Some(Box::new(move |index| {
            for (counter, allowed) in &limits {
                let Some(count) = counter.at(cluster, index) else {
                    let reason =
                        "node(s) didn't match pod topology spread constraints (missing required label)";
                    return Verdict::rejects(reason, false);
                };
                if count > *allowed {
                    return Verdict::rejects("node(s) didn't match pod topology spread constraints", true);
                }
            }
            Verdict::Fits
        }))
    },
    score: Some(Scoring {
        weight: 2,
        scale: Scale::Spread,
        prepare: |_, view, feasible| {
            let (cluster, lenient) = (view.cluster, view.relations.lenient);
            let counters: Vec<&Counter> = constraints(view, false).map(|(_, counter)| counter).collect();
            if counters.is_empty() {
                return None;
            }
            let looked_at =
                move |index: usize| lenient || counters.iter().all(|one| one.at(cluster, index).is_some());
            let weighed: Vec<(&Counter, f64, f64)> = constraints(view, false)
                .map(|(one, counter)| (counter, weight(one, counter, view, feasible, &looked_at), skew(one)))
                .collect();
            Some(Box::new(move |index| {
                if !looked_at(index) {
                    return IGNORED;
                }
                let parts = weighed.iter().filter_map(|(counter, weight, skew)| {
                    counter.at(cluster, index).map(|count| float(count) * weight + skew)
                });
                round(parts.sum())
            }))
        },
    }),
    hint: |pod, event, cluster| match event {
        Event::Node(old, index) => old.as_ref().is_none_or(|old| {
            let new = cluster.node(*index);
            let moves = |one: &Spread| old.label(&one.topology) != new.label(&one.topology);
            pod.terms.spread.iter().any(moves) || old.taints != new.taints || old.labels != new.labels
        }),
        // With one less, or one more elsewhere, the least may be another.
        Event::Freed(other, _) | Event::Placed(other, _) => {
            let counts = |one: &Spread| one.selector.matches(|key| other.label(key));
            other.namespace == pod.namespace && pod.terms.spread.iter().any(counts)
        }
        Event::Namespace | Event::Storage(_) | Event::Group(_) | Event::Devices(_) => false,
    },
    ..Plugin::named("PodTopologySpread")
};

/// The score of a node that lacks a label, before scaling.
pub const IGNORED: i64 = -1;

fn constraints<'a>(view: &View<'a>, hard: bool) -> impl Iterator<Item = (&'a Spread, &'a Counter)> {
    let relations = view.relations;
    let all = relations.spread.iter().enumerate().filter(move |(_, one)| one.hard == hard);
    all.filter_map(|(number, one)| Some((one, relations.of(Role::Spread(number)).next()?)))
}

/// How many there may be in a domain before the pod comes.
fn allowed(pod: &Template, constraint: &Spread, counter: &Counter) -> i64 {
    let (least, domains) = counter.least();
    let least = if domains < constraint.min_domains { 0 } else { least };
    let own = i64::from(constraint.selector.matches(|key| pod.label(key)));
    constraint.max_skew.saturating_add(least) - own
}

/// The more domains there are, the more one pod of a difference counts.
fn weight(
    constraint: &Spread,
    counter: &Counter,
    view: &View<'_>,
    feasible: &Feasible,
    looked_at: &dyn Fn(usize) -> bool,
) -> f64 {
    let nodes = feasible.iter().filter(|(node, _)| looked_at(*node));
    let size = match &*constraint.topology == HOSTNAME {
        true => nodes.map(|(_, count)| *count).sum(),
        false => {
            let topology = view.cluster.topology(counter.topology);
            nodes.map(|(node, _)| topology.domain(*node)).collect::<HashSet<_>>().len()
        }
    };
    #[allow(clippy::cast_precision_loss)]
    ((size + 2) as f64).ln()
}

fn skew(constraint: &Spread) -> f64 {
    float(constraint.max_skew - 1)
}

#[allow(clippy::cast_precision_loss)]
fn float(count: i64) -> f64 {
    count as f64
}

#[allow(clippy::cast_possible_truncation)]
fn round(score: f64) -> i64 {
    score.round() as i64
}

/// Whether a constraint looks at a node, for a pod.
pub fn node_admits(pod: &Template, node: &Node, constraint: &Spread) -> bool {
    (!constraint.honor_affinity || super::node_affinity::accepts(pod, node))
        && (!constraint.honor_taints || super::taint_toleration::accepts(pod, node))
}
