//! The pods that wait for a place.
//!
//! Invariants: a pod is in exactly one of four places: active, backing off, unschedulable until something
//! changes, gated. The length is bounded by the number of unbound pods. Time comes in. Answers to upstream's
//! scheduling queue.

use crate::devices::Reservation;
use crate::plugins::{self, Set, Text};
use crate::pod::{Pod, Template};
use crate::storage::Bindings;
use gifee_base::ObjectKey;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Delay after the first failure; it doubles each time.
pub const BACKOFF_BASE: Duration = Duration::from_secs(1);
/// Longest delay after a failure.
pub const BACKOFF_MAXIMUM: Duration = Duration::from_secs(10);
/// How long a pod waits for a change at most: a safety net.
const FLUSH: Duration = Duration::from_secs(300);

/// Maps with room for fewer pods are left as they are.
const GIVE_BACK_MINIMUM: usize = 1024;

/// A pod that waits for a place.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The pod.
    pub pod: Pod,
    /// Which plugins rejected it last.
    pub rejected: Set,
    /// How often no place was found.
    attempts: u32,
    /// How often in a row a place was found and the binding failed.
    errors: u32,
    /// When it came, or failed last.
    since: Instant,
    number: u64,
    place: Place,
    /// What was decided of its claims.
    pub volumes: Bindings,
    /// What was decided of its claims of devices.
    pub devices: Vec<Reservation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    Backoff(Instant),
    Waiting,
    Gated,
}

impl Pending {
    /// Whether no decision on it has failed yet.
    pub fn is_new(&self) -> bool {
        self.attempts == 0
    }

    /// Its place in the order in which pods came.
    pub fn number(&self) -> u64 {
        self.number
    }

    fn backoff(&self, (base, maximum): (Duration, Duration)) -> Instant {
        let failures = if self.errors > 0 { self.errors } else { self.attempts };
        let Some(doublings) = failures.checked_sub(1) else { return self.since };
        self.since + base.saturating_mul(1 << doublings.min(20)).min(maximum)
    }
}

/// Where a pod stands among the active ones.
#[derive(Clone, Debug)]
struct Rank {
    template: Arc<Template>,
    since: Instant,
    number: u64,
    key: ObjectKey,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        plugins::order(&self.template, &other.template)
            .then_with(|| (self.since, self.number).cmp(&(other.since, other.number)))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    pods: HashMap<ObjectKey, Box<Pending>>,
    active: BTreeSet<Rank>,
    /// By the end of the backoff.
    backoff: BTreeMap<(Instant, u64), ObjectKey>,
    /// By the time of the failure.
    waiting: BTreeMap<(Instant, u64), ObjectKey>,
    /// Those of the waiting that nothing tells apart when something changes, by template and what rejected them.
    alike: HashMap<(usize, Set), BTreeSet<(Instant, u64)>>,
    numbers: u64,
    /// Delay after the first failure, and the longest.
    backoffs: (Duration, Duration),
}

/// What putting a pod in came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Put {
    /// It is in the queue.
    Queued,
    /// It must wait, for this reason, until its gates are gone.
    Gated(Text),
}

impl Default for Queue {
    fn default() -> Self {
        Self::new(BACKOFF_BASE, BACKOFF_MAXIMUM)
    }
}

impl Queue {
    /// Empty, with the delay after a first failure and the longest one.
    pub fn new(base: Duration, maximum: Duration) -> Self {
        Self {
            pods: HashMap::new(),
            active: BTreeSet::new(),
            backoff: BTreeMap::new(),
            waiting: BTreeMap::new(),
            alike: HashMap::new(),
            numbers: 0,
            backoffs: (base, maximum),
        }
    }

    /// Puts a pod in, or its new state in place of the old one; out of turn while something keeps it from being tried.
    pub fn put(&mut self, pod: Pod, gate: Option<Text>, now: Instant) -> Put {
        let key = pod.key.clone();
        let old = self.take(&key).filter(|old| old.pod.uid == pod.uid);
        let mut pending = match old {
            Some(old) if Arc::ptr_eq(&old.pod.template, &pod.template) => {
                let place = old.place;
                self.insert(Box::new(Pending { pod, ..*old }), place);
                return gate.map_or(Put::Queued, Put::Gated);
            }
            // What it asks for has changed: it may have a place now.
            Some(old) => Box::new(Pending { pod, ..*old }),
            None => {
                self.numbers += 1;
                Box::new(Pending {
                    pod,
                    rejected: Set::default(),
                    attempts: 0,
                    errors: 0,
                    since: now,
                    number: self.numbers,
                    place: Place::Active,
                    volumes: Bindings::default(),
                    devices: Vec::new(),
                })
            }
        };
        if let Some(reason) = gate {
            self.insert(pending, Place::Gated);
            return Put::Gated(reason);
        }
        if pending.place == Place::Gated {
            pending.since = now;
        }
        self.ready(pending, now);
        Put::Queued
    }

    /// Takes a pod out.
    pub fn take(&mut self, key: &ObjectKey) -> Option<Box<Pending>> {
        let pending = self.pods.remove(key)?;
        give_back(&mut self.pods);
        match pending.place {
            Place::Active => {
                self.active.remove(&rank(&pending));
            }
            Place::Backoff(until) => {
                self.backoff.remove(&(until, pending.number));
            }
            Place::Waiting => {
                let place = (pending.since, pending.number);
                self.waiting.remove(&place);
                let kind = alike(&pending);
                if let Some(places) = self.alike.get_mut(&kind) {
                    places.remove(&place);
                    if places.is_empty() {
                        self.alike.remove(&kind);
                    }
                }
            }
            Place::Gated => {}
        }
        Some(pending)
    }

