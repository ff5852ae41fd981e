//! Figures of the whole on one machine: the binary, coming up, idling, and Pods that really run.

use super::measure::{Bed, Outcome};
use super::objects::{DEPLOYMENTS, IMAGE, PODS, bare, deployment, full};
use super::target::{Cluster, Target};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a cluster is left alone before it counts as idle.
const SETTLE: Duration = Duration::from_secs(10);
/// How long its CPU is looked at.
const IDLE: Duration = Duration::from_secs(20);
/// Replicas that a Deployment is scaled to.
const REPLICAS: usize = 50;
/// A program without libraries, from Debian's package `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";

/// The binary without symbols.
///
/// # Errors
/// If `strip` fails.
pub async fn size(bed: &Bed) -> Result<Outcome> {
    let stripped = bed.folder();
    let status = Command::new("strip").arg("-o").arg(&stripped).arg(&bed.binary).status();
    ensure!(status.context("running strip, of Debian's package binutils")?.success(), "strip failed");
    let bytes = std::fs::metadata(&stripped)?.len();
    Ok(Outcome { measured: vec![("size", bytes as f64 / 1e6)], ..Outcome::default() })
}

/// Comes up in an empty folder, goes down, comes up again, and idles.
///
/// # Errors
/// If it does not come up.
pub async fn up(bed: &Bed) -> Result<Outcome> {
    let cluster = Cluster::new(&bed.binary, &bed.folder())?;
    let first = cluster.start("up").await?;
    cluster.run(&["down"]).await?;
    let again = cluster.start("up").await?;
    let process = cluster.target()?.process;
    tokio::time::sleep(SETTLE).await;
    let (cpu, begun) = (process.cpu()?, Instant::now());
    tokio::time::sleep(IDLE).await;
    let share = (process.cpu()? - cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
    Ok(Outcome {
        measured: vec![
            ("up-first", first.as_secs_f64()),
            ("up-again", again.as_secs_f64()),
            ("idle-rss", process.rss()?),
            ("idle-pss", process.pss()?),
            ("idle-cpu", share * 100.0),
        ],
        ..Outcome::default()
    })
}

/// A Deployment of one, then of fifty.
///
/// # Errors
/// If its Pods do not run.
pub async fn deployment_scaled(bed: &Bed) -> Result<Outcome> {
    let rootfs = rootfs(bed.path())?;
    let cluster = Cluster::new(&bed.binary, &bed.folder())?;
    cluster.start("up").await?;
    let file = rootfs.to_str().context("the temporary folder's name is no text")?;
    cluster.run(&["image", "import", file, "--rootfs", "--name", IMAGE]).await?;
    let target = cluster.target()?;
    target.await_account().await?;
    // The first is not counted: it unpacks the image.
    applied(&target, "warm").await?;
    let one = applied(&target, "web").await?;
    let fifty = scaled(&target, "web").await?;
    let measured = vec![("deploy-1", one.as_secs_f64() * 1e3), ("scale-50", fifty.as_secs_f64())];
    Ok(Outcome { measured, ..Outcome::default() })
}

/// From the write of a Deployment of one to its Pod's phase Running.
async fn applied(target: &Target, name: &str) -> Result<Duration> {
    let mut watch = target.endpoint.connect().await?;
    let path = format!("{PODS}?watch=true&labelSelector=app%3D{name}");
    ensure!(watch.send(&bare("GET", &path)).await? == 200, "the watch was refused");
    let begun = Instant::now();
    target.endpoint.once(&full("POST", DEPLOYMENTS, &deployment(name))).await?;
    watch.lines_until(|line| line.contains(r#""phase":"Running""#)).await?;
    Ok(begun.elapsed())
}

/// From the write of the number of replicas until all are ready.
async fn scaled(target: &Target, name: &str) -> Result<Duration> {
    let begun = Instant::now();
    let body = json!({"spec": {"replicas": REPLICAS}});
    target.endpoint.once(&full("PATCH", &format!("{DEPLOYMENTS}/{name}"), &body)).await?;
    let path = format!("{DEPLOYMENTS}?watch=true&fieldSelector=metadata.name%3D{name}");
    let ready = format!(r#""readyReplicas":{REPLICAS}"#);
    target.await_line(&path, |line| line.contains(&ready)).await?;
    Ok(begun.elapsed())
}

/// A root file system of one program, as a tar.
///
/// # Errors
/// If the program is not there.
pub fn rootfs(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("rootfs.tar");
    let mut archive = tar::Builder::new(std::fs::File::create(&path)?);
    archive
        .append_path_with_name(BUSYBOX, "bin/busybox")
        .with_context(|| format!("{BUSYBOX} is needed, of Debian's package busybox-static"))?;
    archive.finish()?;
    Ok(path)
}
