//! The scheduler without its effects: changes and time come in, steps to take come out.
//!
//! Invariants: a pod is assumed on its node from the moment of the decision, so that the next decision sees
//! it; what fails to bind is forgotten. Answers to upstream's `Scheduler`, `eventhandlers` and assume cache.

use crate::cluster::Cluster;
use crate::node::Node;
use crate::placement::{Placement, decide};
use crate::plugins::{self, Event, Set};
use crate::pod::{Condition, Pod, Templates};
use crate::preemption;
use crate::queue::{Pending, Put, Queue, give_back};
use gifee_base::ObjectKey;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use tokio::time::Instant;

/// An effect to carry out.
#[derive(Debug)]
pub enum Step {
    /// Bind a pod to a node; then say how it went.
    Bind(Binding),
    /// Say why a pod has no place.
    Report(Report),
}

/// A pod and its node.
#[derive(Debug)]
pub struct Binding {
    /// The pod.
    pub pod: Pod,
    /// The node's name.
    pub node: Arc<str>,
}

/// Why a pod has no place.
#[derive(Debug)]
pub struct Report {
    /// The pod.
    pub pod: Pod,
    /// `Unschedulable`, `SchedulingGated` or `SchedulerError`.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
}

impl Report {
    /// The PodScheduled condition to write; none if the pod has it.
    pub fn condition(&self) -> Option<Condition> {
        let condition = Condition {
            status: "False".into(),
            reason: self.reason.into(),
            message: self.message.clone(),
            observed_generation: self.pod.generation,
        };
        (self.pod.condition.as_deref() != Some(&condition)).then_some(condition)
    }
}

/// What the scheduler knows.
pub struct Scheduler {
    /// Nodes and placed pods.
    pub cluster: Cluster,
    /// Pods without a place.
    pub queue: Queue,
    name: Box<str>,
    templates: Templates,
    /// Pods whose binding is under way.
    binding: HashMap<ObjectKey, Box<Pending>>,
    /// Gated pods that do not say so yet.
    gated: VecDeque<Report>,
    start: usize,
    random: u64,
    /// Whether the nodes and the pods are known.
    synced: (bool, bool),
}

impl Scheduler {
    /// Knows nothing yet, and decides on pods that name it as their scheduler.
    pub fn new(name: &str, seed: u64) -> Self {
        Self {
            cluster: Cluster::default(),
            queue: Queue::default(),
            name: name.into(),
            templates: Templates::default(),
            binding: HashMap::new(),
            gated: VecDeque::new(),
            start: 0,
            random: seed,
            synced: (false, false),
        }
    }

    /// These are all nodes there are.
    pub fn replace_nodes(&mut self, nodes: Vec<Node>, now: Instant) {
        let names: HashSet<Arc<str>> = nodes.iter().map(|node| node.name.clone()).collect();
        let known = self.cluster.known().iter().map(|index| self.cluster.node(*index).name.clone());
        let gone: Vec<_> = known.filter(|name| !names.contains(name)).collect();
        for name in gone {
            self.node_removed(&name);
        }
        for node in nodes {
            self.node_changed(node, now);
        }
        self.synced.0 = true;
    }

    /// A node is new or changed.
    pub fn node_changed(&mut self, node: Node, now: Instant) {
        let (index, old) = self.cluster.put_node(node);
        if old.as_ref() != Some(self.cluster.node(index)) {
            self.wake(&Event::Node(old, index), now);
        }
    }

    /// A node is gone.
    pub fn node_removed(&mut self, name: &str) {
        self.cluster.remove_node(name);
    }

    /// These are all pods there are.
    pub fn replace_pods(&mut self, pods: Vec<Pod>, now: Instant) {
        let keys: HashSet<ObjectKey> = pods.iter().map(|pod| pod.key.clone()).collect();
        let placed = self.cluster.pods().map(|(key, _)| key);
        let gone: Vec<_> =
            placed.chain(self.queue.keys()).filter(|key| !keys.contains(*key)).cloned().collect();
        for key in gone {
            self.pod_removed(&key, now);
        }
        for pod in pods {
            self.pod_changed(pod, now);
        }
        self.synced.1 = true;
    }

