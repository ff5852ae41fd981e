//! Lists of ten and of a hundred thousand Pods: time, CPU, and the memory that they cost while they are written.

use super::api::create_pods;
use super::ceiling::LIST_OBJECTS;
use super::measure::{Bed, Outcome};
use super::objects::{PODS, accepting, bare};
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
/// Lists one after the other in each form.
const FORM_LISTS: usize = 3;

/// A form of a list.
#[derive(Clone, Copy)]
struct Form {
    accept: &'static str,
    /// Less than each Pod takes.
    bytes: usize,
}

const JSON: Form = Form { accept: "application/json", bytes: 2_000 };
const PROTOBUF: Form = Form { accept: "application/vnd.kubernetes.protobuf", bytes: 800 };
const TABLE: Form = Form { accept: "application/json;as=Table;v=v1;g=meta.k8s.io", bytes: 200 };
const METADATA: Form =
    Form { accept: "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", bytes: 500 };

/// How many Pods are listed, and of each form the rows of its time and its CPU.
const FORMS: [(usize, [[&str; 2]; 4]); 2] = [
    (
        10_000,
        [
            ["forms-json", "forms-json-cpu"],
            ["forms-protobuf", "forms-protobuf-cpu"],
            ["forms-table", "forms-table-cpu"],
            ["forms-metadata", "forms-metadata-cpu"],
        ],
    ),
    (
        100_000,
        [
            ["forms-100000-json", "forms-100000-json-cpu"],
            ["forms-100000-protobuf", "forms-100000-protobuf-cpu"],
            ["forms-100000-table", "forms-100000-table-cpu"],
            ["forms-100000-metadata", "forms-100000-metadata-cpu"],
        ],
    ),
];

/// How long the process is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);

/// Lists of ten thousand Pods.
///
/// # Errors
/// If one is refused.
pub async fn list(bed: &Bed) -> Result<Outcome> {
    let ceiling = bed.ceiling().await?;
    let (_cluster, target) = bed.server().await?;
    create_pods(&target, "pod", 64, LIST_OBJECTS).await?;
    tokio::time::sleep(SETTLE).await;
    let rss = target.process.rss()?;
    let (time, cpu) = one_after_the_other(&target, JSON, LISTS).await?;
    let growth = at_once(&target).await?;
    let (ceiling_time, ceiling_cpu) = one_after_the_other(ceiling, JSON, LISTS).await?;
    Ok(Outcome {
        measured: vec![
            ("list-time", time),
            ("list-cpu", cpu),
            ("list-rss", growth),
            ("server-rss-10000", rss),
        ],
        ceiling: vec![("list-time", ceiling_time), ("list-cpu", ceiling_cpu)],
        ..Outcome::default()
    })
}

/// Lists in every form, of ten thousand Pods and of a hundred thousand.
///
/// # Errors
/// If one is refused.
pub async fn forms(bed: &Bed) -> Result<Outcome> {
    let (_cluster, target) = bed.server().await?;
    let mut outcome = Outcome::default();
    let mut there = 0;
    for (count, rows) in FORMS {
        create_pods(&target, &format!("of-{count}"), 64, count - there).await?;
        there = count;
        tokio::time::sleep(SETTLE).await;
        for (form, [time_row, cpu_row]) in [JSON, PROTOBUF, TABLE, METADATA].into_iter().zip(rows) {
            let (time, cpu) = one_after_the_other(&target, form, FORM_LISTS).await?;
            outcome.measured.push((time_row, time));
            outcome.measured.push((cpu_row, cpu));
        }
    }
    outcome.measured.push(("forms-rss-100000", target.process.rss()?));
    Ok(outcome)
}

/// Milliseconds of time and of the server's CPU for each.
async fn one_after_the_other(target: &Target, form: Form, lists: usize) -> Result<(f64, f64)> {
    let request = accepting(PODS, form.accept);
    let mut connection = target.endpoint.connect().await?;
    let length = whole(&mut connection, &request, form.bytes).await?;
    let (cpu, begun) = (target.process.cpu()?, Instant::now());
    for _ in 0..lists {
        ensure!(whole(&mut connection, &request, form.bytes).await? == length, "the list changed");
    }
    let each = |time: Duration| time.as_secs_f64() * 1e3 / lists as f64;
    Ok((each(begun.elapsed()), each(target.process.cpu()? - cpu)))
}

async fn whole(connection: &mut super::client::Connection, request: &[u8], bytes: usize) -> Result<usize> {
    let mut length = 0;
    let code = connection.call(request, |piece| length += piece.len()).await?;
    // An empty list would be quick, and say nothing.
    ensure!(code == 200 && length > LIST_OBJECTS * bytes, "a list was answered {code} with {length} bytes");
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
            whole(&mut connection, &request, JSON.bytes).await
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
