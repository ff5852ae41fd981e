//! What fairness counts, under upstream's names.
//!
//! Invariant: labels are names of objects, so their number is bounded by these; a request moves counters that were
//! found when the objects were compiled, and looks none up.

use super::level::{Refusal, Seats};
use super::timed::{Over, Timed};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::time::Instant;

/// Upper bounds of the buckets of times, in seconds; upstream's.
const SECONDS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
/// Upper bounds of the buckets of seats; upstream's.
const SEATS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];
/// Upper bounds of the buckets of lengths of queues; upstream's.
const LENGTHS: [f64; 8] = [0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0];

/// The same of how many watch; upstream's.
const WATCHERS: [f64; 6] = [0.0, 1.0, 10.0, 100.0, 1_000.0, 10_000.0];
/// The same of parts of seats that are wanted, taken, and of requests; upstream's.
const DEMANDS: [f64; 12] = [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.8, 4.0, 6.0];
const SEATED: [f64; 13] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];
const REQUESTS: [f64; 10] = [0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlowLabels {
    priority_level: String,
    flow_schema: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    priority_level: String,
    flow_schema: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitLabels {
    priority_level: String,
    flow_schema: String,
    execute: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExecutionLabels {
    priority_level: String,
    flow_schema: String,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabels {
    priority_level: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    priority_level: String,
    phase: &'static str,
}

/// All of it.
#[derive(Clone)]
pub struct Meter {
    dispatched: Family<FlowLabels, Counter>,
    rejected: Family<RefusalLabels, Counter>,
    executing: Family<FlowLabels, Gauge>,
    seats: Family<FlowLabels, Gauge>,
    queued: Family<FlowLabels, Gauge>,
    queued_seats: Family<FlowLabels, Gauge>,
    lengths: Family<FlowLabels, Histogram>,
    estimates: Family<FlowLabels, Histogram>,
    cramped: Family<FlowLabels, Counter>,
    waits: Family<WaitLabels, Histogram>,
    executions: Family<ExecutionLabels, Histogram>,
    limits: [Family<LevelLabels, Gauge>; 4],
    demands: [Family<LevelLabels, Gauge<f64, AtomicU64>>; 5],
    watchers: Family<FlowLabels, Histogram>,
    demand: Family<LevelLabels, Timed>,
    seated: Family<PhaseLabels, Timed>,
    requests: Family<PhaseLabels, Timed>,
    fraction: Gauge<f64, AtomicU64>,
}

/// What is counted of one flow schema.
pub struct FlowMeter {
    dispatched: Counter,
    rejected: [Counter; 3],
    executing: Gauge,
    seats: Gauge,
    queued: Gauge,
    queued_seats: Gauge,
    lengths: Histogram,
    estimates: Histogram,
    watchers: Histogram,
    cramped: Counter,
    /// Of those that were shed, and of those that got a seat.
    waits: [Histogram; 2],
    /// Of other requests, and of the beginnings of watches.
    executions: [Histogram; 2],
}

/// The seats of one level, and what it wants.
pub struct LevelMeter {
    limits: [Gauge; 4],
    demands: [Gauge<f64, AtomicU64>; 5],
    demand: Timed,
    seated: Timed,
    executing: Timed,
    waiting: Timed,
}

impl Meter {
    /// All at zero.
    pub fn new() -> Self {
        Self {
            dispatched: Family::default(),
            rejected: Family::default(),
            executing: Family::default(),
            seats: Family::default(),
            queued: Family::default(),
            queued_seats: Family::default(),
            lengths: Family::new_with_constructor(|| Histogram::new(LENGTHS)),
            estimates: Family::new_with_constructor(|| Histogram::new(SEATS)),
            cramped: Family::default(),
            waits: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            executions: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            limits: Default::default(),
            demands: Default::default(),
            watchers: Family::new_with_constructor(|| Histogram::new(WATCHERS)),
            demand: Family::new_with_constructor(|| Timed::new(&DEMANDS)),
            seated: Family::new_with_constructor(|| Timed::new(&SEATED)),
            requests: Family::new_with_constructor(|| Timed::new(&REQUESTS)),
            fraction: Gauge::default(),
        }
    }

    /// Adds it to what `/metrics` says.
    pub fn register(&self, registry: &mut Registry) {
        let name = |rest: &str| format!("apiserver_flowcontrol_{rest}");
        registry.register(name("dispatched_requests"), "Requests that got a seat", self.dispatched.clone());
        registry.register(name("rejected_requests"), "Requests that were shed", self.rejected.clone());
        let what = "Requests that run";
        registry.register(name("current_executing_requests"), what, self.executing.clone());
        registry.register(name("current_executing_seats"), "Seats of requests that run", self.seats.clone());
        registry.register(name("current_inqueue_requests"), "Requests that wait", self.queued.clone());
        registry.register(
            name("current_inqueue_seats"),
            "Seats that are waited for",
            self.queued_seats.clone(),
        );
        let what = "Length of a queue, as seen by who has come into it";
        registry.register(name("request_queue_length_after_enqueue"), what, self.lengths.clone());
        registry.register(name("work_estimated_seats"), "Seats that requests take", self.estimates.clone());
        let what = "How often nobody could be seated";
        registry.register(name("request_dispatch_no_accommodation"), what, self.cramped.clone());
        registry.register(name("request_wait_duration_seconds"), "Time in a queue", self.waits.clone());
        let what = "Time with a seat";
        registry.register(name("request_execution_seconds"), what, self.executions.clone());
        let what = "Watchers of what a write changes";
        registry.register(name("watch_count_samples"), what, self.watchers.clone());
        let what = "Seats that are wanted, as a part of those by shares, by nanoseconds";
        registry.register(name("demand_seats"), what, self.demand.clone());
        let what = "Seats that are taken, as a part of those that there are, by nanoseconds";
        registry.register(name("priority_level_seat_utilization"), what, self.seated.clone());
        let what = "Requests, as a part of those that there may be, by nanoseconds";
        registry.register(name("priority_level_request_utilization"), what, self.requests.clone());
        let what = "The part of the wanted seats that levels get";
        registry.register(name("seat_fair_frac"), what, self.fraction.clone());
        let names = [
            "demand_seats_high_watermark",
            "demand_seats_average",
            "demand_seats_stdev",
            "demand_seats_smoothed",
            "target_seats",
        ];
        let what = [
            "The most seats that were wanted lately",
            "Seats that were wanted lately, on average",
            "How far the wanted seats strayed from that",
            "Seats that are wanted, smoothed",
            "Seats that a level is to have",
        ];
        for ((demand, rest), what) in self.demands.iter().zip(names).zip(what) {
            registry.register(name(rest), what, demand.clone());
        }
        let names = ["nominal_limit_seats", "lower_limit_seats", "upper_limit_seats", "current_limit_seats"];
        let what = [
            "Seats by shares",
            "Seats that are not lent",
            "Seats with all that may be borrowed",
            "Seats now",
        ];
        for ((limit, rest), what) in self.limits.iter().zip(names).zip(what) {
            registry.register(name(rest), what, limit.clone());
        }
    }

    /// The counters of a flow schema.
    pub fn flow(&self, schema: &str, level: &str) -> FlowMeter {
        let labels = FlowLabels { priority_level: level.to_owned(), flow_schema: schema.to_owned() };
        let rejected = ["concurrency-limit", "queue-full", "time-out"].map(|reason| {
            let FlowLabels { priority_level, flow_schema } = labels.clone();
            self.rejected.get_or_create(&RefusalLabels { priority_level, flow_schema, reason }).clone()
        });
        FlowMeter {
            dispatched: self.dispatched.get_or_create(&labels).clone(),
            rejected,
            executing: self.executing.get_or_create(&labels).clone(),
            seats: self.seats.get_or_create(&labels).clone(),
            queued: self.queued.get_or_create(&labels).clone(),
            queued_seats: self.queued_seats.get_or_create(&labels).clone(),
            lengths: self.lengths.get_or_create(&labels).clone(),
            estimates: self.estimates.get_or_create(&labels).clone(),
            watchers: self.watchers.get_or_create(&labels).clone(),
            cramped: self.cramped.get_or_create(&labels).clone(),
            waits: ["false", "true"].map(|execute| {
                let FlowLabels { priority_level, flow_schema } = labels.clone();
                self.waits.get_or_create(&WaitLabels { priority_level, flow_schema, execute }).clone()
            }),
            executions: ["regular", "watch"].map(|r#type| {
                let FlowLabels { priority_level, flow_schema } = labels.clone();
                self.executions
                    .get_or_create(&ExecutionLabels { priority_level, flow_schema, r#type })
                    .clone()
            }),
        }
    }

    /// The gauges of a level.
    pub fn level(&self, name: &str) -> LevelMeter {
        let labels = LevelLabels { priority_level: name.to_owned() };
        let phase = |phase: &'static str| PhaseLabels { priority_level: name.to_owned(), phase };
        // What is found is locked to the end of a statement: twice in one would wait for itself.
        let [executing, waiting] = ["executing", "waiting"]
            .map(|phase_name| self.requests.get_or_create(&phase(phase_name)).clone());
        LevelMeter {
            limits: self.limits.each_ref().map(|limit| limit.get_or_create(&labels).clone()),
            demands: self.demands.each_ref().map(|demand| demand.get_or_create(&labels).clone()),
            demand: self.demand.get_or_create(&labels).clone(),
            seated: self.seated.get_or_create(&phase("executing")).clone(),
            executing,
            waiting,
        }
    }

    /// The part of the wanted seats that levels get.
    pub fn fraction(&self, part: f64) {
        self.fraction.set(part);
    }
}

impl FlowMeter {
    /// A request got seats.
    pub fn seated(&self, width: u32) {
        self.dispatched.inc();
        self.executing.inc();
        self.seats.inc_by(width.into());
    }

    /// A request gave them back.
    pub fn freed(&self, width: u32) {
        self.executing.dec();
        self.seats.dec_by(width.into());
    }

    /// A request takes so many seats, and a write is told to so many.
    pub fn estimated(&self, width: u32, watchers: Option<usize>) {
        self.estimates.observe(width.into());
        if let Some(watchers) = watchers {
            self.watchers.observe(watchers as f64);
        }
    }

    /// A request has run for so long; of a watch only its beginning counts.
    pub fn executed(&self, watch: bool, time: Duration) {
        self.executions[usize::from(watch)].observe(time.as_secs_f64());
    }

    /// A request waits for so many seats, with so many others and itself in its queue.
    pub fn queued(&self, width: u32, length: usize) {
        self.queued.inc();
        self.queued_seats.inc_by(width.into());
        self.lengths.observe(f64::from(u32::try_from(length).unwrap_or(u32::MAX)));
    }

    /// A request waits no more, and whether it got its seats.
    pub fn left(&self, width: u32, waited: Duration, seated: bool) {
        self.queued.dec();
        self.queued_seats.dec_by(width.into());
        self.waits[usize::from(seated)].observe(waited.as_secs_f64());
    }

    /// There were not enough seats for the next.
    pub fn not_accommodated(&self) {
        self.cramped.inc();
    }

    /// A request was shed.
    pub fn refused(&self, why: Refusal) {
        self.rejected[why as usize].inc();
    }
}

impl LevelMeter {
    /// So many seats there are.
    pub fn seats(&self, seats: &Seats) {
        // An exempt level has no number.
        let now = if seats.now == u32::MAX { seats.nominal } else { seats.now };
        for (gauge, value) in self.limits.iter().zip([seats.nominal, seats.least, seats.most, now]) {
            gauge.set(value.into());
        }
    }

    /// So many seats were wanted.
    pub fn demand(&self, over: Over, smooth: f64) {
        for (gauge, value) in self.demands.iter().zip([over.most, over.average, over.deviation, smooth]) {
            gauge.set(value);
        }
    }

    /// So many seats it is to have.
    pub fn aimed(&self, target: f64) {
        self.demands[4].set(target);
    }

    /// Seats in use, requests that run and wait, and seats that are wanted, from now on; so many may wait.
    pub fn note(
        &self,
        [in_use, executing, waiting, wanted]: [u32; 4],
        seats: &Seats,
        places: usize,
        now: Instant,
    ) {
        let there = if seats.now == u32::MAX { seats.nominal } else { seats.now };
        let part = |count: u32, of: f64| f64::from(count) / of.max(1.0);
        self.seated.set(part(in_use, there.into()), now);
        self.executing.set(part(executing, there.into()), now);
        self.waiting.set(part(waiting, places as f64), now);
        self.demand.set(part(wanted, seats.nominal.into()), now);
    }
}
