//! What is counted of a client of the API: its calls, its work queues, and which controllers run on them.
//!
//! Invariant: labels are names that programs give and fixed words, so their number is bounded. How much is queued and
//! worked on is read when somebody asks. Answers to component-base's `restclient`, `workqueue` and `controllers` metrics.

use crate::body::Body;
use crate::error::Result;
use crate::transport::{Io, Transport};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Upper bounds of the buckets of the time of calls, in seconds; upstream's.
const CALL_SECONDS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    code: String,
    method: String,
    host: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TimeLabels {
    verb: String,
    host: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabels {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabels {
    name: &'static str,
    manager: &'static str,
}

/// A queue that is looked at.
pub(crate) trait Observed: Send + Sync {
    /// Keys that wait to be worked on.
    fn depth(&self) -> usize;
    /// How long those that are worked on have been, together, and the longest of them.
    fn unfinished(&self) -> (Duration, Duration);
}

type Observers = Arc<Mutex<Vec<(String, Weak<dyn Observed>)>>>;

/// All that is counted in one process.
pub struct Meters {
    calls: Family<CallLabels, Counter>,
    times: Family<TimeLabels, Histogram>,
    adds: Family<NameLabels, Counter>,
    retries: Family<NameLabels, Counter>,
    waits: Family<NameLabels, Histogram>,
    works: Family<NameLabels, Histogram>,
    running: Family<ControllerLabels, Gauge>,
    queues: Observers,
}

/// What is counted of one queue.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    /// Keys that were added.
    pub adds: Counter,
    /// Those among them that had failed.
    pub retries: Counter,
    /// How long keys wait, in seconds.
    pub waits: Histogram,
    /// How long they are worked on, in seconds.
    pub works: Histogram,
}

impl Default for Meters {
    fn default() -> Self {
        let short = || Histogram::new(exponential_buckets(10e-9, 10.0, 10));
        Self {
            calls: Family::default(),
            times: Family::new_with_constructor(|| Histogram::new(CALL_SECONDS)),
            adds: Family::default(),
            retries: Family::default(),
            waits: Family::new_with_constructor(short),
            works: Family::new_with_constructor(short),
            running: Family::default(),
            queues: Arc::default(),
        }
    }
}

impl Meters {
    /// Adds it to what is exported.
    pub fn register(&self, registry: &mut Registry) {
        let what = "Calls of the API by their outcome";
        registry.register("rest_client_requests", what, self.calls.clone());
        let what = "Time of these calls, in seconds";
        registry.register("rest_client_request_duration_seconds", what, self.times.clone());
        registry.register("workqueue_adds", "Keys that were added", self.adds.clone());
        registry.register("workqueue_retries", "Keys that were added again", self.retries.clone());
        let what = "How long keys wait, in seconds";
        registry.register("workqueue_queue_duration_seconds", what, self.waits.clone());
        let what = "How long keys are worked on, in seconds";
        registry.register("workqueue_work_duration_seconds", what, self.works.clone());
        let what = "Controllers that run";
        registry.register("running_managed_controllers", what, self.running.clone());
        registry.register_collector(Box::new(Queues(self.queues.clone())));
    }

    /// Whether a controller runs.
    pub fn runs(&self, name: &'static str, manager: &'static str, runs: bool) {
        self.running.get_or_create(&ControllerLabels { name, manager }).set(i64::from(runs));
    }

    /// A queue is looked at from now on, as long as it is there.
    pub(crate) fn queue(&self, name: &str, queue: Weak<dyn Observed>) -> Meter {
        let mut queues = self.queues.lock();
        queues.retain(|(_, queue)| queue.strong_count() > 0);
        queues.push((name.to_owned(), queue));
        let labels = NameLabels { name: name.to_owned() };
        Meter {
            adds: self.adds.get_or_create(&labels).clone(),
            retries: self.retries.get_or_create(&labels).clone(),
            waits: self.waits.get_or_create(&labels).clone(),
            works: self.works.get_or_create(&labels).clone(),
        }
    }
}

/// Says how much is queued and worked on.
struct Queues(Observers);

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queues")
    }
}

