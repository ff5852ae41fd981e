//! What the kernel says about a process: CPU time, resident memory, its peak.

use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

/// The kernel's unit in `/proc/<pid>/stat`, the same on all machines.
const TICKS_PER_SECOND: u64 = 100;

/// A process by its number.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

impl Process {
    fn read(self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.0);
        fs::read_to_string(&path).with_context(|| format!("reading {path}: has the process ended?"))
    }

    /// CPU time so far, in user space and in the kernel.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn cpu(self) -> Result<Duration> {
        let stat = self.read("stat")?;
        // The name before may hold blanks, and ends with the last parenthesis.
        let after = stat.rsplit(')').next().unwrap_or_default();
        let mut fields = after.split_whitespace().skip(11);
        let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok());
        let (user, system) = ticks().zip(ticks()).context("a strange /proc/<pid>/stat")?;
        Ok(Duration::from_millis((user + system) * 1_000 / TICKS_PER_SECOND))
    }

    fn megabytes(self, file: &str, field: &str) -> Result<f64> {
        let text = self.read(file)?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
        let kilobytes: f64 = line.trim_matches([':', ' ', '\t', 'k', 'B']).parse()?;
        Ok(kilobytes * 1024.0 / 1e6)
    }

    /// Resident memory in MB.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn rss(self) -> Result<f64> {
        self.megabytes("status", "VmRSS")
    }

    /// Resident memory in MB, of shared pages only its share.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn pss(self) -> Result<f64> {
        self.megabytes("smaps_rollup", "Pss")
    }

    /// Memory in MB that no other process shares.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn private(self) -> Result<f64> {
        Ok(self.megabytes("smaps_rollup", "Private_Clean")?
            + self.megabytes("smaps_rollup", "Private_Dirty")?)
    }

    /// Highest resident memory in MB since [`Process::reset_peak`].
    ///
    /// # Errors
    /// If the process has ended.
    pub fn peak(self) -> Result<f64> {
        self.megabytes("status", "VmHWM")
    }

    /// Lets the peak start anew.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn reset_peak(self) -> Result<()> {
        let path = format!("/proc/{}/clear_refs", self.0);
        fs::write(&path, "5").with_context(|| format!("writing {path}"))
    }
}
