//! Finds pods of lower priority to push out for a pod without a place. Pure: the cluster is tried out and
//! left as it was.
//!
//! Invariants: nobody is pushed out for a pod that would still not fit; as many as can be are spared, first
//! those that a PodDisruptionBudget protects. Answers to DefaultPreemption.

use crate::budgets::Budgets;
use crate::cluster::{Cluster, Load, Placed};
use crate::placement::{Diagnosis, Rejection, View, ahead, prepare, reject, unavailable};
use crate::plugins::{Set, Text};
use crate::pod::{Pod, Template};
use crate::profile::Profile;
use crate::ranking::Ranking;
use crate::relations::Relations;
use gifee_base::ObjectKey;
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node, and who must leave it.
#[derive(Debug)]
pub struct Candidate {
    /// Index of the node.
    pub node: usize,
    /// The pods, the most important first.
    pub victims: Vec<(ObjectKey, Placed)>,
    /// How many of them a budget protects.
    pub violations: usize,
}

/// What a search came to.
#[derive(Debug)]
pub enum Outcome {
    /// On one of these nodes others are to leave.
    Several(Vec<Candidate>),
    /// These are to leave.
    Found(Candidate),
    /// Nobody is, for this reason, in upstream's words.
    None(String),
    /// Those that were pushed out before are still leaving.
    Waiting(String),
}

/// What a search is about.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    /// Nodes and what is placed.
    pub cluster: &'a Cluster,
    /// How the pod is scheduled.
    pub profile: &'a Profile,
    /// The pod.
    pub pod: &'a Pod,
    /// Who is protected.
    pub budgets: &'a Budgets,
    /// Says where to begin.
    pub random: u64,
    /// Whether all candidates are wanted, and not only the best.
    pub all: bool,
}

/// The smallest is chosen: fewest violations, least important victims, fewest, latest started.
type Preference = (usize, i32, i64, usize, Reverse<i64>);

/// What was found of a node, and which plugins stood in the way meanwhile.
#[derive(Clone, Debug)]
struct Worth {
    touched: u64,
    plugins: Set,
    /// How good a candidate it is, or why it is none.
    found: Result<Preference, SmallVec<[Text; 1]>>,
}

/// What was found of nodes for pods that see them alike; it holds as long as nothing changes on the node. At most one
/// entry for each node.
#[derive(Debug, Default)]
pub struct Trials {
    by_node: Vec<Option<Worth>>,
    budgets: u64,
}

impl Trials {
    fn begin(&mut self, search: &Search<'_>) {
        if self.budgets != search.budgets.version() {
            self.by_node.clear();
            self.budgets = search.budgets.version();
        }
        self.by_node.resize(search.cluster.limit(), None);
    }
}

