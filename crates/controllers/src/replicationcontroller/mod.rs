//! Keeps as many pods of a template as a ReplicationController says: as for a ReplicaSet, by the same rules.
//!
//! Answers to upstream's replication controller.

#[cfg(test)]
mod tests;

use crate::Config;
use crate::replicaset::{Kept, keep};
use futures_util::future::BoxFuture;
use gifee_reconcile::Context;
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "replicationcontroller-controller";

const CONTROLLERS: &Kept = &Kept {
    name: NAME,
    source: "replication-controller",
    resource: ("", "replicationcontrollers"),
    kind: "ReplicationController",
    selects_by_map: true,
    counts_terminating: false,
};

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    keep(context, CONTROLLERS)
}
