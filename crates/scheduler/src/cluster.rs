//! The nodes and what is placed on them, in columns by the index of a node.
//!
//! Invariants: a node's load is the sum of the pods placed on it, bound and assumed; an index keeps its
//! node as long as the node is known or a pod is placed there. Kept up change by change, never rebuilt; what
//! follows it reads the journal. Answers to the scheduler's cache and snapshot.

use crate::devices::Devices;
use crate::groups::Groups;
use crate::journal::{Change, Journal, Moved};
use crate::node::Node;
use crate::pod::{HostPort, Life, Pod, Template};
use crate::resources::Resources;
use crate::storage::Storage;
use crate::topology::{Topologies, Topology};
use gifee_base::ObjectKey;
use std::collections::{BTreeMap, HashMap, HashSet};
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
    /// How many pods there are.
    pub count: i64,
    /// Claims in use, once for each pod.
    pub claims: Vec<ObjectKey>,
}

impl Load {
    /// A pod comes.
    pub fn add(&mut self, template: &Template) {
        self.requested.add(&template.requests);
        self.weight.0 += template.weight.0;
        self.weight.1 += template.weight.1;
        self.ports.extend(template.ports.iter().cloned());
        self.count += 1;
        if !template.claims.is_empty() {
            self.claims.extend(template.claim_keys());
        }
    }

    /// A pod goes.
    pub fn subtract(&mut self, template: &Template) {
        self.requested.subtract(&template.requests);
        self.weight.0 -= template.weight.0;
        self.weight.1 -= template.weight.1;
        for port in &template.ports {
            if let Some(at) = self.ports.iter().position(|one| one == port) {
                self.ports.swap_remove(at);
            }
        }
        self.count -= 1;
        for claim in template.claim_keys() {
            if let Some(at) = self.claims.iter().position(|one| *one == claim) {
                self.claims.swap_remove(at);
            }
        }
    }
}

/// Labels of namespaces, sorted by key.
#[derive(Debug, Default)]
pub struct Namespaces(HashMap<Box<str>, Labels>);

/// Labels, sorted by key.
pub type Labels = Box<[(Box<str>, Box<str>)]>;

impl Namespaces {
    /// The names of all.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|name| &**name)
    }

    /// The value of a namespace's label.
    pub fn label(&self, namespace: &str, key: &str) -> Option<&str> {
        let labels = self.0.get(namespace)?;
        let found = labels.binary_search_by(|(one, _)| (**one).cmp(key));
        found.ok().map(|at| &*labels[at].1)
    }
}

/// Where the pods of one template are.
#[derive(Debug)]
pub struct Placements {
    /// The template.
    pub template: Arc<Template>,
    /// How many there are on a node: those that stay, and those that are being deleted.
    pub nodes: HashMap<u32, (u32, u32)>,
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
    /// The pods on a node.
    residents: Vec<Vec<ObjectKey>>,
    /// By the address of the template.
    placements: HashMap<usize, Placements>,
    /// Those of them whose terms concern others.
    concerning: HashSet<usize>,
    /// Keys of labels by which terms of placed pods select; they are few, and stay.
    selecting: HashSet<Box<str>>,
    namespaces: Namespaces,
    topologies: Topologies,
    journal: Journal,
    /// Counts changes after which counts by domain must begin anew.
    structure: u64,
    /// How many placed pods use a claim.
    uses: HashMap<ObjectKey, usize>,
    /// Claims and volumes.
    pub storage: Storage,
    /// Devices and claims of them.
    pub devices: Devices,
    /// Pods that start together.
    pub groups: Groups,
    /// Pods that are to have room on a node.
    nominees: HashMap<usize, Vec<(ObjectKey, Arc<Template>)>>,
    /// By node, when something changed there that who could leave depends on.
    touched: Vec<u64>,
    touches: u64,
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

    /// How many placed pods use a claim.
    pub fn uses(&self, claim: &ObjectKey) -> usize {
        self.uses.get(claim).copied().unwrap_or_default()
    }

    /// The pods on a node.
    pub fn residents(&self, index: usize) -> &[ObjectKey] {
        &self.residents[index]
    }