    /// A pod is new or changed.
    pub fn pod_changed(&mut self, mut pod: Pod, now: Instant) {
        let template = Arc::unwrap_or_clone(pod.template);
        pod.template = self.templates.share(template);
        if self.cluster.placed(&pod.key).is_some_and(|placed| placed.uid != pod.uid) {
            self.pod_removed(&pod.key, now);
        }
        if pod.ended {
            return self.pod_removed(&pod.key, now);
        }
        if let Some(node) = pod.node.clone() {
            self.queue.take(&pod.key);
            return self.pod_bound(&pod, &node, now);
        }
        if pod.deleting || *pod.scheduler != *self.name {
            self.queue.take(&pod.key);
            return;
        }
        if let Some(pending) = self.binding.get_mut(&pod.key) {
            pending.pod = pod;
            return;
        }
        if let Put::Gated(message) = self.queue.put(pod.clone(), now) {
            let report = Report { pod, reason: "SchedulingGated", message: message.into() };
            if report.pod.condition.as_ref().is_none_or(|one| one.reason != report.reason) {
                self.gated.push_back(report);
            }
        }
    }

    fn pod_bound(&mut self, pod: &Pod, node: &Arc<str>, now: Instant) {
        let same = self.cluster.placed(&pod.key).is_some_and(|placed| {
            placed.bound
                && *self.cluster.node(placed.node).name == **node
                && Arc::ptr_eq(&placed.template, &pod.template)
        });
        if same {
            return;
        }
        if let Some(old) = self.cluster.place(pod, node, true) {
            let moved = *self.cluster.node(old.node).name != **node;
            if moved || !Arc::ptr_eq(&old.template, &pod.template) {
                self.wake(&Event::Freed(old.template, old.node), now);
            }
        }
    }

    /// A pod is gone.
    pub fn pod_removed(&mut self, key: &ObjectKey, now: Instant) {
        self.queue.take(key);
        self.binding.remove(key);
        if let Some(placed) = self.cluster.remove(key) {
            self.wake(&Event::Freed(placed.template, placed.node), now);
        }
    }

    fn wake(&mut self, event: &Event, now: Instant) {
        if self.queue.none_wait() {
            return;
        }
        let cluster = &self.cluster;
        self.queue.wake(now, |pending| plugins::hint(pending.rejected, &pending.pod, event, cluster));
    }

    /// The next effect to carry out; none until something happens or the deadline comes.
    pub fn next(&mut self, now: Instant) -> Option<Step> {
        if self.synced != (true, true) {
            return None;
        }
        if let Some(report) = self.gated.pop_front() {
            return Some(Step::Report(report));
        }
        let pending = self.queue.pop(now)?;
        let random = &mut self.random;
        let mut draw = || draw(random);
        match decide(&self.cluster, &pending.pod, &mut self.start, &mut draw) {
            Placement::Node(index) => {
                let node = self.cluster.node(index).name.clone();
                self.cluster.place(&pending.pod, &node, false);
                let pod = pending.pod.clone();
                self.binding.insert(pod.key.clone(), pending);
                Some(Step::Bind(Binding { pod, node }))
            }
            Placement::None(diagnosis) => {
                let mut message = diagnosis.message();
                if diagnosis.nodes > 0 {
                    message.push(' ');
                    message.push_str(&preemption::message(&self.cluster, &pending.pod, &diagnosis));
                }
                let pod = pending.pod.clone();
                self.queue.unschedulable(pending, diagnosis.rejected, now);
                Some(Step::Report(Report { pod, reason: "Unschedulable", message }))
            }
        }
    }

    /// When to call [`Scheduler::next`] again even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.queue.deadline()
    }

    /// A pod was bound.
    pub fn bound(&mut self, pod: &Pod) {
        if self.binding.get(&pod.key).is_some_and(|pending| pending.pod.uid == pod.uid) {
            self.binding.remove(&pod.key);
            give_back(&mut self.binding);
        }
    }

    /// A pod could not be bound: it is taken from its node, and tried again unless it is gone or bound after all.
    pub fn bind_failed(&mut self, pod: &Pod, gone: bool, now: Instant) {
        if self.binding.get(&pod.key).is_none_or(|pending| pending.pod.uid != pod.uid) {
            return;
        }
        let Some(pending) = self.binding.remove(&pod.key) else { return };
        if self.cluster.placed(&pod.key).is_none_or(|placed| placed.bound) {
            return;
        }
        if let Some(placed) = self.cluster.remove(&pod.key) {
            self.wake(&Event::Freed(placed.template, placed.node), now);
        }
        if !gone && !pending.pod.deleting {
            self.queue.failed(pending, now);
        }
    }

    /// Which plugins rejected a waiting pod.
    pub fn rejected(&self, key: &ObjectKey) -> Option<Set> {
        self.queue.get(key).map(|pending| pending.rejected)
    }
}

/// SplitMix64: a number from a seed, and the next seed.
fn draw(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
