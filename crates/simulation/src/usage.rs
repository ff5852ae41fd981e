//! What this process has used: CPU and memory.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// CPU time of all threads since the start.
pub fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Resident memory in bytes; 0 where the kernel does not say.
pub fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}
