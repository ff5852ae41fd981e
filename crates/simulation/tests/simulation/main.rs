//! Whole simulations in one process.
//!
//! Invariant: all run in one thread whose time is paused: it passes while nothing can be done, so what is seen does not
//! depend on how fast the machine is.

#![allow(clippy::unwrap_used, missing_docs)]

mod autoscaling;
mod conformance;
mod files;
mod measured;
mod questions;
mod quiet;
mod scheduling;
mod seeds;
mod sight;
mod steps;

use gifee_simulation::world::Parts;
use gifee_simulation::{Plan, Report, Result, Workload, World, import};
use gifee_store::Limits;
use gifee_store::memory::Disk;
use gifee_testkit::RuntimeClock;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A YAML text as a tree.
fn tree(text: &str) -> Value {
    gifee_schema::parse::yaml(text.as_bytes()).unwrap().value
}

/// Runs a workload in a cluster that begins with these objects.
async fn simulate(workload: &Workload, objects: &[Value]) -> Result<Report> {
    let shutdown = CancellationToken::new();
    let _ends = shutdown.clone().drop_guard();
    let clock = RuntimeClock::new();
    let store = Arc::new(Disk::default().open_inline(Limits::default()).unwrap());
    let world = World::start(Parts {
        store,
        clock: clock.clone(),
        seed: Some(1),
        between: None,
        shutdown: shutdown.clone(),
    })
    .await?;
    let imported = import::write(&world.admin(), objects).await?;
    assert_eq!(imported.refused, Vec::<String>::new());
    world.components();
    let (client, agents, nodes) = (world.admin(), world.agents(), imported.nodes);
    gifee_simulation::run(workload, Plan { client, agents, clock, nodes, against: "a test".into(), shutdown })
        .await
}

/// Runs a workload of a text in an empty cluster.
async fn run(text: &str) -> Result<Report> {
    simulate(&Workload::read(tree(text), Path::new("."), &[])?, &[]).await
}
