//! Fills a cache, or another sink: a streaming list or a paged one, then watches that go on where the last
//! one ended.
//!
//! An expired resource version leads to a new list; every other failure to a backoff with jitter and
//! another try from where it was.

use super::{Cache, Scope};
use crate::api::Client;
use crate::error::{Error, Result};
use crate::options::{ListOptions, WatchOptions};
use crate::watch::Event;
use futures_util::StreamExt;
use gifee_base::{Object, Reason};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_MAXIMUM: Duration = Duration::from_secs(30);
/// A watch that held this long was no failure.
const HEALTHY: Duration = Duration::from_secs(10);
/// Watches end after this time to twice this time, so that they spread over servers.
const WATCH_SECONDS: u32 = 300;
const PAGE_LIMIT: u32 = 500;

/// What is told of the objects of a scope, in order: for those who keep something smaller than the objects.
pub trait Sink: Send + Sync + 'static {
    /// These are all objects there are, at a resource version.
    fn replace(&self, objects: Vec<Object>, revision: u64);
    /// An object is new or changed.
    fn apply(&self, object: Object);
    /// An object is gone; this is its last state.
    fn remove(&self, last: Object);
    /// All changes up to a resource version have been told.
    fn advance(&self, revision: u64);
    /// The resource version up to which changes have been told: where the next watch begins.
    fn revision(&self) -> u64;
}

impl Sink for Cache {
    fn replace(&self, objects: Vec<Object>, revision: u64) {
        self.replace(objects, revision);
    }

    fn apply(&self, object: Object) {
        self.apply(object);
    }

    fn remove(&self, last: Object) {
        self.remove(last);
    }

    fn advance(&self, revision: u64) {
        self.advance(revision);
    }

    fn revision(&self) -> u64 {
        self.revision()
    }
}

/// Tells a sink of the objects of a scope until the shutdown.
pub async fn follow(client: Client, scope: Scope, sink: Arc<dyn Sink>, shutdown: CancellationToken) {
    let reflector = Reflector { scope, sink, client };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = reflector.follow() => {}
    }
}

struct Reflector {
    scope: Scope,
    sink: Arc<dyn Sink>,
    client: Client,
}

impl Reflector {
    async fn follow(&self) {
        let mut streaming = true;
        let mut listed = false;
        let mut failures = 0_u32;
        loop {
            let start = Instant::now();
            let outcome = match (listed, streaming) {
                (false, false) => self.list(&mut listed).await,
                _ => self.watch(&mut listed).await,
            };
            if start.elapsed() > HEALTHY {
                failures = 0;
            }
            match outcome {
                Ok(()) => continue,
                Err(error) if error.is_expired() => listed = false,
                // A server that does not know streaming lists says so by 422 or 400.
                Err(error) if !listed && streaming && refused(&error) => {
                    streaming = false;
                    continue;
                }
                Err(error) => {
                    tracing::debug!(resource = %self.scope.gvr, %error, failures, "the watch broke off");
                }
            }
            failures += 1;
            tokio::time::sleep(backoff(failures)).await;
        }
    }

    /// Fills the cache by pages of a list.
    async fn list(&self, listed: &mut bool) -> Result<()> {
        let scope = &self.scope;
        let options = ListOptions {
            labels: scope.labels.clone(),
            fields: scope.fields.clone(),
            limit: PAGE_LIMIT,
            metadata_only: scope.metadata_only,
            ..ListOptions::default()
        };
        let page = self.client.list_all(&scope.gvr, &scope.namespace, &options).await?;
        self.sink.replace(page.items, page.resource_version.parse().unwrap_or_default());
        *listed = true;
        Ok(())
    }

    /// Watches from where the cache is, or (if not yet listed) from an initial list in the same stream.
    async fn watch(&self, listed: &mut bool) -> Result<()> {
        let initial = !*listed;
        let scope = &self.scope;
        let options = WatchOptions {
            labels: scope.labels.clone(),
            fields: scope.fields.clone(),
            resource_version: (!initial).then(|| self.sink.revision().to_string()),
            send_initial_events: initial,
            bookmarks: true,
            timeout_seconds: WATCH_SECONDS + u32::try_from(random(u64::from(WATCH_SECONDS))).unwrap_or(0),
            metadata_only: scope.metadata_only,
        };
        let mut watch = self.client.watch(&scope.gvr, &scope.namespace, &options).await?;
        // None once the initial objects are in the cache.
        let mut gathered = initial.then(Vec::new);
        let mut events = 0_u64;
        while let Some(event) = watch.next().await {
            events += 1;
            match (event?, &mut gathered) {
                (Event::Added(object) | Event::Modified(object), Some(gathered)) => gathered.push(object),
                (Event::Deleted(last), Some(gathered)) => {
                    gathered.retain(|one| (one.namespace(), one.name()) != (last.namespace(), last.name()));
                }
                (Event::Bookmark { revision, initial_events_end: true }, Some(list)) => {
                    self.sink.replace(std::mem::take(list), revision);
                    gathered = None;
                    *listed = true;
                }
                (Event::Bookmark { .. }, Some(_)) => {}
                (Event::Added(object) | Event::Modified(object), None) => self.sink.apply(object),
                (Event::Deleted(last), None) => self.sink.remove(last),
                (Event::Bookmark { revision, .. }, None) => self.sink.advance(revision),
            }
        }
        match (gathered, events) {
            (Some(_), _) => Err(Error::transport(&scope.gvr.to_string(), "the initial list broke off")),
            (None, 0) => Err(Error::transport(&scope.gvr.to_string(), "the watch ended at once")),
            (None, _) => Ok(()),
        }
    }
}

fn refused(error: &Error) -> bool {
    error.is(Reason::Invalid) || error.is(Reason::BadRequest)
}

/// Doubles to 30 s, and is drawn from the upper half of that.
fn backoff(failures: u32) -> Duration {
    let full = BACKOFF_BASE.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAXIMUM);
    let half = full / 2;
    half + Duration::from_millis(random(u64::try_from(half.as_millis()).unwrap_or_default()))
}

/// A number below `limit`.
fn random(limit: u64) -> u64 {
    let (high, _) = uuid::Uuid::new_v4().as_u64_pair();
    if limit == 0 { 0 } else { high % limit }
}
