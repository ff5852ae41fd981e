//! Decisions that depend on the pods around: a scheduler's picture that follows random changes, against a slow
//! reference that looks at all pods of all nodes each time.

use super::reference::{
    Dice, list, random_node, random_spec, rejection, scores, term_matches, text, tolerated,
};
use super::{node, object, pod, pod_with};
use crate::cluster::Cluster;
use crate::placement::Placement;
use crate::pod::{Pod, Templates};
use crate::profile::Profile;
use crate::ranking::Rankings;
use crate::selectors::Selectors;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const MISSING: &str = "node(s) didn't match pod topology spread constraints (missing required label)";
const UNEVEN: &str = "node(s) didn't match pod topology spread constraints";
const FAR: &str = "node(s) didn't match pod affinity rules";
const NEAR: &str = "node(s) didn't match pod anti-affinity rules";
const UNWANTED: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

/// What there is, as trees.
struct World {
    nodes: BTreeMap<String, Value>,
    placed: BTreeMap<String, Value>,
    service: bool,
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let equal =
        selector["matchLabels"].as_object().into_iter().flatten().all(|(key, value)| labels[key] == *value);
    let expressions = list(&selector["matchExpressions"]).all(|one| {
        let label = &labels[text(&one["key"])];
        let among = list(&one["values"]).any(|value| value == label);
        match text(&one["operator"]) {
            "In" => among,
            "NotIn" => !among,
            "Exists" => !label.is_null(),
            _ => label.is_null(),
        }
    });
    !selector.is_null() && equal && expressions
}

/// Whether a term of one pod means another.
fn means(owner: &Value, term: &Value, other: &Value) -> bool {
    let namespace = &other["metadata"]["namespace"];
    let named = match (&term["namespaces"], &term["namespaceSelector"]) {
        (Value::Null, Value::Null) => owner["metadata"]["namespace"] == *namespace,
        (names, selector) => {
            let labels = json!({ "team": if namespace == "shop" { "red" } else { "blue" } });
            list(names).any(|name| name == namespace) || selects(selector, &labels)
        }
    };
    named && selects(&term["labelSelector"], &other["metadata"]["labels"])
}

fn required<'a>(pod: &'a Value, side: &str) -> impl Iterator<Item = &'a Value> {
    list(&pod["spec"]["affinity"][side]["requiredDuringSchedulingIgnoredDuringExecution"])
}

fn preferred(pod: &Value) -> impl Iterator<Item = (i64, &Value)> {
    [("podAffinity", 1), ("podAntiAffinity", -1)].into_iter().flat_map(move |(side, sign)| {
        list(&pod["spec"]["affinity"][side]["preferredDuringSchedulingIgnoredDuringExecution"])
            .map(move |one| (sign * one["weight"].as_i64().unwrap(), &one["podAffinityTerm"]))
    })
}

fn domain<'a>(node: &'a Value, key: &Value) -> Option<&'a str> {
    node["metadata"]["labels"][text(key)].as_str()
}

/// A constraint, and whether nodes without one of the labels count.
fn constraints(world: &World, pod: &Value, hard: bool) -> (Vec<Value>, bool) {
    let own: Vec<Value> = list(&pod["spec"]["topologySpreadConstraints"]).cloned().collect();
    let action = if hard { "DoNotSchedule" } else { "ScheduleAnyway" };
    if !own.is_empty() {
        return (own.into_iter().filter(|one| one["whenUnsatisfiable"] == action).collect(), false);
    }
    let of_service = pod["metadata"]["labels"]["app"] == "a" && pod["metadata"]["namespace"] == "shop";
    if hard || !world.service || !of_service {
        return (Vec::new(), true);
    }
    let by_default = |key: &str, skew: i64| json!({ "topologyKey": key, "maxSkew": skew, "labelSelector": { "matchLabels": { "app": "a" } } });
    (vec![by_default("kubernetes.io/hostname", 3), by_default("topology.kubernetes.io/zone", 5)], true)
}

impl World {
    fn on<'a>(&'a self, node: &'a Value) -> impl Iterator<Item = &'a Value> {
        self.placed.values().filter(|pod| pod["spec"]["nodeName"] == node["metadata"]["name"])
    }

