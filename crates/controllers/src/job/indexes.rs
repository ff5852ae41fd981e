//! Sets of completion indexes, in the short form in which a Job's status and policy hold them: `1,3-5,7`.
//!
//! Invariant: ordered, apart from each other, and not touching.

use std::fmt;

/// A set of indexes, as first and last of each run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(u32, u32)>);

impl Indexes {
    /// Reads what is below a bound; what cannot be read is left out.
    pub fn parse(text: &str, completions: u32) -> Self {
        let runs = text.split(',').filter_map(|run| {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            Some((first.parse().ok()?, last.parse().ok()?))
        });
        let below = runs.filter(|(first, _)| *first < completions);
        Self::of(below.map(|(first, last): (u32, u32)| (first, last.min(completions - 1))).collect())
    }

    fn of(mut runs: Vec<(u32, u32)>) -> Self {
        runs.retain(|(first, last)| first <= last);
        runs.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(runs.len());
        for (first, last) in runs {
            match merged.last_mut() {
                Some(run) if first <= run.1.saturating_add(1) => run.1 = run.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// With more of them, in any order.
    #[must_use]
    pub fn with(&self, more: impl IntoIterator<Item = u32>) -> Self {
        let single = more.into_iter().map(|index| (index, index));
        Self::of(self.0.iter().copied().chain(single).collect())
    }

    /// All of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied().collect())
    }

    /// How many.
    pub fn total(&self) -> u32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one is among them.
    pub fn has(&self, index: u32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many are in both.
    pub fn shared(&self, other: &Self) -> u32 {
        let (mut left, mut right, mut shared) = (self.0.as_slice(), other.0.as_slice(), 0);
        while let ([a, rest @ ..], [b, others @ ..]) = (left, right) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            shared += (last + 1).saturating_sub(first);
            (left, right) = if a.1 < b.1 { (rest, right) } else { (left, others) };
        }
        shared
    }

    /// The first ones below a bound that are not among them.
    pub fn missing(&self, completions: u32, count: usize) -> Vec<u32> {
        let mut missing = Vec::new();
        let mut next = 0;
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            let left = count - missing.len();
            missing.extend((next..first.min(completions)).take(left));
            next = next.max(last.saturating_add(1));
        }
        missing
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (first, last)) in self.0.iter().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}
