//! Figures of controllers and scheduler: `gifee simulate` runs the workloads of the crate `simulation`, in a process of
//! its own with a durable store; CPU and memory are those of that whole process, simulated nodes included.

use super::measure::{Bed, Outcome};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;

/// Runs a workload and reads its report.
async fn report(bed: &Bed, workload: &str) -> Result<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/simulation/workloads");
    let file = folder.join(format!("{workload}.yaml"));
    let mut command = tokio::process::Command::new(&bed.binary);
    command
        .arg("simulate")
        .arg(&file)
        .args(["--output", "json"])
        .env("TMPDIR", bed.path())
        .kill_on_drop(true);
    let output = command.output().await?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "gifee simulate {} failed:\n{told}", file.display());
    serde_json::from_slice(&output.stdout).context("reading the report of gifee simulate")
}

fn step(report: &Value, index: usize) -> Result<&Value> {
    report["steps"].get(index).with_context(|| format!("the workload has no step {index}"))
}

fn number(value: &Value) -> Result<f64> {
    value.as_f64().context("a figure is missing in the report")
}

/// Pods that are bound a second in the last step of a workload, and the CPU for each.
///
/// # Errors
/// If the workload fails, or a pod found no place.
pub async fn shape(bed: &Bed, workload: &str, [rate, cpu]: [&'static str; 2]) -> Result<Outcome> {
    let report = report(bed, workload).await?;
    let last = report["steps"].as_array().and_then(|steps| steps.last()).context("no steps")?;
    let notes = last["notes"].as_array().map(Vec::len).unwrap_or_default();
    ensure!(notes == 0, "not all pods of {workload} found a place: {}", last["notes"]);
    let measured = vec![(rate, number(&last["perSecond"])?), (cpu, number(&last["cpuMillisecondsEach"])?)];
    Ok(Outcome { measured, ..Outcome::default() })
}

/// Memory with a great many nodes.
///
/// # Errors
/// If the workload fails.
pub async fn held(bed: &Bed) -> Result<Outcome> {
    let report = report(bed, "held").await?;
    let measured = vec![("held-rss", number(&report["residentBytes"])? / 1e6)];
    Ok(Outcome { measured, ..Outcome::default() })
}

/// Deployments scaled, and a namespace deleted.
///
/// # Errors
/// If the workload fails.
pub async fn deployments(bed: &Bed) -> Result<Outcome> {
    let report = report(bed, "deployments").await?;
    // The change, and the wait for what it asks.
    let both = |first: usize| -> Result<f64> {
        Ok(number(&step(&report, first)?["seconds"])? + number(&step(&report, first + 1)?["seconds"])?)
    };
    let deletion = number(&step(&report, 11)?["seconds"])?;
    let measured =
        vec![("deployment-300", both(5)?), ("deployment-10000", both(9)?), ("namespace-10000", deletion)];
    Ok(Outcome { measured, ..Outcome::default() })
}

/// Many Deployments rolled at once.
///
/// # Errors
/// If the workload fails.
pub async fn rolled(bed: &Bed) -> Result<Outcome> {
    let report = report(bed, "rolled").await?;
    let seconds = number(&step(&report, 3)?["seconds"])? + number(&step(&report, 4)?["seconds"])?;
    Ok(Outcome { measured: vec![("rolled-1000", seconds)], ..Outcome::default() })
}

/// How long the controller of Deployments takes to have observed a change.
///
/// # Errors
/// If the workload fails.
pub async fn changes(bed: &Bed) -> Result<Outcome> {
    let report = report(bed, "changes").await?;
    let observed = &step(&report, 2)?["latencies"]["observed"];
    Ok(Outcome {
        measured: vec![("changes-p99", number(&observed["p99Milliseconds"])?)],
        ..Outcome::default()
    })
}
