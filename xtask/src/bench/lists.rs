//! Lists of ten thousand Pods: time, CPU, and the memory that they cost while they are written.

use super::api::create;
use super::ceiling::LIST_OBJECTS;
use super::measure::{Bed, Outcome};
use super::objects::{PODS, bare};
use super::target::Target;
use anyhow::{Result, ensure};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// Lists one after the other.
const LISTS: usize = 10;
/// Lists at once.
const AT_ONCE: usize = 8;
/// How long the process is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);

/// Lists of ten thousand Pods.
///
/// # Errors
/// If one is refused.
pub async fn list(bed: &Bed) -> Result<Outcome> {
    let ceiling = bed.ceiling().await?;
    let (_cluster, target) = bed.server().await?;
    create(&target, "pod", 64, LIST_OBJECTS).await?;
    tokio::time::sleep(SETTLE).await;
    let rss = target.process.rss()?;
    let (time, cpu) = one_after_the_other(&target).await?;
    let growth = at_once(&target).await?;
    let (ceiling_time, ceiling_cpu) = one_after_the_other(ceiling).await?;
    Ok(Outcome {
        measured: vec![
            ("list-time", time),
            ("list-cpu", cpu),
            ("list-rss", growth),
            ("server-rss-10000", rss),
        ],
        ceiling: vec![("list-time", ceiling_time), ("list-cpu", ceiling_cpu)],
    })
}

/// Milliseconds of time and of the server's CPU for each.
async fn one_after_the_other(target: &Target) -> Result<(f64, f64)> {
    let request = bare("GET", PODS);
    let mut connection = target.endpoint.connect().await?;
    let length = whole(&mut connection, &request).await?;
    let (cpu, begun) = (target.process.cpu()?, Instant::now());
    for _ in 0..LISTS {
        ensure!(whole(&mut connection, &request).await? == length, "the list changed");
    }
    let each = |time: Duration| time.as_secs_f64() * 1e3 / LISTS as f64;
    Ok((each(begun.elapsed()), each(target.process.cpu()? - cpu)))
}

async fn whole(connection: &mut super::client::Connection, request: &[u8]) -> Result<usize> {
    let mut length = 0;
    let code = connection.call(request, |piece| length += piece.len()).await?;
    // Each Pod is above two kilobytes: an empty list would be quick, and say nothing.
    ensure!(code == 200 && length > LIST_OBJECTS * 2_000, "a list was answered {code} with {length} bytes");
    Ok(length)
}

/// MB that the process grows at most while it answers eight lists.
async fn at_once(target: &Target) -> Result<f64> {
    let request = bare("GET", PODS);
    let barrier = Arc::new(Barrier::new(AT_ONCE + 1));
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let mut connection = target.endpoint.connect().await?;
        connection.text(&bare("GET", "/healthz")).await?;
        let (barrier, request) = (barrier.clone(), request.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            whole(&mut connection, &request).await
        });
    }
    let before = target.process.rss()?;
    target.process.reset_peak()?;
    barrier.wait().await;
    while let Some(one) = tasks.join_next().await {
        one??;
    }
    Ok((target.process.peak()? - before).max(0.0))
}
