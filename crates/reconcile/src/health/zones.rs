//! How fast costly repairs may be made: rationed by zone, slower or not at all where most members of a zone fail, and
//! not at all while no member is well, since then the fault is more likely here.
//!
//! Pure: time is passed in. Bounded by the number of members. Answers to the rate-limited queues and zone states of
//! upstream's nodelifecycle controller.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// How repairs are rationed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time between two repairs in a zone.
    pub interval: Duration,
    /// The same where most members of a large zone fail.
    pub interval_slow: Duration,
    /// A zone of more members is large; in a smaller one nothing is repaired while most members fail.
    pub large_zone: usize,
    /// This many hundredths of a zone are most, if they are more than two.
    pub unhealthy_percent: usize,
}

impl Default for Limits {
    /// Upstream's for nodes.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            interval_slow: Duration::from_secs(100),
            large_zone: 50,
            unhealthy_percent: 55,
        }
    }
}

/// Whether a member may be repaired at a cost to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It may.
    Now,
    /// It may after this time.
    Later(Duration),
    /// It may not until its zone is better.
    Held,
    /// It may not, and a repair that was begun is taken back: no member is well.
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
    /// When the next may be repaired; none: at once.
    next: Option<Instant>,
    /// What `next` was before the last permit.
    before: Option<Instant>,
}

impl Zone {
    fn state(&self, limits: &Limits) -> State {
        let total = self.ready + self.unready;
        if self.ready == 0 && self.unready > 0 {
            State::Full
        } else if self.unready > 2 && self.unready * 100 >= limits.unhealthy_percent * total {
            State::Partial
        } else {
            State::Normal
        }
    }
}

/// What a change of one member means to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Nothing.
    None,
    /// All must be looked at again.
    Changed,
    /// The first member is well after none was: all others get time to report.
    Recovered,
}

/// All members that count, by zone.
#[derive(Debug, Default)]
pub struct Zones {
    limits: Limits,
    members: HashMap<String, (String, bool)>,
    zones: HashMap<String, Zone>,
}

impl Zones {
    /// Without members, with limits of one's own.
    pub fn limited(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Notes how a member is.
    pub fn set(&mut self, member: &str, zone: &str, ready: bool) -> Shift {
        if self.members.get(member).is_some_and(|(old, was)| old == zone && *was == ready) {
            return Shift::None;
        }
        self.change(|zones| {
            zones.take_out(member);
            let counts = zones.zones.entry(zone.to_owned()).or_default();
            *(if ready { &mut counts.ready } else { &mut counts.unready }) += 1;
            zones.members.insert(member.to_owned(), (zone.to_owned(), ready));
        })
    }

    /// Forgets a member.
    pub fn remove(&mut self, member: &str) -> Shift {
        self.change(|zones| zones.take_out(member))
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

    fn take_out(&mut self, member: &str) {
        let Some((zone, ready)) = self.members.remove(member) else { return };
        if let Some(counts) = self.zones.get_mut(&zone) {
            *(if ready { &mut counts.ready } else { &mut counts.unready }) -= 1;
            if counts.ready + counts.unready == 0 {
                self.zones.remove(&zone);
            }
        }
    }

    fn states(&self) -> HashMap<String, State> {
        self.zones.iter().map(|(name, zone)| (name.clone(), zone.state(&self.limits))).collect()
    }

    /// Whether a member of a zone may be repaired; [`Permit::Now`] is used up by the answer.
    pub fn take(&mut self, zone: &str, now: Instant) -> Permit {
        // A member that does not count may be the only one of its zone.
        let Some(zone) = self.zones.get_mut(zone) else { return Permit::Now };
        let limits = self.limits;
        let interval = match zone.state(&limits) {
            State::Partial if zone.ready + zone.unready > limits.large_zone => limits.interval_slow,
            State::Partial => return Permit::Held,
            State::Normal | State::Full => limits.interval,
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

    /// Whether no member is well.
    pub fn all_down(&self) -> bool {
        !self.zones.is_empty() && self.zones.values().all(|zone| zone.state(&self.limits) == State::Full)
    }

    /// Takes a permit back that could not be used.
    pub fn give_back(&mut self, zone: &str) {
        if let Some(zone) = self.zones.get_mut(zone) {
            zone.next = zone.before.take();
        }
    }
}