    /// A pod in the queue.
    pub fn get(&self, key: &ObjectKey) -> Option<&Pending> {
        self.pods.get(key).map(Box::as_ref)
    }

    /// The keys of all pods in the queue.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.pods.keys()
    }

    /// Takes out the pod to decide on now.
    pub fn pop(&mut self, now: Instant) -> Option<Box<Pending>> {
        self.promote(now);
        if let Some(rank) = self.active.first() {
            let key = rank.key.clone();
            return self.take(&key);
        }
        // With nothing better to do, those that only back off to spare the scheduler need not wait. Those
        // whose binding failed back off to spare the server, and do.
        let idle = self.backoff.values().find(|key| self.pods.get(*key).is_some_and(|one| one.errors == 0));
        let key = idle?.clone();
        self.take(&key)
    }

    /// Puts back a pod for which there is no place until something changes.
    pub fn unschedulable(&mut self, mut pending: Box<Pending>, rejected: Set, now: Instant) {
        pending.rejected = rejected;
        pending.attempts += 1;
        pending.errors = 0;
        pending.since = now;
        self.insert(pending, Place::Waiting);
    }

    /// Puts back a pod whose binding failed.
    pub fn failed(&mut self, mut pending: Box<Pending>, now: Instant) {
        pending.errors += 1;
        pending.since = now;
        self.ready(pending, now);
    }

    /// Whether no pod waits for something to change.
    pub fn none_wait(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Something changed: those that it might let in come back. It is asked once for all that are alike.
    pub fn wake(&mut self, now: Instant, lets_in: impl Fn(&Pending) -> bool) {
        let mut woken: Vec<ObjectKey> = Vec::new();
        for places in self.alike.values() {
            let keys = || places.iter().filter_map(|place| self.waiting.get(place));
            let one = keys().next().and_then(|key| self.pods.get(key));
            if one.is_some_and(|one| lets_in(one)) {
                woken.extend(keys().cloned());
            }
        }
        for key in woken {
            if let Some(pending) = self.take(&key) {
                self.ready(pending, now);
            }
        }
    }

    /// When to look again even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        let backoff = self.backoff.first_key_value().map(|((until, _), _)| *until);
        let flush = self.waiting.first_key_value().map(|((since, _), _)| *since + FLUSH);
        [backoff, flush].into_iter().flatten().min()
    }

    /// A waiting pod comes back.
    pub fn activate(&mut self, key: &ObjectKey, now: Instant) {
        if self.pods.get(key).is_some_and(|pending| pending.place == Place::Waiting)
            && let Some(pending) = self.take(key)
        {
            self.ready(pending, now);
        }
    }

    /// Takes a pod out unless it must wait for its gates.
    pub fn take_ungated(&mut self, key: &ObjectKey) -> Option<Box<Pending>> {
        self.pods.get(key).filter(|pending| pending.place != Place::Gated)?;
        self.take(key)
    }

    /// What kept a pod from being tried is gone.
    pub fn release(&mut self, key: &ObjectKey, now: Instant) {
        if self.pods.get(key).is_some_and(|pending| pending.place == Place::Gated)
            && let Some(mut pending) = self.take(key)
        {
            pending.since = now;
            self.ready(pending, now);
        }
    }

    /// How many pods are active, backing off, waiting, gated.
    pub fn counts(&self) -> [usize; 4] {
        let placed = self.active.len() + self.backoff.len() + self.waiting.len();
        [self.active.len(), self.backoff.len(), self.waiting.len(), self.pods.len() - placed]
    }

    fn promote(&mut self, now: Instant) {
        while let Some((_, key)) =
            self.waiting.first_key_value().filter(|((since, _), _)| *since + FLUSH <= now)
        {
            let key = key.clone();
            let Some(pending) = self.take(&key) else { break };
            self.ready(pending, now);
        }
        while let Some((_, key)) = self.backoff.first_key_value().filter(|((until, _), _)| *until <= now) {
            let key = key.clone();
            let Some(pending) = self.take(&key) else { break };
            self.insert(pending, Place::Active);
        }
    }

    fn ready(&mut self, pending: Box<Pending>, now: Instant) {
        let until = pending.backoff(self.backoffs);
        let place = if until > now { Place::Backoff(until) } else { Place::Active };
        self.insert(pending, place);
    }

    fn insert(&mut self, mut pending: Box<Pending>, place: Place) {
        pending.place = place;
        let key = pending.pod.key.clone();
        match place {
            Place::Active => {
                self.active.insert(rank(&pending));
            }
            Place::Backoff(until) => {
                self.backoff.insert((until, pending.number), key.clone());
            }
            Place::Waiting => {
                let place = (pending.since, pending.number);
                self.waiting.insert(place, key.clone());
                self.alike.entry(alike(&pending)).or_default().insert(place);
            }
            Place::Gated => {}
        }
        self.pods.insert(key, pending);
    }
}

/// Gives memory back that a burst of pods has left.
pub fn give_back<V>(map: &mut HashMap<ObjectKey, V>) {
    if map.capacity() > GIVE_BACK_MINIMUM && map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}

fn alike(pending: &Pending) -> (usize, Set) {
    (Arc::as_ptr(&pending.pod.template) as usize, pending.rejected)
}

fn rank(pending: &Pending) -> Rank {
    Rank {
        template: pending.pod.template.clone(),
        since: pending.since,
        number: pending.number,
        key: pending.pod.key.clone(),
    }
}
