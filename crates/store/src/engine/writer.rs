//! The one writer: takes what waits, decides it, commits it as a group, publishes it, answers.
//!
//! Invariant: decide, commit, publish, answer, in this order. So what anyone sees is durable, and an answer
//! is only given when everyone can see what it says.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;

use super::{
    compaction::History,
    limits::{COMMIT_BYTES, COMMIT_WRITES, COMPACTION_RECORDS, COMPACTION_TURN},
    queue::{Command, Queue, Reply, Waiting},
    state::{Held, Shared, State},
};
use crate::{
    Entry, Error, Outcome, Revision, Write,
    journal::Journal,
    record::{self, Record},
};

pub(super) struct Writer {
    shared: Arc<Shared>,
    journal: Box<dyn Journal>,
    history: History,
    /// The revision of the next write. Those of failed commits are not used again.
    next: Revision,
    /// Commits since the last turn of a compaction.
    since_turn: u32,
}

/// A write of the group and what will be answered if the group's commit succeeds.
struct Answer {
    waiting: Reply<Outcome>,
    outcome: Outcome,
    /// The outcome rests on what the commit is yet to make true.
    uncertain: bool,
}

/// A group of writes on its way to one commit.
#[derive(Default)]
struct Group {
    records: Vec<Record>,
    answers: Vec<Answer>,
    /// Keys that the group itself changes, as they will be.
    changed: HashMap<Bytes, Option<Held>>,
    /// The group's shares of the queue's bound, held until it is answered.
    shares: Vec<tokio::sync::OwnedSemaphorePermit>,
    bytes: usize,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, journal: Box<dyn Journal>, history: History, next: Revision) -> Self {
        Self { shared, journal, history, next, since_turn: 0 }
    }

    /// Serves the queue until it is closed; then closes the store, and with it the journal.
    pub fn run(mut self, queue: &Queue) {
        let _closing = Closing { queue, shared: &self.shared.clone() };
        let mut taken = Vec::new();
        let mut backlog = VecDeque::new();
        loop {
            let deadline = if backlog.is_empty() { self.history.deadline() } else { Some(Instant::now()) };
            let open = queue.take(&mut taken, deadline);
            backlog.extend(taken.drain(..));
            self.serve(&mut backlog);
            self.tidy(backlog.is_empty());
            if !open && backlog.is_empty() {
                return;
            }
        }
    }

    /// Decides, commits, publishes and answers one command.
    pub fn at_once(&mut self, command: Command) {
        match command {
            Command::Write(write, reply) => {
                let mut group = Group::default();
                group.decide(&self.shared.state.read(), write, self.next, reply);
                self.commit(group);
            }
            // Whoever asked may be gone; then nobody wants the answer.
            Command::Compact(revision, reply) => drop(reply.send(self.compact(revision))),
        }
    }

    /// Commits the next group of writes, or makes the next compaction.
    fn serve(&mut self, backlog: &mut VecDeque<Waiting>) {
        let mut group = Group::default();
        while group.records.len() < COMMIT_WRITES && group.bytes < COMMIT_BYTES {
            // A compaction waits for the writes before it.
            let compaction = |waiting: &mut Waiting| matches!(waiting.command, Command::Compact(..));
            if !group.answers.is_empty() && backlog.front_mut().is_some_and(compaction) {
                break;
            }
            let Some(Waiting { command, share }) = backlog.pop_front() else { break };
            match command {
                Command::Compact(revision, reply) => {
                    // Whoever asked may be gone; then nobody wants the answer.
                    let _ = reply.send(self.compact(revision));
                    return;
                }
                Command::Write(write, reply) => {
                    group.shares.push(share);
                    let revision = self.next + group.records.len() as u64;
                    group.decide(&self.shared.state.read(), write, revision, reply);
                }
            }
        }
        if !group.answers.is_empty() {
            self.commit(group);
        }
    }

    /// Makes a group durable, then visible, then known to those who wait for it.
    fn commit(&mut self, group: Group) {
        let Group { records, answers, shares, .. } = group;
        let mut committed = Ok(());
        if !records.is_empty() {
            self.next += records.len() as u64;
            committed = self.journal.commit(&records);
            match &committed {
                Ok(()) => {
                    records.iter().for_each(|record| self.history.note(record.view()));
                    self.history.mark(Instant::now());
                    self.shared.state.write().publish(records, &self.shared.limits);
                }
                Err(error) => tracing::error!(%error, writes = answers.len(), "a commit failed"),
            }
        }
        drop(shares);
        for Answer { waiting, outcome, uncertain } in answers {
            let answer = match &committed {
                Err(error) if uncertain => Err(error.clone()),
                _ => Ok(outcome),
            };
            // Whoever asked may be gone; then nobody wants the answer.
            let _ = waiting.send(answer);
        }
    }

    /// Moves the compaction point, as asked from outside.
    fn compact(&mut self, revision: Revision) -> Result<(), Error> {
        let current = self.shared.state.read().revision;
        if revision > current {
            return Err(Error::FutureRevision { requested: revision, current });
        }
        if revision <= self.history.compacted() {
            return Err(Error::Compacted { oldest: self.history.compacted() });
        }
        self.compact_to(revision)
    }

    fn compact_to(&mut self, revision: Revision) -> Result<(), Error> {
        self.journal.forget(revision, &[])?;
        self.history.compact(revision);
        // Readers learn of it before any record goes.
        let mut state = self.shared.state.write();
        state.compacted = revision;
        state.recent.forget(revision);
        Ok(())
    }

    /// Compacts what is due and removes some of what was compacted: at leisure, or in turn with the writes.
    fn tidy(&mut self, idle: bool) {
        let now = Instant::now();
        if let Some(revision) = self.history.due(now) {
            if let Err(error) = self.compact_to(revision) {
                tracing::warn!(%error, revision, "could not compact; will try again");
                self.history.failed(now);
            }
            // Those after it get their turn even if nobody writes any more.
            self.history.mark(now);
        }
        self.since_turn += 1;
        if !self.history.may_clear(now) || !(idle || self.since_turn >= COMPACTION_TURN) {
            return;
        }
        self.since_turn = 0;
        let garbage = self.history.take_garbage(COMPACTION_RECORDS);
        if garbage.is_empty() {
            return;
        }
        if let Err(error) = self.journal.forget(self.history.compacted(), &garbage) {
            tracing::warn!(%error, "could not remove compacted records; will try again");
            self.history.put_back(garbage, now);
        }
    }
}

