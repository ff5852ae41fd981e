//! What is counted of admission policies and of the rules of custom resources.
//!
//! Invariant: labels are names of objects and fixed words. Answers to the `metrics` packages of apiserver's
//! `policy/validating`, `policy/mutating` and `cel`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// Upper bounds of the buckets of the time of a policy, in seconds; upstream's.
const POLICY_SECONDS: [f64; 5] = [0.000_000_5, 0.001, 0.01, 0.1, 1.0];
/// The same of what has none of its own.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ValidatingLabels {
    policy: Arc<str>,
    policy_binding: Arc<str>,
    error_type: &'static str,
    enforcement_action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MutatingLabels {
    policy: Arc<str>,
    policy_binding: Arc<str>,
    error_type: &'static str,
}

/// All of it.
pub struct Expressions {
    checks: Family<ValidatingLabels, Counter>,
    check_times: Family<ValidatingLabels, Histogram>,
    mutations: Family<MutatingLabels, Counter>,
    mutation_times: Family<MutatingLabels, Histogram>,
    /// Time of compiling the rules of a definition, in seconds.
    pub compilation: Histogram,
    /// Time of asking them about an object, in seconds.
    pub evaluation: Histogram,
}

/// What kind of mistake upstream tells by what is said of it.
fn error_type(mistake: Option<&str>) -> &'static str {
    match mistake {
        None => "no_error",
        Some(text) if text.starts_with("compilation") => "compile_error",
        Some(text) if text.contains("running out of cost budget") => "out_of_budget",
        Some(_) => "invalid_error",
    }
}

impl Expressions {
    /// All at zero.
    pub fn new() -> Self {
        Self {
            checks: Family::default(),
            check_times: Family::new_with_constructor(|| Histogram::new(POLICY_SECONDS)),
            mutations: Family::default(),
            mutation_times: Family::new_with_constructor(|| Histogram::new(POLICY_SECONDS)),
            compilation: Histogram::new(SECONDS),
            evaluation: Histogram::new(SECONDS),
        }
    }

    /// Adds it to what `/metrics` says.
    pub fn register(&self, registry: &mut Registry) {
        let what = "Checks of validating policies that came to more than that all is well";
        registry.register("apiserver_validating_admission_policy_check", what, self.checks.clone());
        let what = "Time of these checks, in seconds";
        let name = "apiserver_validating_admission_policy_check_duration_seconds";
        registry.register(name, what, self.check_times.clone());
        let what = "Mutations of mutating policies";
        registry.register("apiserver_mutating_admission_policy_check", what, self.mutations.clone());
        let name = "apiserver_mutating_admission_policy_check_duration_seconds";
        registry.register(name, "Time of these mutations, in seconds", self.mutation_times.clone());
        let what = "Time of compiling the rules of a definition, in seconds";
        registry.register("apiserver_cel_compilation_duration_seconds", what, self.compilation.clone());
        let what = "Time of asking the rules of a definition about an object, in seconds";
        registry.register("apiserver_cel_evaluation_duration_seconds", what, self.evaluation.clone());
    }

    /// A validating policy has more to say than that all is well, and a binding says what follows.
    pub fn checked(
        &self,
        (policy, binding): (&str, &str),
        mistake: Option<&str>,
        enforcement_action: &'static str,
        took: Duration,
    ) {
        let labels = ValidatingLabels {
            policy: policy.into(),
            policy_binding: binding.into(),
            error_type: error_type(mistake),
            enforcement_action,
        };
        self.checks.get_or_create(&labels).inc();
        self.check_times.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A mutation of a mutating policy was made, or not.
    pub fn mutated(&self, (policy, binding): (&str, &str), mistake: Option<&str>, took: Duration) {
        let labels = MutatingLabels {
            policy: policy.into(),
            policy_binding: binding.into(),
            error_type: error_type(mistake),
        };
        self.mutations.get_or_create(&labels).inc();
        self.mutation_times.get_or_create(&labels).observe(took.as_secs_f64());
    }
}
