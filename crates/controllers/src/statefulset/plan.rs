//! One step of a StatefulSet from one view. Pure.
//!
//! Invariants: unless the set is parallel, a pod is created only while all before it are available, one is
//! scaled away only while all that stay are, and at most one thing is done at a time; an update takes away no
//! more pods than may be unavailable, and none below the partition.

use super::pod;
use super::status::{self, Counts};
use super::view::{Member, Strategy, View};
use gifee_base::Object;
use gifee_reconcile::rollout::{Group, Room, availability, pick};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The two revisions that pods may be of.
#[derive(Clone, Debug, Default)]
pub struct Revisions {
    /// Name of the one that the set is at.
    pub current: String,
    /// Its pod template.
    pub current_template: Value,
    /// Name of the one that it is to be at.
    pub update: String,
    /// How often a name was found taken.
    pub collisions: i64,
}

/// Something to do.
#[derive(Debug)]
pub enum Action {
    /// Creates a pod, after the claims that it misses.
    Create {
        /// The pod.
        pod: Value,
        /// Its claims.
        claims: Vec<Value>,
        /// A claim of it that is being deleted, because of which it cannot be created.
        going: Option<String>,
    },
    /// Creates claims that a pending pod misses.
    Claim {
        /// The pod.
        pod: Arc<Object>,
        /// Its claims.
        claims: Vec<Value>,
    },
    /// Gives a pod its identity back, after the claims that it misses.
    Repair {
        /// The pod.
        pod: Arc<Object>,
        /// Merge patch.
        patch: Value,
        /// Its claims.
        claims: Vec<Value>,
    },
    /// Changes the owners of a claim.
    Own {
        /// The claim.
        claim: Arc<Object>,
        /// Merge patch.
        patch: Value,
    },
    /// Deletes a pod.
    Delete(Arc<Object>),
}

/// What to do, in this order.
#[derive(Debug, Default)]
pub struct Plan {
    /// Pods to adopt.
    pub adopt: Vec<Arc<Object>>,
    /// Pods to release.
    pub release: Vec<Arc<Object>>,
    /// What is in one stage may be done at once; a stage comes after all before it have succeeded.
    pub stages: Vec<Vec<Action>>,
    /// What the status should be.
    pub status: Value,
    /// When a pod becomes available by mere time.
    pub again: Option<Duration>,
}

/// Plans one reconcile.
pub fn plan(view: &View, revisions: &Revisions, now: Timestamp) -> Plan {
    let mut counts = Counts::of(view, revisions, now);
    let ready = view.pods.iter().filter(|member| member.ready());
    let since = ready.filter_map(|member| member.brief.ready_since());
    let mut plan = Plan {
        adopt: view.claims.adopt.clone(),
        release: view.claims.release.clone(),
        again: availability::wake(since, view.minimum_ready_seconds, now),
        ..Plan::default()
    };
    if !view.set.deleting() {
        let step = Step::new(view, revisions, now);
        step.run(&mut plan.stages, &mut counts);
        plan.stages.retain(|stage| !stage.is_empty());
    }
    plan.status = status::status(view, revisions, counts);
    plan
}

struct Step<'a> {
    view: &'a View,
    revisions: &'a Revisions,
    now: Timestamp,
    /// Pods that are wanted, by ordinal.
    replicas: BTreeMap<i32, &'a Member>,
    /// Pods that are not, the last first.
    condemned: Vec<&'a Member>,
}

/// Whether an ordered set goes on to the next thing.
#[derive(PartialEq, Eq)]
enum Turn {
    Next,
    Wait,
}

impl<'a> Step<'a> {
    fn new(view: &'a View, revisions: &'a Revisions, now: Timestamp) -> Self {
        let (mut replicas, mut condemned) = (BTreeMap::new(), Vec::new());
        for member in &view.pods {
            if view.wants(member.ordinal) {
                replicas.insert(member.ordinal, member);
            } else {
                condemned.push(member);
            }
        }
        condemned.sort_by_key(|member| std::cmp::Reverse(member.ordinal));
        Self { view, revisions, now, replicas, condemned }
    }

    fn run(&self, stages: &mut Vec<Vec<Action>>, counts: &mut Counts) {
        let ordered = !self.view.parallel;
        let mut stage = Vec::new();
        let end = self.view.start.saturating_add(self.view.replicas);
        for ordinal in self.view.start..end {
            if self.replica(ordinal, &mut stage) == Turn::Wait && ordered {
                return stages.push(stage);
            }
        }
        stages.push(stage);
        let claims = self.condemned.iter().flat_map(|member| pod::own_claims(self.view, member));
        stages.push(claims.map(|(claim, patch)| Action::Own { claim, patch }).collect());
        let mut stage = Vec::new();
        for member in &self.condemned {
            if self.scale_away(member, &mut stage) == Turn::Wait && ordered {
                return stages.push(stage);
            }
        }
        stages.push(stage);
        if let Strategy::RollingUpdate { partition, unavailable } = self.view.strategy {
            stages.push(self.update(partition.unwrap_or_default(), unavailable, counts));
        }
    }

