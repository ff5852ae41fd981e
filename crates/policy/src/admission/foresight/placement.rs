//! Whether any node could hold a pod, were it empty.

use crate::Lookup;
use crate::resources::{Amounts, Counting, amounts, requests};
use gifee_base::{Object, Quantity};
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
    let asked = requests(pod, Counting { given: false, overhead: true });
    let mut seen = 0;
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    let mut most = Amounts::new();
    let fits = lookup.any("", "nodes", "", &mut |node| {
        seen += 1;
        if seen > limit {
            return true;
        }
        match reason(pod, &asked, node, &mut most) {
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

fn reason(pod: &Value, asked: &Amounts, node: &Object, most: &mut Amounts) -> Option<Reason> {
    let spec = &pod["spec"];
    let selector = spec["nodeSelector"].as_object().into_iter().flatten();
    if selector.into_iter().any(|(key, value)| node.label(key) != value.as_str()) {
        return Some(Reason::Selector);
    }
    let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    if let Some(terms) = required["nodeSelectorTerms"].as_array()
        && !terms.iter().any(|term| meets(term, node))
    {
        return Some(Reason::Affinity);
    }
    let value = node.to_value().ok()?;
    for taint in value["spec"]["taints"].as_array().into_iter().flatten() {
        // What the node's state brought will go with it.
        let key = taint["key"].as_str().unwrap_or_default();
        let lasting = !key.starts_with("node.kubernetes.io/") && taint["effect"] != "PreferNoSchedule";
        if lasting && !tolerated(spec, taint) {
            let value = taint["value"].as_str().unwrap_or_default();
            return Some(Reason::Taint(format!("{key}: {value}")));
        }
    }
    let has = amounts(&value["status"]["allocatable"]);
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

/// Whether a node meets a term; one without requirements is met by none.
fn meets(term: &Value, node: &Object) -> bool {
    let list = |field: &str| term[field].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let (labels, fields) = (list("matchExpressions"), list("matchFields"));
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    let key = |requirement: &Value| requirement["key"].as_str().unwrap_or_default().to_owned();
    labels.iter().all(|one| holds(one, node.label(&key(one))))
        && fields.iter().all(|one| holds(one, (key(one) == "metadata.name").then(|| node.name())))
}

fn holds(requirement: &Value, value: Option<&str>) -> bool {
    let values = requirement["values"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let among = value.is_some_and(|value| values.iter().any(|one| one == value));
    let order = || {
        let bound = values.first()?.as_str()?.parse::<i64>().ok()?;
        Some(value?.parse::<i64>().ok()?.cmp(&bound))
    };
    match requirement["operator"].as_str().unwrap_or_default() {
        "In" => among,
        "NotIn" => !among,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => order().is_some_and(std::cmp::Ordering::is_gt),
        "Lt" => order().is_some_and(std::cmp::Ordering::is_lt),
        _ => false,
    }
}

fn tolerated(spec: &Value, taint: &Value) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let bears = |toleration: &Value| {
        let (key, effect) = (text(&toleration["key"]), text(&toleration["effect"]));
        if (!effect.is_empty() && effect != text(&taint["effect"]))
            || (!key.is_empty() && key != text(&taint["key"]))
        {
            return false;
        }
        match toleration["operator"].as_str().unwrap_or_default() {
            "" | "Equal" => !key.is_empty() && text(&toleration["value"]) == text(&taint["value"]),
            _ => true,
        }
    };
    spec["tolerations"].as_array().is_some_and(|all| all.iter().any(bears))
}
