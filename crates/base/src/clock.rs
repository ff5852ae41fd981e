//! Time as an injected value, and Kubernetes' two timestamp formats.
//!
//! Nothing else in the workspace asks the operating system for the wall clock.

use jiff::Timestamp;

/// A source of wall-clock time; tests inject one that stands still.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// `2006-01-02T15:04:05Z`, the format of `metav1.Time`.
pub fn format_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2006-01-02T15:04:05.000000Z`, the format of `metav1.MicroTime`.
pub fn format_micro_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Parses an RFC 3339 timestamp with an offset.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}
