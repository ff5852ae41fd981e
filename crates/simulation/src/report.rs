//! What happened, for people and as JSON.

use crate::ledger::percentile;
use crate::operations::Outcome;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Most pods and owners that are named one by one for people; JSON has all.
const NAMED_MAXIMUM: usize = 20;

/// A whole run.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Name of the workload.
    pub name: String,
    /// What it was run against.
    pub against: String,
    /// Steps in their order.
    pub steps: Vec<StepReport>,
    /// Pods at the end.
    pub pods: Tally,
    /// Why pods have no place at the end.
    pub pending: Vec<Reason>,
    /// CPU of this process over all steps.
    pub cpu_seconds: f64,
    /// Resident memory of this process at the end.
    pub resident_bytes: u64,
}

/// One step.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// Which operation.
    pub opcode: String,
    /// How many things it did.
    pub count: usize,
    /// Over which time.
    pub seconds: f64,
    /// How many of them a second.
    pub per_second: f64,
    /// Latencies by name.
    pub latencies: BTreeMap<String, Latency>,
    /// CPU of this process meanwhile.
    pub cpu_seconds: f64,
    /// The same for each thing.
    pub cpu_milliseconds_each: f64,
    /// Resident memory of this process after it.
    pub resident_bytes: u64,
    /// Pods that left their nodes, and where those in their place are.
    pub moves: Vec<Move>,
    /// Further remarks.
    pub notes: Vec<String>,
}

/// Milliseconds below which parts of all lie.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// Half.
    pub p50_milliseconds: f64,
    /// All but a hundredth.
    pub p99_milliseconds: f64,
}

/// Numbers of pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// On nodes, and ready.
    pub ready: usize,
    /// On nodes, and not ready.
    pub starting: usize,
    /// Without a node.
    pub pending: usize,
    /// Ended.
    pub ended: usize,
}

/// Why some pods have no place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// As the scheduler says it; empty: it has not said yet.
    pub message: String,
    /// Pods.
    pub pods: Vec<String>,
}

/// Pods of one owner that left, and what stands in their place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Move {
    /// Namespace, kind and name, or the pod itself.
    pub owner: String,
    /// Nodes that were left, each as often as it was.
    pub left: Vec<String>,
    /// Nodes of new pods, each as often as it has one.
    pub placed: Vec<String>,
    /// Why new pods have no place, for each of them.
    pub pending: Vec<String>,
}

impl StepReport {
    /// Of what a step came to.
    pub fn new(
        opcode: &str,
        outcome: Outcome,
        elapsed: Duration,
        cpu: Duration,
        resident_bytes: u64,
    ) -> Self {
        let seconds = outcome.time.unwrap_or(elapsed).as_secs_f64();
        let each = |amount: f64| if outcome.count == 0 { 0.0 } else { amount / outcome.count as f64 };
        let latencies = outcome.latencies.into_iter().filter_map(|(name, mut times)| {
            let at =
                |times: &mut [Duration], part| percentile(times, part).map(|time| time.as_secs_f64() * 1e3);
            let p50_milliseconds = at(&mut times, 0.5)?;
            let p99_milliseconds = at(&mut times, 0.99)?;
            Some((name.to_owned(), Latency { p50_milliseconds, p99_milliseconds }))
        });
        Self {
            opcode: opcode.into(),
            count: outcome.count,
            seconds,
            per_second: if seconds > 0.0 { outcome.count as f64 / seconds } else { 0.0 },
            latencies: latencies.collect(),
            cpu_seconds: cpu.as_secs_f64(),
            cpu_milliseconds_each: each(cpu.as_secs_f64() * 1e3),
            resident_bytes,
            moves: Vec::new(),
            notes: outcome.notes,
        }
    }
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let mut out = format!("{} ({})\n\n", self.name, self.against);
        out.push_str("step                count    seconds        /s   CPU s  CPU ms each   RSS MB  latency p50 / p99\n");
        for step in &self.steps {
            step.write(&mut out);
        }
        let Tally { ready, starting, pending, ended } = self.pods;
        let _ = write!(out, "\npods: {ready} ready, {starting} starting, {pending} pending, {ended} ended\n");
        for reason in &self.pending {
            let message = if reason.message.is_empty() { "not decided yet" } else { &reason.message };
            let _ = writeln!(out, "pending: {} × {message}", reason.pods.len());
            let named: Vec<&str> = reason.pods.iter().take(NAMED_MAXIMUM).map(String::as_str).collect();
            let more = if reason.pods.len() > NAMED_MAXIMUM { ", …" } else { "" };
            let _ = writeln!(out, "         {}{more}", named.join(", "));
        }
        let _ = writeln!(
            out,
            "this process: {:.2} s of CPU, {:.0} MB resident",
            self.cpu_seconds,
            self.resident_bytes as f64 / 1e6
        );
        out
    }
}

