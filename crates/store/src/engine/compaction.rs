//! What the writer knows of history: which records become garbage when which revision is compacted, and when
//! that is due.
//!
//! Invariant: compacting to a revision makes garbage of exactly the records that no range at or after it and
//! no watch after it can see: those replaced at or before it, and deletions at or before it. Answers to
//! kube-apiserver's compactor and etcd's auto compaction.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::limits::{AGE_STEPS, Limits};
use crate::{Revision, record::View};

/// How long after a failure compaction is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// What one write will leave to be removed.
#[derive(Clone, Copy)]
struct Step {
    revision: Revision,
    /// The record that it replaced; 0 for none.
    previous: Revision,
    deletion: bool,
    bytes: u32,
}

pub(super) struct History {
    /// The writes since the compaction point, and those before it that are not yet cleared away.
    steps: VecDeque<Step>,
    bytes: usize,
    /// Points in time, and the last revision at each; the first is the oldest.
    marks: VecDeque<(Instant, Revision)>,
    compacted: Revision,
    /// Records that a compaction before the last restart left over.
    leftovers: Vec<Revision>,
    not_before: Option<Instant>,
    limits: Limits,
}

impl History {
    pub fn new(compacted: Revision, limits: Limits) -> Self {
        Self {
            steps: VecDeque::new(),
            bytes: 0,
            marks: VecDeque::new(),
            compacted,
            leftovers: Vec::new(),
            not_before: None,
            limits,
        }
    }

    pub fn note(&mut self, view: View<'_>) {
        let bytes = u32::try_from(view.size()).unwrap_or(u32::MAX);
        self.bytes += bytes as usize;
        let deletion = view.value.is_none();
        self.steps.push_back(Step { revision: view.revision, previous: view.previous, deletion, bytes });
    }

    /// Remembers that all writes so far were before `now`.
    pub fn mark(&mut self, now: Instant) {
        let Some(last) = self.steps.back() else { return };
        let granularity = self.limits.history_age / AGE_STEPS;
        let news = |(at, revision): &(Instant, Revision)| {
            last.revision > *revision && now.saturating_duration_since(*at) >= granularity
        };
        if last.revision > self.compacted && self.marks.back().is_none_or(news) {
            self.marks.push_back((now, last.revision));
        }
    }

    /// The revision to compact to by now, if any.
    pub fn due(&self, now: Instant) -> Option<Revision> {
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let mut due = None;
        if self.first_due().is_some_and(|at| at <= now) {
            let old = |at: Instant| at.checked_add(self.limits.history_age).is_some_and(|end| end <= now);
            due = self.marks.iter().take_while(|(at, _)| old(*at)).last().map(|(_, revision)| *revision);
        }
        if self.steps.len() > self.limits.history_events || self.bytes > self.limits.history_bytes {
            let quarter = self.steps.get(self.steps.len() / 4).map(|step| step.revision);
            due = due.max(quarter);
        }
        due.filter(|revision| *revision > self.compacted)
    }

    /// When the writer should wake up though nobody writes; `None`: not before the next write.
    pub fn deadline(&self) -> Option<Instant> {
        let next = if self.has_garbage() { Some(Instant::now()) } else { self.first_due() };
        next.map(|next| self.not_before.map_or(next, |not_before| next.max(not_before)))
    }

    fn first_due(&self) -> Option<Instant> {
        let (first, _) = self.marks.front()?;
        first.checked_add(self.limits.history_age + self.limits.history_age / AGE_STEPS)
    }

    /// The compaction point is now `revision`.
    pub fn compact(&mut self, revision: Revision) {
        self.compacted = revision;
        while self.marks.front().is_some_and(|(_, last)| *last <= revision) {
            self.marks.pop_front();
        }
    }

    pub fn compacted(&self) -> Revision {
        self.compacted
    }

    fn has_garbage(&self) -> bool {
        !self.leftovers.is_empty() || self.steps.front().is_some_and(|step| step.revision <= self.compacted)
    }

    /// Whether there is garbage to remove, and no failure only just now.
    pub fn may_clear(&self, now: Instant) -> bool {
        self.has_garbage() && self.not_before.is_none_or(|at| at <= now)
    }