impl Collector for Queues {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::result::Result<(), std::fmt::Error> {
        let queues = self.0.lock();
        let now: Vec<(&str, [f64; 3])> = queues
            .iter()
            .filter_map(|(name, queue)| {
                let queue = queue.upgrade()?;
                let (all, longest) = queue.unfinished();
                let depth = u32::try_from(queue.depth()).unwrap_or(u32::MAX);
                Some((name.as_str(), [f64::from(depth), all.as_secs_f64(), longest.as_secs_f64()]))
            })
            .collect();
        let of = ["depth", "unfinished_work_seconds", "longest_running_processor_seconds"];
        let what = ["Keys that wait", "How long keys have been worked on now", "The longest of them"];
        for (at, (rest, what)) in of.into_iter().zip(what).enumerate() {
            let gauge = ConstGauge::new(0.0);
            let name = format!("workqueue_{rest}");
            let mut family = encoder.encode_descriptor(&name, what, None, gauge.metric_type())?;
            for (name, numbers) in &now {
                let labels = [("name", *name)];
                ConstGauge::new(numbers[at]).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// A transport whose calls are counted.
pub struct Measured {
    transport: Arc<dyn Transport>,
    meters: Arc<Meters>,
    host: Arc<str>,
}

impl Measured {
    /// Of a transport to a host.
    pub fn new(transport: Arc<dyn Transport>, host: &str, meters: Arc<Meters>) -> Self {
        Self { transport, meters, host: host.into() }
    }

    fn called(&self, method: &http::Method, code: Option<http::StatusCode>, took: Duration) {
        let (host, method) = (self.host.clone(), method.to_string());
        let code = code.map_or_else(|| "<error>".to_owned(), |code| code.as_u16().to_string());
        let times = self.meters.times.get_or_create(&TimeLabels { verb: method.clone(), host: host.clone() });
        times.observe(took.as_secs_f64());
        drop(times);
        self.meters.calls.get_or_create(&CallLabels { code, method, host }).inc();
    }
}

#[async_trait]
impl Transport for Measured {
    async fn call(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>> {
        let (method, started) = (request.method().clone(), Instant::now());
        let answer = self.transport.call(request).await;
        let code = answer.as_ref().ok().map(http::Response::status);
        self.called(&method, code, started.elapsed());
        answer
    }

    async fn upgrade(
        &self,
        request: http::Request<()>,
    ) -> Result<std::result::Result<(http::response::Parts, Box<dyn Io>), http::Response<Body>>> {
        self.transport.upgrade(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InProcess, Queue};
    use futures_util::FutureExt;
    use prometheus_client::encoding::text::encode;

    fn said(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    }

    #[tokio::test]
    async fn queues_and_calls_are_counted_under_upstreams_names() {
        let (meters, mut registry) = (Arc::new(Meters::default()), Registry::default());
        meters.register(&mut registry);
        meters.runs("job-controller", "kube-controller-manager", true);
        let queue = Arc::new(Queue::new());
        queue.add("early");
        queue.measure(&meters, "job");
        queue.add("early");
        queue.add("late");
        let key = queue.get().await.unwrap();
        queue.add_rate_limited(key);
        let text = said(&registry);
        for line in [
            "workqueue_adds_total{name=\"job\"} 2",
            "workqueue_retries_total{name=\"job\"} 1",
            "workqueue_depth{name=\"job\"} 1",
            "workqueue_queue_duration_seconds_count{name=\"job\"} 1",
            "workqueue_unfinished_work_seconds{name=\"job\"} ",
            "workqueue_longest_running_processor_seconds{name=\"job\"} ",
            "running_managed_controllers{name=\"job-controller\",manager=\"kube-controller-manager\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        queue.done(&key);
        assert!(said(&registry).contains("workqueue_work_duration_seconds_count{name=\"job\"} 1"));
        drop(queue);
        assert!(!said(&registry).contains("workqueue_depth{"));
        let answers = InProcess::new(|_| async { http::Response::new(Body::empty()) }.boxed());
        let measured = Measured::new(Arc::new(answers), "localhost", meters);
        measured.call(http::Request::get("/api").body(Bytes::new()).unwrap()).await.unwrap();
        let text = said(&registry);
        let line = "rest_client_requests_total{code=\"200\",method=\"GET\",host=\"localhost\"} 1";
        assert!(text.contains(line), "{text}");
        assert!(
            text.contains("rest_client_request_duration_seconds_count{verb=\"GET\",host=\"localhost\"} 1")
        );
    }
}