    /// All pods in the domain of a node.
    fn beside<'a>(&'a self, node: &'a Value, key: &'a Value) -> Vec<&'a Value> {
        let Some(own) = domain(node, key) else { return Vec::new() };
        self.nodes.values().filter(|one| domain(one, key) == Some(own)).flat_map(|one| self.on(one)).collect()
    }

    fn admits(node: &Value, pod: &Value, constraint: &Value) -> bool {
        let selector = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
        let selected = selector.into_iter().all(|(key, value)| node["metadata"]["labels"][key] == *value);
        let terms =
            &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let affine =
            terms.is_null() || list(&terms["nodeSelectorTerms"]).any(|term| term_matches(node, term));
        let bears = list(&node["spec"]["taints"])
            .all(|taint| taint["effect"] == "PreferNoSchedule" || tolerated(pod, taint));
        (constraint["nodeAffinityPolicy"] == "Ignore" || (selected && affine))
            && (constraint["nodeTaintsPolicy"] != "Honor" || bears)
    }

    fn like<'a>(&'a self, node: &'a Value, pod: &Value, constraint: &Value) -> i64 {
        let counts = |one: &&Value| {
            one["metadata"]["deletionTimestamp"].is_null()
                && one["metadata"]["namespace"] == pod["metadata"]["namespace"]
                && selects(&constraint["labelSelector"], &one["metadata"]["labels"])
        };
        i64::try_from(self.on(node).filter(counts).count()).unwrap()
    }

    /// How many there are by domain.
    fn spread<'a>(
        &'a self,
        pod: &Value,
        all: &[Value],
        one: &Value,
        lenient: bool,
    ) -> BTreeMap<&'a str, i64> {
        let mut counts = BTreeMap::new();
        for node in self.nodes.values() {
            let labelled = all.iter().all(|one| domain(node, &one["topologyKey"]).is_some());
            if (lenient || labelled) && Self::admits(node, pod, one) {
                let Some(domain) = domain(node, &one["topologyKey"]) else { continue };
                *counts.entry(domain).or_default() += self.like(node, pod, one);
            }
        }
        counts
    }

    fn uneven(&self, node: &Value, pod: &Value) -> Option<&'static str> {
        let (all, _) = constraints(self, pod, true);
        for one in &all {
            let Some(own) = domain(node, &one["topologyKey"]) else { return Some(MISSING) };
            let counts = self.spread(pod, &all, one, false);
            let least = counts.values().min().copied().unwrap_or(0);
            let few = counts.len() < usize::try_from(one["minDomains"].as_i64().unwrap_or(1)).unwrap();
            let least = if few { 0 } else { least };
            let itself = i64::from(selects(&one["labelSelector"], &pod["metadata"]["labels"]));
            if counts.get(own).copied().unwrap_or(0) + itself - least > one["maxSkew"].as_i64().unwrap() {
                return Some(UNEVEN);
            }
        }
        None
    }

    fn unrelated(&self, node: &Value, pod: &Value) -> Option<&'static str> {
        let terms: Vec<&Value> = required(pod, "podAffinity").collect();
        let all = |other: &Value| terms.iter().all(|term| means(pod, term, other));
        let some_somewhere = self.nodes.values().any(|one| {
            terms.iter().any(|term| domain(one, &term["topologyKey"]).is_some()) && self.on(one).any(all)
        });
        for term in &terms {
            if domain(node, &term["topologyKey"]).is_none() {
                return Some(FAR);
            }
            let met = self.beside(node, &term["topologyKey"]).into_iter().any(all);
            if !met && (some_somewhere || !all(pod)) {
                return Some(FAR);
            }
        }
        for term in required(pod, "podAntiAffinity") {
            if self.beside(node, &term["topologyKey"]).into_iter().any(|other| means(pod, term, other)) {
                return Some(NEAR);
            }
        }
        let unwanted = self.nodes.values().flat_map(|one| self.on(one).map(move |other| (one, other))).any(
            |(there, other)| {
                required(other, "podAntiAffinity").any(|term| {
                    let key = &term["topologyKey"];
                    let here = domain(node, key);
                    here.is_some() && here == domain(there, key) && means(other, term, pod)
                })
            },
        );
        unwanted.then_some(UNWANTED)
    }

    fn why(&self, node: &Value, pod: &Value) -> Vec<&'static str> {
        let alone = rejection(node, &self.on(node).collect::<Vec<_>>(), pod);
        if !alone.is_empty() {
            return alone;
        }
        self.uneven(node, pod).or_else(|| self.unrelated(node, pod)).into_iter().collect()
    }

    fn wishes(&self, nodes: &[&Value], pod: &Value) -> Vec<i64> {
        let raw: Vec<i64> = nodes
            .iter()
            .map(|node| {
                let mut sum = 0;
                for (weight, term) in preferred(pod) {
                    let beside = self.beside(node, &term["topologyKey"]);
                    sum += weight * count(beside.into_iter().filter(|other| means(pod, term, other)).count());
                }
                for there in self.nodes.values() {
                    for other in self.on(there) {
                        let hard = required(other, "podAffinity").map(|term| (1, term));
                        for (weight, term) in preferred(other).chain(hard) {
                            let here = domain(node, &term["topologyKey"]);
                            let same = here.is_some() && here == domain(there, &term["topologyKey"]);
                            sum += if same && means(other, term, pod) { weight } else { 0 };
                        }
                    }
                }
                sum
            })
            .collect();
        let (lowest, highest) = (*raw.iter().min().unwrap(), *raw.iter().max().unwrap());
        let scaled = raw.iter().map(|one| match highest - lowest {
            0 => 0,
            range => (100.0 * ((one - lowest) as f64 / range as f64)) as i64,
        });
        scaled.collect()
    }

    fn evenness(&self, nodes: &[&Value], pod: &Value) -> Vec<i64> {
        let (all, lenient) = constraints(self, pod, false);
        if all.is_empty() {
            return vec![0; nodes.len()];
        }
        let ignored =
            |node: &Value| !lenient && all.iter().any(|one| domain(node, &one["topologyKey"]).is_none());
        let looked_at: Vec<&&Value> = nodes.iter().filter(|node| !ignored(node)).collect();
        let raw: Vec<Option<i64>> = nodes
            .iter()
            .map(|node| {
                let mut sum = 0.0;
                for one in &all {
                    let key = &one["topologyKey"];
                    let Some(own) = domain(node, key) else { continue };
                    let (size, count) = if key == "kubernetes.io/hostname" {
                        (looked_at.len(), self.like(node, pod, one))
                    } else {
                        let domains: BTreeSet<_> = looked_at.iter().map(|node| domain(node, key)).collect();
                        let counts = self.spread(pod, &all, one, lenient);
                        (domains.len(), counts.get(own).copied().unwrap_or(0))
                    };
                    sum += count as f64 * ((size + 2) as f64).ln()
                        + (one["maxSkew"].as_i64().unwrap() - 1) as f64;
                }
                (!ignored(node)).then_some(sum.round() as i64)
            })
            .collect();
        let lowest = raw.iter().flatten().min().copied().unwrap_or(0);
        let highest = raw.iter().flatten().max().copied().unwrap_or(0);
        let scaled = raw.iter().map(|one| match one {
            None => 0,
            Some(_) if highest == 0 => 100,
            Some(one) => 100 * (highest + lowest - one) / highest,
        });
        scaled.collect()
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap()
}

