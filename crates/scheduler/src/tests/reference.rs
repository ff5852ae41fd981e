//! Decisions on generated clusters against a slow reference that reads everything from the objects' trees.

use super::{cluster, merge, node_with, pod, pod_with};
use crate::placement::Placement;
use crate::profile::Profile;
use crate::ranking::Rankings;
use crate::selectors::Selectors;
use gifee_base::Quantity;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A generator of small numbers, the same for the same seed.
pub(super) struct Dice(pub u64);

impl Dice {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    pub(super) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(super) fn pick(&mut self, words: &[&'static str]) -> &'static str {
        words[usize::try_from(self.below(words.len() as u64)).unwrap()]
    }
}

pub(super) fn random_node(dice: &mut Dice, name: &str) -> Value {
    let mut node = node_with(name, &json!({}));
    node["status"]["allocatable"] = json!({
        "cpu": format!("{}m", 500 + 250 * dice.below(8)),
        "memory": format!("{}Mi", 512 * (1 + dice.below(6))),
        "pods": (2 + dice.below(6)).to_string(),
    });
    node["metadata"]["labels"]["zone"] = dice.pick(&["a", "b", "c"]).into();
    if dice.one_in(3) {
        node["metadata"]["labels"]["rank"] = dice.below(4).to_string().into();
    }
    if dice.one_in(6) {
        node["spec"]["unschedulable"] = true.into();
    }
    if dice.one_in(3) {
        let effect = dice.pick(&["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        node["spec"]["taints"] =
            json!([{ "key": dice.pick(&["own", "old"]), "value": "x", "effect": effect }]);
    }
    if dice.one_in(3) {
        node["status"]["images"] =
            json!([{ "names": ["web:latest"], "sizeBytes": 100_000_000 * dice.below(9) }]);
    }
    node
}

pub(super) fn random_spec(dice: &mut Dice) -> Value {
    let mut spec = json!({});
    if !dice.one_in(4) {
        spec["cpu"] = format!("{}m", 50 * dice.below(14)).into();
    }
    if !dice.one_in(4) {
        spec["memory"] = format!("{}Mi", 64 * dice.below(12)).into();
    }
    if dice.one_in(4) {
        spec["ports"] = json!([{ "hostPort": 80 + dice.below(2), "containerPort": 80,
            "protocol": dice.pick(&["TCP", "UDP"]), "hostIP": dice.pick(&["", "10.0.0.1", "10.0.0.2"]) }]);
    }
    if dice.one_in(4) {
        spec["nodeSelector"] = json!({ "zone": dice.pick(&["a", "b"]) });
    }
    if dice.one_in(3) {
        let key = dice.pick(&["own", "old", ""]);
        spec["tolerations"] =
            json!([{ "key": key, "operator": "Exists", "effect": dice.pick(&["", "NoSchedule"]) }]);
    }
    if dice.one_in(5) {
        let term = json!({ "matchExpressions": [{ "key": "rank", "operator": dice.pick(&["Gt", "Lt"]), "values": ["1"] }] });
        let other = json!({ "matchExpressions": [{ "key": "zone", "operator": "NotIn", "values": ["c"] }] });
        merge(
            &mut spec,
            &json!({ "affinity": { "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term, other] } } } }),
        );
    }
    if dice.one_in(4) {
        let term = json!({ "matchExpressions": [{ "key": "zone", "operator": "In", "values": [dice.pick(&["a", "b"])] }] });
        merge(
            &mut spec,
            &json!({ "affinity": { "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 1 + dice.below(9), "preference": term }] } } }),
        );
    }
    if dice.one_in(3) {
        spec["priority"] = dice.below(3).into();
    }
    spec
}

fn amount(value: &Value, thousandths: bool) -> i64 {
    let quantity: Quantity = value.as_str().unwrap_or("0").parse().unwrap();
    if thousandths { quantity.milli() } else { quantity.value() }
}

fn request(pod: &Value, resource: &str) -> i64 {
    amount(&pod["spec"]["containers"][0]["resources"]["requests"][resource], resource == "cpu")
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) fn tolerated(pod: &Value, taint: &Value) -> bool {
    // The generator only makes tolerations that are there or not, whatever the value.
    list(&pod["spec"]["tolerations"]).any(|one| {
        (text(&one["key"]).is_empty() || one["key"] == taint["key"])
            && (text(&one["effect"]).is_empty() || one["effect"] == taint["effect"])
    })
}

fn expression_matches(node: &Value, expression: &Value) -> bool {
    let label = node["metadata"]["labels"][text(&expression["key"])].as_str();
    let number = |text: &str| text.parse::<i64>().unwrap();
    let bound = text(&expression["values"][0]);
    match text(&expression["operator"]) {
        "In" => label.is_some_and(|label| list(&expression["values"]).any(|one| text(one) == label)),
        "NotIn" => label.is_none_or(|label| list(&expression["values"]).all(|one| text(one) != label)),
        "Gt" => label.is_some_and(|label| number(label) > number(bound)),
        "Lt" => label.is_some_and(|label| number(label) < number(bound)),
        other => panic!("{other}"),
    }
}

pub(super) fn term_matches(node: &Value, term: &Value) -> bool {
    list(&term["matchExpressions"]).all(|expression| expression_matches(node, expression))
}

fn conflict(one: &Value, other: &Value) -> bool {
    let all = |port: &Value| matches!(text(&port["hostIP"]), "" | "0.0.0.0");
    one["hostPort"] == other["hostPort"]
        && one["protocol"] == other["protocol"]
        && (one["hostIP"] == other["hostIP"] || all(one) || all(other))
}

/// Why a pod may not run on a node with others, as the first plugin in upstream's order says.
pub(super) fn rejection(node: &Value, others: &[&Value], pod: &Value) -> Vec<&'static str> {
    let cordon = json!({ "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" });
    if node["spec"]["unschedulable"] == true && !tolerated(pod, &cordon) {
        return vec!["node(s) were unschedulable"];
    }
    if list(&node["spec"]["taints"])
        .any(|taint| taint["effect"] != "PreferNoSchedule" && !tolerated(pod, taint))
    {
        return vec!["node(s) had untolerated taint(s)"];
    }
    let selector = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
    let selected = selector.into_iter().all(|(key, value)| node["metadata"]["labels"][key] == *value);
    let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let affine =
        required.is_null() || list(&required["nodeSelectorTerms"]).any(|term| term_matches(node, term));
    if !selected || !affine {
        return vec!["node(s) didn't match Pod's node affinity/selector"];
    }
    let ports = |pod: &'_ Value| pod["spec"]["containers"][0]["ports"].clone();
    let (wanted, used) = (ports(pod), others.iter().map(|other| ports(other)).collect::<Vec<_>>());
    if list(&wanted).any(|port| used.iter().flat_map(list).any(|one| conflict(one, port))) {
        return vec!["node(s) didn't have free ports for the requested pod ports"];
    }
    let mut reasons = Vec::new();
    let allocatable = &node["status"]["allocatable"];
    if others.len() + 1 > usize::try_from(amount(&allocatable["pods"], false)).unwrap() {
        reasons.push("Too many pods");
    }
    for (resource, reason) in [("cpu", "Insufficient cpu"), ("memory", "Insufficient memory")] {
        let used: i64 = others.iter().map(|other| request(other, resource)).sum();
        let wanted = request(pod, resource);
        if wanted > 0 && used + wanted > amount(&allocatable[resource], resource == "cpu") {
            reasons.push(reason);
        }
    }
    reasons
}

/// The score of each feasible node, all plugins together.
pub(super) fn scores(
    nodes: &[&Value],
    all: usize,
    having_image: i64,
    others: &dyn Fn(&Value) -> Vec<Value>,
    pod: &Value,
) -> Vec<i64> {
    let preferred =
        &pod["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
    let affinity = |node: &Value| -> i64 {
        let terms = list(preferred).filter(|one| term_matches(node, &one["preference"]));
        terms.map(|one| one["weight"].as_i64().unwrap()).sum()
    };
    let soft = |node: &Value| {
        list(&node["spec"]["taints"])
            .filter(|taint| taint["effect"] == "PreferNoSchedule" && !tolerated(pod, taint))
            .count()
    };
    let most_affine = nodes.iter().map(|node| affinity(node)).max().unwrap();
    let most_soft = nodes.iter().map(|node| soft(node)).max().unwrap();
    nodes
        .iter()
        .map(|node| {
            let mut total = 0;
            if most_affine > 0 {
                total += 2 * (affinity(node) * 100 / most_affine);
            }
            let soft = (soft(node) * 100).checked_div(most_soft).unwrap_or(0);
            total += 3 * (100 - i64::try_from(soft).unwrap());
            let others = others(node);
            total + resource_scores(node, &others, pod) + image_score(node, all, having_image)
        })
        .collect()
}

fn resource_scores(node: &Value, others: &[Value], pod: &Value) -> i64 {
    let has = |resource: &str| amount(&node["status"]["allocatable"][resource], resource == "cpu");
    let weighed = |pod: &Value, resource: &str| match (request(pod, resource), resource) {
        (0, "cpu") => 100,
        (0, _) => 200 * 1024 * 1024,
        (amount, _) => amount,
    };
    let least = |resource: &str| {
        let taken: i64 = others.iter().chain([pod]).map(|pod| weighed(pod, resource)).sum();
        if taken > has(resource) { 0 } else { (has(resource) - taken) * 100 / has(resource) }
    };
    let part = |resource: &str| {
        let taken: i64 = others.iter().chain([pod]).map(|pod| request(pod, resource)).sum();
        (taken as f64 / has(resource) as f64).min(1.0)
    };
    let balanced = match (request(pod, "cpu"), request(pod, "memory")) {
        (0, 0) => 0,
        _ => ((1.0 - (part("cpu") - part("memory")).abs() / 2.0) * 100.0) as i64,
    };
    (least("cpu") + least("memory")) / 2 + balanced
}

fn image_score(node: &Value, all: usize, having_image: i64) -> i64 {
    let (minimum, maximum) = (23 * 1024 * 1024, 1000 * 1024 * 1024);
    let size = node["status"]["images"][0]["sizeBytes"].as_i64().unwrap_or(0);
    let weighed = size * having_image / i64::try_from(all).unwrap();
    100 * (weighed.clamp(minimum, maximum) - minimum) / (maximum - minimum)
}

fn check(seed: u64) {
    let mut dice = Dice(seed);
    let nodes: Vec<Value> =
        (0..1 + dice.below(7)).map(|number| random_node(&mut dice, &format!("n{number}"))).collect();
    let mut placed = Vec::new();
    for _ in 0..dice.below(20) {
        let node = format!("n{}", dice.below(nodes.len() as u64));
        placed.push((node, random_spec(&mut dice)));
    }
    let named: Vec<(&str, Value)> = placed.iter().map(|(node, spec)| (node.as_str(), spec.clone())).collect();
    let mut cluster = cluster(&nodes, &named);
    let tree = pod_with("web", &random_spec(&mut dice));
    let on = |node: &Value| -> Vec<Value> {
        let here = placed.iter().filter(|(name, _)| node["metadata"]["name"] == **name);
        here.map(|(_, spec)| pod_with("other", spec)).collect()
    };
    let mut feasible = Vec::new();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &nodes {
        let others = on(node);
        let why = rejection(node, &others.iter().collect::<Vec<_>>(), &tree);
        if why.is_empty() {
            feasible.push(node);
        }
        for reason in why {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let profile = Profile::new("default-scheduler");
    let web = pod(&tree);
    let spread = Selectors::default().spread(&profile, &web.template);
    let mut rankings = Rankings::default();
    let ranking = rankings.of(&mut cluster, &profile, &web, spread);
    match ranking.choose(&cluster, &profile, &web, &mut || dice.0) {
        Placement::None(diagnosis) => {
            assert!(feasible.is_empty(), "seed {seed}: {} of {:?}", feasible.len(), diagnosis);
            let said: BTreeMap<&str, usize> =
                diagnosis.reasons.iter().map(|(reason, count)| (&**reason, *count)).collect();
            assert_eq!(said, reasons, "seed {seed}");
        }
        Placement::Node(index) => {
            let name = cluster.node(index).name.to_string();
            let having = nodes.iter().filter(|node| node["status"]["images"].is_array()).count();
            let scores = scores(&feasible, nodes.len(), i64::try_from(having).unwrap(), &on, &tree);
            let best = scores.iter().max().unwrap();
            let chosen = feasible.iter().position(|node| node["metadata"]["name"] == *name);
            let chosen = chosen.unwrap_or_else(|| panic!("seed {seed}: {name} is not feasible"));
            assert_eq!(&scores[chosen], best, "seed {seed}: {name} of {scores:?}");
        }
    }
}

#[test]
fn decisions_are_those_of_the_reference() {
    for seed in 0..1000 {
        check(seed);
    }
}
