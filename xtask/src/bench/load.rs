//! Clients that ask as fast as they are answered, and what that gives: rate, tail, CPU of the server.
//!
//! Invariant: every answer is checked; connections and their handshakes are made before the clock starts.

use super::objects::bare;
use super::target::Target;
use anyhow::{Result, ensure};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// What one client says.
pub trait Script: Send {
    /// Puts request `number` into `out`. Numbers are given out across all clients.
    fn request(&mut self, number: usize, out: &mut Vec<u8>);
    /// Hears the answer.
    fn reply(&mut self, _body: &[u8]) {}
}

impl<F: FnMut(usize, &mut Vec<u8>) + Send> Script for F {
    fn request(&mut self, number: usize, out: &mut Vec<u8>) {
        self(number, out);
    }
}

/// When clients stop.
#[derive(Clone, Copy)]
pub enum Until {
    /// After so many requests together.
    Count(usize),
    /// After so long.
    Time(Duration),
}

/// A load: how many clients, what each says, which answer is right.
pub struct Load<'a> {
    /// How many clients, each on a connection of its own.
    pub clients: usize,
    /// When they stop.
    pub until: Until,
    /// The status code that says success.
    pub expect: u16,
    /// What client number so-and-so says.
    pub script: &'a dyn Fn(usize) -> Box<dyn Script>,
}

/// What a load gave.
pub struct Measured {
    /// Answers a second.
    pub rate: f64,
    /// The time of the middle one, in milliseconds.
    pub p50: f64,
    /// The slowest but one in a hundred, in milliseconds.
    pub p99: f64,
    /// CPU time of the server for each, in milliseconds.
    pub cpu: f64,
    /// When the first request was sent.
    pub begun: Instant,
}

impl Load<'_> {
    /// Puts the load on a server.
    ///
    /// # Errors
    /// If a request fails.
    pub async fn drive(&self, target: &Target) -> Result<Measured> {
        let barrier = Arc::new(Barrier::new(self.clients + 1));
        let counter = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let (until, expect) = (self.until, self.expect);
        for client in 0..self.clients {
            let mut connection = target.endpoint.connect().await?;
            connection.text(&bare("GET", "/healthz")).await?;
            let mut script = (self.script)(client);
            let (barrier, counter) = (barrier.clone(), counter.clone());
            tasks.spawn(async move {
                let (mut request, mut body, mut took) = (Vec::new(), Vec::new(), Vec::new());
                barrier.wait().await;
                let begun = Instant::now();
                loop {
                    let number = counter.fetch_add(1, Ordering::Relaxed);
                    let done = match until {
                        Until::Count(count) => number >= count,
                        Until::Time(time) => begun.elapsed() >= time,
                    };
                    if done {
                        return Ok(took);
                    }
                    script.request(number, &mut request);
                    body.clear();
                    let sent = Instant::now();
                    let code = connection.call(&request, |piece| body.extend_from_slice(piece)).await?;
                    took.push(sent.elapsed());
                    ensure!(code == expect, "answered {code}: {}", String::from_utf8_lossy(&body));
                    script.reply(&body);
                }
            });
        }
        let cpu = target.process.cpu()?;
        barrier.wait().await;
        let begun = Instant::now();
        let mut took = Vec::new();
        while let Some(one) = tasks.join_next().await {
            took.extend(one??);
        }
        let elapsed = begun.elapsed();
        let cpu = target.process.cpu()? - cpu;
        ensure!(!took.is_empty(), "nothing was asked");
        let count = took.len() as f64;
        Ok(Measured {
            rate: count / elapsed.as_secs_f64(),
            p50: percentile(&mut took, 50),
            p99: percentile(&mut took, 99),
            cpu: cpu.as_secs_f64() * 1e3 / count,
            begun,
        })
    }
}

/// The time that so many in a hundred do not exceed, in milliseconds.
pub fn percentile(took: &mut [Duration], part: usize) -> f64 {
    took.sort_unstable();
    let index = (took.len() * part / 100).min(took.len().saturating_sub(1));
    took.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}
