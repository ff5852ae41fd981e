//! A work queue of keys.
//!
//! Invariants: a key waits at most once; a key that is being worked on is never handed to a second
//! worker, but is handed out again afterwards if it was added meanwhile. The length is bounded by the
//! number of distinct keys. Answers to client-go's `workqueue`.

#[cfg(test)]
mod tests;

use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
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
}

struct State<K> {
    /// Keys ready to be handed out, in order.
    ready: VecDeque<K>,
    /// Keys that need work: those in `ready`, and those added while being worked on.
    dirty: HashSet<K>,
    working: HashSet<K>,
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
            working: HashSet::new(),
            failures: HashMap::new(),
            delayed: BinaryHeap::new(),
            waiting: HashMap::new(),
            numbers: HashMap::new(),
            next: 0,
            shut_down: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), base, maximum }
    }

    /// Marks a key as needing work.
    pub fn add(&self, key: K) {
        self.state.lock().add(key);
        self.changed.notify_one();
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
                let wake = state.promote(Instant::now());
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.working.insert(key.clone());
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
        let mut state = self.state.lock();
        state.working.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
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
    fn add(&mut self, key: K) {
        if self.shut_down || !self.dirty.insert(key.clone()) {
            return;
        }
        if !self.working.contains(&key) {
            self.ready.push_back(key);
        }
    }

    /// Moves keys whose delay is over to the ready ones; when the next one's is.
    fn promote(&mut self, now: Instant) -> Option<Instant> {
        while let Some(&Reverse((at, number))) = self.delayed.peek() {
            if !self.numbers.contains_key(&number) {
                self.delayed.pop();
                continue;
            }
            if at > now {
                return Some(at);
            }
            self.delayed.pop();
            if let Some(key) = self.numbers.remove(&number) {
                self.waiting.remove(&key);
                self.add(key);
            }
        }
        None
    }
}
