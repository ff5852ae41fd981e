//! Decides on the pods of a group together: as many as must start get their places, or none does.
//!
//! Invariant: of a group too few of which have places, none is left assumed on a node, and nobody leaves for it. Answers to
//! the pod group cycle of upstream's scheduler.

use crate::cluster::Placed;
use crate::extended::Unasked;
use crate::placement::{Diagnosis, Placement};
use crate::plugins::Set;
use crate::pod::Pod;
use crate::preemption::{self, Candidate, Outcome};
use crate::profile::Profile;
use crate::queue::Pending;
use crate::scheduler::{Nominate, Report, Scheduler, Step};
use gifee_base::ObjectKey;
use std::collections::VecDeque;
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

/// A group that is being decided on, pod by pod.
#[derive(Debug)]
pub struct Ganging {
    group: ObjectKey,
    least: usize,
    /// How many of it had places before.
    before: usize,
    together: Together,
    /// Those that are yet to be decided on.
    rest: VecDeque<Box<Pending>>,
}

impl Ganging {
    /// One of it has its place.
    pub(crate) fn bind(&mut self, step: Step) {
        self.together.binds.push(step);
    }

    /// One of it has no place, and nobody can leave for it.
    pub(crate) fn refuse(&mut self, pending: Box<Pending>, diagnosis: Box<Diagnosis>) {
        self.together.refused.push((pending, diagnosis, None, Set::default()));
    }

    fn placed(&self) -> usize {
        self.before + self.together.binds.len() + self.together.pushing.len()
    }

    /// Whether as many as must start can yet have places; one is tried in any case, to say why not.
    fn has_hope(&self) -> bool {
        let Together { binds, pushing, refused, .. } = &self.together;
        let begins = binds.is_empty() && pushing.is_empty() && refused.is_empty();
        begins || self.placed() + self.rest.len() >= self.least
    }

    /// Those of it that are neither in the queue nor assumed on a node.
    fn held(&mut self) -> impl Iterator<Item = &mut Box<Pending>> {
        let together = &mut self.together;
        let refused = together.refused.iter_mut().map(|one| &mut one.0);
        let pushing = together.pushing.iter_mut().map(|one| &mut one.pending);
        self.rest.iter_mut().chain(refused).chain(pushing).chain(&mut together.left)
    }

    /// Takes in a newer state of one of it; whether it is one.
    pub(crate) fn renew(&mut self, pod: &Pod) -> bool {
        let own = self.held().find(|one| one.pod.key == pod.key);
        own.map(|one| one.pod = pod.clone()).is_some()
    }

    /// A pod is gone, or has a node: it is none of it any more, and does not come back if it was to leave. Those come
    /// back that were to leave for it.
    fn forget(&mut self, key: &ObjectKey) -> Vec<(ObjectKey, Placed)> {
        let together = &mut self.together;
        self.rest.retain(|one| one.pod.key != *key);
        together.refused.retain(|one| one.0.pod.key != *key);
        together.left.retain(|one| one.pod.key != *key);
        together.binds.retain(|one| !matches!(one, Step::Bind(binding) if binding.pod.key == *key));
        let mut back = Vec::new();
        together.pushing.retain_mut(|one| {
            one.gone.retain(|(other, _)| other != key);
            let own = one.pending.pod.key == *key;
            if own {
                back.append(&mut one.gone);
            }
            !own
        });
        back
    }
}

/// A pod that others leave for.
#[derive(Debug)]
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
#[derive(Debug, Default)]
struct Together {
    binds: Vec<Step>,
    pushing: Vec<Pushing>,
    refused: Vec<Refused>,
    /// Pods that were not decided on, because it would have been of no use.
    #[allow(clippy::vec_box, reason = "they come boxed and go on boxed")]
    left: Vec<Box<Pending>>,
}

impl Scheduler {
    /// A pod is gone, or has a node, while extenders are asked about a group.
    pub(crate) fn forget_in_gang(&mut self, key: &ObjectKey) {
        let gang = self.asking.as_mut().and_then(|one| one.gang.as_mut());
        for (key, placed) in gang.map(|gang| gang.forget(key)).unwrap_or_default() {
            if self.cluster.placed(&key).is_none() {
                self.cluster.restore(&key, placed);
            }
        }
    }

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
        let (together, rest) = (Together::default(), waiting.into());
        self.go_on(Box::new(Ganging { group, least, before, together, rest }), now)
    }

    /// Decides on those of a group that are left, or has extenders asked about one of them; the first effect.
    pub(crate) fn go_on(&mut self, mut gang: Box<Ganging>, now: Instant) -> Option<Step> {
        while gang.has_hope()
            && let Some(pending) = gang.rest.pop_front()
        {
            let Some(profile) = self.profile(&pending.pod.scheduler) else { continue };
            if !self.is_extended(&pending) {
                self.decide_one(&mut gang, pending, &profile, now);
                continue;
            }
            match self.ask_for(pending, &profile, Some(gang)) {
                Ok(step) => return Some(step),
                Err((pending, back, why)) => {
                    gang = back?;
                    match why {
                        Unasked::Refused(diagnosis) => {
                            self.push_or_refuse(&mut gang, pending, &profile, Box::new(diagnosis));
                        }
                        Unasked::Wrong(why) => {
                            let refused = Some(why.into());
                            gang.refuse(
                                pending,
                                Box::new(Diagnosis { nodes: 1, refused, ..Diagnosis::default() }),
                            );
                        }
                    }
                }
            }
        }
        let placed = gang.placed();
        let Ganging { group, least, mut together, rest, .. } = *gang;
        together.left.extend(rest);
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

    fn decide_one(&mut self, gang: &mut Ganging, pending: Box<Pending>, profile: &Profile, now: Instant) {
        let diagnosis = match self.decide(profile, &pending.pod) {
            Placement::Node(index) => return gang.bind(self.place(pending, index, now)),
            Placement::None(diagnosis) => diagnosis,
        };
        if let Some(why) = self.wrong_claims(&pending.pod) {
            let rejected = diagnosis.rejected;
            let diagnosis = Box::new(Diagnosis { refused: Some(why.into()), ..*diagnosis });
            return gang.together.refused.push((pending, diagnosis, None, rejected));
        }
        self.push_or_refuse(gang, pending, profile, diagnosis);
    }

    /// Of one of a group without a place: others leave for it if that helps.
    pub(crate) fn push_or_refuse(
        &mut self,
        gang: &mut Ganging,
        pending: Box<Pending>,
        profile: &Profile,
        diagnosis: Box<Diagnosis>,
    ) {
        let together = &mut gang.together;
        let (outcome, rejected) = self.preempt(profile, &pending.pod, &diagnosis);
        let candidate = match outcome {
            Some(Outcome::Found(candidate)) => Some(candidate),
            // Of victims extenders are not asked for groups.
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
                // What came meanwhile counts.
                if self.cluster.placed(&key).is_none() {
                    self.cluster.restore(&key, placed);
                }
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
