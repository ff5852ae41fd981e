//! How the pods of one template stand to those that are placed: counts by domain, for each of its terms and for
//! each of theirs that mean it.
//!
//! Invariant: the counts are those that looking at all placed pods would give; they follow the cluster's journal, so
//! that a pod placed costs what it counts for and nothing else. Answers to what InterPodAffinity and
//! PodTopologySpread work out in PreFilter and PreScore.

use crate::cluster::Cluster;
use crate::plugins::node_admits;
use crate::pod::Template;
use crate::profile::Profile;
use crate::terms::Spread;
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// So many templates are remembered with what they count for.
const REMEMBERED: usize = 8192;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Pods that all terms of the required affinity mean.
    Required,
    /// Pods that a term of the required anti-affinity means.
    Anti,
    /// Terms of placed pods' required anti-affinity that mean this pod.
    Existing,
    /// Weights of what is preferred, by this pod or by placed ones.
    Preferred,
    /// Pods that the spread constraint of a number is about.
    Spread(usize),
}

/// Counts by the domains of one key.
#[derive(Debug)]
pub struct Counter {
    /// What is counted.
    pub role: Role,
    /// The number of the key.
    pub topology: usize,
    /// By domain.
    pub counts: Vec<i64>,
    /// The sum over all domains.
    pub total: i64,
    /// Nodes that are looked at, if not all are.
    eligible: Option<Vec<bool>>,
    /// Counts of domains with nodes that are looked at, and how many domains have each.
    levels: BTreeMap<i64, usize>,
    /// How many nodes of a domain are looked at.
    nodes: Vec<u32>,
}

impl Counter {
    /// The count where a node is; none where it has no domain.
    pub fn at(&self, cluster: &Cluster, node: usize) -> Option<i64> {
        let domain = cluster.topology(self.topology).domain(node);
        (domain != 0).then(|| self.counts.get(domain).copied().unwrap_or_default())
    }

    /// The least count of a domain that is looked at, and how many of those there are.
    pub fn least(&self) -> (i64, usize) {
        let least = self.levels.first_key_value().map_or(0, |(count, _)| *count);
        (least, self.levels.values().sum())
    }

    fn add(&mut self, cluster: &Cluster, node: usize, amount: i64) {
        let domain = cluster.topology(self.topology).domain(node);
        let looked_at = self.eligible.as_ref().is_none_or(|one| one.get(node).copied().unwrap_or_default());
        if domain == 0 || !looked_at {
            return;
        }
        if self.counts.len() <= domain {
            self.counts.resize(domain + 1, 0);
        }
        let old = self.counts[domain];
        self.counts[domain] = old + amount;
        self.total += amount;
        if self.nodes.get(domain).is_some_and(|nodes| *nodes > 0) {
            self.level(old, -1);
            self.level(old + amount, 1);
        }
    }

    fn level(&mut self, count: i64, delta: isize) {
        let domains = self.levels.entry(count).or_default();
        *domains = domains.saturating_add_signed(delta);
        if *domains == 0 {
            self.levels.remove(&count);
        }
    }
}

/// What a placed pod counts for: counter, amount, and whether only as long as it is not being deleted.
type Effect = SmallVec<[(usize, i64, bool); 2]>;

/// The counts for one template.
#[derive(Debug, Default)]
pub struct Relations {
    /// The counters.
    pub counters: Vec<Counter>,
    /// The constraints that hold, be they the pod's own or those by default.
    pub spread: Arc<[Spread]>,
    /// Whether the constraints are upstream's default ones, which ask less of nodes.
    pub lenient: bool,
    /// Whether the pod itself is one of those that all terms of its required affinity mean.
    pub means_itself: bool,
    /// Whether the pod's own terms make it look at others.
    own: bool,
    effects: HashMap<usize, (Arc<Template>, Effect)>,
    /// Up to which place of the journal it counts.
    at: u64,
    structure: u64,
}

