//! `cargo xtask facts`: makes `crates/schema/facts/` out of the Go modules that define Kubernetes' types.
//!
//! A person runs it when the Kubernetes version moves, reviews the difference and commits it; no build runs
//! it. Invariant: the same modules give the same bytes.

use std::path::PathBuf;

/// What `cargo xtask facts` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// The Go module cache, as `go env GOMODCACHE` prints it, holding the `k8s.io` modules.
    #[arg(long)]
    modules: Option<PathBuf>,
    /// Compare with what is committed instead of writing it.
    #[arg(long)]
    check: bool,
}

/// Generates the table, or with `--check` says where the committed one differs.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let _ = (&arguments.modules, arguments.check);
    anyhow::bail!("no module list yet")
}
