//! The audit log at another server: events in batches.
//!
//! Invariant: a request never waits; what waits is bounded, and beyond it events are dropped and counted. Answers to
//! upstream's audit webhook backend in mode `batch`.

use super::Sink;
use crate::outbound::{Endpoint, Outbound};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Events that wait; upstream's figure.
const QUEUE: usize = 10_000;
/// Events of a batch; upstream's figure.
const BATCH: usize = 400;
/// How long a batch waits to be full; upstream's figure.
const WAIT: Duration = Duration::from_secs(30);
/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often a batch is sent before it is given up.
const ATTEMPTS: u32 = 5;
/// Pause before a batch is sent again.
const PAUSE: Duration = Duration::from_secs(10);

/// The log.
pub struct Webhook {
    events: mpsc::Sender<Bytes>,
    dropped: AtomicU64,
}

impl Webhook {
    /// Sends to an endpoint until `stop`, and then what still waits. `wait` is how long a batch waits to be full,
    /// if not upstream's 30 seconds.
    pub fn start(
        outbound: Arc<Outbound>,
        endpoint: Endpoint,
        wait: Option<Duration>,
        stop: CancellationToken,
    ) -> Self {
        let (events, queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(outbound, endpoint, wait.unwrap_or(WAIT), queue, stop));
        Self { events, dropped: AtomicU64::new(0) }
    }
}

impl Sink for Webhook {
    fn event(&self, line: &Bytes) {
        if self.events.try_send(line.clone()).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::error!(dropped, "the audit webhook is too slow: events are dropped");
            }
        }
    }
}

async fn run(
    outbound: Arc<Outbound>,
    endpoint: Endpoint,
    wait: Duration,
    mut queue: mpsc::Receiver<Bytes>,
    stop: CancellationToken,
) {
    loop {
        let mut batch = Vec::new();
        let first = tokio::select! {
            first = queue.recv() => first,
            () = stop.cancelled() => queue.try_recv().ok(),
        };
        let Some(first) = first else { return };
        batch.push(first);
        let until = Instant::now() + wait;
        while batch.len() < BATCH {
            let next = tokio::select! {
                biased;
                next = queue.recv() => next,
                () = tokio::time::sleep_until(until) => None,
                () = stop.cancelled() => queue.try_recv().ok(),
            };
            let Some(next) = next else { break };
            batch.push(next);
        }
        send(&outbound, &endpoint, &batch, &stop).await;
    }
}

async fn send(outbound: &Outbound, endpoint: &Endpoint, batch: &[Bytes], stop: &CancellationToken) {
    let mut body = br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#.to_vec();
    for (index, event) in batch.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(event);
    }
    body.extend_from_slice(b"]}");
    let body = Bytes::from(body);
    for attempt in 1..=ATTEMPTS {
        let Err(error) = outbound.post_json(endpoint, body.clone(), TIMEOUT).await else { return };
        tracing::warn!(%error, attempt, events = batch.len(), "the audit webhook failed");
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return,
        }
    }
    tracing::error!(events = batch.len(), "audit events were given up");
}