    /// One more than the highest index of a node.
    pub fn limit(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the node of an index is known.
    pub fn is_known(&self, index: usize) -> bool {
        self.is_known[index]
    }

    /// Where pods are, by template; only of those whose terms concern others, if so asked.
    pub fn placements(&self, concerning: bool) -> Box<dyn Iterator<Item = &Placements> + '_> {
        match concerning {
            true => Box::new(self.concerning.iter().filter_map(|at| self.placements.get(at))),
            false => Box::new(self.placements.values()),
        }
    }

    /// Whether no placed pod has terms that concern others.
    pub fn none_concern(&self) -> bool {
        self.concerning.is_empty()
    }

    /// Keys of the labels by which terms of placed pods select.
    pub fn selecting(&self) -> &HashSet<Box<str>> {
        &self.selecting
    }

    /// Labels of namespaces.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// A namespace is new, changed or gone.
    pub fn put_namespace(&mut self, name: &str, labels: Option<Labels>) -> bool {
        let old = match labels.clone() {
            Some(labels) => self.namespaces.0.insert(name.into(), labels),
            None => self.namespaces.0.remove(name),
        };
        let changed = old != labels;
        self.structure += u64::from(changed);
        changed
    }

    /// The domains of a key by its number.
    pub fn topology(&self, number: usize) -> &Topology {
        self.topologies.get(number)
    }

    /// The number of a key, which comes into use if it was not.
    pub fn count_by(&mut self, key: &Arc<str>) -> usize {
        let (nodes, known) = (&self.nodes, &self.known);
        let found = self.topologies.find(key);
        found.unwrap_or_else(|| self.topologies.add(key, nodes, known))
    }

    /// The number of a key in use.
    pub fn counted(&self, key: &str) -> Option<usize> {
        self.topologies.find(key)
    }

    /// When something last changed on a node that who could leave it depends on; never the same twice.
    pub fn touched(&self, index: usize) -> u64 {
        self.touched.get(index).copied().unwrap_or_default()
    }

    fn touch(&mut self, index: usize) {
        if self.touched.len() <= index {
            self.touched.resize(self.nodes.len().max(index + 1), 0);
        }
        self.touches += 1;
        self.touched[index] = self.touches;
    }

    fn note(&mut self, change: Change) {
        self.touch(change.node);
        self.journal.push(change);
    }

    /// What has changed since when.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Differs after a change that more than the journal tells of.
    pub fn structure(&self) -> u64 {
        self.structure
    }

    /// The pods that are to have room on a node.
    pub fn nominees(&self, index: usize) -> &[(ObjectKey, Arc<Template>)] {
        if self.nominees.is_empty() {
            return &[];
        }
        self.nominees.get(&index).map_or(&[], Vec::as_slice)
    }

    /// A pod is to have room on a node.
    pub fn nominate(&mut self, key: &ObjectKey, template: &Arc<Template>, node: &Arc<str>) {
        let index = self.slot(node);
        self.nominees.entry(index).or_default().push((key.clone(), template.clone()));
        self.note(Change { node: index, moved: None });
    }

    /// A pod is not to have room on a node any more.
    pub fn dismiss(&mut self, key: &ObjectKey, node: &Arc<str>) {
        let Some(index) = self.by_name.get(node).copied() else { return };
        if let Some(nominees) = self.nominees.get_mut(&index) {
            nominees.retain(|(one, _)| one != key);
            if nominees.is_empty() {
                self.nominees.remove(&index);
            }
        }
        self.note(Change { node: index, moved: None });
        self.release(index);
    }

