//! Random changes of a cluster: the scheduler's picture stays right, nothing is overcommitted, and no pod
//! waits for a place that is there.

use super::reference::{Dice, random_node, random_spec, rejection};
use super::{node, pod, pod_with};
use crate::cluster::Cluster;
use crate::scheduler::{Scheduler, Step};
use gifee_base::ObjectKey;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A world: what a server would say, and a scheduler that is told.
struct World {
    dice: Dice,
    now: Instant,
    scheduler: Scheduler,
    nodes: BTreeMap<String, Value>,
    pods: BTreeMap<String, Value>,
    numbers: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut scheduler = Scheduler::new("default-scheduler", seed);
        let now = Instant::now();
        scheduler.replace_nodes(Vec::new(), now);
        scheduler.replace_pods(Vec::new(), now);
        let (nodes, pods) = (BTreeMap::new(), BTreeMap::new());
        Self { dice: Dice(seed), now, scheduler, nodes, pods, numbers: 0 }
    }

    fn pick(&mut self, names: Vec<&String>) -> Option<String> {
        let count = names.len() as u64;
        (count > 0).then(|| names[usize::try_from(self.dice.below(count)).unwrap()].clone())
    }

    fn some_pod(&mut self) -> Option<String> {
        let names = self.pods.clone();
        self.pick(names.keys().collect())
    }

    fn step(&mut self) {
        match self.dice.below(10) {
            0..=4 => {
                self.numbers += 1;
                let name = format!("p{}", self.numbers);
                let tree = pod_with(&name, &random_spec(&mut self.dice));
                self.scheduler.pod_changed(pod(&tree), self.now);
                self.pods.insert(name, tree);
            }
            5 | 6 => {
                let Some(name) = self.some_pod() else { return };
                self.remove(&name);
            }
            7 | 8 => {
                let name = format!("n{}", self.dice.below(5));
                let tree = random_node(&mut self.dice, &name);
                self.scheduler.node_changed(node(&tree), self.now);
                self.nodes.insert(name, tree);
            }
            _ => {
                let nodes = self.nodes.clone();
                let Some(name) = self.pick(nodes.keys().collect()) else { return };
                self.nodes.remove(&name);
                self.scheduler.node_removed(&name);
                // As pod garbage collection would.
                let gone: Vec<String> =
                    self.pods.iter().filter(|(_, pod)| on(pod, &name)).map(|(n, _)| n.clone()).collect();
                for pod in gone {
                    self.remove(&pod);
                }
            }
        }
    }

    fn remove(&mut self, name: &str) {
        if self.pods.remove(name).is_some() {
            self.scheduler.pod_removed(&ObjectKey::new("shop", name), self.now);
        }
    }

    /// Some pods leave at once, others take their time.
    fn preempt(&mut self, key: &ObjectKey, leaving: &mut Vec<String>) {
        let name = key.name.to_string();
        if self.dice.one_in(2) {
            return self.remove(&name);
        }
        let tree = self.pods.get_mut(&name).unwrap();
        tree["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        tree["status"]["conditions"] = json!([{ "type": "DisruptionTarget", "status": "True",
            "reason": "PreemptionByScheduler" }]);
        self.scheduler.pod_changed(pod(tree), self.now);
        leaving.push(name);
    }

    /// Decides until there is nothing to do; one binding in five fails.
    fn settle(&mut self) {
        let mut leaving: Vec<String> = Vec::new();
        for _ in 0..1000 {
            let Some(step) = self.scheduler.next(self.now) else {
                if let Some(name) = leaving.pop() {
                    self.remove(&name);
                    continue;
                }
                // What waits for time to pass gets it, but the safety net is not used.
                let Some(deadline) = self.scheduler.deadline() else { return };
                if deadline > self.now + Duration::from_secs(100) {
                    return;
                }
                self.now = deadline;
                continue;
            };
            let binding = match step {
                Step::Bind(binding) => binding,
                Step::Report(_) | Step::Deallocate(_) | Step::Ask(_) | Step::Group(_) => continue,
                Step::Preempt(preemption) => {
                    let told = !self.dice.one_in(5);
                    for (key, _) in preemption.victims.iter().filter(|_| told) {
                        self.preempt(key, &mut leaving);
                    }
                    self.scheduler.preempted(&preemption.pod, told, self.now);
                    continue;
                }
            };
            let name = binding.pod.key.name.to_string();
            if self.dice.one_in(5) {
                self.scheduler.bind_failed(&binding.pod, false, self.now);
                continue;
            }
            let tree = self.pods.get_mut(&name).unwrap();
            tree["spec"]["nodeName"] = (*binding.node).into();
            let bound = pod(tree);
            // The watch may be told before or after the call returns.
            if self.dice.one_in(2) {
                self.scheduler.pod_changed(bound, self.now);
                self.scheduler.bound(&binding.pod);
            } else {
                self.scheduler.bound(&binding.pod);
                self.scheduler.pod_changed(bound, self.now);
            }
        }
        panic!("the scheduler does not come to rest");
    }

    fn check(&self, seed: u64) {
        for (name, tree) in &self.pods {
            let waits = self.scheduler.queue.get(&ObjectKey::new("shop", name)).is_some();
            assert_eq!(waits, tree["spec"]["nodeName"].is_null(), "seed {seed}: {name}");
            if !waits {
                continue;
            }
            for (node_name, node) in &self.nodes {
                // Those of lower priority would have had to leave.
                let priority = |pod: &Value| pod["spec"]["priority"].as_i64().unwrap_or_default();
                let stays = |pod: &&Value| on(pod, node_name) && priority(pod) >= priority(tree);
                let others: Vec<&Value> = self.pods.values().filter(stays).collect();
                let why = rejection(node, &others, tree);
                assert!(!why.is_empty(), "seed {seed}: {name} waits, but fits on {node_name}");
            }
        }
        let mut fresh = Cluster::default();
        for tree in self.nodes.values() {
            fresh.put_node(node(tree));
        }
        for tree in self.pods.values() {
            if let Some(name) = tree["spec"]["nodeName"].as_str() {
                fresh.place(&pod(tree), &Arc::from(name), true);
            }
        }
        for name in self.nodes.keys() {
            let load = |cluster: &Cluster| {
                let index = cluster.find(name).unwrap();
                let mut load = cluster.load(index).clone();
                load.ports.sort_by_key(|port| (port.port, port.protocol.clone(), port.ip.clone()));
                load.requested.others.clear();
                (load, cluster.node(index).clone())
            };
            assert_eq!(load(&self.scheduler.cluster), load(&fresh), "seed {seed}: {name}");
        }
    }
}

