//! How long a Job waits after pods have failed. Pure.
//!
//! Answers to the Job controller's back-off of pod failures: ten seconds, doubled by each failure since the last success,
//! at most ten minutes. What is remembered is lost with the process, as upstream's is.

use super::view::Pod;
use gifee_reconcile::pod::Brief;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

const BASE_SECONDS: u64 = 10;
const MAXIMUM_SECONDS: u64 = 600;

/// The failures of a Job since its last success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
    last: Option<Timestamp>,
}

impl Backoff {
    /// After more pods have ended.
    #[must_use]
    pub fn after(self, succeeded: &[&Pod], failed: &[&Pod]) -> Self {
        let last_success = succeeded.iter().filter_map(|pod| ended(&pod.brief)).max();
        if succeeded.is_empty() && failed.is_empty() {
            return self;
        }
        let before = if succeeded.is_empty() { self } else { Self::default() };
        let later: Vec<Option<Timestamp>> = failed
            .iter()
            .map(|pod| ended(&pod.brief))
            .filter(|at| succeeded.is_empty() || *at > last_success)
            .collect();
        let count = u32::try_from(later.len()).unwrap_or(u32::MAX);
        Self {
            failures: before.failures.saturating_add(count),
            last: later.into_iter().max().flatten().or(before.last),
        }
    }

    /// How long to wait until the next pod may be made.
    pub fn remaining(self, now: Timestamp) -> Duration {
        remaining(self.failures, self.last, now)
    }
}

/// How long to wait after so many failures, the last of which was then.
pub fn remaining(failures: u32, last: Option<Timestamp>, now: Timestamp) -> Duration {
    let Some(last) = last.filter(|_| failures > 0) else { return Duration::ZERO };
    let seconds = BASE_SECONDS
        .checked_shl((failures - 1).min(16))
        .map_or(MAXIMUM_SECONDS, |all| all.min(MAXIMUM_SECONDS));
    let wait = SignedDuration::try_from(Duration::from_secs(seconds)).unwrap_or(SignedDuration::MAX);
    Duration::try_from(wait.saturating_sub(now.duration_since(last))).unwrap_or_default()
}

/// When a pod ended: its last container; else since when it is not ready; else when its deletion began; else when it was made.
pub fn ended(pod: &Brief) -> Option<Timestamp> {
    let containers: Option<Vec<Timestamp>> =
        pod.status.container_statuses.iter().map(|one| one.state.terminated.as_ref()?.finished_at).collect();
    let ready = pod.condition("Ready").filter(|ready| ready.status == "False");
    let deleted = || pod.deleted?.checked_sub(SignedDuration::from_secs(pod.grace_seconds)).ok();
    containers
        .and_then(|times| times.into_iter().max())
        .or_else(|| ready.and_then(|ready| ready.last_transition_time))
        .or_else(deleted)
        .or(pod.created)
}