impl StepReport {
    fn write(&self, out: &mut String) {
        let latencies: Vec<String> = self
            .latencies
            .iter()
            .map(|(name, one)| format!("{name} {:.1} / {:.1} ms", one.p50_milliseconds, one.p99_milliseconds))
            .collect();
        let line = format!(
            "{:<16} {:>8} {:>10.3} {:>9.0} {:>7.2} {:>12.3} {:>8.0}  {}",
            self.opcode,
            self.count,
            self.seconds,
            self.per_second,
            self.cpu_seconds,
            self.cpu_milliseconds_each,
            self.resident_bytes as f64 / 1e6,
            latencies.join(", ")
        );
        let _ = writeln!(out, "{}", line.trim_end());
        for note in &self.notes {
            let _ = writeln!(out, "  {note}");
        }
        for one in self.moves.iter().take(NAMED_MAXIMUM) {
            one.write(out);
        }
        if let Some(more) = self.moves.len().checked_sub(NAMED_MAXIMUM + 1) {
            let _ = writeln!(out, "  and {} more", more + 1);
        }
    }
}

impl Move {
    fn write(&self, out: &mut String) {
        let mut parts = Vec::new();
        if !self.left.is_empty() {
            parts.push(format!("{} left {}", self.left.len(), counted(&self.left)));
        }
        if !self.placed.is_empty() {
            parts.push(format!("{} now on {}", self.placed.len(), counted(&self.placed)));
        }
        if !self.pending.is_empty() {
            parts.push(format!("{} pending: {}", self.pending.len(), counted(&self.pending)));
        }
        let _ = writeln!(out, "  {}: {}", self.owner, parts.join("; "));
    }
}

/// `a (2), b`
fn counted(names: &[String]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let one = |(name, count): (&&str, &usize)| match count {
        1 => (*name).to_owned(),
        count => format!("{name} ({count})"),
    };
    counts.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn people_read_a_table_and_what_moved() {
        let times = |base: u64| (1..=100).map(|number| Duration::from_millis(base * number)).collect();
        let outcome = Outcome {
            count: 100,
            time: Some(Duration::from_millis(500)),
            latencies: vec![("bound", times(1)), ("ready", times(2))],
            notes: vec!["2 of 102 pods have no place".into()],
            question: true,
        };
        let mut step = StepReport::new(
            "createPods",
            outcome,
            Duration::from_secs(9),
            Duration::from_millis(250),
            64_000_000,
        );
        step.moves.push(Move {
            owner: "shop/ReplicaSet/web".into(),
            left: vec!["a".into(), "a".into(), "b".into()],
            placed: vec!["c".into()],
            pending: vec!["0/3 nodes are available".into(); 2],
        });
        let report = Report {
            name: "basic".into(),
            against: "a test".into(),
            steps: vec![
                StepReport::new("createNodes", Outcome::of(3), Duration::from_secs(1), Duration::ZERO, 0),
                step,
            ],
            pods: Tally { ready: 97, starting: 1, pending: 2, ended: 0 },
            pending: vec![Reason {
                message: "0/3 nodes are available".into(),
                pods: vec!["shop/x".into(), "shop/y".into()],
            }],
            cpu_seconds: 0.25,
            resident_bytes: 64_000_000,
        };
        expect![[r#"
            basic (a test)

            step                count    seconds        /s   CPU s  CPU ms each   RSS MB  latency p50 / p99
            createNodes             3      1.000         3    0.00        0.000        0
            createPods            100      0.500       200    0.25        2.500       64  bound 51.0 / 99.0 ms, ready 102.0 / 198.0 ms
              2 of 102 pods have no place
              shop/ReplicaSet/web: 3 left a (2), b; 1 now on c; 2 pending: 0/3 nodes are available (2)

            pods: 97 ready, 1 starting, 2 pending, 0 ended
            pending: 2 × 0/3 nodes are available
                     shop/x, shop/y
            this process: 0.25 s of CPU, 64 MB resident
        "#]].assert_eq(&report.text());
        expect![[r#"{"bound":{"p50Milliseconds":51.0,"p99Milliseconds":99.0},"ready":{"p50Milliseconds":102.0,"p99Milliseconds":198.0}}"#]].assert_eq(&serde_json::to_string(&report.steps[1].latencies).unwrap_or_default());
    }
}
