//! Numbers that are watched through time: how long each was how large.
//!
//! Invariant: a change costs a look at the clock and an addition; nothing is sampled. Answers to upstream's
//! `TimingRatioHistogram`, which observes at the end of every nanosecond, and to `fairqueuing`'s `Integrator`.

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};
use std::sync::Arc;
use tokio::time::Instant;

/// A ratio, and how many nanoseconds it was in which bucket.
#[derive(Clone, Debug)]
pub struct Timed(Arc<Mutex<Times>>);

#[derive(Debug)]
struct Times {
    bounds: &'static [f64],
    nanoseconds: Vec<u64>,
    sum: f64,
    value: f64,
    since: Instant,
}

impl Times {
    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_nanos();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|bound| *bound < self.value);
        self.nanoseconds[bucket] = self.nanoseconds[bucket].saturating_add(passed);
        self.sum += self.value * passed as f64;
        self.since = self.since.max(now);
    }
}

impl Timed {
    /// Zero, from now on, with these upper bounds of buckets.
    pub fn new(bounds: &'static [f64]) -> Self {
        let nanoseconds = vec![0; bounds.len() + 1];
        Self(Arc::new(Mutex::new(Times { bounds, nanoseconds, sum: 0.0, value: 0.0, since: Instant::now() })))
    }

    /// From now on it is this.
    pub fn set(&self, value: f64, now: Instant) {
        let mut times = self.0.lock();
        times.advance(now);
        times.value = value;
    }
}

impl EncodeMetric for Timed {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut times = self.0.lock();
        times.advance(Instant::now());
        let bounds = times.bounds.iter().copied().chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(times.nanoseconds.iter().copied()).collect();
        let count = times.nanoseconds.iter().fold(0_u64, |sum, one| sum.saturating_add(*one));
        encoder.encode_histogram::<NoLabelSet>(times.sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Timed {
    const TYPE: MetricType = MetricType::Histogram;
}

/// A number over a period: its most, its average and how far it strayed from that.
#[derive(Clone, Debug)]
pub struct Integral {
    begun: Instant,
    since: Instant,
    value: f64,
    sum: f64,
    squares: f64,
    most: f64,
}

/// What a number was over a period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Over {
    /// The most.
    pub most: f64,
    /// By time.
    pub average: f64,
    /// Standard deviation by time.
    pub deviation: f64,
}

impl Default for Integral {
    fn default() -> Self {
        let now = Instant::now();
        Self { begun: now, since: now, value: 0.0, sum: 0.0, squares: 0.0, most: 0.0 }
    }
}

impl Integral {
    /// From now on it is this.
    pub fn set(&mut self, value: f64, now: Instant) {
        let seconds = now.saturating_duration_since(self.since).as_secs_f64();
        self.sum += self.value * seconds;
        self.squares += self.value * self.value * seconds;
        self.since = self.since.max(now);
        self.value = value;
        self.most = self.most.max(value);
    }

    /// What it was since this was last asked; a new period begins.
    pub fn take(&mut self, now: Instant) -> Over {
        self.set(self.value, now);
        let seconds = now.saturating_duration_since(self.begun).as_secs_f64();
        let over = if seconds > 0.0 {
            let average = self.sum / seconds;
            let deviation = (self.squares / seconds - average * average).max(0.0).sqrt();
            Over { most: self.most, average, deviation }
        } else {
            Over { most: self.most, average: self.value, deviation: 0.0 }
        };
        *self = Self { begun: now, since: now, value: self.value, sum: 0.0, squares: 0.0, most: self.value };
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn averages_are_by_time() {
        let mut integral = Integral::default();
        let start = integral.begun;
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        integral.set(4.0, at(2));
        integral.set(10.0, at(4));
        integral.set(0.0, at(4));
        let over = integral.take(at(8));
        assert_eq!((over.most, over.average), (10.0, 1.0));
        assert!((over.deviation - 3.0_f64.sqrt()).abs() < 1e-9, "{over:?}");
        assert_eq!(integral.take(at(9)), Over { most: 0.0, average: 0.0, deviation: 0.0 });
    }

    #[test]
    fn every_nanosecond_is_in_a_bucket() {
        let timed = Timed::new(&[0.0, 0.5, 1.0]);
        let start = timed.0.lock().since;
        timed.set(0.5, start + Duration::from_nanos(10));
        timed.set(3.0, start + Duration::from_nanos(30));
        timed.set(0.0, start + Duration::from_nanos(35));
        let times = timed.0.lock();
        assert_eq!((&times.nanoseconds[..], times.sum), (&[10, 20, 0, 5][..], 25.0));
    }
}
