//! The time within which a rollout must show progress.

use jiff::Timestamp;
use std::time::Duration;

/// A deadline that every progress moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When progress was last seen.
    pub since: Timestamp,
    /// How long it may stand still.
    pub seconds: i32,
}

impl Window {
    /// How long is left; zero once the window is over.
    pub fn left(self, now: Timestamp) -> Duration {
        let end = self.since.as_second() + i64::from(self.seconds);
        Duration::from_secs(u64::try_from(end - now.as_second()).unwrap_or_default())
    }

    /// When to look again, if nothing happens before: a second more, since times are cut to seconds.
    pub fn wake(self, now: Timestamp) -> Duration {
        self.left(now) + Duration::from_secs(1)
    }
}
