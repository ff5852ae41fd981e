//! Whether any node could hold a pod, were it empty.

use crate::resources::{Amounts, Counting, amounts, requests};
use crate::{Lookup, placement};
use gifee_base::{NodeSelector, Object, Quantity};
use serde_json::Value;
use std::collections::BTreeMap;

/// Of a pod no more nodes than this are looked at, and of a template no more than that: where none of so many fits,
/// nothing is said.
const NODES_OF_POD: usize = 100;
const NODES_OF_TEMPLATE: usize = 5_000;

/// What is said of a pod.
pub fn pod(pod: &Value, lookup: &dyn Lookup) -> Vec<String> {
    if pod["spec"]["nodeName"].as_str().is_some_and(|name| !name.is_empty()) {
        return Vec::new();
    }
    impossible(pod, "spec", NODES_OF_POD, lookup).into_iter().collect()
}

/// What is said of a template, which stands at `field`.
pub fn template(template: &Value, field: &str, lookup: &dyn Lookup) -> Vec<String> {
    impossible(template, field, NODES_OF_TEMPLATE, lookup).into_iter().collect()
}

/// Why a node cannot hold a pod, the first of what upstream's scheduler would find.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    Selector,
    Affinity,
    Taint(String),
    Amount(String),
}

fn impossible(pod: &Value, field: &str, limit: usize, lookup: &dyn Lookup) -> Option<String> {
    let required = NodeSelector::required(&pod["spec"]);
    let asked = requests(pod, Counting { given: false, overhead: true });
    let mut seen = 0;
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    let mut most = Amounts::new();
    let fits = lookup.any("", "nodes", "", &mut |node| {
        seen += 1;
        if seen > limit {
            return true;
        }
        match reason(pod, required.as_ref(), &asked, node, &mut most) {
            Some(reason) => *reasons.entry(reason).or_default() += 1,
            None => return true,
        }
        false
    });
    // A cluster without nodes is about to get some.
    if fits || seen == 0 {
        return None;
    }
    let parts: Vec<String> = reasons
        .iter()
        .map(|(reason, count)| match reason {
            Reason::Selector => format!("{count} without the labels of its nodeSelector"),
            Reason::Affinity => format!("{count} outside of its node affinity"),
            Reason::Taint(taint) => format!("{count} with the taint {{{taint}}} that it does not tolerate"),
            Reason::Amount(name) => {
                let at_most = most.get(name).map_or_else(|| "0".to_owned(), Quantity::to_string);
                format!("{count} with too little {name} ({} asked for, {at_most} at most)", asked[name])
            }
        })
        .collect();
    let nodes = if seen == 1 { "1 node".to_owned() } else { format!("{seen} nodes") };
    Some(format!("{field}: no node could hold this pod, even an empty one; of {nodes}: {}", parts.join(", ")))
}

fn reason(
    pod: &Value,
    required: Option<&NodeSelector>,
    asked: &Amounts,
    node: &Object,
    most: &mut Amounts,
) -> Option<Reason> {
    let spec = &pod["spec"];
    if !placement::selected(spec, node) {
        return Some(Reason::Selector);
    }
    if !placement::wanted(required, node) {
        return Some(Reason::Affinity);
    }
    let taints: Vec<Value> = node.decode_at(&["spec", "taints"]).ok()?;
    for taint in &taints {
        // What the node's state brought will go with it.
        let key = taint["key"].as_str().unwrap_or_default();
        let lasting = !key.starts_with("node.kubernetes.io/") && taint["effect"] != "PreferNoSchedule";
        if lasting && !placement::tolerated(spec, taint) {
            let value = taint["value"].as_str().unwrap_or_default();
            return Some(Reason::Taint(format!("{key}: {value}")));
        }
    }
    let has = amounts(&node.decode_at(&["status", "allocatable"]).ok()?);
    let lacks = |(name, amount): &(&String, &Quantity)| {
        amount.sign() > 0 && has.get(*name).is_none_or(|has| has < *amount)
    };
    let lacking = asked.iter().find(lacks)?.0.clone();
    if let Some(amount) = has.get(&lacking) {
        let most = most.entry(lacking.clone()).or_insert(*amount);
        *most = (*most).max(*amount);
    }
    Some(Reason::Amount(lacking))
}