impl Relations {
    /// Counts for a template under constraints.
    pub fn count(
        cluster: &mut Cluster,
        profile: &Profile,
        template: &Template,
        spread: Arc<[Spread]>,
    ) -> Self {
        let terms = &template.terms;
        let mut relations = Self {
            lenient: profile.defaults.lenient && terms.spread.is_empty(),
            means_itself: terms.affinity.iter().all(|one| one.matches(template, cluster.namespaces())),
            own: !spread.is_empty() || terms.concern_others(),
            spread,
            at: cluster.journal().end(),
            structure: cluster.structure(),
            ..Self::default()
        };
        for near in &terms.affinity {
            let topology = cluster.count_by(&near.topology);
            relations.counter(Role::Required, topology);
        }
        for near in &terms.anti {
            let topology = cluster.count_by(&near.topology);
            relations.counter(Role::Anti, topology);
        }
        relations.count_spread(cluster, template);
        let mut theirs = Vec::new();
        for placements in cluster.placements(!relations.own) {
            let placed = &placements.template;
            for key in relations.keys(profile, template, placed) {
                if cluster.counted(&key).is_none() {
                    theirs.push(key);
                }
            }
        }
        for key in theirs {
            cluster.count_by(&key);
        }
        let cluster = &*cluster;
        for placements in cluster.placements(!relations.own) {
            let effect = relations.effect(cluster, profile, template, &placements.template);
            for (node, (staying, leaving)) in &placements.nodes {
                for (counter, amount, staying_only) in &effect {
                    let pods = i64::from(*staying) + if *staying_only { 0 } else { i64::from(*leaving) };
                    if pods != 0 {
                        relations.counters[*counter].add(cluster, *node as usize, amount * pods);
                    }
                }
            }
        }
        relations
    }

