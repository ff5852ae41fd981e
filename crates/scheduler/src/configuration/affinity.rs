//! What is wrong with the node affinity that a configuration gives to all pods.
//!
//! Answers to the parsing of `component-helpers/scheduling/corev1/nodeaffinity`.

use super::Mistakes;
use gifee_base::labels::{Operator, Requirement};
use serde_json::Value;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

fn list(value: &Value) -> impl Iterator<Item = (usize, &Value)> {
    value.as_array().into_iter().flatten().enumerate()
}

/// Tells what is wrong with an affinity that stands at `path`.
pub(super) fn judge(affinity: &Value, path: &str, mistakes: &mut Mistakes) {
    for (number, one) in list(&affinity[REQUIRED]["nodeSelectorTerms"]) {
        term(one, &format!("{path}.{REQUIRED}.nodeSelectorTerms[{number}]"), mistakes);
    }
    for (number, one) in list(&affinity[PREFERRED]).filter(|(_, one)| one["weight"] != 0) {
        term(&one["preference"], &format!("{path}.{PREFERRED}[{number}]"), mistakes);
    }
}

fn term(term: &Value, path: &str, mistakes: &mut Mistakes) {
    for (number, one) in list(&term["matchExpressions"]) {
        let at = format!("{path}.matchExpressions[{number}]");
        let text = |field: &str| one[field].as_str().unwrap_or_default();
        let operator = match text("operator") {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::GreaterThan,
            "Lt" => Operator::LessThan,
            other => {
                mistakes.0.push(format!("{at}.operator: Unsupported value: {other:?}"));
                continue;
            }
        };
        let values = list(&one["values"]).filter_map(|(_, value)| value.as_str().map(str::to_owned));
        if let Err(why) = Requirement::new(text("key"), operator, values.collect()) {
            mistakes.0.push(format!("{at}.{why}"));
        }
    }
    for (number, one) in list(&term["matchFields"]) {
        let at = format!("{path}.matchFields[{number}]");
        let count = list(&one["values"]).count();
        match one["operator"].as_str().unwrap_or_default() {
            "In" | "NotIn" if count != 1 => {
                mistakes.invalid(&format!("{at}.values"), count, "must have one element");
            }
            "In" | "NotIn" => {}
            other => mistakes.0.push(format!("{at}.operator: Unsupported value: {other:?}")),
        }
    }
}
