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

/// Searches. `rejected` learns which plugins kept nodes from being candidates; `random` says where to begin.
pub fn find(
    (cluster, profile): (&Cluster, &Profile),
    ranking: &mut Ranking,
    pod: &Pod,
    diagnosis: &Diagnosis,
    budgets: &Budgets,
    rejected: &mut Set,
    random: u64,
) -> Outcome {
    if !profile.preempts {
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
        let (percent, least) = profile.candidates;
        let wanted = (nodes.len() * percent / 100).max(least);
        let mut candidates = Vec::new();
        let offset = usize::try_from(random % (nodes.len().max(1) as u64)).unwrap_or_default();
        for number in 0..nodes.len() {
            let node = nodes[(offset + number) % nodes.len()];
            let trial = Trial::new(cluster, profile, pod, &mut ranking.relations, node);
            match on_node(trial, budgets, rejected) {
                Ok(candidate) => candidates.push(candidate),
                Err(why) => why.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1),
            }
            if candidates.len() == wanted {
                break;
            }
        }
        if !candidates.is_empty() {
            return Outcome::Several(candidates);
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
    fn new(
        cluster: &'a Cluster,
        profile: &'a Profile,
        pod: &'a Pod,
        relations: &'a mut Relations,
        node: usize,
    ) -> Self {
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
fn on_node(mut trial: Trial<'_>, budgets: &Budgets, rejected: &mut Set) -> Result<Candidate, Vec<Text>> {
    let mut out = trial.cluster.lower(trial.node, &trial.pod.template);
    if out.is_empty() {
        return Err(vec![NO_VICTIMS.into()]);
    }
    out.iter().for_each(|(_, placed)| trial.take(placed));
    if let Some(why) = trial.rejection() {
        rejected.insert(why.plugin);
        return Err(why.reasons.into_vec());
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
        true => Err(vec!["expected at least one victim pod".into()]),
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

/// The smallest is chosen: fewest violations, least important victims, fewest, latest started.
fn preference(candidate: &Candidate) -> (usize, i32, i64, usize, Reverse<i64>) {
    let priorities = || candidate.victims.iter().map(|(_, placed)| placed.template.priority);
    let highest = priorities().max().unwrap_or(i32::MIN);
    // Shifted, so that few of a negative priority count less than many.
    let sum = priorities().map(|priority| i64::from(priority) - i64::from(i32::MIN)).sum();
    let highest_ones = candidate.victims.iter().filter(|(_, placed)| placed.template.priority == highest);
    let earliest = highest_ones.map(|(_, placed)| placed.life.started).min().unwrap_or(i64::MAX);
    (candidate.violations, highest, sum, candidate.victims.len(), Reverse(earliest))
}
