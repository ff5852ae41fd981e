//! Decisions in which extenders have a say.
//!
//! Invariant: while one pod's extenders are being asked nothing else is decided, so that what they said still holds.
//! Answers to `findNodesThatPassExtenders` and the part of extenders in upstream's scores.

use crate::extender::{Answer, Extender, Question};
use crate::placement::{Diagnosis, Placement};
use crate::preemption::{Candidate, Outcome};
use crate::profile::Profile;
use crate::queue::Pending;
use crate::ranking::Ranking;
use crate::scheduler::{Scheduler, Step, draw};
use gifee_base::ObjectKey;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// A pod whose extenders are being asked.
#[derive(Debug)]
pub struct Asking {
    pub(crate) pending: Box<Pending>,
    /// Scores of nodes by name, without those of extenders.
    scores: BTreeMap<Arc<str>, i64>,
    /// Why other nodes are out of question.
    diagnosis: Diagnosis,
    /// Nodes with those that would leave them, if that is what is asked.
    candidates: Vec<Candidate>,
    /// Whether the pod has gone meanwhile, or has a node.
    pub(crate) gone: bool,
}

impl Scheduler {
    /// Lets extenders have a say.
    pub fn with_extenders(mut self, extenders: Vec<Arc<Extender>>) -> Self {
        self.extenders = extenders;
        self
    }

    /// Whether an extender has something to say about a pod's nodes.
    pub(crate) fn is_extended(&self, pending: &Pending) -> bool {
        let says = |one: &&Arc<Extender>| !(one.filter.is_empty() && one.prioritize.is_empty());
        self.extenders.iter().filter(says).any(|one| one.concerns(&pending.pod.template))
    }

    /// Has extenders asked about the nodes where a pod fits; or refuses it at once.
    pub(crate) fn ask(&mut self, pending: Box<Pending>, profile: &Profile, now: Instant) -> Step {
        let pod = pending.pod.clone();
        if let Some(diagnosis) = Diagnosis::refusal(&pod, &self.cluster, profile) {
            return self.refuse_or_preempt(pending, profile, diagnosis, now);
        }
        self.wrong_claims(&pod);
        let spread = self.selectors.spread(profile, &pod.template);
        let ranking = self.rankings.of(&mut self.cluster, profile, &pod, spread);
        let (nodes, diagnosis) = ranking.all(&self.cluster, profile, &pod);
        if let Some(why) = self.wrong_claims(&pod) {
            return self.fail(pending, why, now);
        }
        if nodes.is_empty() {
            return self.refuse_or_preempt(pending, profile, diagnosis, now);
        }
        let named = |(index, score): (usize, i64)| (self.cluster.node(index).name.clone(), score);
        let scores: BTreeMap<Arc<str>, i64> = nodes.into_iter().map(named).collect();
        let (nodes, victims, leaving) = (scores.keys().cloned().collect(), BTreeMap::new(), Vec::new());
        let question = Question { pod, nodes, victims, leaving };
        self.asking = Some(Asking { pending, scores, diagnosis, candidates: Vec::new(), gone: false });
        Step::Ask(question)
    }

    fn refuse_or_preempt(
        &mut self,
        pending: Box<Pending>,
        profile: &Profile,
        diagnosis: Diagnosis,
        now: Instant,
    ) -> Step {
        let (outcome, rejected) = self.preempt(profile, &pending.pod, &diagnosis);
        self.refuse_or_ask(pending, diagnosis, outcome, rejected, now)
    }

