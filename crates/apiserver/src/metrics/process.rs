//! What the kernel says of this process, under the names that Prometheus' clients give it.
//!
//! Invariant: read when somebody asks, and left out where the kernel does not say.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fs::{read_dir, read_to_string};

/// Ticks of a second, in which the kernel tells times to programs.
const TICKS: f64 = 100.0;

/// Reads it.
#[derive(Debug)]
pub struct Process;

/// Numbers of this process.
#[derive(Debug, PartialEq)]
struct Numbers {
    /// Seconds of processor time.
    cpu: f64,
    /// Seconds since the epoch.
    started: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

/// Out of `/proc/self/stat`, where what is in parentheses may hold anything, and of `/proc/self/status`.
fn numbers(stat: &str, status: &str, booted: f64) -> Option<Numbers> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // The first one here is the third of all.
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(Numbers {
        cpu: (field(14)? + field(15)?) / TICKS,
        started: booted + field(22)? / TICKS,
        virtual_bytes: field(23)?,
        resident_bytes: resident(status)? * 1024.0,
    })
}

/// KiB.
fn resident(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn booted() -> Option<f64> {
    let stat = read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn limit() -> Option<f64> {
    let limits = read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn read() -> Option<Numbers> {
    let stat = read_to_string("/proc/self/stat").ok()?;
    numbers(&stat, &read_to_string("/proc/self/status").ok()?, booted()?)
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauges = Vec::new();
        if let Some(numbers) = read() {
            let cpu = ConstCounter::new(numbers.cpu);
            let what = "Processor time that the process has taken, in seconds";
            cpu.encode(encoder.encode_descriptor("process_cpu_seconds", what, None, cpu.metric_type())?)?;
            gauges.push((
                "process_start_time_seconds",
                "When the process began, since the epoch",
                numbers.started,
            ));
            gauges.push((
                "process_virtual_memory_bytes",
                "Memory that the process has mapped",
                numbers.virtual_bytes,
            ));
            gauges.push((
                "process_resident_memory_bytes",
                "Memory that the process has",
                numbers.resident_bytes,
            ));
        }
        // Reading it takes one of its own.
        let open = read_dir("/proc/self/fd").ok().map(|all| all.count().saturating_sub(1) as f64);
        gauges.extend(open.map(|open| ("process_open_fds", "Files that are open", open)));
        gauges.extend(limit().map(|limit| ("process_max_fds", "Files that may be open", limit)));
        for (name, what, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, what, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_behind_any_name() {
        let stat =
            "7 (a) b (c) S 1 7 7 0 -1 4194304 0 0 0 0 150 50 0 0 20 0 9 0 1000 4096 3 18446744073709551615";
        let status = "Name:\ta\nVmRSS:\t      12 kB\n";
        let expect = Numbers { cpu: 2.0, started: 110.0, virtual_bytes: 4096.0, resident_bytes: 12288.0 };
        assert_eq!(numbers(stat, status, 100.0), Some(expect));
        assert_eq!(numbers("7 (a) S", status, 0.0), None);
        assert!(read().is_some_and(|own| own.resident_bytes > 0.0 && own.started > 1e9));
    }
}
