//! What is asked about a pod's place: filters node by node, scores, and why there is none. Pure.
//!
//! Answers to upstream's `schedulePod` and its diagnosis.

use crate::cluster::{Cluster, Load};
use crate::node::Node;
use crate::plugins::{Filter, PLUGINS, Scale, Score, Set, Text, Verdict};
use crate::pod::{Pod, Template};
use crate::profile::Profile;
use crate::relations::Relations;
use gifee_base::ObjectKey;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What plugins look at.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Nodes and what is placed.
    pub cluster: &'a Cluster,
    /// How the pod stands to what is placed.
    pub relations: &'a Relations,
    /// How it is scheduled.
    pub profile: &'a Profile,
    /// What is supposed to be on one node, in place of what is.
    pub supposed: Option<(usize, &'a Load)>,
}

impl<'a> View<'a> {
    /// What is placed on a node.
    pub fn load(&self, index: usize) -> &'a Load {
        match self.supposed {
            Some((one, load)) if one == index => load,
            _ => self.cluster.load(index),
        }
    }

    /// A node by its index.
    pub fn node(&self, index: usize) -> &'a Node {
        self.cluster.node(index)
    }
}

/// Nodes where a pod may run: one for each group of those that are alike, and how many of them there are.
pub type Feasible = [(usize, usize)];

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
    /// Why no node at all comes into question.
    pub refused: Option<Text>,
    /// On how many nodes each reason holds.
    pub reasons: BTreeMap<Text, usize>,
    /// Which plugins rejected nodes.
    pub rejected: Set,
    /// On how many nodes it could run if other pods went away.
    pub resolvable: usize,
}

impl Diagnosis {
    /// In upstream's words.
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".into();
        }
        match &self.refused {
            Some(why) => format!("0/{} nodes are available: {why}.", self.nodes),
            None => unavailable(self.nodes, &self.reasons),
        }
    }

    /// Why no node at all comes into question for a pod.
    pub fn refusal(pod: &Pod, cluster: &Cluster, profile: &Profile) -> Option<Self> {
        let relations = Relations::default();
        let view = View { cluster, relations: &relations, profile, supposed: None };
        let taking_part = PLUGINS.iter().enumerate().filter(|(number, _)| profile.plugins[*number].0);
        let mut refusals = taking_part.filter_map(|(number, one)| Some((number, (one.refuse)(pod, &view)?)));
        let (number, why) = refusals.next()?;
        let mut rejected = Set::default();
        rejected.insert(number);
        Some(Self { nodes: cluster.known().len(), refused: Some(why), rejected, ..Self::default() })
    }

    /// Some nodes are rejected alike.
    pub fn reject(&mut self, rejection: &Rejection, nodes: usize) {
        if nodes == 0 {
            return;
        }
        self.rejected.insert(rejection.plugin);
        for reason in &rejection.reasons {
            *self.reasons.entry(reason.clone()).or_default() += nodes;
        }
        if rejection.resolvable {
            self.resolvable += nodes;
        }
    }
}

/// Which plugin rejects a node, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Its place in [`PLUGINS`].
    pub plugin: usize,
    /// Why.
    pub reasons: SmallVec<[Text; 1]>,
    /// Whether the pod could run there if other pods went away.
    pub resolvable: bool,
}

/// Filters of plugins that have something to say about a pod.
pub type Filters<'a> = SmallVec<[(usize, Filter<'a>); PLUGINS.len()]>;

/// Prepares filters: of what depends on a node alone, or of what depends on others too.
pub fn prepare<'a>(pod: &'a Pod, view: &'a View<'a>, relational: bool) -> Filters<'a> {
    let plugins = PLUGINS.iter().zip(&view.profile.plugins).enumerate();
    let taking_part =
        plugins.filter(|(_, (plugin, (filters, _)))| *filters && plugin.relational == relational);
    taking_part.filter_map(|(number, (plugin, _))| Some((number, (plugin.filter)(pod, view)?))).collect()
}

/// Why filters reject a node; none if they do not.
pub fn reject(filters: &Filters<'_>, index: usize) -> Option<Rejection> {
    filters.iter().find_map(|(plugin, filter)| match filter(index) {
        Verdict::Fits => None,
        Verdict::Rejects { reasons, resolvable } => Some(Rejection { plugin: *plugin, reasons, resolvable }),
    })
}

