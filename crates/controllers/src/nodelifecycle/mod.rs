//! Watches over the health of nodes and taints those that are not well.
//!
//! Answers to upstream's nodelifecycle controller.

use crate::Config;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_reconcile::Context;
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "node-lifecycle-controller";

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move { context.shutdown.cancelled().await }.boxed()
}
