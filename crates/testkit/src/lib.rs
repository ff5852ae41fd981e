//! What tests of several crates share.

use gifee_base::Clock;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::time::Instant;

/// A wall clock that goes with the runtime's and may jump. Where a runtime's time is paused it passes only while nothing
/// can be done, so what a test sees does not depend on how fast the machine is.
#[derive(Debug)]
pub struct RuntimeClock {
    begun: Instant,
    offset_seconds: AtomicI64,
}

/// The second at which all such clocks begin.
const BEGINNING: i64 = 1_800_000_000;

impl RuntimeClock {
    /// At its beginning.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { begun: Instant::now(), offset_seconds: AtomicI64::new(0) })
    }

    /// Jumps, perhaps back.
    pub fn jump(&self, seconds: i64) {
        self.offset_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        let beginning = Timestamp::from_second(BEGINNING).expect("it is a date");
        let offset = SignedDuration::from_secs(self.offset_seconds.load(Ordering::Relaxed));
        let passed = SignedDuration::try_from(self.begun.elapsed()).unwrap_or_default();
        beginning + passed + offset
    }
}
