//! Decides on the pods of a group together: as many as must start get their places, or none does.
//!
//! Invariant: of a group too few of which have places, none is left assumed on a node, and nobody leaves for it. Answers to
//! the pod group cycle of upstream's scheduler.

use crate::cluster::Placed;
use crate::placement::{Diagnosis, Placement};
use crate::plugins::Set;
use crate::pod::Pod;
use crate::preemption::{self, Candidate, Outcome};
use crate::profile::Profile;
use crate::queue::Pending;
use crate::scheduler::{Nominate, Report, Scheduler, Step};
use gifee_base::ObjectKey;
use std::sync::Arc;
use tokio::time::Instant;

const UNSCHEDULABLE: &str = "pod group is unschedulable";
const WAITS: &str = "pod group is unschedulable, pod group is waiting for preemption to complete";

/// What became of a group, for its condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// The group.
    pub key: ObjectKey,
    /// Whether as many as must start have places.
    pub scheduled: bool,
    /// For a person.
    pub message: String,
    /// `metadata.generation` of the group.
    pub generation: i64,
    /// Whether that is another state than the group's last one.
    pub turns: bool,
}

/// A pod that others leave for.
struct Pushing {
    pending: Box<Pending>,
    diagnosis: Box<Diagnosis>,
    rejected: Set,
    candidate: Candidate,
    /// Those that were taken out to see whether the others of the group fit as well.
    gone: Vec<(ObjectKey, Placed)>,
}

/// A pod that has no place, why, and whether others could leave for it.
type Refused = (Box<Pending>, Box<Diagnosis>, Option<Outcome>, Set);

/// How far a group has come.
#[derive(Default)]
struct Together {
    binds: Vec<Step>,
    pushing: Vec<Pushing>,
    refused: Vec<Refused>,
    /// Pods that were not decided on, because it would have been of no use.
    #[allow(clippy::vec_box, reason = "they come boxed and go on boxed")]
    left: Vec<Box<Pending>>,
}

impl Scheduler {
    /// Whether a pod is one of several that must start together, and of which group.
    pub(crate) fn gang_of(&self, pending: &Pending) -> Option<(ObjectKey, usize)> {
        let group = pending.pod.template.group_key()?;
        let least = self.cluster.groups.least(&group).filter(|least| *least > 1)?;
        self.cluster.groups.is_complete(&group).then_some((group, least))
    }

    /// Decides on all of a group that wait; the first effect to carry out.
    pub(crate) fn decide_together(
        &mut self,
        first: Box<Pending>,
        (group, least): (ObjectKey, usize),
        now: Instant,
    ) -> Option<Step> {
        let keys: Vec<ObjectKey> = self.cluster.groups.members(&group).cloned().collect();
        let before = keys.iter().filter(|key| self.cluster.placed(key).is_some()).count();
        let mut waiting = vec![first];
        waiting.extend(keys.iter().filter_map(|key| self.queue.take_ungated(key)));
        waiting.sort_by_key(|one| (std::cmp::Reverse(one.pod.template.priority), one.number()));
        let mut together = Together::default();
        let mut rest = waiting.into_iter();
        while let Some(pending) = rest.next() {
            let Some(profile) = self.profile(&pending.pod.scheduler) else { continue };
            self.decide_one(&mut together, pending, &profile, now);
            let placed = before + together.binds.len() + together.pushing.len();
            if placed + rest.len() < least {
                break;
            }
        }
        together.left.extend(rest);
        let placed = before + together.binds.len() + together.pushing.len();
        if placed < least {
            let remaining = together.left.len();
            let why = format!(
                "{UNSCHEDULABLE}, minCount ({least}) cannot be satisfied: {placed} scheduled, {remaining} remaining"
            );
            self.give_up(together, &why, now);
            self.tell_group(&group, false, why);
        } else if together.pushing.is_empty() {
            self.steps.extend(together.binds);
            for (pending, diagnosis, outcome, rejected) in together.refused {
                let step = self.refuse(pending, &diagnosis, outcome, rejected, now);
                self.steps.push_back(step);
            }
            self.tell_group(&group, true, String::new());
        } else {
            self.wait_together(together, now);
            self.tell_group(&group, false, WAITS.into());
        }
        self.steps.pop_front()
    }

