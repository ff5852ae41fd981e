//! Load for measuring a store: the bench calls it, and so does the `creates` example.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{Error, Outcome, Revision, Store, Write};

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// So many clients at once, each waiting for its answer before it goes on.
    pub writers: usize,
    /// So many writes in all.
    pub creates: usize,
    /// The size of each value; half of it does not compress.
    pub value_bytes: usize,
    /// Distinguishes the keys of one run from those of another.
    pub run: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// How long all of it took.
    pub elapsed: Duration,
    /// The latency of each write, ascending.
    pub latencies: Vec<Duration>,
}

impl Report {
    /// Writes per second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that `part` (0 to 1) of the writes were within.
    pub fn latency(&self, part: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
    }
}

/// Creates objects from concurrent clients on the current tokio runtime.
pub async fn creates(store: Arc<dyn Store>, plan: Plan) -> Result<Report, Error> {
    measure(store, plan, |store, plan, client, share| Box::pin(create_share(store, plan, client, share)))
        .await
}

/// Updates objects, one per client, as leases are. `plan.creates` says how often in all.
pub async fn updates(store: Arc<dyn Store>, plan: Plan) -> Result<Report, Error> {
    measure(store, plan, |store, plan, client, share| Box::pin(update_share(store, plan, client, share)))
        .await
}

type Share = Pin<Box<dyn Future<Output = Result<Vec<Duration>, Error>> + Send>>;

async fn measure(
    store: Arc<dyn Store>,
    plan: Plan,
    client: fn(Arc<dyn Store>, Plan, usize, usize) -> Share,
) -> Result<Report, Error> {
    let begin = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..plan.writers {
        let share = plan.creates / plan.writers + usize::from(number < plan.creates % plan.writers);
        clients.spawn(client(store.clone(), plan, number, share));
    }
    let mut latencies = Vec::with_capacity(plan.creates);
    while let Some(share) = clients.join_next().await {
        latencies.extend(share.map_err(|error| Error::Unavailable { what: error.to_string() })??);
    }
    let elapsed = begin.elapsed();
    latencies.sort_unstable();
    Ok(Report { elapsed, latencies })
}

async fn create_share(
    store: Arc<dyn Store>,
    plan: Plan,
    client: usize,
    share: usize,
) -> Result<Vec<Duration>, Error> {
    let mut latencies = Vec::with_capacity(share);
    for number in 0..share {
        let key = Bytes::from(format!("/registry/pods/load-{}/pod-{client}-{number}", plan.run));
        let value = value(plan.value_bytes, (client as u64) << 32 | number as u64);
        let begin = Instant::now();
        done(store.write(Write::Create { key, value }).await?)?;
        latencies.push(begin.elapsed());
    }
    Ok(latencies)
}

async fn update_share(
    store: Arc<dyn Store>,
    plan: Plan,
    client: usize,
    share: usize,
) -> Result<Vec<Duration>, Error> {
    let key = Bytes::from(format!("/registry/leases/load-{}/lease-{client}", plan.run));
    let first = Write::Create { key: key.clone(), value: value(plan.value_bytes, client as u64) };
    let mut expected = done(store.write(first).await?)?;
    let mut latencies = Vec::with_capacity(share);
    for number in 0..share {
        let value = value(plan.value_bytes, (client as u64) << 32 | number as u64);
        let begin = Instant::now();
        expected = done(store.write(Write::Update { key: key.clone(), value, expected }).await?)?;
        latencies.push(begin.elapsed());
    }
    Ok(latencies)
}

fn done(outcome: Outcome) -> Result<Revision, Error> {
    match outcome {
        Outcome::Done(revision) => Ok(revision),
        Outcome::Conflict(_) => Err(Error::Unavailable { what: "a key of this run exists already".into() }),
    }
}

/// Bytes of which half are constant and half look random, but are the same for the same seed.
pub fn value(bytes: usize, seed: u64) -> Bytes {
    let mut value = vec![b'v'; bytes];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in value[bytes / 2..].chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    value.into()
}
