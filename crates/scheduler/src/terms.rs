//! What a pod asks of the pods around it: to be near some, far from others, evenly spread among its like.
//!
//! Invariant: a selector that cannot be understood selects nothing. Answers to the framework's `AffinityTerm` and
//! to the constraints of PodTopologySpread.

use crate::cluster::Namespaces;
use crate::pod::Template;
use gifee_base::LabelSelector;
use gifee_reconcile::nullable;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Pods, and the domain that counts as one place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Near {
    /// Namespaces of the pods.
    pub namespaces: Vec<Box<str>>,
    /// Selects further namespaces by their labels.
    pub namespace_selector: LabelSelector,
    /// Labels of the pods.
    pub selector: LabelSelector,
    /// The label of nodes whose value is the domain.
    pub topology: Arc<str>,
}

impl Near {
    /// Whether a pod is one of those meant.
    pub fn matches(&self, pod: &Template, namespaces: &Namespaces) -> bool {
        let named = self.namespaces.iter().any(|name| **name == *pod.namespace);
        let meant = named
            || (self.namespace_selector != LabelSelector::nothing()
                && self.namespace_selector.matches(|key| namespaces.label(&pod.namespace, key)));
        meant && self.selector.matches(|key| pod.label(key))
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        self.selector.requirements.iter().map(|one| one.key.as_str())
    }
}

/// How evenly pods are to be spread over domains.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spread {
    /// How many more there may be than where there are fewest.
    pub max_skew: i64,
    /// The label of nodes whose value is the domain.
    pub topology: Arc<str>,
    /// Labels of the pods, in the pod's own namespace.
    pub selector: LabelSelector,
    /// With fewer domains than this, the fewest count as none.
    pub min_domains: usize,
    /// Whether only nodes that the pod's node affinity selects are looked at.
    pub honor_affinity: bool,
    /// Whether only nodes whose taints the pod bears are looked at.
    pub honor_taints: bool,
    /// Whether it must be kept, or only preferred.
    pub hard: bool,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Each must have one of its pods in the same domain.
    pub affinity: Vec<Near>,
    /// None may have one of its pods in the same domain.
    pub anti: Vec<Near>,
    /// Wished for, with a weight that is negative for those to be far from.
    pub preferred: Vec<(i64, Near)>,
    /// Its own constraints.
    pub spread: Vec<Spread>,
}

impl Terms {
    /// Whether pods with these terms mean something to others that are placed.
    pub fn concern_others(&self) -> bool {
        !(self.affinity.is_empty() && self.anti.is_empty() && self.preferred.is_empty())
    }

    /// Keys of the labels by which other pods are selected.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let preferred = self.preferred.iter().map(|(_, near)| near);
        let near = self.affinity.iter().chain(&self.anti).chain(preferred).flat_map(Near::keys);
        near.chain(self.spread.iter().flat_map(Spread::keys))
    }
}

impl Spread {
    /// Keys of the labels by which pods are selected.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.selector.requirements.iter().map(|one| one.key.as_str())
    }
}

/// `spec.affinity.podAffinity` or `podAntiAffinity` as it stands in JSON.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Wishes {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution", deserialize_with = "nullable")]
    required: Vec<Term>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "nullable")]
    preferred: Vec<Weighted>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Weighted {
    weight: i64,
    #[serde(deserialize_with = "nullable")]
    pod_affinity_term: Term,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Term {
    label_selector: Value,
    #[serde(deserialize_with = "nullable")]
    namespaces: Vec<String>,
    namespace_selector: Value,
    topology_key: String,
}

/// One of `spec.topologySpreadConstraints` as it stands in JSON.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Constraint {
    max_skew: i64,
    topology_key: String,
    when_unsatisfiable: String,
    label_selector: Value,
    min_domains: Option<usize>,
    node_affinity_policy: Option<String>,
    node_taints_policy: Option<String>,
}

fn selector(value: &Value) -> LabelSelector {
    LabelSelector::from_value(value).unwrap_or_else(|_| LabelSelector::nothing())
}

fn near(term: Term, own: &str) -> Near {
    let own = (term.namespaces.is_empty() && term.namespace_selector.is_null()).then(|| own.into());
    Near {
        namespaces: term.namespaces.into_iter().map(Into::into).chain(own).collect(),
        namespace_selector: selector(&term.namespace_selector),
        selector: selector(&term.label_selector),
        topology: term.topology_key.into(),
    }
}

impl Constraint {
    /// The constraint.
    pub fn understood(self) -> Spread {
        Spread {
            max_skew: self.max_skew,
            topology: self.topology_key.into(),
            selector: selector(&self.label_selector),
            min_domains: self.min_domains.unwrap_or(1),
            honor_affinity: self.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: self.node_taints_policy.as_deref() == Some("Honor"),
            hard: self.when_unsatisfiable != "ScheduleAnyway",
        }
    }
}

/// All terms of a pod of a namespace.
pub fn understood(namespace: &str, to: Wishes, from: Wishes, spread: Vec<Constraint>) -> Terms {
    let all = |terms: Vec<Term>| terms.into_iter().map(|term| near(term, namespace)).collect();
    let weighted = |terms: Vec<Weighted>, sign: i64| {
        terms.into_iter().map(move |one| (sign * one.weight, near(one.pod_affinity_term, namespace)))
    };
    Terms {
        affinity: all(to.required),
        anti: all(from.required),
        preferred: weighted(to.preferred, 1).chain(weighted(from.preferred, -1)).collect(),
        spread: spread.into_iter().map(Constraint::understood).collect(),
    }
}
