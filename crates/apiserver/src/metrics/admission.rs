//! What is counted of admission: how long its steps and webhooks take, and what they refuse.
//!
//! Invariant: labels are names of webhooks and fixed words. Answers to apiserver's `admission/metrics`.

use crate::seam::Operation;
use gifee_policy::admission::RULES;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Upper bounds of the buckets of a step's time, in seconds; upstream's.
const STEP_SECONDS: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
/// The same of match conditions; upstream's.
const CONDITION_SECONDS: [f64; 7] = [0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25];
/// The same of a webhook's; upstream's.
const WEBHOOK_SECONDS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabels {
    name: &'static str,
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    name: Arc<str>,
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    name: Arc<str>,
    r#type: &'static str,
    operation: &'static str,
    code: u16,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    name: Arc<str>,
    r#type: &'static str,
    operation: &'static str,
    error_type: &'static str,
    rejection_code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassedLabels {
    name: Arc<str>,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    name: Arc<str>,
    kind: &'static str,
    r#type: &'static str,
    operation: &'static str,
}

/// Who takes part in admission besides RULES, whose places come before theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// Mutating policies.
    MutatingPolicy,
    /// Mutating webhooks.
    MutatingWebhook,
    /// Validating policies.
    ValidatingPolicy,
    /// Validating webhooks.
    ValidatingWebhook,
}

/// Their names, in the order of [`Plugin`].
const PLUGINS: [&str; 4] = [
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
];
/// Lines of one rule: two halves, four operations, refused or not.
const LINES: usize = 16;

/// All of it.
pub struct Admission {
    steps: Family<StepLabels, Histogram>,
    rules: Family<RuleLabels, Histogram>,
    /// The same by place, so that nothing is looked up for a rule.
    lines: Vec<OnceLock<Histogram>>,
    conditions: Family<ConditionLabels, Histogram>,
    excluded: Family<ConditionLabels, Counter>,
    unsettled: Family<ConditionLabels, Counter>,
    webhooks: Family<WebhookLabels, Histogram>,
    calls: Family<CallLabels, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    passed: Family<PassedLabels, Counter>,
}

/// What came of a call of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It let the request pass.
    Allowed,
    /// It did not, with this code.
    Refused(u16),
    /// It could not be asked; the policy says whether that counts.
    Failed {
        /// Whether the request goes on.
        passed_over: bool,
    },
}

fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

impl Admission {
    /// All at zero.
    pub fn new() -> Self {
        Self {
            steps: Family::new_with_constructor(|| Histogram::new(STEP_SECONDS)),
            rules: Family::new_with_constructor(|| Histogram::new(STEP_SECONDS)),
            lines: (0..(RULES.len() + PLUGINS.len()) * LINES).map(|_| OnceLock::new()).collect(),
            conditions: Family::new_with_constructor(|| Histogram::new(CONDITION_SECONDS)),
            excluded: Family::default(),
            unsettled: Family::default(),
            webhooks: Family::new_with_constructor(|| Histogram::new(WEBHOOK_SECONDS)),
            calls: Family::default(),
            refusals: Family::default(),
            passed: Family::default(),
        }
    }

    /// Adds it to what `/metrics` says.
    pub fn register(&self, registry: &mut Registry) {
        let name = |rest: &str| format!("apiserver_admission_{rest}");
        let what = "Time of the steps of admission, in seconds";
        registry.register(name("step_admission_duration_seconds"), what, self.steps.clone());
        let what = "Time of the rules of admission, in seconds";
        registry.register(name("controller_admission_duration_seconds"), what, self.rules.clone());
        let what = "Time of match conditions, in seconds";
        registry.register(name("match_condition_evaluation_seconds"), what, self.conditions.clone());
        let what = "Requests that match conditions kept from webhooks";
        registry.register(name("match_condition_exclusions"), what, self.excluded.clone());
        let what = "Match conditions that could not be evaluated";
        registry.register(name("match_condition_evaluation_errors"), what, self.unsettled.clone());
        let what = "Time of admission webhooks, in seconds";
        registry.register(name("webhook_admission_duration_seconds"), what, self.webhooks.clone());
        registry.register(name("webhook_request"), "Calls of admission webhooks", self.calls.clone());
        let what = "Requests that admission webhooks refused or failed on";
        registry.register(name("webhook_rejection_count"), what, self.refusals.clone());
        let what = "Failures of admission webhooks that were passed over";
        registry.register(name("webhook_fail_open_count"), what, self.passed.clone());
    }

