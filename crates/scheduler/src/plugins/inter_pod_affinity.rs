//! Keeps pods near those that they and the others require, away from those that they must not meet, and prefers
//! nodes by what both sides wish.
//!
//! Answers to InterPodAffinity.

use super::{Event, Plugin, Scale, Scoring, Verdict};
use crate::relations::{Counter, Role};

/// InterPodAffinity
pub const PLUGIN: Plugin = Plugin {
    relational: true,
    filter: |pod, view| {
        let (cluster, relations) = (view.cluster, view.relations);
        let near = &pod.template.terms.affinity;
        let of = |role: Role| relations.of(role).filter(|one| one.total > 0).collect::<Vec<&Counter>>();
        let (anti, existing) = (of(Role::Anti), of(Role::Existing));
        if near.is_empty() && anti.is_empty() && existing.is_empty() {
            return None;
        }
        let required: Vec<&Counter> = match near.is_empty() {
            true => Vec::new(),
            false => relations.of(Role::Required).collect(),
        };
        // The first of a group that wants to be near itself may begin anywhere.
        let first = relations.means_itself && required.iter().all(|one| one.total == 0);
        Some(Box::new(move |index| {
            let labelled = required.iter().all(|one| one.at(cluster, index).is_some());
            let met = || required.iter().all(|one| one.at(cluster, index).is_some_and(|count| count > 0));
            if !labelled || !(first || met()) {
                return Verdict::rejects("node(s) didn't match pod affinity rules", false);
            }
            let meets = |one: &&Counter| one.at(cluster, index).is_some_and(|count| count > 0);
            if anti.iter().any(meets) {
                return Verdict::rejects("node(s) didn't match pod anti-affinity rules", true);
            }
            if existing.iter().any(meets) {
                return Verdict::rejects("node(s) didn't satisfy existing pods anti-affinity rules", true);
            }
            Verdict::Fits
        }))
    },
    score: Some(Scoring {
        weight: 2,
        scale: Scale::Range,
        prepare: |_, view, _| {
            let cluster = view.cluster;
            let preferred: Vec<&Counter> = view.relations.of(Role::Preferred).collect();
            if preferred.is_empty() {
                return None;
            }
            Some(Box::new(move |index| preferred.iter().filter_map(|one| one.at(cluster, index)).sum()))
        },
    }),
    hint: |pod, event, cluster| match event {
        Event::Node(old, index) => {
            let keys = || {
                let terms = &pod.terms;
                terms.affinity.iter().chain(&terms.anti).map(|near| &near.topology)
            };
            let new = cluster.node(*index);
            old.as_ref().is_none_or(|old| {
                keys().any(|key| old.label(key) != new.label(key)) || old.labels != new.labels
            })
        }
        // One that goes may have been in the way.
        Event::Freed(freed, _) => {
            let namespaces = cluster.namespaces();
            pod.terms.anti.iter().any(|near| near.matches(freed, namespaces))
                || freed.terms.anti.iter().any(|near| near.matches(pod, namespaces))
        }
        // One that comes may be what it waits for.
        Event::Placed(placed, _) => {
            let namespaces = cluster.namespaces();
            let near = &pod.terms.affinity;
            !near.is_empty() && near.iter().all(|near| near.matches(placed, namespaces))
        }
        Event::Namespace => true,
        Event::Storage(_) | Event::Group(_) | Event::Devices(_) => false,
    },
    ..Plugin::named("InterPodAffinity")
};
