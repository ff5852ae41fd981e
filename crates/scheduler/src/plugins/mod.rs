//! The plugins: each is one file and one row of [`PLUGINS`].
//!
//! A plugin prepares itself once per pod and is then asked node by node; one that has nothing to say about
//! a pod costs that pod nothing. Invariant: plugins are pure functions of pod and cluster. Answers to the
//! scheduling framework and its default plugins.

mod balanced_allocation;
mod dynamic_resources;
mod gang_scheduling;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_declared_features;
mod node_name;
mod node_ports;
mod node_resources_fit;
mod node_unschedulable;
mod node_volume_limits;
mod pod_topology_spread;
mod priority_sort;
mod scheduling_gates;
mod taint_toleration;
mod volume_binding;
mod volume_restrictions;
mod volume_zone;

pub use node_declared_features::FEATURES;
use node_resources_fit::is_crowded_out;
pub use pod_topology_spread::node_admits;

use crate::cluster::Cluster;
use crate::devices;
use crate::node::Node;
use crate::placement::{Feasible, View};
use crate::pod::{Pod, Template};
use gifee_base::ObjectKey;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

/// All plugins, in the order in which they are asked.
pub const PLUGINS: &[Plugin] = &[
    scheduling_gates::PLUGIN,
    gang_scheduling::PLUGIN,
    priority_sort::PLUGIN,
    node_unschedulable::PLUGIN,
    node_name::PLUGIN,
    taint_toleration::PLUGIN,
    node_affinity::PLUGIN,
    node_ports::PLUGIN,
    node_resources_fit::PLUGIN,
    volume_restrictions::PLUGIN,
    node_volume_limits::PLUGIN,
    volume_binding::PLUGIN,
    volume_zone::PLUGIN,
    pod_topology_spread::PLUGIN,
    inter_pod_affinity::PLUGIN,
    dynamic_resources::PLUGIN,
    balanced_allocation::PLUGIN,
    image_locality::PLUGIN,
    node_declared_features::PLUGIN,
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
    /// The highest is 100, the lowest 0.
    Range,
    /// The lowest is 100; nodes that are ignored get 0.
    Spread,
}

