//! How pods of one scheduler name are scheduled: which plugins take part, how much they count, and their arguments.
//!
//! Answers to a profile of KubeSchedulerConfiguration.

use crate::plugins::PLUGINS;
use crate::terms::Spread;
use std::sync::Arc;

/// Constraints for pods that have none of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The constraints, without selectors.
    pub constraints: Vec<Spread>,
    /// Whether nodes without one of the labels are looked at all the same, as they are by default.
    pub lenient: bool,
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
        }
    }
}
