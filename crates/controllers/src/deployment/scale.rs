//! How many replicas each replica set should have. Pure; works on drafts.
//!
//! Invariants of a rolling update: the replicas of all sets together are never raised above the wanted
//! number plus surge, and old ones are never lowered so far that, were every pod not known to be available
//! to fail, less than the wanted number minus unavailable would be left.

use super::revision::{self, DESIRED, MAXIMUM};
use super::view::{Set, SetStatus, Strategy, View};
use gifee_reconcile::rollout::{Group, Room, grow, pick};
use std::collections::BTreeMap;

/// A replica set as it should become.
pub struct Draft<'a> {
    /// As it is.
    pub set: &'a Set,
    /// Wanted `spec.replicas`.
    pub replicas: i32,
    /// Wanted annotations.
    pub annotations: BTreeMap<String, String>,
    /// Wanted `spec.minReadySeconds`.
    pub minimum_ready_seconds: i32,
}

impl<'a> Draft<'a> {
    /// Unchanged.
    pub fn of(set: &'a Set) -> Self {
        Self {
            set,
            replicas: set.replicas,
            annotations: set.annotations.clone(),
            minimum_ready_seconds: set.minimum_ready_seconds,
        }
    }

    fn status(&self) -> &SetStatus {
        &self.set.status
    }

    fn scale(&mut self, view: &View, replicas: i32) -> bool {
        if self.replicas == replicas {
            return false;
        }
        self.replicas = replicas;
        revision::note_scale(view, &mut self.annotations);
        true
    }
}

/// The drafts of one deployment.
pub struct Drafts<'a> {
    /// The set of the present template.
    pub new: Option<Draft<'a>>,
    /// All others, oldest first.
    pub old: Vec<Draft<'a>>,
}

impl Drafts<'_> {
    /// Replicas of all sets.
    pub fn total(&self) -> i32 {
        self.new.iter().chain(&self.old).map(|draft| draft.replicas).sum()
    }
}

/// Whether the number of wanted replicas changed since the sets were last scaled.
pub fn changed(view: &View, drafts: &Drafts<'_>) -> bool {
    drafts.new.iter().chain(&drafts.old).filter(|draft| draft.replicas > 0).any(|draft| {
        revision::number(&draft.annotations, DESIRED).is_some_and(|desired| desired != view.replicas)
    })
}

/// How many replicas the new set should have next in a rollout.
pub fn new_replicas(view: &View, total: i32, present: i32) -> i32 {
    match view.strategy {
        Strategy::Recreate => view.replicas,
        Strategy::RollingUpdate(_) => grow(view.replicas, view.maximum_pods(), total, present),
    }
}

/// One step of a rolling update: the new set up, or else old ones down.
pub fn roll(view: &View, drafts: &mut Drafts<'_>) {
    let total = drafts.total();
    if let Some(new) = &mut drafts.new {
        let wanted = if new.replicas > view.replicas {
            view.replicas
        } else {
            new_replicas(view, total, new.replicas)
        };
        if new.scale(view, wanted) {
            return;
        }
    }
    old_down(view, drafts);
}

fn old_down(view: &View, drafts: &mut Drafts<'_>) {
    // A set that has not yet seen its last scaling still counts pods that it is about to delete.
    let stale = |draft: &Draft<'_>| draft.status().observed_generation < draft.set.object.generation();
    if drafts.new.iter().chain(&drafts.old).any(stale) {
        return;
    }
    let total = drafts.total();
    let new_unavailable = drafts.new.as_ref().map_or(0, |new| new.replicas - new.status().available);
    let minimum = view.minimum_available();
    let room = total - minimum - new_unavailable;
    let available: i32 = drafts.new.iter().chain(&drafts.old).map(|draft| draft.status().available).sum();
    // What does not work anyway goes first, so that a broken old version cannot block a rollout.
    let group = |draft: &Draft<'_>| Group {
        size: draft.replicas,
        available: draft.status().available.min(draft.replicas),
    };
    let groups: Vec<Group> = drafts.old.iter().map(group).collect();
    let taken = pick(&groups, Room { total: room, available: available - minimum });
    for (draft, taken) in drafts.old.iter_mut().zip(taken) {
        let replicas = draft.replicas - taken;
        draft.scale(view, replicas);
    }
}

