//! Which pods make room for a critical one.
//!
//! Invariant: pure; nobody goes who does not matter less, and nobody if all of them together would not be enough.
//! Answers to `pkg/kubelet/preemption`.

use std::collections::BTreeMap;

use crate::admission::{Taken, unit};
use crate::pod::qos::Class;

/// A pod of this priority, or more, is critical.
pub const CRITICAL: i32 = 2_000_000_000;

/// What lacks, by resource.
pub type Shortage = BTreeMap<String, i64>;

/// A pod that may go.
pub struct Candidate<'a> {
    /// Its UID.
    pub uid: &'a str,
    /// What it takes.
    pub taken: &'a Taken,
    /// Its class: the best effort goes first.
    pub class: Class,
}

impl Candidate<'_> {
    fn gives(&self, name: &str) -> i64 {
        if name == "pods" { 1 } else { self.taken.asked.get(name).map_or(0, |amount| unit(name, amount)) }
    }

    /// How far from what lacks it is what it gives: squares of the parts that still lack, in thousandths.
    fn distance(&self, short: &Shortage) -> i128 {
        let part = |(name, lack): (&String, &i64)| {
            let rest = i128::from((*lack - self.gives(name)).max(0));
            let part = rest * 1000 / i128::from((*lack).max(1));
            part * part
        };
        short.iter().map(part).sum()
    }
}

fn less(short: &Shortage, all: &[&Candidate<'_>]) -> Shortage {
    let rest = |(name, lack): (&String, &i64)| {
        let given: i64 = all.iter().map(|one| one.gives(name)).fold(0, i64::saturating_add);
        let rest = lack.saturating_sub(given);
        (rest > 0).then(|| (name.clone(), rest))
    };
    short.iter().filter_map(rest).collect()
}

/// Those that give what lacks, the nearest to it first.
fn nearest<'a>(mut from: Vec<&'a Candidate<'a>>, short: &Shortage) -> Vec<&'a Candidate<'a>> {
    let mut chosen = Vec::new();
    let mut short = short.clone();
    while !short.is_empty() {
        // Of two that are as near, the one that gives up less.
        let best = from.iter().enumerate().min_by_key(|(_, one)| {
            let given: i128 = short.keys().map(|name| i128::from(one.gives(name))).sum();
            (one.distance(&short), given)
        });
        let Some((index, _)) = best else { break };
        let one = from.swap_remove(index);
        short = less(&short, &[one]);
        chosen.push(one);
    }
    chosen
}

/// The pods that go; none if all of them would not be enough.
pub fn victims(short: &Shortage, candidates: &[Candidate<'_>]) -> Option<Vec<String>> {
    let of = |class: Class| candidates.iter().filter(|one| one.class == class).collect::<Vec<_>>();
    let (effort, burstable, guaranteed) =
        (of(Class::BestEffort), of(Class::Burstable), of(Class::Guaranteed));
    if !less(short, &candidates.iter().collect::<Vec<_>>()).is_empty() {
        return None;
    }
    // As few as can be of those that asked for what they have.
    let lesser: Vec<&Candidate<'_>> = effort.iter().chain(&burstable).copied().collect();
    let third = nearest(guaranteed, &less(short, &lesser));
    let others: Vec<&Candidate<'_>> = effort.iter().chain(&third).copied().collect();
    let second = nearest(burstable, &less(short, &others));
    let others: Vec<&Candidate<'_>> = second.iter().chain(&third).copied().collect();
    let first = nearest(effort, &less(short, &others));
    Some(first.into_iter().chain(second).chain(third).map(|one| one.uid.to_owned()).collect())
}