fn selector(dice: &mut Dice) -> Value {
    match dice.below(5) {
        0 => json!({}),
        1 => {
            json!({ "matchExpressions": [{ "key": "tier", "operator": dice.pick(&["Exists", "DoesNotExist"]) }] })
        }
        2 => {
            json!({ "matchExpressions": [{ "key": "app", "operator": dice.pick(&["In", "NotIn"]), "values": ["a", "b"] }] })
        }
        _ => json!({ "matchLabels": { "app": dice.pick(&["a", "b"]) } }),
    }
}

fn term(dice: &mut Dice) -> Value {
    let mut term = json!({
        "topologyKey": dice.pick(&["kubernetes.io/hostname", "topology.kubernetes.io/zone", "rack"]),
        "labelSelector": selector(dice),
    });
    match dice.below(6) {
        0 => term["namespaces"] = json!([dice.pick(&["shop", "other"])]),
        1 => term["namespaceSelector"] = json!({ "matchLabels": { "team": dice.pick(&["red", "blue"]) } }),
        2 => term["namespaceSelector"] = json!({}),
        _ => {}
    }
    term
}

fn random_pod(dice: &mut Dice, name: &str) -> Value {
    let mut spec = random_spec(dice);
    spec.as_object_mut().unwrap().remove("priority");
    for side in ["podAffinity", "podAntiAffinity"] {
        if dice.one_in(5) {
            spec["affinity"][side]["requiredDuringSchedulingIgnoredDuringExecution"] =
                (0..1 + dice.below(2)).map(|_| term(dice)).collect();
        }
        if dice.one_in(4) {
            let weight = 1 + dice.below(50);
            spec["affinity"][side]["preferredDuringSchedulingIgnoredDuringExecution"] =
                json!([{ "weight": weight, "podAffinityTerm": term(dice) }]);
        }
    }
    if dice.one_in(3) {
        let constraints = (0..1 + dice.below(2)).map(|_| {
            let hard = dice.one_in(2);
            let mut one = json!({
                "maxSkew": 1 + dice.below(3), "labelSelector": selector(dice),
                "topologyKey": dice.pick(&["kubernetes.io/hostname", "topology.kubernetes.io/zone", "rack"]),
                "whenUnsatisfiable": if hard { "DoNotSchedule" } else { "ScheduleAnyway" },
            });
            if hard && dice.one_in(3) {
                one["minDomains"] = (1 + dice.below(4)).into();
            }
            if dice.one_in(3) {
                one["nodeAffinityPolicy"] = "Ignore".into();
            }
            if dice.one_in(3) {
                one["nodeTaintsPolicy"] = "Honor".into();
            }
            one
        });
        spec["topologySpreadConstraints"] = constraints.collect();
    }
    let mut tree = pod_with(name, &spec);
    tree["metadata"]["namespace"] = dice.pick(&["shop", "shop", "other"]).into();
    tree["metadata"]["labels"] = json!({ "app": dice.pick(&["a", "b", "c"]), "unselected": name });
    if dice.one_in(2) {
        tree["metadata"]["labels"]["tier"] = "front".into();
    }
    tree
}

