//! `cargo xtask bench`: measures a gifee binary from outside, and states each figure beside its goal and a ceiling.
//!
//! Invariant: nothing here runs in tests, and every cluster that is started is ended and purged. Client, peer and
//! TLS stand behind the feature `bench`; without it the task runs itself again with it.

#[cfg(feature = "bench")]
mod api;
#[cfg(feature = "bench")]
mod ceiling;
#[cfg(feature = "bench")]
mod client;
#[cfg(feature = "bench")]
mod lists;
#[cfg(feature = "bench")]
mod load;
#[cfg(feature = "bench")]
mod measure;
#[cfg(feature = "bench")]
mod node;
#[cfg(feature = "bench")]
mod objects;
#[cfg(feature = "bench")]
mod peer;
#[cfg(feature = "bench")]
mod pods;
#[cfg(feature = "bench")]
mod process;
#[cfg(feature = "bench")]
mod report;
#[cfg(feature = "bench")]
mod simulate;
#[cfg(feature = "bench")]
mod table;
#[cfg(feature = "bench")]
mod target;
#[cfg(feature = "bench")]
mod verbs;
#[cfg(feature = "bench")]
mod watches;

use anyhow::Result;

/// What `cargo xtask bench` takes: all words, which the task with its feature understands.
#[derive(clap::Args)]
pub struct Arguments {
    /// Flags of the bench; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Measures.
///
/// # Errors
/// If a cluster cannot be started or answers wrongly.
#[cfg(feature = "bench")]
pub fn run(arguments: &Arguments) -> Result<()> {
    measure::run(&arguments.words)
}

/// Runs this task again, optimised and with its feature.
///
/// # Errors
/// If that fails.
#[cfg(not(feature = "bench"))]
pub fn run(arguments: &Arguments) -> Result<()> {
    let status = std::process::Command::new("cargo")
        .args([
            "run",
            "--quiet",
            "--package",
            "xtask",
            "--features",
            "bench",
            "--profile",
            "quick",
            "--",
            "bench",
        ])
        .args(&arguments.words)
        .status()?;
    anyhow::ensure!(status.success(), "the bench ended with {status}");
    Ok(())
}
