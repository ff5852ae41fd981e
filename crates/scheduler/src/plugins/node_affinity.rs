//! Node selector and node affinity: required ones filter, preferred ones score.

use super::{Plugin, Scale, Scoring, Verdict, accepts_now};
use crate::node::Node;
use crate::pod::Template;
use gifee_base::labels::Operator;
use gifee_base::nodes::Term;

/// NodeAffinity
pub const PLUGIN: Plugin = Plugin {
    narrow,
    filter: |pod, view| {
        let template = &pod.template;
        let added = view.profile.added_affinity.required.as_ref();
        if template.node_selector.is_empty() && template.required.is_none() && added.is_none() {
            return None;
        }
        Some(Box::new(move |index| {
            if added.is_some_and(|added| !view.node(index).is_selected(added)) {
                return Verdict::rejects("node(s) didn't match scheduler-enforced node affinity", false);
            }
            let rejected = !accepts(template, view.node(index));
            Verdict::unless(rejected, "node(s) didn't match Pod's node affinity/selector")
        }))
    },
    score: Some(Scoring {
        weight: 2,
        scale: Scale::Highest,
        prepare: |pod, view, _| {
            let preferred = &pod.template.preferred;
            let added = &view.profile.added_affinity.preferred;
            if preferred.is_empty() && added.is_empty() {
                return None;
            }
            Some(Box::new(move |index| {
                let node = view.node(index);
                // Unlike a required term, an empty preferred one matches every node, but weighs nothing
                // either way.
                let matching = preferred.iter().chain(added).filter(|one| node.meets(&one.term));
                matching.map(|one| i64::from(one.weight)).sum()
            }))
        },
    }),
    hint: |pod, event, cluster| accepts_now(event, cluster, |node| accepts(pod, node)),
    ..Plugin::named("NodeAffinity")
};

/// Whether the pod's node affinity selects a node.
pub fn accepts(template: &Template, node: &Node) -> bool {
    template.node_selector.iter().all(|(key, value)| node.label(key) == Some(value))
        && template.required.as_ref().is_none_or(|required| node.is_selected(required))
}

/// If every term names its nodes, only these: so pods of a DaemonSet cost one node each.
fn narrow(template: &Template) -> Option<Vec<&str>> {
    let terms = &template.required.as_ref().filter(|required| !required.terms.is_empty())?.terms;
    let mut names: Vec<&str> = Vec::new();
    for term in terms {
        let own = named(term)?;
        names.extend(own);
    }
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// The nodes that a term names; none if it names none in particular.
fn named(term: &Term) -> Option<Vec<&str>> {
    let mut found: Option<Vec<&str>> = None;
    for one in term.fields.iter().filter(|one| one.operator == Operator::In) {
        let values = one.values.iter().map(String::as_str);
        found = Some(match found {
            None => values.collect(),
            Some(earlier) => values.filter(|value| earlier.contains(value)).collect(),
        });
    }
    found
}
