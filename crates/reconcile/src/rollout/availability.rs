//! When a member counts as available: once it has been ready for long enough without a break.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Whether a member that has been ready since then is available. `since` none: it is not ready, or nobody
/// knows since when.
pub fn available(since: Option<Timestamp>, minimum_ready_seconds: i32, now: Timestamp) -> bool {
    since.is_some_and(|since| left(since, minimum_ready_seconds, now).is_none())
}

/// How long until the next of some ready members becomes available by mere time.
pub fn wake(
    since: impl Iterator<Item = Timestamp>,
    minimum_ready_seconds: i32,
    now: Timestamp,
) -> Option<Duration> {
    since.filter_map(|since| left(since, minimum_ready_seconds, now)).min()
}

fn left(since: Timestamp, minimum_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    let due = since.checked_add(SignedDuration::from_secs(minimum_ready_seconds.max(0).into())).ok()?;
    Duration::try_from(due.duration_since(now)).ok().filter(|left| !left.is_zero())
}
