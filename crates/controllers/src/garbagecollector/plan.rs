//! What becomes of an object, by what its owners turned out to be. Pure.

use super::graph::{Finalizer, Uid, View};
use gifee_client::Propagation;

/// What an owner turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is there and stays.
    Solid,
    /// It is not there.
    Absent,
    /// It is there, and waits for its dependents to go.
    Waiting,
}

/// What to do with an object.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    Nothing,
    /// Dependents must forget it, then its finalizer goes.
    Orphan(Vec<Uid>),
    /// Dependents that block it must be looked at.
    Wait(Vec<Uid>),
    /// Its finalizer goes, and with that most likely itself.
    Finish,
    /// It forgets these owners.
    Release(Vec<Uid>),
    /// It is deleted.
    Delete {
        /// What becomes of its own dependents.
        propagation: Propagation,
        /// First it stops blocking its owners: some of them seem to be its dependents as well.
        unblock: bool,
    },
}

/// Whether the plan depends on what the owners are.
pub fn judges_owners(view: &View) -> bool {
    !view.deleting && !view.owners.is_empty()
}

/// Plans for an object; the verdicts are about its owners, in their order.
pub fn plan(view: &View, verdicts: &[Verdict]) -> Plan {
    match (view.deleting, view.finalizer) {
        // On its way: when it is gone, its dependents are looked at.
        (true, Finalizer::None) => return Plan::Nothing,
        (true, Finalizer::Orphan) => return Plan::Orphan(view.dependents.clone()),
        (true, Finalizer::Foreground) if view.dependents.is_empty() => return Plan::Finish,
        (true, Finalizer::Foreground) => return Plan::Wait(view.dependents.clone()),
        (false, _) => {}
    }
    if view.owners.is_empty() {
        return Plan::Nothing;
    }
    let has = |verdict| verdicts.contains(&verdict);
    if has(Verdict::Solid) {
        let owners = view.owners.iter().zip(verdicts).filter(|(_, verdict)| **verdict != Verdict::Solid);
        let owners: Vec<Uid> = owners.map(|((claim, _), _)| claim.uid.clone()).collect();
        return if owners.is_empty() { Plan::Nothing } else { Plan::Release(owners) };
    }
    if has(Verdict::Waiting) && view.owns {
        return Plan::Delete { propagation: Propagation::Foreground, unblock: view.owns_waiting };
    }
    // A finalizer that is there already is somebody's wish.
    let propagation = match view.finalizer {
        Finalizer::None => Propagation::Background,
        Finalizer::Orphan => Propagation::Orphan,
        Finalizer::Foreground => Propagation::Foreground,
    };
    Plan::Delete { propagation, unblock: false }
}