impl Search<'_> {
    /// Searches. `rejected` learns which plugins kept nodes from being candidates.
    pub fn find(&self, ranking: &mut Ranking, diagnosis: &Diagnosis, rejected: &mut Set) -> Outcome {
        let (cluster, pod) = (self.cluster, self.pod);
        if !self.profile.preempts {
            return Outcome::Waiting(String::new());
        }
        if !pod.template.preempts {
            return Outcome::Waiting("preemption: not eligible due to preemptionPolicy=Never.".into());
        }
        let mut reasons: BTreeMap<Text, usize> = BTreeMap::new();
        if cluster.has_lower(&pod.template) && diagnosis.resolvable > 0 {
            let nodes = ranking.resolvable();
            if waits(cluster, pod, &nodes) {
                return Outcome::Waiting(WAITS.into());
            }
            if let Some(found) = self.among(ranking, &nodes, &mut reasons, rejected) {
                return found;
            }
        } else if diagnosis.resolvable > 0 {
            reasons.insert(NO_VICTIMS.into(), diagnosis.resolvable);
        }
        let helpless = diagnosis.nodes - diagnosis.resolvable;
        if helpless > 0 {
            reasons.insert("Preemption is not helpful for scheduling".into(), helpless);
        }
        Outcome::None(format!("preemption: {}", unavailable(diagnosis.nodes, &reasons)))
    }

    /// Looks at nodes until there are as many candidates as are wanted.
    fn among(
        &self,
        ranking: &mut Ranking,
        nodes: &[usize],
        reasons: &mut BTreeMap<Text, usize>,
        rejected: &mut Set,
    ) -> Option<Outcome> {
        let (percent, least) = self.profile.candidates;
        let wanted = (nodes.len() * percent / 100).max(least);
        let offset = usize::try_from(self.random % (nodes.len().max(1) as u64)).unwrap_or_default();
        let shares = self.shares(&ranking.relations);
        ranking.trials.begin(self);
        let (mut all, mut count, mut best) = (Vec::new(), 0, None);
        for number in 0..nodes.len() {
            let node = nodes[(offset + number) % nodes.len()];
            let known = ranking.trials.by_node[node].take();
            let known = known.filter(|known| {
                known.touched == self.cluster.touched(node) && shares && !self.all && self.is_plain(node)
            });
            let worth = known.unwrap_or_else(|| {
                let (found, plugins) = self.on_node(&mut ranking.relations, node);
                let found = found.map(|candidate| {
                    let preference = preference(&candidate);
                    if self.all {
                        all.push(candidate);
                    }
                    preference
                });
                Worth { touched: self.cluster.touched(node), plugins, found }
            });
            *rejected = rejected.with(worth.plugins);
            match &worth.found {
                Ok(preference) => {
                    count += 1;
                    if best.as_ref().is_none_or(|(known, _)| preference < known) {
                        best = Some((*preference, node));
                    }
                }
                Err(why) => {
                    why.iter().for_each(|reason| *reasons.entry(reason.clone()).or_default() += 1);
                }
            }
            if shares && self.is_plain(node) {
                ranking.trials.by_node[node] = Some(worth);
            }
            if count == wanted {
                break;
            }
        }
        if self.all && !all.is_empty() {
            return Some(Outcome::Several(all));
        }
        let (_, node) = best?;
        self.on_node(&mut ranking.relations, node).0.ok().map(Outcome::Found)
    }

    /// Whether what is found of a node depends on nothing but the node.
    fn shares(&self, relations: &Relations) -> bool {
        let view = View { cluster: self.cluster, relations, profile: self.profile, supposed: None };
        self.pod.template.claims.is_empty()
            && self.pod.template.devices.is_empty()
            && prepare(self.pod, &view, true).is_empty()
    }

    /// Whether all pods that see nodes alike see this one alike.
    fn is_plain(&self, node: usize) -> bool {
        let nominees = self.cluster.nominees(node);
        nominees.iter().all(|(key, one)| *key != self.pod.key && !one.terms.concern_others())
    }

    /// Who must leave a node; or why that would not help. And which plugins stood in the way.
    fn on_node(
        &self,
        relations: &mut Relations,
        node: usize,
    ) -> (Result<Candidate, SmallVec<[Text; 1]>>, Set) {
        let mut plugins = Set::default();
        let trial = Trial::new(self, relations, node);
        (on_node(trial, self.budgets, &mut plugins), plugins)
    }
}

/// What a pod says while those that leave for it have not left.
pub const WAITS: &str = "preemption: not eligible due to a terminating pod on the nominated node.";

const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// Whether pods that were pushed out for this one are still leaving the node that it is to have.
fn waits(cluster: &Cluster, pod: &Pod, resolvable: &[usize]) -> bool {
    let Some(node) = pod.nominated.as_deref().and_then(|name| cluster.find(name)) else { return false };
    let leaving = |(_, placed): &(ObjectKey, Placed)| placed.life.preempted;
    resolvable.contains(&node) && cluster.lower(node, &pod.template).iter().any(leaving)
}

/// A node with other pods on it than there are; dropped, all counts are as they were.
struct Trial<'a> {
    cluster: &'a Cluster,
    profile: &'a Profile,
    pod: &'a Pod,
    relations: &'a mut Relations,
    node: usize,
    load: Load,
    /// What was changed, to be changed back.
    done: Vec<(Arc<Template>, (i32, bool))>,
    ahead: Vec<Arc<Template>>,
}

impl<'a> Trial<'a> {
    fn new(search: &Search<'a>, relations: &'a mut Relations, node: usize) -> Self {
        let Search { cluster, profile, pod, .. } = *search;
        let ahead = ahead(cluster, pod, node).map(|(_, one)| one.clone()).collect();
        let load = cluster.load(node).clone();
        Self { cluster, profile, pod, relations, node, load, done: Vec::new(), ahead }
    }

