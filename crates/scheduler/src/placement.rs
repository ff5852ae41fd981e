//! A pod's place: filters, then scores. Pure.
//!
//! Invariant: the same cluster, pod, start and random numbers give the same place. Answers to upstream's
//! `schedulePod`.

use crate::cluster::Cluster;
use crate::plugins::{Filter, PLUGINS, Set, Text, Verdict};
use crate::pod::Pod;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Up to so many nodes are all looked at.
const SAMPLE_MINIMUM: usize = 100;

/// Where a pod goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Placement {
    /// To the node of an index.
    Node(usize),
    /// Nowhere.
    None(Box<Diagnosis>),
}

/// Why a pod goes nowhere.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub nodes: usize,
    /// On how many nodes each reason holds.
    pub reasons: BTreeMap<Text, usize>,
    /// Which plugins rejected nodes.
    pub rejected: Set,
    /// Nodes where it could run if other pods went away.
    pub resolvable: Vec<usize>,
}

impl Diagnosis {
    /// In upstream's words.
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".into();
        }
        unavailable(self.nodes, &self.reasons)
    }

    fn reject(&mut self, index: usize, rejection: Rejection) {
        self.rejected.insert(rejection.plugin);
        for reason in rejection.reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
        if rejection.resolvable {
            self.resolvable.push(index);
        }
    }
}

/// Which plugin rejects a node, and why.
#[derive(Debug)]
pub struct Rejection {
    /// Its place in [`PLUGINS`].
    pub plugin: usize,
    /// Why.
    pub reasons: SmallVec<[Text; 1]>,
    /// Whether the pod could run there if other pods went away.
    pub resolvable: bool,
}

type Filters<'a> = SmallVec<[(usize, Filter<'a>); PLUGINS.len()]>;

fn prepare<'a>(cluster: &'a Cluster, pod: &'a Pod) -> Filters<'a> {
    let plugins = PLUGINS.iter().enumerate();
    plugins.filter_map(|(number, plugin)| Some((number, (plugin.filter)(pod, cluster)?))).collect()
}

fn reject(filters: &Filters<'_>, index: usize) -> Option<Rejection> {
    filters.iter().find_map(|(plugin, filter)| match filter(index) {
        Verdict::Fits => None,
        Verdict::Rejects { reasons, resolvable } => Some(Rejection { plugin: *plugin, reasons, resolvable }),
    })
}

/// Why a pod may not run on one node; none if it may.
pub fn rejection(cluster: &Cluster, pod: &Pod, index: usize) -> Option<Rejection> {
    reject(&prepare(cluster, pod), index)
}

/// `0/3 nodes are available: 1 for a reason, 2 for another.`
pub fn unavailable(nodes: usize, reasons: &BTreeMap<Text, usize>) -> String {
    let mut parts: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

/// Finds a pod's place. `start` is the node to begin with where not all are looked at, and is moved on.
pub fn decide(cluster: &Cluster, pod: &Pod, start: &mut usize, random: &mut dyn FnMut() -> u64) -> Placement {
    let mut diagnosis = Diagnosis { nodes: cluster.known().len(), ..Diagnosis::default() };
    let mut candidates = cluster.known();
    let narrowed = narrow(cluster, pod, &mut diagnosis);
    if let Some(narrowed) = &narrowed {
        candidates = narrowed;
    }
    let filters = prepare(cluster, pod);
    let wanted = sample(candidates.len());
    let mut feasible = Vec::with_capacity(wanted.min(candidates.len()));
    let mut seen = 0;
    for offset in 0..candidates.len() {
        let index = candidates[(*start + offset) % candidates.len()];
        seen += 1;
        match reject(&filters, index) {
            None => {
                feasible.push(index);
                if feasible.len() == wanted {
                    break;
                }
            }
            Some(rejection) => diagnosis.reject(index, rejection),
        }
    }
    if narrowed.is_none() && !candidates.is_empty() {
        *start = (*start + seen) % candidates.len();
    }
    match feasible.as_slice() {
        [] => Placement::None(Box::new(diagnosis)),
        [only] => Placement::Node(*only),
        several => Placement::Node(best(cluster, pod, several, random)),
    }
}

/// How many feasible nodes are enough: all of a small cluster, at least a twentieth of a large one.
fn sample(nodes: usize) -> usize {
    if nodes < SAMPLE_MINIMUM {
        return nodes;
    }
    let percent = 50_usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(SAMPLE_MINIMUM)
}

/// The nodes that come into question where plugins name them; all others are rejected.
fn narrow(cluster: &Cluster, pod: &Pod, diagnosis: &mut Diagnosis) -> Option<Vec<usize>> {
    let mut narrowed: Option<Vec<usize>> = None;
    let mut by = Vec::new();
    let mut set = Set::default();
    for (number, plugin) in PLUGINS.iter().enumerate() {
        let Some(names) = (plugin.narrow)(&pod.template) else { continue };
        by.push(plugin.name);
        set.insert(number);
        let found = names.iter().filter_map(|name| cluster.find(name));
        narrowed = Some(match narrowed {
            None => found.collect(),
            Some(earlier) => found.filter(|index| earlier.contains(index)).collect(),
        });
    }
    let kept = narrowed.as_ref()?.len();
    if diagnosis.nodes > kept {
        let reason = format!("node(s) didn't satisfy plugin(s) [{}]", by.join(" "));
        diagnosis.reasons.insert(reason.into(), diagnosis.nodes - kept);
        diagnosis.rejected = set;
    }
    narrowed
}

/// The node with the highest score; of several, one drawn by lot.
fn best(cluster: &Cluster, pod: &Pod, nodes: &[usize], random: &mut dyn FnMut() -> u64) -> usize {
    let mut totals = vec![0_i64; nodes.len()];
    let mut scores = Vec::with_capacity(nodes.len());
    for scoring in PLUGINS.iter().filter_map(|plugin| plugin.score) {
        let Some(score) = (scoring.prepare)(pod, cluster) else { continue };
        scores.clear();
        scores.extend(nodes.iter().map(|index| score(*index)));
        scoring.scale.apply(&mut scores);
        for (total, score) in totals.iter_mut().zip(&scores) {
            *total += score * scoring.weight;
        }
    }
    let highest = totals.iter().copied().max().unwrap_or_default();
    let mut equals = nodes.iter().zip(&totals).filter(|(_, total)| **total == highest).map(|(node, _)| *node);
    let count = totals.iter().filter(|total| **total == highest).count();
    let lot = if count > 1 { random() % count as u64 } else { 0 };
    equals.nth(usize::try_from(lot).unwrap_or_default()).unwrap_or(nodes[0])
}