    /// A step is over.
    pub fn step(&self, mutating: bool, operation: Operation, rejected: bool, took: Duration) {
        let r#type = if mutating { "admit" } else { "validate" };
        let labels = StepLabels { r#type, operation: word(operation), rejected: truth(rejected) };
        self.steps.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The rule of RULES at this place was asked, or the plugin that follows them.
    pub fn rule(&self, place: usize, mutating: bool, operation: Operation, rejected: bool, took: Duration) {
        let at = place * LINES + usize::from(mutating) * 8 + operation as usize * 2 + usize::from(rejected);
        let Some(line) = self.lines.get(at) else { return };
        let line = line.get_or_init(|| {
            let name = RULES.get(place).map(|rule| rule.name());
            let name = name.unwrap_or_else(|| PLUGINS[place - RULES.len()]);
            let r#type = if mutating { "admit" } else { "validate" };
            let labels = RuleLabels { name, r#type, operation: word(operation), rejected: truth(rejected) };
            self.rules.get_or_create(&labels).clone()
        });
        line.observe(took.as_secs_f64());
    }

    /// A plugin that is none of RULES was asked.
    pub fn plugin(&self, plugin: Plugin, operation: Operation, rejected: bool, took: Duration) {
        let mutating = matches!(plugin, Plugin::MutatingPolicy | Plugin::MutatingWebhook);
        self.rule(RULES.len() + plugin as usize, mutating, operation, rejected, took);
    }

    /// The match conditions of a webhook were asked: whether they hold, if that could be said.
    pub fn conditions(
        &self,
        hook: &str,
        mutating: bool,
        operation: Operation,
        holds: Option<bool>,
        took: Duration,
    ) {
        let r#type = if mutating { "admit" } else { "validate" };
        let labels =
            ConditionLabels { name: hook.into(), kind: "webhook", r#type, operation: word(operation) };
        self.conditions.get_or_create(&labels).observe(took.as_secs_f64());
        match holds {
            Some(true) => {}
            Some(false) => drop(self.excluded.get_or_create(&labels).inc()),
            None => drop(self.unsettled.get_or_create(&labels).inc()),
        }
    }

    /// A webhook was asked.
    pub fn webhook(
        &self,
        hook: &str,
        mutating: bool,
        operation: Operation,
        outcome: Outcome,
        took: Duration,
    ) {
        let (name, operation): (Arc<str>, _) = (hook.into(), word(operation));
        let r#type = if mutating { "admit" } else { "validating" };
        let (rejected, code) = match outcome {
            Outcome::Allowed => (false, 200),
            Outcome::Refused(code) => (true, code),
            Outcome::Failed { passed_over } => (!passed_over, 0),
        };
        let error_type = match outcome {
            Outcome::Refused(_) => "no_error",
            _ => "calling_webhook_error",
        };
        let labels = WebhookLabels { name: name.clone(), r#type, operation, rejected: truth(rejected) };
        self.webhooks.get_or_create(&labels).observe(took.as_secs_f64());
        let labels = CallLabels { name: name.clone(), r#type, operation, code, rejected: truth(rejected) };
        self.calls.get_or_create(&labels).inc();
        if rejected {
            let labels = RefusalLabels { name, r#type, operation, error_type, rejection_code: code };
            self.refusals.get_or_create(&labels).inc();
        } else if outcome != Outcome::Allowed {
            self.passed.get_or_create(&PassedLabels { name, r#type }).inc();
        }
    }
}