    fn decide_one(
        &mut self,
        together: &mut Together,
        pending: Box<Pending>,
        profile: &Profile,
        now: Instant,
    ) {
        let diagnosis = match self.decide(profile, &pending.pod) {
            Placement::Node(index) => return together.binds.push(self.place(pending, index, now)),
            Placement::None(diagnosis) => diagnosis,
        };
        if let Some(why) = self.wrong_claims(&pending.pod) {
            let rejected = diagnosis.rejected;
            let diagnosis = Box::new(Diagnosis { refused: Some(why.into()), ..*diagnosis });
            return together.refused.push((pending, diagnosis, None, rejected));
        }
        let (outcome, rejected) = self.preempt(profile, &pending.pod, &diagnosis);
        let candidate = match outcome {
            Some(Outcome::Found(candidate)) => Some(candidate),
            // Extenders are not asked about groups.
            Some(Outcome::Several(all)) => preemption::best(all),
            outcome => return together.refused.push((pending, diagnosis, outcome, rejected)),
        };
        let Some(candidate) = candidate else {
            return together.refused.push((pending, diagnosis, None, rejected));
        };
        let victims = candidate.victims.iter();
        let gone = victims.filter_map(|(key, _)| Some((key.clone(), self.cluster.remove(key)?))).collect();
        let node = self.cluster.node(candidate.node).name.clone();
        self.cluster.place(&pending.pod, &node, false);
        together.pushing.push(Pushing { pending, diagnosis, rejected, candidate, gone });
    }

    /// Undoes what was tried out: pods lose their places, and those that would have left are back.
    fn undo(&mut self, together: &mut Together) -> Vec<(Box<Pending>, Arc<str>)> {
        for one in together.pushing.iter_mut().rev() {
            self.cluster.remove(&one.pending.pod.key);
            for (key, placed) in one.gone.drain(..) {
                self.cluster.restore(&key, placed);
            }
        }
        let binds = std::mem::take(&mut together.binds).into_iter();
        let bound =
            binds.filter_map(|step| if let Step::Bind(binding) = step { Some(binding) } else { None });
        bound.filter_map(|one| Some((self.take_back(&one.pod)?, one.node))).collect()
    }

    /// Too few have places: none gets one.
    fn give_up(&mut self, mut together: Together, why: &str, now: Instant) {
        let placed = self.undo(&mut together);
        let all = together.refused.iter().fold(Set::default(), |all, one| all.with(one.3));
        for (pending, diagnosis, outcome, rejected) in together.refused {
            let step = self.refuse(pending, &diagnosis, outcome, rejected, now);
            self.steps.push_back(step);
        }
        let pushing = together.pushing.into_iter().map(|one| one.pending);
        for pending in placed.into_iter().map(|(pending, _)| pending).chain(pushing).chain(together.left) {
            self.say(pending, why.to_owned(), all, None, now);
        }
    }

    /// As many as must start have places once others have left: these are told to, and the places are kept.
    fn wait_together(&mut self, mut together: Together, now: Instant) {
        let placed = self.undo(&mut together);
        let all = together.pushing.iter().fold(Set::default(), |all, one| all.with(one.rejected));
        for one in together.pushing {
            let found = Some(Outcome::Found(one.candidate));
            let step = self.refuse(one.pending, &one.diagnosis, found, one.rejected, now);
            self.steps.push_back(step);
        }
        for (pending, node) in placed {
            self.say(pending, WAITS.into(), all, Some(node), now);
        }
        for (pending, diagnosis, outcome, rejected) in together.refused {
            let step = self.refuse(pending, &diagnosis, outcome, rejected, now);
            self.steps.push_back(step);
        }
        for pending in together.left {
            self.say(pending, WAITS.into(), all, None, now);
        }
    }

    /// Puts a pod back and says why, in the group's words.
    fn say(
        &mut self,
        mut pending: Box<Pending>,
        message: String,
        rejected: Set,
        node: Option<Arc<str>>,
        now: Instant,
    ) {
        let mut nominate = Nominate::Keep;
        if let Some(node) = node {
            self.nominate_for(&pending.pod, &node);
            pending.pod.nominated = Some(node.clone());
            nominate = Nominate::Node(node);
        }
        let pod: Pod = pending.pod.clone();
        self.queue.unschedulable(pending, rejected, now);
        self.steps.push_back(Step::Report(Report {
            pod,
            reason: "Unschedulable",
            message,
            nominate,
            advice: None,
        }));
    }

    /// Has a group's condition written, unless it says so already or has been scheduled once.
    fn tell_group(&mut self, key: &ObjectKey, scheduled: bool, message: String) {
        let Some(known) = self.cluster.groups.get(key) else { return };
        let said = known.condition.as_ref();
        let was = said.is_some_and(|one| one.scheduled);
        let same = said.is_some_and(|one| {
            one.scheduled == scheduled && one.message == message && one.observed == known.generation
        });
        if same || (was && !scheduled) {
            return;
        }
        let turns = said.is_none_or(|one| one.scheduled != scheduled);
        let generation = known.generation;
        self.steps.push_back(Step::Group(GroupReport {
            key: key.clone(),
            scheduled,
            message,
            generation,
            turns,
        }));
    }
}
