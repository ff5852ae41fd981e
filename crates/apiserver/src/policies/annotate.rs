//! What the audit log has of validating policies: validations that do not hold, and what policies say themselves.
//!
//! Invariant: what one request can add is bounded. Answers to the annotations of apiserver's
//! `policy/validating/dispatcher.go`.

use super::bound::Binding;
use crate::audit;
use gifee_policy::policies::{Denial, Published};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Validations that are listed; upstream's figure.
const FAILURES: usize = 50;
/// Bytes of a value of a policy's own; upstream's figure.
const VALUE_BYTES: usize = 10 * 1024;
const FAILURE_KEY: &str = "validation.policy.admission.k8s.io/validation_failure";

/// What is to be written down of one request.
#[derive(Default)]
pub struct Notes {
    failures: Mutex<Vec<Value>>,
}

/// What one policy says itself: keys and their different values.
#[derive(Default)]
pub struct Said(Mutex<Vec<(String, Vec<String>)>>);

impl Notes {
    /// A validation that does not hold, of which the binding wants to be told here.
    pub fn failed(&self, policy: &str, binding: &Binding, denial: &Denial) {
        let mut failures = self.failures.lock();
        if failures.len() < FAILURES {
            failures.push(json!({
                "message": denial.message, "policy": policy, "binding": binding.name,
                "expressionIndex": denial.index, "validationActions": binding.listed,
            }));
        }
    }

    /// Writes them down.
    pub fn publish(self) {
        let failures = self.failures.into_inner();
        if !failures.is_empty() {
            audit::annotate(FAILURE_KEY, &Value::Array(failures).to_string());
        }
    }
}

impl Said {
    /// One value; the same value of another binding is not another.
    pub fn add(&self, one: Published) {
        let mut value = one.value;
        let end = (0..=VALUE_BYTES.min(value.len())).rev().find(|end| value.is_char_boundary(*end));
        value.truncate(end.unwrap_or_default());
        let mut said = self.0.lock();
        match said.iter_mut().find(|(key, _)| *key == one.key) {
            None => said.push((one.key, vec![value])),
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
        }
    }

    /// Writes them down.
    pub fn publish(self, policy: &str) {
        for (key, values) in self.0.into_inner() {
            audit::annotate(&format!("{policy}/{key}"), &values.join(", "));
        }
    }
}
