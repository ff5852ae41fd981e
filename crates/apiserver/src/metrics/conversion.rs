//! What is counted of webhooks that convert custom resources.
//!
//! Invariant: labels are names and versions of definitions and fixed words. Answers to apiextensions-apiserver's
//! `conversion/metrics.go`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Upper bounds of the buckets of the time of a conversion, in seconds; upstream's.
const SECONDS: [f64; 15] = [
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
];
/// The same of a request; upstream's.
const REQUEST_SECONDS: [f64; 15] =
    [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DefinitionLabels {
    crd_name: String,
    from_version: String,
    to_version: String,
    succeeded: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
    failure_type: &'static str,
}

/// Why a webhook did not convert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// It could not be called.
    Call,
    /// What it said is no answer, or says that it failed.
    Answer,
    /// It gave another number of objects than were asked for.
    Number,
    /// It gave objects that are not what was asked for.
    Object,
}

/// All of it.
#[derive(Debug)]
pub struct Conversions {
    definitions: Family<DefinitionLabels, Histogram>,
    requests: Family<ResultLabels, Counter>,
    times: Family<ResultLabels, Histogram>,
}

impl Default for Conversions {
    fn default() -> Self {
        Self {
            definitions: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            requests: Family::default(),
            times: Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS)),
        }
    }
}

impl Conversions {
    /// Adds it to what `/metrics` says.
    pub fn register(&self, registry: &mut Registry) {
        let what = "Time of conversions by webhooks, in seconds";
        registry.register(
            "apiserver_crd_conversion_webhook_duration_seconds",
            what,
            self.definitions.clone(),
        );
        let what = "Requests to webhooks that convert";
        registry.register("apiserver_conversion_webhook_request", what, self.requests.clone());
        let what = "Time of these requests, in seconds";
        registry.register("apiserver_conversion_webhook_duration_seconds", what, self.times.clone());
    }

    /// A webhook was asked to make objects of one version of those of another.
    pub fn asked(
        &self,
        definition: &str,
        (from, to): (&str, &str),
        mistake: Option<Mistake>,
        took: Duration,
    ) {
        let version = |api_version: &str| api_version.rsplit('/').next().unwrap_or_default().to_owned();
        let succeeded = if mistake.is_none() { "true" } else { "false" };
        let labels = DefinitionLabels {
            crd_name: definition.to_owned(),
            from_version: version(from),
            to_version: version(to),
            succeeded,
        };
        let failure_type = match mistake {
            None => "",
            Some(Mistake::Call) => "conversion_webhook_call_failure",
            Some(Mistake::Answer) => "conversion_webhook_malformed_response_failure",
            Some(Mistake::Number) => "conversion_webhook_partial_response_failure",
            Some(Mistake::Object) => "conversion_webhook_invalid_converted_object_failure",
        };
        self.definitions.get_or_create(&labels).observe(took.as_secs_f64());
        let labels =
            ResultLabels { result: if mistake.is_none() { "success" } else { "failure" }, failure_type };
        self.requests.get_or_create(&labels).inc();
        self.times.get_or_create(&labels).observe(took.as_secs_f64());
    }
}