    /// Whether nothing that is placed, or could be, means anything to the pod.
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }

    /// The counters of a role.
    pub fn of(&self, role: Role) -> impl Iterator<Item = &Counter> {
        self.counters.iter().filter(move |counter| counter.role == role)
    }

    /// Whether it counts what the cluster now is, as soon as it has caught up.
    pub fn holds(&self, cluster: &Cluster) -> bool {
        self.structure == cluster.structure() && cluster.journal().since(self.at).is_some()
    }

    /// Counts what has happened since; whether there are new counters.
    pub fn catch_up(&mut self, cluster: &mut Cluster, profile: &Profile, template: &Template) -> bool {
        let before = self.counters.len();
        let end = cluster.journal().end();
        if self.at == end || (!self.own && cluster.none_concern() && self.counters.is_empty()) {
            self.at = end;
            return false;
        }
        let moved: Vec<_> = match cluster.journal().since(self.at) {
            Some(changes) => changes.filter_map(|one| Some((one.node, one.moved.clone()?))).collect(),
            None => Vec::new(),
        };
        self.at = end;
        for (node, moved) in moved {
            if !self.own && !moved.template.terms.concern_others() {
                continue;
            }
            if !self.effects.contains_key(&(Arc::as_ptr(&moved.template) as usize)) {
                for key in self.keys(profile, template, &moved.template) {
                    cluster.count_by(&key);
                }
            }
            self.apply(cluster, profile, template, &moved.template, node, (moved.delta, moved.stays));
        }
        self.counters.len() != before
    }

    /// A pod comes (1) to a node or leaves it (-1), staying or being deleted.
    pub fn apply(
        &mut self,
        cluster: &Cluster,
        profile: &Profile,
        template: &Template,
        placed: &Arc<Template>,
        node: usize,
        (delta, stays): (i32, bool),
    ) {
        let effect = self.effect(cluster, profile, template, placed);
        for (counter, amount, staying_only) in effect {
            if stays || !staying_only {
                self.counters[counter].add(cluster, node, amount * i64::from(delta));
            }
        }
    }

    fn counter(&mut self, role: Role, topology: usize) -> usize {
        let found = self.counters.iter().position(|one| one.role == role && one.topology == topology);
        found.unwrap_or_else(|| {
            self.counters.push(Counter {
                role,
                topology,
                counts: Vec::new(),
                total: 0,
                eligible: None,
                levels: BTreeMap::new(),
                nodes: Vec::new(),
            });
            self.counters.len() - 1
        })
    }

    /// A counter for each constraint, with the nodes that it looks at.
    fn count_spread(&mut self, cluster: &mut Cluster, template: &Template) {
        let spread = self.spread.clone();
        let topologies: Vec<usize> = spread.iter().map(|one| cluster.count_by(&one.topology)).collect();
        let cluster = &*cluster;
        for (number, constraint) in spread.iter().enumerate() {
            // How many there are on a node itself counts whatever the node is like.
            if !constraint.hard && &*constraint.topology == HOSTNAME {
                self.counter(Role::Spread(number), topologies[number]);
                continue;
            }
            let all_labels = constraint.hard || !self.lenient;
            let labelled = |node: usize| {
                let mut like = spread.iter().zip(&topologies).filter(|(one, _)| one.hard == constraint.hard);
                like.all(|(_, topology)| cluster.topology(*topology).domain(node) != 0)
            };
            let topology = topologies[number];
            let at = self.counter(Role::Spread(number), topology);
            let counter = &mut self.counters[at];
            let mut eligible = vec![false; cluster.limit()];
            counter.nodes = vec![0; cluster.topology(topology).limit()];
            for node in cluster.known() {
                let admits = node_admits(template, cluster.node(*node), constraint);
                if admits && (!all_labels || labelled(*node)) {
                    eligible[*node] = true;
                    let domain = cluster.topology(topology).domain(*node);
                    if domain != 0 {
                        counter.nodes[domain] += 1;
                    }
                }
            }
            let domains = counter.nodes.iter().filter(|nodes| **nodes > 0).count();
            if domains > 0 {
                counter.levels.insert(0, domains);
            }
            counter.eligible = Some(eligible);
        }
    }

    /// Keys of domains that terms of a placed pod and preferences of this one count by.
    fn keys(&self, profile: &Profile, template: &Template, placed: &Template) -> Vec<Arc<str>> {
        let theirs = &placed.terms;
        let hard = theirs.affinity.iter().filter(|_| profile.hard_pod_affinity_weight > 0);
        let preferred = template.terms.preferred.iter().chain(&theirs.preferred).map(|(_, near)| near);
        theirs.anti.iter().chain(hard).chain(preferred).map(|near| near.topology.clone()).collect()
    }

    /// What a placed pod counts for.
    fn effect(
        &mut self,
        cluster: &Cluster,
        profile: &Profile,
        own: &Template,
        placed: &Arc<Template>,
    ) -> Effect {
        let address = Arc::as_ptr(placed) as usize;
        if let Some((_, effect)) = self.effects.get(&address) {
            return effect.clone();
        }
        let namespaces = cluster.namespaces();
        let mut effect = Effect::new();
        let mut add = |relations: &mut Self, role: Role, key: &str, amount: i64, staying: bool| {
            if let Some(topology) = cluster.counted(key) {
                effect.push((relations.counter(role, topology), amount, staying));
            }
        };
        let (ours, theirs) = (&own.terms, &placed.terms);
        if !ours.affinity.is_empty() && ours.affinity.iter().all(|one| one.matches(placed, namespaces)) {
            for near in &ours.affinity {
                add(self, Role::Required, &near.topology, 1, false);
            }
        }
        for near in ours.anti.iter().filter(|near| near.matches(placed, namespaces)) {
            add(self, Role::Anti, &near.topology, 1, false);
        }
        for near in theirs.anti.iter().filter(|near| near.matches(own, namespaces)) {
            add(self, Role::Existing, &near.topology, 1, false);
        }
        for (weight, near) in ours.preferred.iter().filter(|(_, near)| near.matches(placed, namespaces)) {
            add(self, Role::Preferred, &near.topology, *weight, false);
        }
        if !profile.ignore_preferred_terms_of_existing_pods || !ours.preferred.is_empty() {
            let hard = profile.hard_pod_affinity_weight;
            let required = theirs.affinity.iter().filter(|_| hard > 0).map(|near| (hard, near));
            let preferred = theirs.preferred.iter().map(|(weight, near)| (*weight, near));
            for (weight, near) in required.chain(preferred).filter(|(_, near)| near.matches(own, namespaces))
            {
                add(self, Role::Preferred, &near.topology, weight, false);
            }
        }
        let spread = self.spread.clone();
        if placed.namespace == own.namespace {
            for (number, constraint) in spread.iter().enumerate() {
                if constraint.selector.matches(|key| placed.label(key)) {
                    add(self, Role::Spread(number), &constraint.topology, 1, true);
                }
            }
        }
        if self.effects.len() >= REMEMBERED {
            self.effects.clear();
        }
        self.effects.insert(address, (placed.clone(), effect.clone()));
        effect
    }
}

/// The label that is each node's own.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
