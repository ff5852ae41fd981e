//! Many calls at once, few at a time.

use futures_util::StreamExt;
use futures_util::stream;
use gifee_client::Error as ClientError;
use gifee_reconcile::{Error, Result};

/// How many calls of one reconcile are under way at once.
const CONCURRENT_MAXIMUM: usize = 32;

/// Makes all calls; fails with the first reason if any failed.
pub(crate) async fn all<F: Future<Output = Result<(), ClientError>>>(calls: Vec<F>) -> Result<()> {
    let total = calls.len();
    let outcomes: Vec<_> = stream::iter(calls).buffer_unordered(CONCURRENT_MAXIMUM).collect().await;
    let mut errors = outcomes.into_iter().filter_map(std::result::Result::err);
    match errors.next() {
        None => Ok(()),
        Some(error) if total == 1 => Err(error.into()),
        Some(error) => Err(Error::Partly { failed: errors.count() + 1, total, source: Box::new(error) }),
    }
}