fn on(pod: &Value, node: &str) -> bool {
    pod["spec"]["nodeName"] == *node
}

#[test]
fn no_pod_waits_for_a_place_that_is_there() {
    for seed in 0..30 {
        let mut world = World::new(seed);
        for _ in 0..60 {
            for _ in 0..1 + world.dice.below(3) {
                world.step();
            }
            world.settle();
            world.check(seed);
        }
    }
}

#[test]
fn only_what_may_help_wakes_a_waiting_pod() {
    let mut world = World::new(1);
    let (key, now) = (ObjectKey::new("shop", "web"), world.now);
    let tree = |changes: Value| node(&super::node_with("one", &changes));
    world.scheduler.node_changed(tree(json!({})), now);
    let other = json!({ "cpu": "700m", "nodeName": "one" });
    world.scheduler.pod_changed(pod(&pod_with("other", &other)), now);
    world.scheduler.pod_changed(pod(&pod_with("web", &json!({ "cpu": "900m" }))), now);
    let mut expect = |wakes: bool, change: &dyn Fn(&mut Scheduler)| {
        change(&mut world.scheduler);
        assert_eq!(world.scheduler.next(now).is_some(), wakes);
        assert!(world.scheduler.queue.get(&key).is_some());
    };
    expect(true, &|_| {});
    expect(false, &|scheduler| scheduler.node_changed(tree(json!({})), now));
    let labels = json!({ "metadata": { "labels": { "zone": "a" } } });
    expect(false, &|scheduler| scheduler.node_changed(tree(labels.clone()), now));
    let larger = json!({ "status": { "allocatable": { "cpu": "1500m" } } });
    expect(false, &|scheduler| scheduler.node_changed(tree(larger.clone()), now));
    let smaller = json!({ "cpu": "650m", "nodeName": "one" });
    expect(false, &|scheduler| scheduler.pod_changed(pod(&pod_with("other", &smaller)), now));
    world.scheduler.pod_removed(&ObjectKey::new("shop", "other"), now);
    assert!(matches!(world.scheduler.next(now), Some(Step::Bind(_))));
}
