//! Many watchers of the same Pods: how many events reach them a second, how soon, and what memory they take.

use super::api::{create_pods, version};
use super::client::Endpoint;
use super::load::percentile;
use super::measure::{Bed, Outcome};
use super::objects::{PODS, bare, full, pod};
use super::peer::{self, Etcd};
use super::target::Target;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

const WATCHERS: usize = 100;
/// Pods that are created as fast as they are answered.
const EVENTS: usize = 1_000;
/// Very many watchers, and the Pods that are created for them.
const CROWD: usize = 1_000;
const CROWD_EVENTS: usize = 200;
/// How long a process is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);
/// Clients that create them.
const CLIENTS: usize = 16;
/// Pods that are created at a steady rate.
const PACED: usize = 500;
const PACE: Duration = Duration::from_millis(10);

/// A hundred watchers.
///
/// # Errors
/// If one of them misses an event.
pub async fn watch(bed: &Bed) -> Result<Outcome> {
    let ceiling = bed.ceiling().await?;
    let (_cluster, target) = bed.server().await?;
    let values = |(rate, p99): (f64, f64)| vec![("watch-rate", rate), ("watch-p99", p99)];
    let (measured, ceiling) = (values(both(&target).await?), values(both(ceiling).await?));
    let peer = match bed.etcd().await? {
        Some(etcd) => vec![("watch-p99", stored(&etcd).await?)],
        None => Vec::new(),
    };
    Ok(Outcome { measured, ceiling, peer })
}

/// A thousand watchers: events a second, and what the server's memory grows by when they come.
///
/// # Errors
/// If one of them misses an event.
pub async fn crowd(bed: &Bed) -> Result<Outcome> {
    let ceiling = bed.ceiling().await?;
    let (_cluster, target) = bed.server().await?;
    tokio::time::sleep(SETTLE).await;
    let before = target.process.rss()?;
    let watchers = Watchers::start(&target, CROWD, CROWD_EVENTS).await?;
    tokio::time::sleep(SETTLE).await;
    let growth = target.process.rss()? - before;
    let rate = rate(&target, watchers, CROWD_EVENTS).await?;
    let watchers = Watchers::start(ceiling, CROWD, CROWD_EVENTS).await?;
    let most = self::rate(ceiling, watchers, CROWD_EVENTS).await?;
    Ok(Outcome {
        measured: vec![("crowd-rate", rate), ("crowd-rss", growth)],
        ceiling: vec![("crowd-rate", most)],
        ..Outcome::default()
    })
}

/// Events a second that reach watchers.
async fn rate(target: &Target, watchers: Watchers, events: usize) -> Result<f64> {
    let begun = create_pods(target, "fast", CLIENTS, events).await?.begun;
    let arrivals = watchers.finish().await?;
    let last = arrivals.iter().filter_map(|one| one.last()).max().context("no event came")?;
    Ok((arrivals.len() * events) as f64 / last.duration_since(begun).as_secs_f64())
}

/// Events a second, and milliseconds from a write to its event.
async fn both(target: &Target) -> Result<(f64, f64)> {
    let rate = rate(target, Watchers::start(target, WATCHERS, EVENTS).await?, EVENTS).await?;
    let watchers = Watchers::start(target, WATCHERS, PACED).await?;
    Ok((rate, paced(&target.endpoint, watchers, |pod| full("POST", PODS, pod)).await?))
}

/// Milliseconds from a write to its event, when etcd alone is written to.
async fn stored(etcd: &Etcd) -> Result<f64> {
    let watchers = Watchers::follow(&etcd.endpoint, &peer::watch(), 1, WATCHERS, PACED).await?;
    paced(&etcd.endpoint, watchers, peer::put).await
}

/// The 99th percentile of what it takes from a write to its event.
async fn paced(endpoint: &Endpoint, watchers: Watchers, write: fn(&Value) -> Vec<u8>) -> Result<f64> {
    let mut connection = endpoint.connect().await?;
    let mut ticks = tokio::time::interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = Vec::with_capacity(PACED);
    for number in 0..PACED {
        let request = write(&pod(&format!("paced-{number}")));
        ticks.tick().await;
        sent.push(Instant::now());
        connection.text(&request).await?;
    }
    let mut took = Vec::with_capacity(WATCHERS * PACED);
    for arrivals in watchers.finish().await? {
        took.extend(arrivals.iter().zip(&sent).map(|(came, sent)| came.duration_since(*sent)));
    }
    Ok(percentile(&mut took, 99))
}

/// Watchers that note when each event came.
struct Watchers(JoinSet<Result<Vec<Instant>>>);

impl Watchers {
    /// Watches Pods from now on, for so many events; each has been answered when this returns.
    async fn start(target: &Target, watchers: usize, events: usize) -> Result<Self> {
        // From the present on, so that what is there already is not sent.
        let list = target.endpoint.once(&bare("GET", &format!("{PODS}?limit=1"))).await?;
        let path = format!("{PODS}?watch=true&resourceVersion={}", version(list.as_bytes()));
        Self::follow(&target.endpoint, &bare("GET", &path), 0, watchers, events).await
    }

    /// Reads answers of a line an event, after as many lines of `preface`, which has come when this returns.
    async fn follow(
        endpoint: &Endpoint,
        request: &[u8],
        preface: usize,
        watchers: usize,
        events: usize,
    ) -> Result<Self> {
        let mut tasks = JoinSet::new();
        for _ in 0..watchers {
            let mut connection = endpoint.connect().await?;
            let code = connection.send(request).await?;
            ensure!(code == 200, "a watch was answered {code}");
            for _ in 0..preface {
                connection.lines_until(|_| true).await?;
            }
            tasks.spawn(async move {
                let mut arrivals = Vec::with_capacity(events);
                while arrivals.len() < events {
                    let piece = connection.data().await?.context("a watch ended early")?;
                    let now = Instant::now();
                    arrivals.extend(memchr::memchr_iter(b'\n', piece).map(|_| now));
                }
                ensure!(arrivals.len() == events, "{} events for {events} writes", arrivals.len());
                Ok(arrivals)
            });
        }
        Ok(Self(tasks))
    }

    async fn finish(mut self) -> Result<Vec<Vec<Instant>>> {
        let mut all = Vec::with_capacity(self.0.len());
        while let Some(one) = self.0.join_next().await {
            all.push(one??);
        }
        Ok(all)
    }
}