impl Group {
    /// Decides one write on top of the published state and of the writes before it in the group.
    fn decide(&mut self, state: &State, write: Write, revision: Revision, waiting: Reply<Outcome>) {
        let changed = self.changed.get(write.key());
        let uncertain = changed.is_some();
        let current = match changed {
            Some(held) => held.clone(),
            None => state.objects.get(write.key()).cloned(),
        };
        let bytes = record::bytes_of(&write);
        match decide(write, current, revision) {
            Ok(record) => {
                let held =
                    record.value.clone().map(|value| Held { value, revision, created: record.created });
                self.changed.insert(record.key.clone(), held);
                self.bytes += bytes;
                self.records.push(record);
                self.answers.push(Answer { waiting, outcome: Outcome::Done(revision), uncertain: true });
            }
            Err(entry) => {
                self.answers.push(Answer { waiting, outcome: Outcome::Conflict(entry), uncertain });
            }
        }
    }
}

/// What a write becomes at its revision, or what stands in its way.
fn decide(write: Write, current: Option<Held>, revision: Revision) -> Result<Record, Option<Entry>> {
    let (key, value, current) = match (write, current) {
        (Write::Create { key, value }, None) => (key, Some(value), None),
        (Write::Update { key, value, expected }, Some(held)) if held.revision == expected => {
            (key, Some(value), Some(held))
        }
        (Write::Delete { key, expected }, Some(held))
            if expected.is_none_or(|expected| held.revision == expected) =>
        {
            (key, None, Some(held))
        }
        (write, current) => return Err(current.map(|held| held.entry(write.key()))),
    };
    let created = current.as_ref().map_or(revision, |held| held.created);
    let previous = current.map(|held| (held.value, held.revision));
    Ok(Record { revision, key, value, created, previous })
}

/// Closes the store when the writer ends, however it ends.
struct Closing<'a> {
    queue: &'a Queue,
    shared: &'a Shared,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.queue.close();
        self.shared.state.write().close();
    }
}