    /// Refuses a pod, once extenders that care have agreed on who leaves for it.
    pub(crate) fn refuse_or_ask(
        &mut self,
        pending: Box<Pending>,
        diagnosis: Diagnosis,
        outcome: Option<Outcome>,
        rejected: crate::plugins::Set,
        now: Instant,
    ) -> Step {
        match outcome {
            Some(Outcome::Several(candidates)) => {
                let victims = candidates.iter().map(|one| {
                    let uids = one.victims.iter().map(|(_, placed)| placed.uid.clone()).collect();
                    (self.cluster.node(one.node).name.clone(), (uids, one.violations))
                });
                let victims = victims.collect();
                let keys = candidates.iter().flat_map(|one| one.victims.iter().map(|(key, _)| key.clone()));
                let (nodes, leaving) = (Vec::new(), keys.collect());
                let question = Question { pod: pending.pod.clone(), nodes, victims, leaving };
                let diagnosis = Diagnosis { rejected, ..diagnosis };
                self.asking =
                    Some(Asking { pending, scores: BTreeMap::new(), diagnosis, candidates, gone: false });
                Step::Ask(question)
            }
            outcome => self.refuse(pending, &diagnosis, outcome, rejected, now),
        }
    }

    /// Extenders have been asked.
    pub fn answered(&mut self, key: &ObjectKey, answer: Answer, now: Instant) {
        let Some(asking) = self.asking.take_if(|one| one.pending.pod.key == *key) else { return };
        if asking.gone {
            return;
        }
        let Some(profile) = self.profile(&asking.pending.pod.scheduler) else { return };
        let step = match (answer.error, asking.candidates.is_empty()) {
            (Some(message), _) => self.fail(asking.pending, message, now),
            (None, true) => self.choose_among(asking, answer.nodes, answer.failed, &profile, now),
            (None, false) => self.preempt_among(asking, answer.victims, now),
        };
        self.steps.push_back(step);
    }

    fn choose_among(
        &mut self,
        asking: Asking,
        nodes: Vec<(Arc<str>, i64)>,
        failed: BTreeMap<Arc<str>, (String, bool)>,
        profile: &Profile,
        now: Instant,
    ) -> Step {
        let Asking { pending, scores, mut diagnosis, .. } = asking;
        let total = |(name, more): &(Arc<str>, i64)| scores.get(name).copied().unwrap_or_default() + more;
        let highest = nodes.iter().map(total).max();
        let best: Vec<&Arc<str>> =
            nodes.iter().filter(|one| Some(total(one)) == highest).map(|(name, _)| name).collect();
        if best.is_empty() {
            for (why, resolvable) in failed.into_values() {
                *diagnosis.reasons.entry(why.into()).or_default() += 1;
                diagnosis.resolvable += usize::from(resolvable);
            }
            return self.refuse_or_preempt(pending, profile, diagnosis, now);
        }
        let lot = usize::try_from(draw(&mut self.random) % best.len() as u64).unwrap_or_default();
        let Some(index) = self.cluster.find(best[lot]) else {
            return self.again(pending, now);
        };
        let spread = self.selectors.spread(profile, &pending.pod.template);
        let mut only = Ranking::new(&mut self.cluster, profile, &pending.pod, spread, Some(vec![index]));
        match only.choose(&self.cluster, profile, &pending.pod, &mut || 0) {
            Placement::Node(index) => self.place(pending, index, now),
            Placement::None(_) => self.again(pending, now),
        }
    }

    /// The cluster has changed so much that all is to be asked again.
    fn again(&mut self, pending: Box<Pending>, now: Instant) -> Step {
        self.fail(pending, "the cluster has changed while extenders were asked".into(), now)
    }

    fn preempt_among(
        &mut self,
        asking: Asking,
        left: BTreeMap<Arc<str>, crate::extender::Victims>,
        now: Instant,
    ) -> Step {
        let Asking { pending, diagnosis, candidates, .. } = asking;
        let mut agreed = Vec::new();
        for mut one in candidates {
            let Some((uids, violations)) = left.get(&self.cluster.node(one.node).name) else { continue };
            one.victims.retain(|(_, placed)| uids.contains(&placed.uid));
            one.violations = *violations;
            agreed.push(one);
        }
        let outcome = match crate::preemption::best(agreed) {
            Some(best) => Outcome::Found(best),
            None => Outcome::Waiting(String::new()),
        };
        let rejected = diagnosis.rejected;
        self.refuse(pending, &diagnosis, Some(outcome), rejected, now)
    }
}