fn place_labels(dice: &mut Dice, node: &mut Value) {
    let labels = &mut node["metadata"]["labels"];
    if !dice.one_in(5) {
        labels["topology.kubernetes.io/zone"] = dice.pick(&["a", "b", "c"]).into();
    }
    if !dice.one_in(4) {
        labels["rack"] = dice.pick(&["r1", "r2", "r3", "r4"]).into();
    }
}

/// The picture that follows, and what it follows.
struct Pair {
    world: World,
    cluster: Cluster,
    rankings: Rankings,
    templates: Templates,
    selectors: Selectors,
    profile: Profile,
}

impl Pair {
    fn new(service: bool) -> Self {
        let mut cluster = Cluster::default();
        for (name, team) in [("shop", "red"), ("other", "blue")] {
            cluster.put_namespace(name, Some([("team".into(), team.into())].into()));
        }
        let mut selectors = Selectors::default();
        if service {
            selectors
                .put_service(&object(&json!({ "apiVersion": "v1", "kind": "Service",
                "metadata": { "name": "s", "namespace": "shop" }, "spec": { "selector": { "app": "a" } } })))
                .unwrap();
        }
        Self {
            world: World { nodes: BTreeMap::new(), placed: BTreeMap::new(), service },
            cluster,
            rankings: Rankings::default(),
            templates: Templates::default(),
            selectors,
            profile: Profile::new("default-scheduler"),
        }
    }

    fn pod(&mut self, tree: &Value) -> Pod {
        let mut pod = pod(tree);
        pod.template = self.templates.share((*pod.template).clone());
        pod
    }

    fn put_node(&mut self, dice: &mut Dice) {
        let name = format!("n{}", dice.below(8));
        let mut tree = random_node(dice, &name);
        tree["status"]["allocatable"]["pods"] = (4 + dice.below(8)).to_string().into();
        place_labels(dice, &mut tree);
        self.cluster.put_node(node(&tree));
        self.world.nodes.insert(name, tree);
    }

