//! What fairness counts, under upstream's names.
//!
//! Invariant: labels are names of objects, so their number is bounded by these; a request moves counters that were
//! found when the objects were compiled, and looks none up.

use super::level::{Refusal, Seats};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Upper bounds of the buckets of waits, in seconds.
const BUCKETS: [f64; 10] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 15.0];

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
struct LevelLabels {
    priority_level: String,
}

/// All of it.
#[derive(Clone)]
pub struct Meter {
    dispatched: Family<FlowLabels, Counter>,
    rejected: Family<RefusalLabels, Counter>,
    executing: Family<FlowLabels, Gauge>,
    seats: Family<FlowLabels, Gauge>,
    queued: Family<FlowLabels, Gauge>,
    waits: Family<FlowLabels, Histogram>,
    limits: [Family<LevelLabels, Gauge>; 4],
}

/// What is counted of one flow schema.
pub struct FlowMeter {
    dispatched: Counter,
    rejected: [Counter; 3],
    executing: Gauge,
    seats: Gauge,
    queued: Gauge,
    waits: Histogram,
}

/// The seats of one level.
pub struct LevelMeter([Gauge; 4]);

impl Meter {
    /// All at zero.
    pub fn new() -> Self {
        Self {
            dispatched: Family::default(),
            rejected: Family::default(),
            executing: Family::default(),
            seats: Family::default(),
            queued: Family::default(),
            waits: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            limits: Default::default(),
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
        let what = "Time in a queue of requests that got a seat";
        registry.register(name("request_wait_duration_seconds"), what, self.waits.clone());
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
            waits: self.waits.get_or_create(&labels).clone(),
        }
    }

    /// The gauges of a level.
    pub fn level(&self, name: &str) -> LevelMeter {
        let labels = LevelLabels { priority_level: name.to_owned() };
        LevelMeter(self.limits.each_ref().map(|limit| limit.get_or_create(&labels).clone()))
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

    /// A request waits.
    pub fn queued(&self) {
        self.queued.inc();
    }

    /// A request waits no more; after how long, if it got a seat.
    pub fn left(&self, waited: Option<Duration>) {
        self.queued.dec();
        if let Some(waited) = waited {
            self.waits.observe(waited.as_secs_f64());
        }
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
        for (gauge, value) in self.0.iter().zip([seats.nominal, seats.least, seats.most, now]) {
            gauge.set(value.into());
        }
    }
}
