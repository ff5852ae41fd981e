//! What the rules of a definition may cost: each for all objects that a request can hold, and all together.
//!
//! Invariant: the limits and the words are upstream's. Answers to the cost limits of apiextensions'
//! `apis/apiextensions/validation` and to its `CELSchemaContext`.

use crate::rule::Errors;
use gifee_base::{FieldError, Path};
use serde_json::Value;

/// The most that one rule may be estimated to cost.
const RULE: u64 = 10_000_000;
/// The most that all rules of a schema may.
const SCHEMA: u64 = 100_000_000;
/// Rules that are named if all together are too dear.
const NAMED: usize = 4;

/// How many values of a node one object can have; None if nothing bounds it.
pub(super) type Cardinality = Option<u64>;

/// The cardinality of what is directly below a node.
pub(super) fn below(schema: &Value, own: Cardinality) -> Cardinality {
    let bound = |name: &str| schema[name].as_i64().map(|most| u64::try_from(most).unwrap_or(0));
    let times = match schema["type"].as_str() {
        Some("object") if !schema["additionalProperties"].is_null() => bound("maxProperties")?,
        Some("array") => bound("maxItems")?,
        _ => 1,
    };
    Some(times.saturating_mul(own?))
}

/// What the rules of a schema cost together.
#[derive(Default)]
pub(super) struct Total {
    /// Whether the schema was accepted as it is before: then a single rule may cost what it does.
    accepted: bool,
    sum: u64,
    dearest: Vec<(u64, String)>,
}

impl Total {
    /// Of nothing yet.
    pub fn new(accepted: bool) -> Self {
        Self { accepted, ..Self::default() }
    }

    /// Counts a rule, or what makes its message, and reports it if it is too dear alone.
    pub fn add(&mut self, errors: &mut Errors, what: &str, cost: u64, path: &Path<'_>) {
        if cost > RULE && !self.accepted {
            errors
                .push(FieldError::forbidden(path, &exceeded(&format!("estimated {what} cost"), cost, RULE)));
        }
        self.sum = self.sum.saturating_add(cost);
        if cost >= SCHEMA / 100 {
            self.dearest.push((cost, path.to_string()));
            self.dearest.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.dearest.truncate(NAMED);
        }
    }

    /// Reports if all together are too dear.
    pub fn settle(self, errors: &mut Errors, path: &Path<'_>) {
        if self.sum <= SCHEMA {
            return;
        }
        for (_, path) in &self.dearest {
            let why =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(FieldError::forbidden(&Path::root(path), why));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(path, &exceeded(what, self.sum, SCHEMA)));
    }
}

#[allow(clippy::cast_precision_loss)]
fn exceeded(what: &str, cost: u64, limit: u64) -> String {
    let times = cost as f64 / limit as f64;
    let factor = if times > 100.0 {
        "more than 100x".to_owned()
    } else if times < 1.5 {
        format!("{times:.6}x")
    } else {
        format!("{times:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
