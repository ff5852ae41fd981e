//! Deletes pods that do not tolerate a NoExecute taint of their node.
//!
//! Answers to upstream's tainteviction controller.

use crate::Config;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_reconcile::Context;
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "taint-eviction-controller";

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move { context.shutdown.cancelled().await }.boxed()
}
