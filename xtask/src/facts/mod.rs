//! `cargo xtask facts`: makes `crates/schema/facts/kubernetes.txt` out of the Go modules that define
//! Kubernetes' types.
//!
//! A person runs it when the Kubernetes version moves, reviews the difference and commits it; no build runs
//! it. Invariant: the same modules give the same bytes.

mod compare;
mod go;
mod packages;
mod proto;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// What `cargo xtask facts` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// The Go module cache, as `go env GOMODCACHE` prints it; needed unless only comparing.
    #[arg(long)]
    modules: Option<PathBuf>,
    /// Compare with what is committed instead of writing it.
    #[arg(long)]
    check: bool,
    /// Compare with a list of protobuf fields and how JSON differs, as an independent opinion.
    #[arg(long)]
    proto_json: Option<PathBuf>,
    /// Compare with client-go's own table of list and map kinds: its `applyconfigurations/internal/internal.go`.
    #[arg(long)]
    apply: Option<PathBuf>,
}

/// Generates the table, or says where it differs from what is committed or from another opinion.
pub fn run(arguments: &Arguments) -> Result<()> {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/schema/facts/kubernetes.txt");
    if let Some(modules) = &arguments.modules {
        let generated = table::generate(modules)?;
        if arguments.check {
            let present = std::fs::read_to_string(&committed).context("reading the committed table")?;
            ensure!(generated == present, "the committed table is not what the modules give");
        } else {
            std::fs::write(&committed, generated)?;
        }
    } else if arguments.proto_json.is_none() && arguments.apply.is_none() {
        bail!("--modules is needed; to fill a module cache: {}", packages::download_command());
    }
    let table = std::fs::read_to_string(&committed).context("reading the table")?;
    let mut differences = Vec::new();
    if let Some(path) = &arguments.proto_json {
        let json = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        differences.extend(compare::with_proto_json(&table, &json)?);
    }
    if let Some(path) = &arguments.apply {
        let source = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        differences.extend(compare::with_apply(&table, &source)?);
    }
    for difference in &differences {
        println!("{difference}");
    }
    ensure!(differences.is_empty(), "{} differences", differences.len());
    Ok(())
}
