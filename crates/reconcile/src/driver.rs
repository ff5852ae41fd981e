//! Drives a reconcile from a queue of keys.
//!
//! Invariants: a key is never worked on twice at once; a failure or panic ends that one reconcile, is
//! counted and logged once, and the key comes back after its backoff.

use crate::context::Context;
use crate::error::Result;
use async_trait::async_trait;
use futures_util::FutureExt;
use gifee_client::Queue;
use std::fmt::Display;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a reconcile came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing more to do until something changes.
    Done,
    /// Look again after this time even if nothing changes.
    After(Duration),
}

/// Brings the world of one key towards what its object says.
#[async_trait]
pub trait Reconcile<K>: Send + Sync {
    /// Observes, plans, applies.
    async fn reconcile(&self, key: &K) -> Result<Outcome>;
}

/// What a controller has done.
#[derive(Debug, Default)]
pub struct Counts {
    /// Reconciles that succeeded.
    pub done: AtomicU64,
    /// Reconciles that failed.
    pub failed: AtomicU64,
    /// Reconciles that panicked.
    pub panicked: AtomicU64,
}

/// Works on a queue with so many workers until the context's shutdown.
pub async fn work<K>(
    context: &Context,
    name: &'static str,
    queue: Arc<Queue<K>>,
    reconcile: Arc<dyn Reconcile<K>>,
    workers: usize,
) where
    K: Hash + Eq + Clone + Display + Send + Sync + 'static,
{
    let counts = context.counts(name);
    context.measure(name, &queue);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        tasks.spawn(worker(name, queue.clone(), reconcile.clone(), counts.clone()));
    }
    context.shutdown.cancelled().await;
    queue.shut_down();
    // What is under way is dropped where it waits: a reconcile may end anywhere, as in a crash.
    tasks.shutdown().await;
}

async fn worker<K>(
    name: &'static str,
    queue: Arc<Queue<K>>,
    reconcile: Arc<dyn Reconcile<K>>,
    counts: Arc<Counts>,
) where
    K: Hash + Eq + Clone + Display + Send + Sync,
{
    while let Some(key) = queue.get().await {
        let outcome = AssertUnwindSafe(reconcile.reconcile(&key)).catch_unwind().await;
        match outcome {
            Ok(Ok(outcome)) => {
                counts.done.fetch_add(1, Ordering::Relaxed);
                queue.forget(&key);
                if let Outcome::After(delay) = outcome {
                    queue.add_after(key.clone(), delay);
                }
            }
            Ok(Err(error)) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                if error.is_overtaken() {
                    tracing::debug!(controller = name, %key, %error, "reconcile was overtaken");
                } else {
                    tracing::warn!(controller = name, %key, %error, "reconcile failed");
                }
                queue.add_rate_limited(key.clone());
            }
            Err(panic) => {
                counts.panicked.fetch_add(1, Ordering::Relaxed);
                let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                tracing::error!(controller = name, %key, panic = text, "reconcile panicked");
                queue.add_rate_limited(key.clone());
            }
        }
        queue.done(&key);
    }
}