impl Scale {
    /// Scales the raw scores of all nodes.
    pub fn apply(self, scores: &mut [i64]) {
        match self {
            Self::Range => return range(scores),
            Self::Spread => return spread(scores),
            Self::Absolute | Self::Highest | Self::Lowest => {}
        }
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

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn range(scores: &mut [i64]) {
    let (Some(lowest), Some(highest)) = (scores.iter().copied().min(), scores.iter().copied().max()) else {
        return;
    };
    for score in scores {
        let part = (*score - lowest) as f64 / (highest - lowest).max(1) as f64;
        *score = (SCORE_MAXIMUM as f64 * part) as i64;
    }
}

fn spread(scores: &mut [i64]) {
    let scored = || scores.iter().copied().filter(|score| *score != pod_topology_spread::IGNORED);
    let (lowest, highest) = (scored().min().unwrap_or_default(), scored().max().unwrap_or_default());
    for score in scores {
        *score = match *score {
            pod_topology_spread::IGNORED => 0,
            _ if highest == 0 => SCORE_MAXIMUM,
            score => SCORE_MAXIMUM * (highest + lowest - score) / highest,
        };
    }
}

/// A plugin's scores.
#[derive(Clone, Copy)]
pub struct Scoring {
    /// How much they count.
    pub weight: i64,
    /// How they are scaled.
    pub scale: Scale,
    /// None if the plugin has nothing to say about the pod. Plugins that look at a node alone are not told
    /// which nodes there are.
    pub prepare: for<'a> fn(&'a Pod, &'a View<'a>, &'a Feasible) -> Option<Score<'a>>,
}

/// What happened that might let a pod in.
#[derive(Clone, Debug)]
pub enum Event {
    /// A node is new, or has changed; the state before, and its index.
    Node(Option<Node>, usize),
    /// A pod is gone from a node, or takes less of it.
    Freed(Arc<Template>, usize),
    /// A pod came to a node.
    Placed(Arc<Template>, usize),
    /// A namespace has other labels.
    Namespace,
    /// A claim has changed, or whatever claims get their volumes by.
    Storage(Option<ObjectKey>),
    /// A group has changed, or who belongs to it.
    Group(ObjectKey),
    /// Claims of devices have changed, or which devices there are.
    Devices(devices::Change),
}

/// One plugin. What it does not do stays at the default, which changes nothing.
#[derive(Clone, Copy)]
pub struct Plugin {
    /// Upstream's name.
    pub name: &'static str,
    /// Keeps a pod out of the queue; why.
    pub gate: fn(&Template) -> Option<Text>,
    /// Keeps a pod out of the queue without a word, until what it needs is there; why.
    pub hold: fn(&Pod, &Cluster) -> Option<Text>,
    /// Which of two pods is decided on first.
    pub order: fn(&Template, &Template) -> Ordering,
    /// Why no node at all comes into question.
    pub refuse: fn(&Pod, &View<'_>) -> Option<Text>,
    /// What a node that it rejects lacks: how much, to compare, and for a person.
    pub advise: fn(&Pod, &View<'_>, usize) -> Option<(i64, String)>,
    /// Whether what it says of a node depends on what is placed on others.
    pub relational: bool,
    /// Differs where something has changed that all nodes are judged by.
    pub fingerprint: fn(&Template, &Cluster) -> u64,
    /// The names of the only nodes that come into question.
    pub narrow: fn(&Template) -> Option<Vec<&str>>,
    /// Prepares a filter; none if every node is fine.
    pub filter: for<'a> fn(&'a Pod, &'a View<'a>) -> Option<Filter<'a>>,
    /// Prepares scores.
    pub score: Option<Scoring>,
    /// Whether an event might let in a pod that the plugin rejected.
    pub hint: fn(&Template, &Event, &Cluster) -> bool,
}

impl Plugin {
    /// A plugin that does nothing.
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            gate: |_| None,
            hold: |_, _| None,
            order: |_, _| Ordering::Equal,
            refuse: |_, _| None,
            advise: |_, _, _| None,
            relational: false,
            fingerprint: |_, _| 0,
            narrow: |_| None,
            filter: |_, _| None,
            score: None,
            hint: |_, _, _| true,
        }
    }
}

/// A set of plugins, by their place in [`PLUGINS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Set(u64);

impl Set {
    /// Whether one is in it that looks at what is placed on other nodes.
    pub fn is_relational(self) -> bool {
        self.plugins().any(|plugin| plugin.relational)
    }

    /// This one's and another's.
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

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

/// What a pod needs before it is tried, and that is not there.
pub fn hold(pod: &Pod, cluster: &Cluster) -> Option<Text> {
    PLUGINS.iter().find_map(|plugin| (plugin.hold)(pod, cluster))
}

/// Which of two pods is decided on first.
pub fn order(one: &Template, other: &Template) -> Ordering {
    PLUGINS.iter().fold(Ordering::Equal, |order, plugin| order.then_with(|| (plugin.order)(one, other)))
}

/// Whether an event might let in a pod that some plugins rejected.
pub fn hint(rejected: Set, pod: &Template, event: &Event, cluster: &Cluster) -> bool {
    rejected.is_empty() || rejected.plugins().any(|plugin| (plugin.hint)(pod, event, cluster))
}

/// The same of a pod that is not to have room where something went, and so does not get what others are to have there.
pub fn hint_behind(rejected: Set, pod: &Template, event: &Event, cluster: &Cluster) -> bool {
    let only_room = rejected.plugins().all(|plugin| plugin.name == node_resources_fit::PLUGIN.name);
    if let Event::Freed(freed, index) = event
        && !rejected.is_empty()
        && only_room
        && (freed.priority < pod.priority || !cluster.has_lower(pod))
        && is_crowded_out(pod, cluster, *index)
    {
        return false;
    }
    hint(rejected, pod, event, cluster)
}

/// Whether an event about a node lets a filter's plugin accept the node now, but not before.
fn accepts_now(event: &Event, cluster: &Cluster, accepts: impl Fn(&Node) -> bool) -> bool {
    match event {
        Event::Node(old, index) => accepts(cluster.node(*index)) && !old.as_ref().is_some_and(accepts),
        _ => false,
    }
}
