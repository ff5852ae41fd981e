//! How pods of one scheduler name are scheduled: which plugins take part, how much they count, and their arguments.
//!
//! Answers to a profile of KubeSchedulerConfiguration.

use crate::plugins::PLUGINS;
use crate::terms::Spread;
use gifee_base::nodes::NodeAffinity;
use std::sync::Arc;

/// Constraints for pods that have none of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The constraints, without selectors.
    pub constraints: Vec<Spread>,
    /// Whether nodes without one of the labels are looked at all the same, as they are by default.
    pub lenient: bool,
}

/// How a node's use is scored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The emptier the better.
    #[default]
    LeastAllocated,
    /// The fuller the better.
    MostAllocated,
    /// By a line through points of utilization in percent and scores up to 100.
    Ratio(Vec<(i64, i64)>),
}

/// Arguments of NodeResourcesFit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// How a node's use is scored.
    pub strategy: Strategy,
    /// The resources that are scored, with weights.
    pub resources: Vec<(Box<str>, i64)>,
    /// Extended resources that need not be there.
    pub ignored_resources: Vec<Box<str>>,
    /// Their names' parts before the slash.
    pub ignored_resource_groups: Vec<Box<str>>,
}

impl Default for Fit {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            resources: vec![("cpu".into(), 1), ("memory".into(), 1)],
            ignored_resources: Vec::new(),
            ignored_resource_groups: Vec::new(),
        }
    }
}

impl Fit {
    /// Whether a resource need not be there.
    pub fn ignores(&self, name: &str) -> bool {
        let group = name.split('/').next().unwrap_or_default();
        self.ignored_resources.iter().any(|one| **one == *name)
            || self.ignored_resource_groups.iter().any(|one| **one == *group)
    }
}

/// A profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The scheduler name that pods ask for.
    pub name: Arc<str>,
    /// By plugin, as in [`PLUGINS`]: whether it filters, and how much its scores count.
    pub plugins: Vec<(bool, i64)>,
    /// How much it counts that a placed pod requires one like this near it.
    pub hard_pod_affinity_weight: i64,
    /// Whether wishes of placed pods count only for pods that have some of their own.
    pub ignore_preferred_terms_of_existing_pods: bool,
    /// Constraints for pods that have none of their own.
    pub defaults: Defaults,
    /// Arguments of NodeResourcesFit.
    pub fit: Fit,
    /// The resources that NodeResourcesBalancedAllocation balances.
    pub balanced: Vec<(Box<str>, i64)>,
    /// Node affinity that all pods have beside their own.
    pub added_affinity: NodeAffinity,
    /// Whether pods may be pushed out for others.
    pub preempts: bool,
    /// How many nodes are looked at before one is chosen to push pods out of: in percent, and at least.
    pub candidates: (usize, usize),
}

impl Profile {
    /// Upstream's defaults.
    pub fn new(name: &str) -> Self {
        let constraint = |topology: &str, max_skew| Spread {
            max_skew,
            topology: topology.into(),
            selector: gifee_base::LabelSelector::nothing(),
            min_domains: 1,
            honor_affinity: true,
            honor_taints: false,
            hard: false,
        };
        let constraints =
            vec![constraint("kubernetes.io/hostname", 3), constraint("topology.kubernetes.io/zone", 5)];
        Self {
            name: name.into(),
            plugins: PLUGINS.iter().map(|one| (true, one.score.map_or(0, |score| score.weight))).collect(),
            hard_pod_affinity_weight: 1,
            ignore_preferred_terms_of_existing_pods: false,
            defaults: Defaults { constraints, lenient: true },
            fit: Fit::default(),
            balanced: Fit::default().resources,
            added_affinity: NodeAffinity::default(),
            preempts: true,
            candidates: (10, 100),
        }
    }
}