    fn count(&mut self, template: &Arc<Template>, how: (i32, bool)) {
        self.relations.apply(self.cluster, self.profile, &self.pod.template, template, self.node, how);
    }

    fn take(&mut self, placed: &Placed) {
        self.load.subtract(&placed.template);
        let how = (-1, !placed.life.deleting);
        self.count(&placed.template, how);
        self.done.push((placed.template.clone(), how));
    }

    fn give(&mut self, placed: &Placed) {
        self.load.add(&placed.template);
        let how = (1, !placed.life.deleting);
        self.count(&placed.template, how);
        self.done.push((placed.template.clone(), how));
    }

    /// Why the pod is rejected, with those that are to have room there or without.
    fn rejection(&mut self) -> Option<Rejection> {
        if self.ahead.is_empty() {
            return self.rejection_of(&self.load);
        }
        let ahead = std::mem::take(&mut self.ahead);
        let mut crowded = self.load.clone();
        for one in &ahead {
            crowded.add(one);
            self.count(one, (1, true));
        }
        let why = self.rejection_of(&crowded);
        for one in &ahead {
            self.count(one, (-1, true));
        }
        self.ahead = ahead;
        why.or_else(|| self.rejection_of(&self.load))
    }

    fn rejection_of(&self, load: &Load) -> Option<Rejection> {
        let supposed = Some((self.node, load));
        let view = View { cluster: self.cluster, relations: self.relations, profile: self.profile, supposed };
        let alone = reject(&prepare(self.pod, &view, false), self.node);
        alone.or_else(|| reject(&prepare(self.pod, &view, true), self.node))
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        for (template, (delta, stays)) in std::mem::take(&mut self.done) {
            self.count(&template, (-delta, stays));
        }
    }
}

/// Who must leave a node for a pod; or why that would not help.
fn on_node(
    mut trial: Trial<'_>,
    budgets: &Budgets,
    rejected: &mut Set,
) -> Result<Candidate, SmallVec<[Text; 1]>> {
    let mut out = trial.cluster.lower(trial.node, &trial.pod.template);
    if out.is_empty() {
        return Err(SmallVec::from_iter([NO_VICTIMS.into()]));
    }
    out.iter().for_each(|(_, placed)| trial.take(placed));
    if let Some(why) = trial.rejection() {
        rejected.insert(why.plugin);
        return Err(why.reasons);
    }
    out.sort_by_key(|(_, placed)| importance(placed));
    let violated = budgets.violated(out.iter().map(|(key, placed)| (key, &*placed.template)));
    // Those that a budget protects are spared first.
    let mut order: Vec<usize> = (0..out.len()).collect();
    order.sort_by_key(|number| !violated[*number]);
    let mut violations = 0;
    let mut leave = vec![false; out.len()];
    for number in order {
        let placed = &out[number].1;
        trial.give(placed);
        if let Some(why) = trial.rejection() {
            rejected.insert(why.plugin);
            trial.take(placed);
            leave[number] = true;
            violations += usize::from(violated[number]);
        }
    }
    let victims: Vec<_> =
        out.into_iter().zip(leave).filter(|(_, leaves)| *leaves).map(|(one, _)| one).collect();
    match victims.is_empty() {
        true => Err(SmallVec::from_iter(["expected at least one victim pod".into()])),
        false => Ok(Candidate { node: trial.node, victims, violations }),
    }
}

/// The most important come first: higher priority, then longer running.
fn importance(placed: &Placed) -> (Reverse<i32>, i64) {
    (Reverse(placed.template.priority), placed.life.started)
}

/// The candidate with the least harm.
pub fn best(candidates: Vec<Candidate>) -> Option<Candidate> {
    candidates.into_iter().min_by_key(preference)
}

fn preference(candidate: &Candidate) -> Preference {
    let priorities = || candidate.victims.iter().map(|(_, placed)| placed.template.priority);
    let highest = priorities().max().unwrap_or(i32::MIN);
    // Shifted, so that few of a negative priority count less than many.
    let sum = priorities().map(|priority| i64::from(priority) - i64::from(i32::MIN)).sum();
    let highest_ones = candidate.victims.iter().filter(|(_, placed)| placed.template.priority == highest);
    let earliest = highest_ones.map(|(_, placed)| placed.life.started).min().unwrap_or(i64::MAX);
    (candidate.violations, highest, sum, candidate.victims.len(), Reverse(earliest))
}