    /// What one ordinal needs.
    fn replica(&self, ordinal: i32, stage: &mut Vec<Action>) -> Turn {
        let view = self.view;
        let Some(member) = self.replicas.get(&ordinal) else {
            if !pod::stale(view, ordinal) {
                stage.push(self.create(ordinal));
            }
            return Turn::Wait;
        };
        if member.brief.terminal() {
            if !member.terminating() {
                stage.push(Action::Delete(member.brief.object.clone()));
            }
            return Turn::Wait;
        }
        let claims = || pod::missing_claims(view, ordinal);
        if member.brief.status.phase == "Pending" && !member.terminating() {
            let claims = claims();
            if !claims.is_empty() {
                stage.push(Action::Claim { pod: member.brief.object.clone(), claims });
            }
        }
        let serves = member.ready() && member.serves(view, self.now);
        if !view.parallel && !serves {
            return Turn::Wait;
        }
        let own = pod::own_claims(view, member);
        stage.extend(own.into_iter().map(|(claim, patch)| Action::Own { claim, patch }));
        if let Some(patch) = pod::repair(view, member) {
            stage.push(Action::Repair { pod: member.brief.object.clone(), patch, claims: claims() });
        }
        Turn::Next
    }

    /// A new pod: of the current revision below the partition, else of the next one.
    fn create(&self, ordinal: i32) -> Action {
        let (view, revisions) = (self.view, self.revisions);
        let current = |below: i64| i64::from(ordinal) < i64::from(view.start) + below;
        let old = match view.strategy {
            Strategy::OnDelete => false,
            Strategy::RollingUpdate { partition: Some(partition), .. } => current(partition.into()),
            Strategy::RollingUpdate { partition: None, .. } => {
                current(view.status()["currentReplicas"].as_i64().unwrap_or_default())
            }
        };
        let pod = if old {
            pod::new(view, ordinal, &revisions.current, &revisions.current_template)
        } else {
            pod::new(view, ordinal, &revisions.update, &view.tree["spec"]["template"])
        };
        let going = pod::present_claims(view, ordinal).find(|claim| claim.deleting());
        Action::Create {
            pod,
            claims: pod::missing_claims(view, ordinal),
            going: going.map(|claim| claim.name().to_owned()),
        }
    }

    fn scale_away(&self, member: &Member, stage: &mut Vec<Action>) -> Turn {
        if member.terminating() {
            return Turn::Wait;
        }
        let serves = member.ready() && member.serves(self.view, self.now);
        // Upstream waits even for what has ended, and so for ever if there are two of that.
        let wait = !serves && !member.brief.terminal() && !self.is_first_broken(member);
        if !self.view.parallel && wait {
            return Turn::Wait;
        }
        stage.push(Action::Delete(member.brief.object.clone()));
        Turn::Wait
    }

    /// A pod that is broken may be scaled away if none before it is.
    fn is_first_broken(&self, member: &Member) -> bool {
        let broken = |one: &&&Member| !one.serves(self.view, self.now);
        let first = self.replicas.values().find(broken);
        let first = first.or_else(|| self.condemned.iter().rev().find(broken));
        first.is_some_and(|first| first.ordinal == member.ordinal)
    }

    /// The pods that make way for the next revision.
    fn update(&self, partition: i32, unavailable: i32, counts: &mut Counts) -> Vec<Action> {
        let first = i64::from(self.view.start) + i64::from(partition);
        let wanted = usize::try_from(self.view.replicas).unwrap_or_default();
        let serving = self.replicas.values().filter(|member| member.serves(self.view, self.now)).count();
        let missing = i32::try_from(wanted.saturating_sub(serving)).unwrap_or(i32::MAX);
        let old: Vec<&Member> = self
            .replicas
            .values()
            .rev()
            .filter(|member| i64::from(member.ordinal) >= first)
            .filter(|member| member.revision() != self.revisions.update && !member.terminating())
            .copied()
            .collect();
        let groups: Vec<Group> =
            old.iter().map(|member| Group::one(member.available(self.view, self.now))).collect();
        let room = Room { total: i32::MAX, available: unavailable - missing };
        let picked = old.iter().zip(pick(&groups, room)).filter(|(_, taken)| *taken > 0);
        picked
            .filter(|(member, _)| !member.brief.terminal())
            .map(|(member, _)| {
                counts.without(member, self.revisions);
                Action::Delete(member.brief.object.clone())
            })
            .collect()
    }
}
