//! The nodes and what is placed on them, in columns by the index of a node.
//!
//! Invariants: a node's load is the sum of the pods placed on it, bound and assumed; an index keeps its
//! node as long as the node is known or a pod is placed there. Kept up change by change, never rebuilt.
//! Answers to the scheduler's cache and snapshot.

use crate::node::Node;
use crate::pod::{HostPort, Life, Pod, Template};
use crate::resources::Resources;
use gifee_base::ObjectKey;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What is placed on a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// Sum of requests.
    pub requested: Resources,
    /// Sum of the weights for scores: thousandths of a CPU, bytes of memory.
    pub weight: (i64, i64),
    /// Ports in use.
    pub ports: Vec<HostPort>,
    /// The pods.
    pub pods: Vec<ObjectKey>,
}

/// A pod on a node.
#[derive(Clone, Debug)]
pub struct Placed {
    /// UID.
    pub uid: Arc<str>,
    /// Index of the node.
    pub node: usize,
    /// What it takes.
    pub template: Arc<Template>,
    /// Whether the server has said so; otherwise it is assumed.
    pub bound: bool,
    /// How far its life has come.
    pub life: Life,
}

/// Nodes and placed pods.
#[derive(Debug, Default)]
pub struct Cluster {
    nodes: Vec<Node>,
    loads: Vec<Load>,
    /// Indexes of known nodes, in the order in which they came.
    known: Vec<usize>,
    /// Whether the node of an index is known.
    is_known: Vec<bool>,
    by_name: HashMap<Arc<str>, usize>,
    free: Vec<usize>,
    pods: HashMap<ObjectKey, Placed>,
    /// On how many nodes an image is, by name.
    images: HashMap<Box<str>, usize>,
    /// How many placed pods there are of each priority.
    priorities: BTreeMap<i32, usize>,
}

impl Cluster {
    /// Indexes of all known nodes.
    pub fn known(&self) -> &[usize] {
        &self.known
    }

    /// A node by its index.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// What is placed on a node.
    pub fn load(&self, index: usize) -> &Load {
        &self.loads[index]
    }

    /// The index of a known node.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied().filter(|index| self.is_known[*index])
    }

    /// On how many nodes an image is.
    pub fn nodes_with_image(&self, name: &str) -> usize {
        self.images.get(name).copied().unwrap_or_default()
    }

    /// A placed pod.
    pub fn placed(&self, key: &ObjectKey) -> Option<&Placed> {
        self.pods.get(key)
    }

    /// All placed pods.
    pub fn pods(&self) -> impl Iterator<Item = (&ObjectKey, &Placed)> {
        self.pods.iter()
    }

    /// Puts a node in, or in place of its older state, which is returned; and its index.
    pub fn put_node(&mut self, node: Node) -> (usize, Option<Node>) {
        let index = self.slot(&node.name);
        let is_known = std::mem::replace(&mut self.is_known[index], true);
        for (image, _) in &node.images {
            *self.images.entry(image.clone()).or_default() += 1;
        }
        let old = std::mem::replace(&mut self.nodes[index], node);
        if !is_known {
            self.known.push(index);
            return (index, None);
        }
        self.forget_images(&old);
        (index, Some(old))
    }

    /// Takes a node out. What is placed there stays until it is taken out too.
    pub fn remove_node(&mut self, name: &str) -> bool {
        let Some(index) = self.find(name) else { return false };
        self.known.retain(|one| *one != index);
        self.is_known[index] = false;
        let name = self.nodes[index].name.clone();
        let old = std::mem::replace(&mut self.nodes[index], Node { name, ..Node::default() });
        self.forget_images(&old);
        self.release(index);
        true
    }

    fn forget_images(&mut self, node: &Node) {
        for (image, _) in &node.images {
            if let Some(count) = self.images.get_mut(image) {
                *count -= 1;
                if *count == 0 {
                    self.images.remove(image);
                }
            }
        }
    }

    fn slot(&mut self, name: &Arc<str>) -> usize {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let node = Node { name: name.clone(), ..Node::default() };
        let index = match self.free.pop() {
            Some(index) => {
                self.nodes[index] = node;
                self.loads[index] = Load::default();
                index
            }
            None => {
                self.nodes.push(node);
                self.loads.push(Load::default());
                self.is_known.push(false);
                self.nodes.len() - 1
            }
        };
        self.by_name.insert(name.clone(), index);
        index
    }

    /// Frees the index of a node that is not known and has no pods.
    fn release(&mut self, index: usize) {
        if self.loads[index].pods.is_empty() && !self.is_known[index] {
            let name = self.nodes[index].name.clone();
            self.by_name.remove(&name);
            self.free.push(index);
        }
    }

    /// Places a pod, taking it from where it was; what was there before.
    pub fn place(&mut self, pod: &Pod, node: &Arc<str>, bound: bool) -> Option<Placed> {
        let old = self.remove(&pod.key);
        let node = self.slot(node);
        let (uid, template) = (pod.uid.clone(), pod.template.clone());
        self.restore(&pod.key, Placed { uid, node, template, bound, life: pod.life });
        old
    }

    /// Puts a pod back that was taken out.
    pub fn restore(&mut self, key: &ObjectKey, placed: Placed) {
        let load = &mut self.loads[placed.node];
        let template = &placed.template;
        load.requested.add(&template.requests);
        load.weight.0 += template.weight.0;
        load.weight.1 += template.weight.1;
        load.ports.extend(template.ports.iter().cloned());
        load.pods.push(key.clone());
        *self.priorities.entry(template.priority).or_default() += 1;
        self.pods.insert(key.clone(), placed);
    }

    /// A pod's life has gone on.
    pub fn live(&mut self, key: &ObjectKey, life: Life) {
        if let Some(placed) = self.pods.get_mut(key) {
            placed.life = life;
        }
    }

    /// Whether a pod of this template could push another out.
    pub fn has_lower(&self, template: &Template) -> bool {
        template.preempts
            && self.priorities.first_key_value().is_some_and(|(lowest, _)| *lowest < template.priority)
    }

    /// The pods on a node of lower priority than a template's.
    pub fn lower(&self, index: usize, template: &Template) -> Vec<ObjectKey> {
        let below = |key: &&ObjectKey| {
            self.pods.get(*key).is_some_and(|placed| placed.template.priority < template.priority)
        };
        self.loads[index].pods.iter().filter(below).cloned().collect()
    }

    /// Takes a pod out; where it was.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Placed> {
        let placed = self.pods.remove(key)?;
        let load = &mut self.loads[placed.node];
        let template = &placed.template;
        load.requested.subtract(&template.requests);
        load.weight.0 -= template.weight.0;
        load.weight.1 -= template.weight.1;
        for port in &template.ports {
            if let Some(at) = load.ports.iter().position(|one| one == port) {
                load.ports.swap_remove(at);
            }
        }
        if let Some(at) = load.pods.iter().position(|one| one == key) {
            load.pods.swap_remove(at);
        }
        if let Some(count) = self.priorities.get_mut(&template.priority) {
            *count -= 1;
            if *count == 0 {
                self.priorities.remove(&template.priority);
            }
        }
        self.release(placed.node);
        Some(placed)
    }
}
