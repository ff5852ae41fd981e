//! A work queue of keys.
//!
//! Invariants: a key waits at most once; a key that is being worked on is never handed to a second
//! worker, but is handed out again afterwards if it was added meanwhile. The length is bounded by the
//! number of distinct keys. Answers to client-go's `workqueue`.

#[cfg(test)]
mod tests;

use crate::meter::{Meter, Meters, Observed};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Delay of the first retry of a key; it doubles each time.
pub const BACKOFF_BASE: Duration = Duration::from_millis(5);
/// Longest delay between retries of a key.
pub const BACKOFF_MAXIMUM: Duration = Duration::from_secs(1000);

/// A queue of distinct keys.
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
    base: Duration,
    maximum: Duration,
    meter: OnceLock<Meter>,
}

struct State<K> {
    /// Keys ready to be handed out, in order.
    ready: VecDeque<K>,
    /// Keys that need work: those in `ready`, and those added while being worked on.
    dirty: HashSet<K>,
    /// Since when each is worked on.
    working: HashMap<K, Instant>,
    /// Since when each of `ready` waits, in their order.
    since: VecDeque<Instant>,
    failures: HashMap<K, u32>,
    delayed: BinaryHeap<Reverse<(Instant, u64)>>,
    /// What waits in `delayed`, by its number; the earliest time counts.
    waiting: HashMap<K, (Instant, u64)>,
    numbers: HashMap<u64, K>,
    next: u64,
    shut_down: bool,
}

impl<K: Hash + Eq + Clone> Default for Queue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Hash + Eq + Clone> Queue<K> {
    /// Empty, with upstream's backoff of 5 ms to 1,000 s.
    pub fn new() -> Self {
        Self::with_backoff(BACKOFF_BASE, BACKOFF_MAXIMUM)
    }

    /// Empty, with another backoff.
    pub fn with_backoff(base: Duration, maximum: Duration) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            working: HashMap::new(),
            since: VecDeque::new(),
            failures: HashMap::new(),
            delayed: BinaryHeap::new(),
            waiting: HashMap::new(),
            numbers: HashMap::new(),
            next: 0,
            shut_down: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), base, maximum, meter: OnceLock::new() }
    }

    /// Marks a key as needing work.
    pub fn add(&self, key: K) {
        let added = self.state.lock().add(key);
        if let Some(meter) = self.meter.get().filter(|_| added) {
            meter.adds.inc();
        }
        self.changed.notify_one();
    }

    /// Counts what becomes of its keys from now on, under a name.
    pub fn measure(self: &Arc<Self>, meters: &Meters, name: &str)
    where
        K: Send + Sync + 'static,
    {
        let own: Arc<dyn Observed> = self.clone();
        let meter = self.meter.get_or_init(|| meters.queue(name, Arc::downgrade(&own)));
        meter.adds.inc_by(self.state.lock().dirty.len() as u64);
    }

    /// Marks a key as needing work after a delay; of several delays the shortest counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = self.state.lock();
        if state.shut_down {
            return;
        }
        let at = Instant::now() + delay;
        match state.waiting.get(&key).copied() {
            Some((earlier, _)) if earlier <= at => return,
            Some((_, number)) => {
                state.numbers.remove(&number);
            }
            None => {}
        }
        let number = state.next;
        state.next += 1;
        state.waiting.insert(key.clone(), (at, number));
        state.numbers.insert(number, key);
        state.delayed.push(Reverse((at, number)));
        drop(state);
        self.changed.notify_one();
    }

    /// Marks a key as needing work after its backoff, and counts a failure.
    pub fn add_rate_limited(&self, key: K) {
        let failures = {
            let mut state = self.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            *failures += 1;
            *failures
        };
        if let Some(meter) = self.meter.get() {
            meter.retries.inc();
        }
        let factor = 2_u32.checked_pow(failures - 1).unwrap_or(u32::MAX);
        let delay = self.base.checked_mul(factor).unwrap_or(self.maximum).min(self.maximum);
        self.add_after(key, delay);
    }

    /// Forgets a key's failures.
    pub fn forget(&self, key: &K) {
        self.state.lock().failures.remove(key);
    }

    /// How often a key failed since it was forgotten.
    pub fn failures(&self, key: &K) -> u32 {
        self.state.lock().failures.get(key).copied().unwrap_or_default()
    }

    /// Keys ready to be handed out.
    pub fn len(&self) -> usize {
        self.state.lock().ready.len()
    }

    /// Whether no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing is ready or being worked on; delayed keys do not count.
    pub fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.ready.is_empty() && state.working.is_empty()
    }

    /// Waits for a key; [`Queue::done`] must follow. None once the queue is shut down and empty.
    pub async fn get(&self) -> Option<K> {
        loop {
            let changed = self.changed.notified();
            let wake = {
                let mut state = self.state.lock();
                let now = Instant::now();
                let (wake, added) = state.promote(now);
                if let Some(meter) = self.meter.get().filter(|_| added > 0) {
                    meter.adds.inc_by(added);
                }
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.working.insert(key.clone(), now);
                    let since = state.since.pop_front();
                    if let Some((meter, since)) = self.meter.get().zip(since) {
                        meter.waits.observe((now - since).as_secs_f64());
                    }
                    if !state.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return Some(key);
                }
                if state.shut_down {
                    self.changed.notify_waiters();
                    return None;
                }
                wake
            };
            match wake {
                Some(at) => {
                    // Either way the state is looked at again.
                    let _ = tokio::time::timeout_at(at, changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// Says that work on a key has ended.
    pub fn done(&self, key: &K) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let begun = state.working.remove(key);
        if let Some((meter, begun)) = self.meter.get().zip(begun) {
            meter.works.observe((now - begun).as_secs_f64());
        }
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            state.since.push_back(now);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Takes no more keys; workers get what is ready, then None.
    pub fn shut_down(&self) {
        let mut state = self.state.lock();
        state.shut_down = true;
        state.waiting.clear();
        state.numbers.clear();
        state.delayed.clear();
        drop(state);
        self.changed.notify_waiters();
        self.changed.notify_one();
    }
}

impl<K: Hash + Eq + Clone> State<K> {
    /// Whether the key did not wait already.
    fn add(&mut self, key: K) -> bool {
        if self.shut_down || !self.dirty.insert(key.clone()) {
            return false;
        }
        if !self.working.contains_key(&key) {
            self.ready.push_back(key);
            self.since.push_back(Instant::now());
        }
        true
    }

    /// Moves keys whose delay is over to the ready ones; when the next one's is, and how many were moved.
    fn promote(&mut self, now: Instant) -> (Option<Instant>, u64) {
        let mut added = 0;
        while let Some(&Reverse((at, number))) = self.delayed.peek() {
            if !self.numbers.contains_key(&number) {
                self.delayed.pop();
                continue;
            }
            if at > now {
                return (Some(at), added);
            }
            self.delayed.pop();
            if let Some(key) = self.numbers.remove(&number) {
                self.waiting.remove(&key);
                added += u64::from(self.add(key));
            }
        }
        (None, added)
    }
}

impl<K: Hash + Eq + Clone + Send + Sync> Observed for Queue<K> {
    fn depth(&self) -> usize {
        self.len()
    }

    fn unfinished(&self) -> (Duration, Duration) {
        let (now, state) = (Instant::now(), self.state.lock());
        let times = || state.working.values().map(|begun| now - *begun);
        (times().sum(), times().max().unwrap_or_default())
    }
}
