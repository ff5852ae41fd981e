//! How fast nodes may get NoExecute taints: rationed by zone, slower or not at all where most nodes of a
//! zone fail, and not at all while no node of the cluster is well, since then the fault is more likely here.
//!
//! Pure: time is passed in. Bounded by the number of nodes.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Time between two nodes of a zone.
const INTERVAL: Duration = Duration::from_secs(10);
/// The same where most nodes of a large zone fail.
const INTERVAL_SLOW: Duration = Duration::from_secs(100);
/// A zone of more nodes is large; in a smaller one nothing is evicted while most nodes fail.
const LARGE_ZONE: usize = 50;
/// This many hundredths of a zone are most.
const UNHEALTHY_PERCENT: usize = 55;

/// Whether a node may get a NoExecute taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It may.
    Now,
    /// It may after this time.
    Later(Duration),
    /// It may not until its zone is better.
    Held,
    /// It may not, and one that is there goes: no node of the cluster is well.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Normal,
    Partial,
    Full,
}

#[derive(Debug, Default)]
struct Zone {
    ready: usize,
    unready: usize,
    /// When the next node may be tainted; none: at once.
    next: Option<Instant>,
    /// What `next` was before the last permit.
    before: Option<Instant>,
}

impl Zone {
    fn state(&self) -> State {
        let total = self.ready + self.unready;
        if self.ready == 0 && self.unready > 0 {
            State::Full
        } else if self.unready > 2 && self.unready * 100 >= UNHEALTHY_PERCENT * total {
            State::Partial
        } else {
            State::Normal
        }
    }
}

/// What a change of one node means to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Nothing.
    None,
    /// All must be looked at again.
    Changed,
    /// The first node is well after none was: all others get time to report.
    Recovered,
}

/// All nodes that count, by zone.
#[derive(Debug, Default)]
pub struct Zones {
    nodes: HashMap<String, (String, bool)>,
    zones: HashMap<String, Zone>,
}

impl Zones {
    /// Notes how a node is.
    pub fn set(&mut self, node: &str, zone: &str, ready: bool) -> Shift {
        if self.nodes.get(node).is_some_and(|(old, was)| old == zone && *was == ready) {
            return Shift::None;
        }
        self.change(|zones| {
            zones.take_out(node);
            let counts = zones.zones.entry(zone.to_owned()).or_default();
            *(if ready { &mut counts.ready } else { &mut counts.unready }) += 1;
            zones.nodes.insert(node.to_owned(), (zone.to_owned(), ready));
        })
    }

    /// Forgets a node.
    pub fn remove(&mut self, node: &str) -> Shift {
        self.change(|zones| zones.take_out(node))
    }

    fn change(&mut self, change: impl FnOnce(&mut Self)) -> Shift {
        let before = self.states();
        change(self);
        let after = self.states();
        let down = |states: &HashMap<String, State>| {
            !states.is_empty() && states.values().all(|state| *state == State::Full)
        };
        // Zones that come or go change nothing for the others.
        let differs = after.iter().any(|(zone, state)| before.get(zone).is_some_and(|old| old != state));
        match (down(&before), down(&after)) {
            (true, false) if !after.is_empty() => {
                self.zones.values_mut().for_each(|zone| zone.next = None);
                Shift::Recovered
            }
            (false, true) if !before.is_empty() => Shift::Changed,
            _ if differs => Shift::Changed,
            _ => Shift::None,
        }
    }

    fn take_out(&mut self, node: &str) {
        let Some((zone, ready)) = self.nodes.remove(node) else { return };
        if let Some(counts) = self.zones.get_mut(&zone) {
            *(if ready { &mut counts.ready } else { &mut counts.unready }) -= 1;
            if counts.ready + counts.unready == 0 {
                self.zones.remove(&zone);
            }
        }
    }

    fn states(&self) -> HashMap<String, State> {
        self.zones.iter().map(|(name, zone)| (name.clone(), zone.state())).collect()
    }

    /// Whether a node of a zone may get its first taint; [`Permit::Now`] is used up by the answer.
    pub fn take(&mut self, zone: &str, now: Instant) -> Permit {
        // A node that does not count may be the only one of its zone.
        let Some(zone) = self.zones.get_mut(zone) else { return Permit::Now };
        let interval = match zone.state() {
            State::Partial if zone.ready + zone.unready > LARGE_ZONE => INTERVAL_SLOW,
            State::Partial => return Permit::Held,
            State::Normal | State::Full => INTERVAL,
        };
        match zone.next {
            Some(next) if next > now => Permit::Later(next - now),
            next => {
                zone.before = next;
                zone.next = Some(now + interval);
                Permit::Now
            }
        }
    }

    /// Whether no node is well.
    pub fn all_down(&self) -> bool {
        !self.zones.is_empty() && self.zones.values().all(|zone| zone.state() == State::Full)
    }

    /// Takes a permit back that could not be used.
    pub fn give_back(&mut self, zone: &str) {
        if let Some(zone) = self.zones.get_mut(zone) {
            zone.next = zone.before.take();
        }
    }
}