/// All old sets to nothing; whether any was not.
pub fn drain(view: &View, drafts: &mut Drafts<'_>) -> bool {
    let mut any = false;
    for draft in &mut drafts.old {
        any |= draft.scale(view, 0);
    }
    any
}

/// The new set to the wanted number.
pub fn fill(view: &View, drafts: &mut Drafts<'_>) {
    if let Some(new) = &mut drafts.new {
        new.scale(view, view.replicas);
    }
}

/// Follows a change of the wanted number outside of a rollout, or in the middle of one.
pub fn resize(view: &View, drafts: &mut Drafts<'_>) {
    let active = drafts.new.iter().chain(&drafts.old).filter(|draft| draft.replicas > 0).count();
    if active <= 1 {
        if let Some(only) = active_or_latest(drafts) {
            only.scale(view, view.replicas);
            revision::note_scale(view, &mut only.annotations);
        }
        return;
    }
    if let Some(new) = &drafts.new {
        let desired = revision::number(&new.annotations, DESIRED);
        let saturated = new.replicas == view.replicas
            && desired == Some(view.replicas)
            && new.status().available == view.replicas;
        if saturated {
            drain(view, drafts);
            return;
        }
    }
    if let Strategy::RollingUpdate(_) = view.strategy {
        proportional(view, drafts);
    }
}

fn active_or_latest<'d, 'a>(drafts: &'d mut Drafts<'a>) -> Option<&'d mut Draft<'a>> {
    let Drafts { new, old } = drafts;
    if let Some(at) = old.iter().position(|draft| draft.replicas > 0) {
        return old.get_mut(at);
    }
    new.as_mut().or_else(|| old.last_mut())
}

/// Gives every active set its share of what is to be added or taken away, so that the risk of a rollout
/// under way stays the same.
fn proportional(view: &View, drafts: &mut Drafts<'_>) {
    let total = drafts.total();
    let allowed = if view.replicas > 0 { view.maximum_pods() } else { 0 };
    let to_add = allowed - total;
    let status_replicas = i32::try_from(view.status["replicas"].as_i64().unwrap_or_default()).unwrap_or(0);
    let mut active: Vec<&mut Draft<'_>> =
        drafts.new.iter_mut().chain(&mut drafts.old).filter(|draft| draft.replicas > 0).collect();
    // The largest first; among equals the newest if there is more to be had, else the oldest.
    active.sort_by(|a, b| {
        let by_age = a.set.created.cmp(&b.set.created);
        let by_age = if to_add > 0 { by_age.reverse() } else { by_age };
        b.replicas.cmp(&a.replicas).then(by_age)
    });
    let mut added = 0;
    let mut sizes = Vec::with_capacity(active.len());
    for draft in &active {
        let left = to_add - added;
        let share = if to_add == 0 || left == 0 { 0 } else { fraction(view, draft, status_replicas) };
        let share = if to_add > 0 { share.min(left) } else { share.max(left) };
        added += share;
        sizes.push(draft.replicas + share);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (draft, size) in active.into_iter().zip(sizes) {
        draft.scale(view, size);
        revision::note_scale(view, &mut draft.annotations);
    }
}

fn fraction(view: &View, draft: &Draft<'_>, status_replicas: i32) -> i32 {
    if view.replicas == 0 {
        return -draft.replicas;
    }
    let before = revision::number(&draft.annotations, MAXIMUM).filter(|maximum| *maximum > 0);
    let before = before.unwrap_or(status_replicas);
    if before == 0 {
        return 0;
    }
    let size = f64::from(draft.replicas) * f64::from(view.maximum_pods()) / f64::from(before);
    size.round() as i32 - draft.replicas
}
