//! Decisions in which extenders have a say.
//!
//! Invariant: while one pod's extenders are being asked nothing else is decided, so that what they said still holds.
//! Answers to `findNodesThatPassExtenders` and the part of extenders in upstream's scores.

use crate::extender::{Answer, Extender, Question};
use crate::gang::Ganging;
use crate::placement::{Diagnosis, Placement};
use crate::pod::Pod;
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
    /// The group that is being decided on, if the pod is one of several that must start together.
    pub(crate) gang: Option<Box<Ganging>>,
}

/// Why extenders need not be asked.
pub enum Unasked {
    /// No node comes into question.
    Refused(Diagnosis),
    /// A search failed.
    Wrong(String),
}

/// What of nodes extenders left.
enum Left {
    One(usize),
    None(Diagnosis),
    /// The cluster has changed so much that all is to be asked again.
    Changed,
}

const CHANGED: &str = "the cluster has changed while extenders were asked";

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
        match self.ask_for(pending, profile, None) {
            Ok(step) => step,
            Err((pending, _, Unasked::Refused(diagnosis))) => {
                self.refuse_or_preempt(pending, profile, diagnosis, now)
            }
            Err((pending, _, Unasked::Wrong(why))) => self.fail(pending, why, now),
        }
    }

    /// Has extenders asked about the nodes where a pod fits, perhaps as one of a group.
    ///
    /// # Errors
    /// Both back, and why it is of no use.
    #[allow(clippy::type_complexity, reason = "what was given comes back")]
    pub(crate) fn ask_for(
        &mut self,
        pending: Box<Pending>,
        profile: &Profile,
        gang: Option<Box<Ganging>>,
    ) -> Result<Step, (Box<Pending>, Option<Box<Ganging>>, Unasked)> {
        let pod = pending.pod.clone();
        if let Some(diagnosis) = Diagnosis::refusal(&pod, &self.cluster, profile) {
            return Err((pending, gang, Unasked::Refused(diagnosis)));
        }
        self.wrong_claims(&pod);
        let spread = self.selectors.spread(profile, &pod.template);
        let ranking = self.rankings.of(&mut self.cluster, profile, &pod, spread);
        let (nodes, diagnosis) = ranking.all(&self.cluster, profile, &pod);
        if let Some(why) = self.wrong_claims(&pod) {
            return Err((pending, gang, Unasked::Wrong(why)));
        }
        if nodes.is_empty() {
            return Err((pending, gang, Unasked::Refused(diagnosis)));
        }
        let named = |(index, score): (usize, i64)| (self.cluster.node(index).name.clone(), score);
        let scores: BTreeMap<Arc<str>, i64> = nodes.into_iter().map(named).collect();
        let (nodes, victims, leaving) = (scores.keys().cloned().collect(), BTreeMap::new(), Vec::new());
        let question = Question { pod, nodes, victims, leaving };
        let candidates = Vec::new();
        self.asking = Some(Asking { pending, scores, diagnosis, candidates, gone: false, gang });
        Ok(Step::Ask(question))
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
                let (diagnosis, scores) = (Diagnosis { rejected, ..diagnosis }, BTreeMap::new());
                self.asking =
                    Some(Asking { pending, scores, diagnosis, candidates, gone: false, gang: None });
                Step::Ask(question)
            }
            outcome => self.refuse(pending, &diagnosis, outcome, rejected, now),
        }
    }

    /// Extenders have been asked.
    pub fn answered(&mut self, key: &ObjectKey, answer: Answer, now: Instant) {
        let Some(mut asking) = self.asking.take_if(|one| one.pending.pod.key == *key) else { return };
        let profile = self.profile(&asking.pending.pod.scheduler);
        if let Some(gang) = asking.gang.take() {
            let step = self.answered_together(gang, asking, answer, profile.as_deref(), now);
            self.steps.extend(step);
            return;
        }
        let Some(profile) = profile.filter(|_| !asking.gone) else { return };
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
        let Asking { pending, scores, diagnosis, .. } = asking;
        match self.left(&pending.pod, (scores, diagnosis), nodes, failed, profile) {
            Left::One(index) => self.place(pending, index, now),
            Left::None(diagnosis) => self.refuse_or_preempt(pending, profile, diagnosis, now),
            Left::Changed => self.fail(pending, CHANGED.into(), now),
        }
    }

    /// The best node that extenders left.
    fn left(
        &mut self,
        pod: &Pod,
        (scores, mut diagnosis): (BTreeMap<Arc<str>, i64>, Diagnosis),
        nodes: Vec<(Arc<str>, i64)>,
        failed: BTreeMap<Arc<str>, (String, bool)>,
        profile: &Profile,
    ) -> Left {
        let total = |(name, more): &(Arc<str>, i64)| scores.get(name).copied().unwrap_or_default() + more;
        let highest = nodes.iter().map(total).max();
        let best: Vec<&Arc<str>> =
            nodes.iter().filter(|one| Some(total(one)) == highest).map(|(name, _)| name).collect();
        if best.is_empty() {
            for (why, resolvable) in failed.into_values() {
                *diagnosis.reasons.entry(why.into()).or_default() += 1;
                diagnosis.resolvable += usize::from(resolvable);
            }
            return Left::None(diagnosis);
        }
        let lot = usize::try_from(draw(&mut self.random) % best.len() as u64).unwrap_or_default();
        let Some(index) = self.cluster.find(best[lot]) else { return Left::Changed };
        let spread = self.selectors.spread(profile, &pod.template);
        let mut only = Ranking::new(&mut self.cluster, profile, pod, spread, Some(vec![index]));
        match only.choose(&self.cluster, profile, pod, &mut || 0) {
            Placement::Node(index) => Left::One(index),
            Placement::None(_) => Left::Changed,
        }
    }

    /// Extenders have been asked about one of a group: it goes on with the next.
    fn answered_together(
        &mut self,
        mut gang: Box<Ganging>,
        asking: Asking,
        answer: Answer,
        profile: Option<&Profile>,
        now: Instant,
    ) -> Option<Step> {
        let Asking { pending, scores, diagnosis, gone, .. } = asking;
        let Some(profile) = profile.filter(|_| !gone) else { return self.go_on(gang, now) };
        let refused = |why: String| Diagnosis { nodes: 1, refused: Some(why.into()), ..Diagnosis::default() };
        let left = match answer.error {
            Some(why) => Left::None(refused(why)),
            None => self.left(&pending.pod, (scores, diagnosis), answer.nodes, answer.failed, profile),
        };
        match left {
            Left::One(index) => gang.bind(self.place(pending, index, now)),
            Left::None(diagnosis) => self.push_or_refuse(&mut gang, pending, profile, Box::new(diagnosis)),
            Left::Changed => gang.refuse(pending, Box::new(refused(CHANGED.into()))),
        }
        self.go_on(gang, now)
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
