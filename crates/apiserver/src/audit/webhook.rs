//! The audit log at another server: events in batches.
//!
//! Invariant: a request never waits; what waits is bounded, and beyond it events are dropped and counted. Answers to
//! upstream's audit webhook backend in mode `batch`.

use super::Sink;
use crate::outbound::{Endpoint, Outbound};
use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use std::sync::Arc;
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
    dropped: Counter,
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
        let dropped = Counter::default();
        let lost = dropped.clone();
        tokio::spawn(async move {
            run(&outbound, &endpoint, wait.unwrap_or(WAIT), queue, &stop, &lost).await;
        });
        Self { events, dropped }
    }
}

impl Sink for Webhook {
    fn event(&self, line: &Bytes) {
        if self.events.try_send(line.clone()).is_err() {
            let dropped = self.dropped.inc() + 1;
            if dropped.is_power_of_two() {
                tracing::error!(dropped, "the audit webhook is too slow: events are dropped");
            }
        }
    }

    fn lost(&self) -> Option<(&'static str, Counter)> {
        Some(("webhook", self.dropped.clone()))
    }
}

async fn run(
    outbound: &Outbound,
    endpoint: &Endpoint,
    wait: Duration,
    mut queue: mpsc::Receiver<Bytes>,
    stop: &CancellationToken,
    lost: &Counter,
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
        if !send(outbound, endpoint, &batch, stop).await {
            lost.inc_by(batch.len() as u64);
        }
    }
}

/// Whether the batch has arrived.
async fn send(outbound: &Outbound, endpoint: &Endpoint, batch: &[Bytes], stop: &CancellationToken) -> bool {
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
        let Err(error) = outbound.post_json(endpoint, body.clone(), TIMEOUT).await else { return true };
        tracing::warn!(%error, attempt, events = batch.len(), "the audit webhook failed");
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return false,
        }
    }
    tracing::error!(events = batch.len(), "audit events were given up");
    false
}
