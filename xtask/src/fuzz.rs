//! `cargo xtask fuzz`: runs each row of `fuzz/src/main.rs` for so many executions, and says how it ended.
//!
//! The instrumentation is LLVM's own, which the stable compiler passes on; a C++ compiler builds libFuzzer. What is
//! found stays in `target/fuzz/NAME`, and the bytes that made a row fail beside it.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";
const HOST: &str = "x86_64-unknown-linux-gnu";

/// What `cargo xtask fuzz` takes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rows to run; all without one.
    rows: Vec<String>,
    /// How often each parser is run.
    #[arg(long, default_value_t = 10_000_000)]
    runs: u64,
    /// Seconds after which a row ends all the same.
    #[arg(long, default_value_t = 3_600)]
    seconds: u64,
}

/// Runs the rows one after the other; an error names those that failed.
pub fn run(arguments: &Arguments) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = root.join("target/fuzz");
    let program = build(&root, &folder)?;
    let names = rows(&root)?;
    if let Some(odd) = arguments.rows.iter().find(|row| !names.contains(row)) {
        bail!("there is no row {odd:?}; there are {}", names.join(", "));
    }
    let mut failed = Vec::new();
    for name in names.iter().filter(|name| arguments.rows.is_empty() || arguments.rows.contains(name)) {
        let corpus = folder.join(name);
        std::fs::create_dir_all(&corpus)?;
        let output = Command::new(&program)
            .env("GIFEE_FUZZ", name)
            .arg(&corpus)
            .arg(format!("-runs={}", arguments.runs))
            .arg(format!("-max_total_time={}", arguments.seconds))
            .arg(format!("-artifact_prefix={}/{name}-", folder.display()))
            .args([
                "-max_len=4096",
                "-timeout=10",
                "-rss_limit_mb=2048",
                "-print_final_stats=1",
                "-verbosity=1",
            ])
            .output()
            .with_context(|| format!("running {}", program.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let figure = |word: &str| {
            let line = said.lines().find(|line| line.contains(word));
            line.and_then(|line| line.split_whitespace().last()).unwrap_or("?").to_owned()
        };
        let (runs, rate) = (figure("number_of_executed_units"), figure("average_exec_per_sec"));
        println!(
            "{name}: {} after {runs} executions, {rate}/s",
            if output.status.success() { "ok" } else { "FAILED" }
        );
        if !output.status.success() {
            let last: Vec<&str> = said.lines().rev().take(40).collect();
            last.iter().rev().for_each(|line| println!("  {line}"));
            failed.push(name.as_str());
        }
    }
    ensure!(failed.is_empty(), "these rows failed: {}", failed.join(", "));
    Ok(())
}

fn build(root: &Path, folder: &Path) -> Result<PathBuf> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--target", HOST, "--manifest-path"])
        .arg(root.join("fuzz/Cargo.toml"))
        .arg("--target-dir")
        .arg(folder.join("build"))
        .env("RUSTFLAGS", FLAGS)
        .status()
        .context("running cargo")?;
    ensure!(status.success(), "the fuzzer does not build; it needs a C++ compiler");
    Ok(folder.join("build").join(HOST).join("release/gifee-fuzz"))
}

/// The names in the table.
fn rows(root: &Path) -> Result<Vec<String>> {
    let source = std::fs::read_to_string(root.join("fuzz/src/main.rs"))?;
    let table = source.split("const TARGETS").nth(1).and_then(|rest| rest.split("];").next());
    let rows = table.context("fuzz/src/main.rs has no table")?.lines();
    Ok(rows
        .filter_map(|line| line.trim().strip_prefix("(\"")?.split('"').next())
        .map(str::to_owned)
        .collect())
}
