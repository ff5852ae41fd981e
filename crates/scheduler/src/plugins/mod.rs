//! The plugins: each is one file and one row of [`PLUGINS`].
//!
//! A plugin prepares itself once per pod and is then asked node by node; one that has nothing to say about
//! a pod costs that pod nothing. Invariant: plugins are pure functions of pod and cluster. Answers to the
//! scheduling framework and its default plugins.

mod balanced_allocation;
mod image_locality;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_fit;
mod node_unschedulable;
mod priority_sort;
mod scheduling_gates;
mod taint_toleration;

use crate::cluster::Cluster;
use crate::node::Node;
use crate::pod::{Pod, Template};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

/// All plugins, in the order in which they are asked.
pub const PLUGINS: &[Plugin] = &[
    scheduling_gates::PLUGIN,
    priority_sort::PLUGIN,
    node_unschedulable::PLUGIN,
    node_name::PLUGIN,
    taint_toleration::PLUGIN,
    node_affinity::PLUGIN,
    node_ports::PLUGIN,
    node_resources_fit::PLUGIN,
    balanced_allocation::PLUGIN,
    image_locality::PLUGIN,
];

/// The highest score of a node in one plugin.
pub const SCORE_MAXIMUM: i64 = 100;

/// A reason, for a person.
pub type Text = Cow<'static, str>;

/// What a plugin says about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pod may run there.
    Fits,
    /// It may not.
    Rejects {
        /// Why.
        reasons: SmallVec<[Text; 1]>,
        /// Whether it could if other pods went away.
        resolvable: bool,
    },
}

impl Verdict {
    /// Fits, or is rejected for a reason that no other pod's absence changes.
    pub fn unless(rejected: bool, reason: &'static str) -> Self {
        if rejected { Self::rejects(reason, false) } else { Self::Fits }
    }

    /// Rejected for one reason.
    pub fn rejects(reason: impl Into<Text>, resolvable: bool) -> Self {
        Self::Rejects { reasons: SmallVec::from_iter([reason.into()]), resolvable }
    }
}

/// Whether a pod may run on the node of an index.
pub type Filter<'a> = Box<dyn Fn(usize) -> Verdict + 'a>;
/// How well a pod would run on the node of an index.
pub type Score<'a> = Box<dyn Fn(usize) -> i64 + 'a>;

/// How raw scores become scores from 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// They are already.
    Absolute,
    /// The highest is 100.
    Highest,
    /// The highest is 0, and 0 is 100.
    Lowest,
}

impl Scale {
    /// Scales the raw scores of all nodes.
    pub fn apply(self, scores: &mut [i64]) {
        let highest = scores.iter().copied().max().unwrap_or_default();
        if self == Self::Absolute || (highest == 0 && self == Self::Highest) {
            return;
        }
        for score in scores {
            let part = if highest == 0 { 0 } else { *score * SCORE_MAXIMUM / highest };
            *score = if self == Self::Lowest { SCORE_MAXIMUM - part } else { part };
        }
    }
}

/// A plugin's scores.
#[derive(Clone, Copy)]
pub struct Scoring {
    /// How much they count.
    pub weight: i64,
    /// How they are scaled.
    pub scale: Scale,
    /// None if the plugin has nothing to say about the pod.
    pub prepare: for<'a> fn(&'a Pod, &'a Cluster) -> Option<Score<'a>>,
}

/// What happened that might let a pod in.
#[derive(Clone, Debug)]
pub enum Event {
    /// A node is new, or has changed; the state before, and its index.
    Node(Option<Node>, usize),
    /// A pod is gone from a node, or takes less of it.
    Freed(Arc<Template>, usize),
}

/// One plugin. What it does not do stays at the default, which changes nothing.
#[derive(Clone, Copy)]
pub struct Plugin {
    /// Upstream's name.
    pub name: &'static str,
    /// Keeps a pod out of the queue; why.
    pub gate: fn(&Template) -> Option<Text>,
    /// Which of two pods is decided on first.
    pub order: fn(&Template, &Template) -> Ordering,
    /// The names of the only nodes that come into question.
    pub narrow: fn(&Template) -> Option<Vec<&str>>,
    /// Prepares a filter; none if every node is fine.
    pub filter: for<'a> fn(&'a Pod, &'a Cluster) -> Option<Filter<'a>>,
    /// Prepares scores.
    pub score: Option<Scoring>,
    /// Whether an event might let in a pod that the plugin rejected.
    pub hint: fn(&Pod, &Event, &Cluster) -> bool,
}

impl Plugin {
    /// A plugin that does nothing.
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            gate: |_| None,
            order: |_, _| Ordering::Equal,
            narrow: |_| None,
            filter: |_, _| None,
            score: None,
            hint: |_, _, _| true,
        }
    }
}

/// A set of plugins, by their place in [`PLUGINS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set(u64);

impl Set {
    /// Adds one.
    pub fn insert(&mut self, plugin: usize) {
        self.0 |= 1 << plugin;
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All.
    pub fn plugins(self) -> impl Iterator<Item = &'static Plugin> {
        PLUGINS.iter().enumerate().filter(move |(index, _)| self.0 & (1 << index) != 0).map(|(_, one)| one)
    }
}

/// Why a pod may not be queued.
pub fn gate(template: &Template) -> Option<Text> {
    PLUGINS.iter().find_map(|plugin| (plugin.gate)(template))
}

/// Which of two pods is decided on first.
pub fn order(one: &Template, other: &Template) -> Ordering {
    PLUGINS.iter().fold(Ordering::Equal, |order, plugin| order.then_with(|| (plugin.order)(one, other)))
}

/// Whether an event might let in a pod that some plugins rejected.
pub fn hint(rejected: Set, pod: &Pod, event: &Event, cluster: &Cluster) -> bool {
    rejected.is_empty() || rejected.plugins().any(|plugin| (plugin.hint)(pod, event, cluster))
}

/// Whether an event about a node lets a filter's plugin accept the node now, but not before.
fn accepts_now(event: &Event, cluster: &Cluster, accepts: impl Fn(&Node) -> bool) -> bool {
    match event {
        Event::Node(old, index) => accepts(cluster.node(*index)) && !old.as_ref().is_some_and(accepts),
        Event::Freed(..) => false,
    }
}