    /// Puts a node in, or in place of its older state, which is returned; and its index.
    pub fn put_node(&mut self, node: Node) -> (usize, Option<Node>) {
        if let Some(index) = self.find(&node.name).filter(|index| self.nodes[*index] == node) {
            return (index, Some(node));
        }
        let index = self.slot(&node.name);
        let is_known = std::mem::replace(&mut self.is_known[index], true);
        for (image, _) in &node.images {
            *self.images.entry(image.clone()).or_default() += 1;
        }
        let old = std::mem::replace(&mut self.nodes[index], node);
        self.topologies.put(index, Some(&self.nodes[index]));
        self.note(Change { node: index, moved: None });
        if !is_known {
            self.known.push(index);
            self.restructure();
            return (index, None);
        }
        let new = &self.nodes[index];
        if new.labels != old.labels || new.taints != old.taints || new.unschedulable != old.unschedulable {
            self.restructure();
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
        self.topologies.put(index, None);
        self.note(Change { node: index, moved: None });
        self.restructure();
        self.release(index);
        true
    }

    fn restructure(&mut self) {
        self.structure += 1;
        self.topologies.tidy(&self.nodes, &self.known);
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
                self.residents.push(Vec::new());
                self.is_known.push(false);
                self.nodes.len() - 1
            }
        };
        self.by_name.insert(name.clone(), index);
        index
    }

    /// Frees the index of a node that is not known and has no pods.
    fn release(&mut self, index: usize) {
        let empty = self.residents[index].is_empty() && !self.nominees.contains_key(&index);
        if empty && !self.is_known[index] {
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

    /// Puts a pod back where it was.
    pub fn restore(&mut self, key: &ObjectKey, placed: Placed) {
        self.loads[placed.node].add(&placed.template);
        self.residents[placed.node].push(key.clone());
        *self.priorities.entry(placed.template.priority).or_default() += 1;
        self.moved(&placed, 1);
        for claim in placed.template.claim_keys() {
            *self.uses.entry(claim).or_default() += 1;
        }
        self.pods.insert(key.clone(), placed);
    }

    /// Notes that a pod came to a node, or left it.
    fn moved(&mut self, placed: &Placed, delta: i32) {
        let address = Arc::as_ptr(&placed.template) as usize;
        let placements = self.placements.entry(address).or_insert_with(|| {
            let terms = &placed.template.terms;
            if terms.concern_others() {
                self.concerning.insert(address);
                let new = terms.keys().filter(|key| !self.selecting.contains(*key));
                let new: Vec<Box<str>> = new.map(Into::into).collect();
                self.selecting.extend(new);
            }
            Placements { template: placed.template.clone(), nodes: HashMap::new() }
        });
        let index = u32::try_from(placed.node).unwrap_or(u32::MAX);
        let counts = placements.nodes.entry(index).or_default();
        let count = if placed.life.deleting { &mut counts.1 } else { &mut counts.0 };
        *count = count.saturating_add_signed(delta);
        if *counts == (0, 0) {
            placements.nodes.remove(&index);
            if placements.nodes.is_empty() {
                self.placements.remove(&address);
                self.concerning.remove(&address);
            }
        }
        let moved = Moved { template: placed.template.clone(), delta, stays: !placed.life.deleting };
        self.note(Change { node: placed.node, moved: Some(moved) });
    }

    /// A pod's life has gone on.
    pub fn live(&mut self, key: &ObjectKey, life: Life) {
        let Some(placed) = self.pods.get_mut(key) else { return };
        if placed.life == life {
            return;
        }
        let old = placed.clone();
        placed.life = life;
        self.touch(old.node);
        if old.life.deleting != life.deleting {
            self.moved(&old, -1);
            self.moved(&Placed { life, ..old }, 1);
        }
    }

    /// Whether a pod of this template could push another out.
    pub fn has_lower(&self, template: &Template) -> bool {
        template.preempts
            && self.priorities.first_key_value().is_some_and(|(lowest, _)| *lowest < template.priority)
    }

    /// The pods on a node of lower priority than a template's.
    pub fn lower(&self, index: usize, template: &Template) -> Vec<(ObjectKey, Placed)> {
        let found = self.residents[index].iter().filter_map(|key| {
            let placed = self.pods.get(key).filter(|one| one.template.priority < template.priority)?;
            Some((key.clone(), placed.clone()))
        });
        found.collect()
    }

    /// Takes a pod out; where it was.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Placed> {
        let placed = self.pods.remove(key)?;
        let template = &placed.template;
        self.loads[placed.node].subtract(template);
        let residents = &mut self.residents[placed.node];
        if let Some(at) = residents.iter().position(|one| one == key) {
            residents.swap_remove(at);
        }
        if let Some(count) = self.priorities.get_mut(&template.priority) {
            *count -= 1;
            if *count == 0 {
                self.priorities.remove(&template.priority);
            }
        }
        self.moved(&placed, -1);
        for claim in placed.template.claim_keys() {
            let uses = self.uses.entry(claim.clone()).or_default();
            *uses = uses.saturating_sub(1);
            if *uses == 0 {
                self.uses.remove(&claim);
            }
        }
        self.release(placed.node);
        Some(placed)
    }
}
