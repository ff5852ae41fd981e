//! Delays that double with each use and are forgotten after a good while.
//!
//! Answers to client-go's `flowcontrol.Backoff` with the kubelet's figures: 10 s, doubling to 5 min, forgotten
//! after twice that.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The first delay.
pub const FIRST: Duration = Duration::from_secs(10);
/// The longest delay.
pub const LONGEST: Duration = Duration::from_secs(300);
/// Without a use for so long, it begins anew.
pub const FORGOTTEN: Duration = Duration::from_secs(600);

/// One such delay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackOff {
    delay: Duration,
    used: Option<Timestamp>,
}

impl BackOff {
    /// As it would be after this many restarts in a row, the last one at `used`: for an agent that restarted.
    pub fn after(restarts: i32, used: Timestamp) -> BackOff {
        let mut back_off = BackOff::default();
        for _ in 0..restarts.clamp(0, 6) {
            back_off.next(used);
        }
        back_off
    }

    /// The delay that applies to something that ended at `since`; zero at first.
    pub fn delay(&self, since: Timestamp) -> Duration {
        match self.used {
            Some(used)
                if since.duration_since(used) <= SignedDuration::try_from(FORGOTTEN).unwrap_or_default() =>
            {
                self.delay
            }
            _ => Duration::ZERO,
        }
    }

    /// Counts a try made now.
    pub fn next(&mut self, now: Timestamp) {
        let delay = self.delay(now);
        self.delay = if delay.is_zero() { FIRST } else { (delay * 2).min(LONGEST) };
        self.used = Some(now);
    }
}

/// `10s`, `1m20s`, `5m0s`: how messages write a delay.
pub fn describe(delay: Duration) -> String {
    let seconds = delay.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}
