//! Medians of what was measured, as a table for people and as JSON.

use super::measure::Outcome;
use super::table::{Bench, Row};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Every run's values.
#[derive(Default)]
pub struct Figures {
    measured: HashMap<&'static str, Vec<f64>>,
    ceiling: HashMap<&'static str, Vec<f64>>,
    peer: HashMap<&'static str, Vec<f64>>,
}

impl Figures {
    /// Takes in a run.
    pub fn add(&mut self, outcome: &Outcome) {
        for (row, value) in &outcome.measured {
            self.measured.entry(row).or_default().push(*value);
        }
        for (row, value) in &outcome.ceiling {
            self.ceiling.entry(row).or_default().push(*value);
        }
        for (row, value) in &outcome.peer {
            self.peer.entry(row).or_default().push(*value);
        }
    }

    /// Prints the table, as far as something was measured.
    pub fn print(&self, benches: &[&Bench], runs: usize) {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        println!(
            "Medians of {runs} runs; {cores} cores, load {load}. Each client on a TLS connection of its own, HTTP/1.1, kept alive."
        );
        println!(
            "| {:<44} | {:>9} | {:<11} | {:>19} | {:>9} | {:>10} | {:>8} | {:>8} | says",
            "figure", "median", "unit", "least to most", "ceiling", "of ceiling", "goal", "upstream"
        );
        for row in benches.iter().flat_map(|bench| bench.rows) {
            if let Some(values) = self.measured.get(row.name) {
                let beside = |of: &HashMap<&str, Vec<f64>>| of.get(row.name).map(|values| median(values));
                print(row, values, beside(&self.ceiling), beside(&self.peer));
            }
        }
    }

    /// Every run's values, and what they are held against.
    pub fn json(&self, benches: &[&Bench]) -> String {
        let mut rows = serde_json::Map::new();
        for row in benches.iter().flat_map(|bench| bench.rows) {
            let Some(values) = self.measured.get(row.name) else { continue };
            let ceiling = self.ceiling.get(row.name);
            let value = json!({
                "title": row.title, "unit": row.unit, "moreIsBetter": row.more, "goal": row.goal,
                "upstream": row.upstream, "median": median(values), "runs": values,
                "ceiling": ceiling.map(|values| median(values)), "ceilingRuns": ceiling,
                "etcdRuns": self.peer.get(row.name),
            });
            rows.insert(row.name.to_owned(), value);
        }
        format!("{:#}\n", Value::Object(rows))
    }
}

/// What was measured of etcd here stands in the place of what was measured of upstream elsewhere.
fn print(row: &Row, values: &[f64], ceiling: Option<f64>, peer: Option<f64>) {
    let middle = median(values);
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    let fraction = ceiling.map(|ceiling| if row.more { middle / ceiling } else { ceiling / middle });
    let better = |than: f64| if row.more { middle >= than } else { middle <= than };
    let says = match peer.or(row.upstream) {
        _ if better(row.goal) => "goal met",
        Some(etcd) if peer.is_some() && better(etcd) => "better than etcd alone",
        Some(_) if peer.is_some() => "WORSE THAN ETCD ALONE",
        Some(upstream) if better(upstream) => "better than upstream",
        Some(_) => "WORSE THAN UPSTREAM",
        None => "OVER BUDGET",
    };
    println!(
        "| {:<44} | {:>9} | {:<11} | {:>19} | {:>9} | {:>10} | {:>8} | {:>8} | {says}",
        row.title,
        number(middle),
        row.unit,
        format!("{} to {}", number(least), number(most)),
        ceiling.map(number).unwrap_or_default(),
        fraction.map(|fraction| format!("{:.0} %", fraction * 100.0)).unwrap_or_default(),
        number(row.goal),
        peer.or(row.upstream).map(number).unwrap_or_default(),
    );
}

/// Three digits at least.
fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}
