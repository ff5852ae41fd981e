//! The whole in one process with simulated nodes: real API server, store, controllers and scheduler; nodes that exist
//! only as objects, whose pods become ready after a delay and end when they are told to.
//!
//! A workload is a list of steps, the rows of [`operations::OPERATIONS`]. Invariant: what a simulation is run against
//! is reached through its API alone, so the same workload runs in one process and against a cluster elsewhere. Answers
//! to upstream's `scheduler_perf` and to kubemark's hollow nodes.

mod error;
pub mod fleet;
pub mod import;
pub mod ledger;
pub mod operations;
pub mod report;
mod run;
mod usage;
pub mod workload;
pub mod world;

pub use error::{Error, Result};
pub use report::Report;
pub use run::{Plan, run};
pub use workload::Workload;
pub use world::World;