    /// The next records to remove, about `limit` at most. A deletion comes with, or after, what it deleted:
    /// the other way round the object would be back after a crash in between.
    pub fn take_garbage(&mut self, limit: usize) -> Vec<Revision> {
        let mut garbage: Vec<_> = self.leftovers.drain(..self.leftovers.len().min(limit)).collect();
        while garbage.len() < limit
            && let Some(step) = self.steps.pop_front_if(|step| step.revision <= self.compacted)
        {
            self.bytes -= step.bytes as usize;
            if step.previous != 0 {
                garbage.push(step.previous);
            }
            if step.deletion {
                garbage.push(step.revision);
            }
        }
        if self.steps.capacity() > 4 * self.steps.len().max(1024) {
            self.steps.shrink_to(2 * self.steps.len());
        }
        garbage
    }

    /// These were found to be garbage already when the store was opened.
    pub fn put_leftovers(&mut self, leftovers: Vec<Revision>) {
        self.leftovers = leftovers;
    }

    /// Removing these failed; they are still to be removed, but not at once.
    pub fn put_back(&mut self, mut garbage: Vec<Revision>, now: Instant) {
        garbage.append(&mut self.leftovers);
        self.leftovers = garbage;
        self.failed(now);
    }

    /// A compaction failed; the next is not tried at once.
    pub fn failed(&mut self, now: Instant) {
        self.not_before = now.checked_add(RETRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(limits: Limits) -> History {
        History::new(0, limits)
    }

    fn write(history: &mut History, revision: Revision, previous: Revision, value: Option<&[u8]>) {
        history.note(View { revision, key: b"k", value, created: 1, previous });
    }

    #[test]
    fn garbage_is_what_was_replaced_and_what_was_deleted() {
        let mut history = history(Limits::default());
        write(&mut history, 2, 0, Some(b"a"));
        write(&mut history, 3, 2, Some(b"b"));
        write(&mut history, 4, 3, None);
        write(&mut history, 5, 0, Some(b"c"));
        write(&mut history, 6, 5, Some(b"d"));
        assert!(!history.has_garbage());
        history.compact(3);
        assert_eq!(history.take_garbage(100), [2]);
        history.compact(5);
        assert_eq!(history.take_garbage(1), [3, 4], "both or neither");
        assert_eq!(history.take_garbage(1), []);
        assert!(!history.has_garbage());
    }

    #[test]
    fn age_decides_between_one_and_one_point_two_times_the_limit() {
        let mut history = history(Limits { history_age: Duration::from_secs(100), ..Limits::default() });
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for seconds in 0..200 {
            write(&mut history, seconds + 2, 0, Some(b""));
            history.mark(at(seconds));
            if let Some(due) = history.due(at(seconds)) {
                assert!(due <= seconds - 100 + 2, "at {seconds} s revision {due} is too young");
                history.compact(due);
            }
            assert!(history.compacted() + 120 >= seconds, "at {seconds} s only {}", history.compacted());
        }
        assert!(history.compacted() > 0);
    }

    #[test]
    fn too_many_events_or_bytes_lose_the_oldest_quarter() {
        for limits in [
            Limits { history_events: 8, ..Limits::default() },
            Limits { history_bytes: 8 * 30, ..Limits::default() },
        ] {
            let mut history = history(limits);
            for revision in 2..10 {
                write(&mut history, revision, 0, Some(b"0123456789"));
            }
            assert_eq!(history.due(Instant::now()), None);
            write(&mut history, 10, 0, Some(b"0123456789"));
            assert_eq!(history.due(Instant::now()), Some(4));
        }
    }

    #[test]
    fn after_a_failure_there_is_a_pause() {
        let mut history = history(Limits { history_events: 1, ..Limits::default() });
        let now = Instant::now();
        write(&mut history, 2, 0, Some(b""));
        write(&mut history, 3, 2, Some(b""));
        assert!(history.due(now).is_some());
        history.failed(now);
        assert_eq!(history.due(now), None);
        assert!(history.due(now + RETRY).is_some());
    }
}
