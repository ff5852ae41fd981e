//! Many watchers of the same Pods: how many events reach them a second, how soon, and what memory they take.

use super::api::{create_pods, version};
use super::load::percentile;
use super::measure::{Bed, Outcome};
use super::objects::{PODS, bare, full, pod};
use super::target::Target;
use anyhow::{Context, Result, ensure};
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
    Ok(Outcome { measured: values(both(&target).await?), ceiling: values(both(ceiling).await?) })
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
    let mut connection = target.endpoint.connect().await?;
    let mut ticks = tokio::time::interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = Vec::with_capacity(PACED);
    for number in 0..PACED {
        let request = full("POST", PODS, &pod(&format!("paced-{number}")));
        ticks.tick().await;
        sent.push(Instant::now());
        connection.text(&request).await?;
    }
    let mut took = Vec::with_capacity(WATCHERS * PACED);
    for arrivals in watchers.finish().await? {
        took.extend(arrivals.iter().zip(&sent).map(|(came, sent)| came.duration_since(*sent)));
    }
    Ok((rate, percentile(&mut took, 99)))
}

/// Watchers that note when each event came.
struct Watchers(JoinSet<Result<Vec<Instant>>>);

impl Watchers {
    /// Watches from now on, for so many events; each has been answered when this returns.
    async fn start(target: &Target, watchers: usize, events: usize) -> Result<Self> {
        let mut tasks = JoinSet::new();
        // From the present on, so that what is there already is not sent.
        let list = target.endpoint.once(&bare("GET", &format!("{PODS}?limit=1"))).await?;
        let path = format!("{PODS}?watch=true&resourceVersion={}", version(list.as_bytes()));
        for _ in 0..watchers {
            let mut connection = target.endpoint.connect().await?;
            let code = connection.send(&bare("GET", &path)).await?;
            ensure!(code == 200, "a watch was answered {code}");
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
