//! Many calls at once, few at a time.

use futures_util::StreamExt;
use futures_util::stream;
use gifee_client::Error as ClientError;
use gifee_reconcile::{Error, Result};

/// How many calls of one reconcile are under way at once.
const CONCURRENT_MAXIMUM: usize = 32;

/// Makes all calls; fails with the first reason if any failed.
pub(crate) async fn all<F: Future<Output = Result<(), ClientError>>>(calls: Vec<F>) -> Result<()> {
    each(calls).await.1
}

/// Makes all calls; the places of those that failed, and the first reason.
pub(crate) async fn each<F>(calls: Vec<F>) -> (Vec<usize>, Result<()>)
where
    F: Future<Output = Result<(), ClientError>>,
{
    let total = calls.len();
    let placed = calls.into_iter().enumerate().map(|(at, call)| async move { (at, call.await) });
    let outcomes: Vec<_> = stream::iter(placed).buffer_unordered(CONCURRENT_MAXIMUM).collect().await;
    let mut failed = Vec::new();
    let mut first = None;
    for (at, outcome) in outcomes {
        if let Err(error) = outcome {
            failed.push(at);
            first.get_or_insert(error);
        }
    }
    let outcome = match first {
        None => Ok(()),
        Some(error) if total == 1 => Err(error.into()),
        Some(error) => Err(Error::Partly { failed: failed.len(), total, source: Box::new(error) }),
    };
    (failed, outcome)
}
