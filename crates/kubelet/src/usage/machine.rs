//! Figures of the machine itself, out of `/proc`.

use std::fs;

use gifee_oci::status::Stats;

/// What `/proc/stat` counts in: hundredths of a second on every architecture.
const TICK_NANOS: u64 = 10_000_000;

/// What went over a network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Received: bytes, packets, errors, dropped.
    pub received: [u64; 4],
    /// Sent: bytes, packets, errors, dropped.
    pub sent: [u64; 4],
}

/// Figures of all that runs, and the bytes of memory that could be given away.
pub(super) fn stats() -> (Stats, u64) {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mut stats = memory(&text);
    let [user, system] = processor(&fs::read_to_string("/proc/stat").unwrap_or_default());
    (stats.cpu_user_nanos, stats.cpu_system_nanos) = (user, system);
    stats.cpu_nanos = user + system;
    let faults = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    stats.page_faults = field(&faults, "pgfault ");
    stats.major_page_faults = field(&faults, "pgmajfault ");
    (stats, kib(&text, "MemTotal:").saturating_sub(stats.memory_working_set))
}

/// CPU time of all processors, nanoseconds: outside of the kernel and in it. Idle and stolen time is neither.
pub(super) fn processor(text: &str) -> [u64; 2] {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let sum = |fields: &[usize]| fields.iter().filter_map(|at| ticks.get(*at)).sum::<u64>() * TICK_NANOS;
    // user and nice; system, interrupts, soft interrupts
    [sum(&[0, 1]), sum(&[2, 5, 6])]
}

/// Memory as `/proc/meminfo` says: the topmost control group of version 2 has no figures of its own.
pub(super) fn memory(text: &str) -> Stats {
    let usage = kib(text, "MemTotal:").saturating_sub(kib(text, "MemFree:"));
    Stats {
        memory_usage: usage,
        memory_working_set: usage.saturating_sub(kib(text, "Inactive(file):")),
        memory_rss: kib(text, "AnonPages:"),
        memory_cache: kib(text, "Cached:"),
        memory_mapped: kib(text, "Mapped:"),
        memory_swap: kib(text, "SwapTotal:").saturating_sub(kib(text, "SwapFree:")),
        ..Stats::default()
    }
}

/// Figures of this process.
pub(super) fn own() -> Stats {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = kib(&text, "VmRSS:");
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(usage.tv_sec).unwrap_or(0);
    Stats {
        cpu_nanos: seconds * 1_000_000_000 + u64::try_from(usage.tv_nsec).unwrap_or(0),
        memory_usage: resident,
        memory_working_set: resident,
        memory_rss: kib(&text, "RssAnon:"),
        pids: field(&text, "Threads:"),
        ..Stats::default()
    }
}

/// When the machine was started, in seconds since 1970.
pub(super) fn boot_seconds() -> i64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    i64::try_from(field(&text, "btime ")).unwrap_or(0)
}

/// Process numbers: how many are in use, and how many there can be.
pub fn processes() -> (u64, u64) {
    let most = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let used = load.split_whitespace().nth(3).and_then(|field| field.split('/').nth(1)?.parse().ok());
    (used.unwrap_or(0), most.trim().parse().unwrap_or(0))
}

/// The interfaces of the network namespace of a process.
pub(super) fn interfaces(process: &str) -> Vec<Interface> {
    let text = fs::read_to_string(format!("/proc/{process}/net/dev")).unwrap_or_default();
    parse_interfaces(&text)
}

/// The lines of `net/dev`, but for the loopback.
pub(super) fn parse_interfaces(text: &str) -> Vec<Interface> {
    let line = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let four = |at: usize| numbers.get(at..at + 4).and_then(|part| part.try_into().ok());
        Some(Interface { name: name.trim().to_owned(), received: four(0)?, sent: four(8)? })
    };
    text.lines().filter_map(line).filter(|interface| interface.name != "lo").collect()
}

/// The number behind a word at the beginning of a line.
fn field(text: &str, name: &str) -> u64 {
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    found.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn kib(text: &str, name: &str) -> u64 {
    field(text, name) * 1024
}