/// Those on a node whose room a pod must not take: the others of at least its priority.
pub fn ahead<'a>(
    cluster: &'a Cluster,
    pod: &'a Pod,
    index: usize,
) -> impl Iterator<Item = &'a (ObjectKey, Arc<Template>)> {
    let priority = pod.template.priority;
    cluster.nominees(index).iter().filter(move |(key, one)| one.priority >= priority && *key != pod.key)
}

/// Why a node by itself is rejected, with and without those that are to have room there.
pub fn reject_alone(pod: &Pod, view: &View<'_>, filters: &Filters<'_>, index: usize) -> Option<Rejection> {
    if ahead(view.cluster, pod, index).next().is_some() {
        let mut load = view.load(index).clone();
        ahead(view.cluster, pod, index).for_each(|(_, template)| load.add(template));
        let crowded = View { supposed: Some((index, &load)), ..*view };
        let why = reject(&prepare(pod, &crowded, false), index);
        if why.is_some() {
            return why;
        }
    }
    reject(filters, index)
}

/// `0/3 nodes are available: 1 for a reason, 2 for another.`
pub fn unavailable(nodes: usize, reasons: &BTreeMap<Text, usize>) -> String {
    let mut parts: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

/// Scores that depend on a node alone: their weighed sum, and those that are yet to be scaled.
pub struct Scores<'a> {
    whole: SmallVec<[(Score<'a>, i64); 4]>,
    /// Numbers of the plugins whose scores are to be scaled.
    pub scaled: SmallVec<[usize; 2]>,
    raw: SmallVec<[Score<'a>; 2]>,
}

/// Scores of a node that are yet to be scaled.
pub type Raw = SmallVec<[i64; 2]>;

impl<'a> Scores<'a> {
    /// Prepares them.
    pub fn prepare(pod: &'a Pod, view: &'a View<'a>) -> Self {
        let (mut whole, mut scaled, mut raw) = (SmallVec::new(), SmallVec::new(), SmallVec::new());
        for (number, plugin) in PLUGINS.iter().enumerate().filter(|(_, plugin)| !plugin.relational) {
            let weight = view.profile.plugins[number].1;
            let Some(scoring) = plugin.score.filter(|_| weight != 0) else { continue };
            let Some(score) = (scoring.prepare)(pod, view, &[]) else { continue };
            if scoring.scale == Scale::Absolute {
                whole.push((score, weight));
            } else {
                scaled.push(number);
                raw.push(score);
            }
        }
        Self { whole, scaled, raw }
    }

    /// Of one node.
    pub fn of(&self, index: usize) -> (i64, Raw) {
        let whole = self.whole.iter().map(|(score, weight)| score(index) * weight).sum();
        (whole, self.raw.iter().map(|score| score(index)).collect())
    }
}

/// Nodes that are alike but for the scores that depend on a node alone.
#[derive(Debug)]
pub struct Group {
    /// One of them.
    pub node: usize,
    /// How many there are.
    pub count: usize,
    /// Their scores that are yet to be scaled.
    pub raw: Raw,
}

/// What scores that compare nodes give to each group.
pub fn compare(pod: &Pod, view: &View<'_>, scaled: &[usize], groups: &[Group]) -> Vec<i64> {
    let mut totals = vec![0_i64; groups.len()];
    let mut scores = Vec::with_capacity(groups.len());
    let mut add = |scores: &mut Vec<i64>, number: usize, scale: Scale| {
        scale.apply(scores);
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += *score * view.profile.plugins[number].1;
        }
    };
    for (at, number) in scaled.iter().enumerate() {
        scores.clear();
        scores.extend(groups.iter().map(|group| group.raw[at]));
        add(&mut scores, *number, PLUGINS[*number].score.map_or(Scale::Absolute, |one| one.scale));
    }
    let feasible: SmallVec<[(usize, usize); 8]> =
        groups.iter().map(|group| (group.node, group.count)).collect();
    for (number, plugin) in PLUGINS.iter().enumerate().filter(|(_, plugin)| plugin.relational) {
        let Some(scoring) = plugin.score.filter(|_| view.profile.plugins[number].1 != 0) else { continue };
        let Some(score) = (scoring.prepare)(pod, view, &feasible) else { continue };
        scores.clear();
        scores.extend(groups.iter().map(|group| score(group.node)));
        add(&mut scores, number, scoring.scale);
    }
    totals
}