    fn place(&mut self, tree: &Value, on: &str) {
        let mut tree = tree.clone();
        tree["spec"]["nodeName"] = on.into();
        let pod = self.pod(&tree);
        self.cluster.place(&pod, &Arc::from(on), true);
        self.world.placed.insert(text(&tree["metadata"]["name"]).into(), tree);
    }

    /// One that is placed goes, or begins to.
    fn lose(&mut self, dice: &mut Dice) {
        let names: Vec<String> = self.world.placed.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = &names[usize::try_from(dice.below(names.len() as u64)).unwrap()];
        let tree = self.world.placed.get_mut(name).unwrap();
        if dice.one_in(2) {
            tree["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            let pod = pod(tree);
            self.cluster.live(&pod.key, pod.life);
        } else {
            let key = pod(tree).key;
            self.cluster.remove(&key);
            self.world.placed.remove(name);
        }
    }

    fn decide(&mut self, dice: &mut Dice, tree: &Value, seed: u64) {
        let pod = self.pod(tree);
        let spread = self.selectors.spread(&self.profile, &pod.template);
        let ranking = self.rankings.of(&mut self.cluster, &self.profile, &pod, spread);
        let placement = ranking.choose(&self.cluster, &self.profile, &pod, &mut || dice.below(1 << 20));
        let (mut feasible, mut reasons) = (Vec::new(), BTreeMap::<&str, usize>::new());
        for node in self.world.nodes.values() {
            let why = self.world.why(node, tree);
            if why.is_empty() {
                feasible.push(node);
            }
            why.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1);
        }
        let index = match placement {
            Placement::None(diagnosis) => {
                assert!(feasible.is_empty(), "seed {seed}: {} of {diagnosis:?} for {tree}", feasible.len());
                let said: BTreeMap<&str, usize> =
                    diagnosis.reasons.iter().map(|(one, n)| (&**one, *n)).collect();
                assert_eq!(said, reasons, "seed {seed}");
                return;
            }
            Placement::Node(index) => index,
        };
        let name = self.cluster.node(index).name.to_string();
        let Some(chosen) = feasible.iter().position(|node| node["metadata"]["name"] == *name) else {
            panic!(
                "seed {seed}: {name} is not feasible: {:?}",
                self.world.why(&self.world.nodes[&name], tree)
            );
        };
        let having = self.world.nodes.values().filter(|node| node["status"]["images"].is_array()).count();
        let on = |node: &Value| self.world.on(node).cloned().collect();
        let alone = scores(&feasible, self.world.nodes.len(), count(having), &on, tree);
        let (wishes, even) = (self.world.wishes(&feasible, tree), self.world.evenness(&feasible, tree));
        let totals: Vec<i64> =
            (0..feasible.len()).map(|at| alone[at] + 2 * wishes[at] + 2 * even[at]).collect();
        let best = totals.iter().max().unwrap();
        assert_eq!(totals[chosen], *best, "seed {seed}: {name} of {totals:?}, {wishes:?}, {even:?}: {tree}");
        self.place(tree, &name);
    }
}

#[test]
fn a_picture_that_follows_gives_the_decisions_of_the_reference() {
    for seed in 0..150 {
        let mut dice = Dice(seed);
        let mut pair = Pair::new(dice.one_in(2));
        for _ in 0..6 {
            pair.put_node(&mut dice);
        }
        let kinds: Vec<Value> = (0..4).map(|kind| random_pod(&mut dice, &format!("kind-{kind}"))).collect();
        for step in 0..40 {
            match dice.below(12) {
                0 => pair.put_node(&mut dice),
                1 | 2 => pair.lose(&mut dice),
                3 if !pair.world.placed.is_empty() => {
                    let name = format!("n{}", dice.below(8));
                    if pair.world.placed.values().all(|pod| pod["spec"]["nodeName"] != *name) {
                        pair.cluster.remove_node(&name);
                        pair.world.nodes.remove(&name);
                    }
                }
                _ => {
                    let mut tree = kinds[usize::try_from(dice.below(4)).unwrap()].clone();
                    tree["metadata"]["name"] = format!("p{step}").into();
                    tree["metadata"]["labels"]["unselected"] = format!("p{step}").into();
                    pair.decide(&mut dice, &tree, seed);
                }
            }
        }
    }
}
