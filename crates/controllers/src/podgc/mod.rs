//! Deletes pods that nobody will ever finish: ended ones beyond a number, and those of lost nodes.
//!
//! Answers to upstream's podgc controller.

use crate::Config;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_reconcile::Context;
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "pod-garbage-collector-controller";

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move { context.shutdown.cancelled().await }.boxed()
}
