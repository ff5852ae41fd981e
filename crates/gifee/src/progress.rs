//! What a person sees while a cluster comes up: one line a step, with the time it took.
//!
//! A detached start hands the lines to the process that waits for it, through a pipe named in the environment;
//! the last line is the word that tells it to stop waiting.

use anyhow::Result;
use parking_lot::Mutex;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

/// Names the file descriptor of the pipe.
pub const PIPE: &str = "GIFEE_PROGRESS_FD";
const READY: &str = "\u{4}ready";

/// Where steps are told.
pub struct Progress {
    begun: Instant,
    step: Mutex<Instant>,
    pipe: Mutex<Option<File>>,
}

impl Progress {
    /// To the pipe in the environment if there is one, else to standard output.
    pub fn new() -> Self {
        let pipe = std::env::var(PIPE).ok().and_then(|fd| fd.parse::<RawFd>().ok()).map(|fd| {
            // SAFETY: the parent opened this descriptor for us alone, and names it nowhere else.
            File::from(unsafe { OwnedFd::from_raw_fd(fd) })
        });
        let now = Instant::now();
        Self { begun: now, step: Mutex::new(now), pipe: Mutex::new(pipe) }
    }

    /// Tells a line.
    pub fn say(&self, line: &str) {
        match &mut *self.pipe.lock() {
            // The reader may have gone: the cluster comes up all the same.
            Some(pipe) => drop(writeln!(pipe, "{line}")),
            None => println!("{line}"),
        }
    }

    /// Tells a step that is done, and how long it took since the last one.
    pub fn done(&self, what: &str) {
        let took = std::mem::replace(&mut *self.step.lock(), Instant::now()).elapsed();
        self.say(&format!("  {what:<58} {:>6} ms", took.as_millis()));
    }

    /// Milliseconds since the beginning.
    pub fn total(&self) -> u128 {
        self.begun.elapsed().as_millis()
    }

    /// Tells who waits that all is ready.
    pub fn ready(&self) {
        let mut pipe = self.pipe.lock();
        if let Some(mut pipe) = pipe.take() {
            drop(writeln!(pipe, "{READY}"));
        }
    }
}

/// Prints what a detached process tells, until it is ready (true) or has ended (false).
///
/// # Errors
/// If the pipe breaks in an unusual way.
pub fn follow(pipe: OwnedFd) -> Result<bool> {
    for line in BufReader::new(File::from(pipe)).lines() {
        let line = line?;
        if line == READY {
            return Ok(true);
        }
        println!("{line}");
    }
    Ok(false)
}
