//! Finds pods of lower priority to push out for a pod without a place. Pure: the cluster is tried out and
//! left as it was.
//!
//! Invariants: nobody is pushed out for a pod that would still not fit; as many as can be are spared, first
//! those that a PodDisruptionBudget protects. Answers to DefaultPreemption.

use crate::budgets::Budgets;
use crate::cluster::{Cluster, Placed};
use crate::placement::{Diagnosis, rejection, unavailable};
use crate::plugins::{Set, Text};
use crate::pod::Pod;
use gifee_base::ObjectKey;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// So many nodes are found at least, and a tenth of those that come into question, before the best is chosen.
const CANDIDATES_MINIMUM: usize = 100;

/// A node, and who must leave it.
#[derive(Debug)]
pub struct Candidate {
    /// Index of the node.
    pub node: usize,
    /// The pods, the most important first.
    pub victims: Vec<(ObjectKey, Placed)>,
    /// How many of them a budget protects.
    violations: usize,
}

/// What a search came to.
#[derive(Debug)]
pub enum Outcome {
    /// These are to leave.
    Found(Candidate),
    /// Nobody is, for this reason, in upstream's words.
    None(String),
    /// Those that were pushed out before are still leaving.
    Waiting(String),
}

/// Searches. `rejected` learns which plugins kept nodes from being candidates; `random` says where to begin.
pub fn find(
    cluster: &mut Cluster,
    pod: &Pod,
    diagnosis: &Diagnosis,
    budgets: &Budgets,
    rejected: &mut Set,
    random: u64,
) -> Outcome {
    if !pod.template.preempts {
        return Outcome::Waiting("preemption: not eligible due to preemptionPolicy=Never.".into());
    }
    if waits(cluster, pod, diagnosis) {
        return Outcome::Waiting(WAITS.into());
    }
    let mut reasons: BTreeMap<Text, usize> = BTreeMap::new();
    let nodes = &diagnosis.resolvable;
    let wanted = CANDIDATES_MINIMUM.max(nodes.len() / 10);
    let mut candidates = Vec::new();
    let offset = usize::try_from(random % (nodes.len().max(1) as u64)).unwrap_or_default();
    for number in 0..nodes.len() {
        match on_node(cluster, pod, nodes[(offset + number) % nodes.len()], budgets, rejected) {
            Ok(candidate) => candidates.push(candidate),
            Err(why) => why.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1),
        }
        if candidates.len() == wanted {
            break;
        }
    }
    if let Some(best) = candidates.into_iter().min_by_key(preference) {
        return Outcome::Found(best);
    }
    let helpless = diagnosis.nodes - nodes.len();
    if helpless > 0 {
        reasons.insert("Preemption is not helpful for scheduling".into(), helpless);
    }
    Outcome::None(format!("preemption: {}", unavailable(diagnosis.nodes, &reasons)))
}

/// What a pod says while those that leave for it have not left.
pub const WAITS: &str = "preemption: not eligible due to a terminating pod on the nominated node.";

/// Whether pods that were pushed out for this one are still leaving the node that it is to have.
fn waits(cluster: &Cluster, pod: &Pod, diagnosis: &Diagnosis) -> bool {
    let Some(node) = pod.nominated.as_deref().and_then(|name| cluster.find(name)) else { return false };
    let leaving = |key: &ObjectKey| cluster.placed(key).is_some_and(|placed| placed.life.preempted);
    diagnosis.resolvable.contains(&node) && cluster.lower(node, &pod.template).iter().any(leaving)
}

/// Who must leave a node for a pod; or why that would not help.
fn on_node(
    cluster: &mut Cluster,
    pod: &Pod,
    node: usize,
    budgets: &Budgets,
    rejected: &mut Set,
) -> Result<Candidate, Vec<Text>> {
    let lower = cluster.lower(node, &pod.template);
    if lower.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".into()]);
    }
    let mut out: Vec<(ObjectKey, Placed)> =
        lower.into_iter().filter_map(|key| cluster.remove(&key).map(|placed| (key, placed))).collect();
    if let Some(why) = rejection(cluster, pod, node) {
        for (key, placed) in out {
            cluster.restore(&key, placed);
        }
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
        let (key, placed) = &out[number];
        cluster.restore(key, placed.clone());
        if let Some(why) = rejection(cluster, pod, node) {
            rejected.insert(why.plugin);
            cluster.remove(key);
            leave[number] = true;
            violations += usize::from(violated[number]);
        }
    }
    let mut victims = Vec::new();
    for ((key, placed), leaves) in out.into_iter().zip(leave) {
        if leaves {
            cluster.restore(&key, placed.clone());
            victims.push((key, placed));
        }
    }
    match victims.is_empty() {
        true => Err(vec!["expected at least one victim pod".into()]),
        false => Ok(Candidate { node, victims, violations }),
    }
}

/// The most important come first: higher priority, then longer running.
fn importance(placed: &Placed) -> (Reverse<i32>, i64) {
    (Reverse(placed.template.priority), placed.life.started)
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
