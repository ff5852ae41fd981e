//! When each member last gave a sign of life, by this machine's own clock, so that a member's wrong clock does no harm.
//!
//! Pure: time is passed in. A sign is another mark in what a member says of itself, or a renewal of its Lease. Bounded by the number of members
//! and of their Leases.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

struct Seen {
    uid: String,
    /// What changes with each sign, as the member says it.
    mark: String,
    since: Instant,
}

struct Renewed {
    at: Option<jiff::Timestamp>,
    since: Instant,
}

/// What is known of the signs of all members.
#[derive(Default)]
pub struct Signs {
    seen: HashMap<String, Seen>,
    leases: HashMap<String, Renewed>,
}

impl Signs {
    /// Notes what a member says; whether it was not known before.
    pub fn observe(&mut self, name: &str, uid: &str, mark: &str, now: Instant) -> bool {
        match self.seen.get_mut(name) {
            Some(seen) if seen.uid == uid => {
                // What others write into it brings no other mark.
                if seen.mark != mark {
                    *seen = Seen { uid: uid.to_owned(), mark: mark.to_owned(), since: now };
                }
                false
            }
            _ => {
                let seen = Seen { uid: uid.to_owned(), mark: mark.to_owned(), since: now };
                self.seen.insert(name.to_owned(), seen);
                true
            }
        }
    }

    /// Notes that the Lease of a member says that it was renewed at a time of the member's clock.
    pub fn renewed(&mut self, name: &str, at: Option<jiff::Timestamp>, now: Instant) {
        match self.leases.get_mut(name) {
            Some(renewed) if renewed.at >= at => {}
            _ => {
                self.leases.insert(name.to_owned(), Renewed { at, since: now });
            }
        }
    }

    /// Forgets the Lease of a member.
    pub fn unlease(&mut self, name: &str) {
        self.leases.remove(name);
    }

    /// Time since the last sign of life.
    pub fn silent(&self, name: &str, now: Instant) -> Duration {
        let seen = self.seen.get(name).map(|seen| seen.since);
        let renewed = self.leases.get(name).map(|renewed| renewed.since);
        seen.max(renewed).map_or(Duration::ZERO, |last| now.saturating_duration_since(last))
    }

    /// Forgets a member; its UID if it was known.
    pub fn forget(&mut self, name: &str) -> Option<String> {
        self.seen.remove(name).map(|seen| seen.uid)
    }

    /// Gives all members their whole time again.
    pub fn excuse(&mut self, now: Instant) {
        for seen in self.seen.values_mut() {
            seen.since = now;
        }
    }
}
