//! What a row of results means.
//!
//! Answers to the prober's `worker.doProbe`.

use k8s_openapi::api::core::v1::Probe;

use super::{Kind, Outcome};

/// The verdict changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The probe counts as passed.
    Passed,
    /// The probe counts as failed.
    Failed,
}

/// Counts results of one probe of one run of a container.
#[derive(Clone, Debug)]
pub struct Machine {
    kind: Kind,
    success_threshold: u32,
    failure_threshold: u32,
    /// The last result, and how often it came in a row.
    row: Option<(bool, u32)>,
    verdict: bool,
}

impl Machine {
    /// Before the first result: liveness counts as passed, the others as not.
    pub fn new(kind: Kind, probe: &Probe, verdict: Option<bool>) -> Machine {
        let threshold = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        Machine {
            kind,
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
            row: None,
            verdict: verdict.unwrap_or(kind == Kind::Liveness),
        }
    }

    /// Counts a result. A startup or liveness probe that fails says so once: the container is then stopped.
    pub fn record(&mut self, outcome: &Outcome) -> Option<Change> {
        let success = !matches!(outcome, Outcome::Failure(_));
        let length = match self.row {
            Some((last, length)) if last == success => length.saturating_add(1),
            _ => 1,
        };
        self.row = Some((success, length));
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        if length < threshold {
            return None;
        }
        let fatal = !success && self.kind != Kind::Readiness && length == threshold;
        let changed = self.verdict != success || fatal;
        self.verdict = success;
        changed.then_some(if success { Change::Passed } else { Change::Failed })
    }
}
