//! Which nodes a pod may be on: its selector, what its affinity requires, the taints that it bears.
//!
//! Invariant: pure; who places many pods has compiled forms of its own. Answers to component-helpers'
//! `scheduling/corev1`.

use gifee_base::{NodeSelector, Object};
use serde_json::Value;

/// Whether a node meets what the affinity of a pod's spec requires, if it requires anything.
pub fn wanted(required: Option<&NodeSelector>, node: &Object) -> bool {
    required.is_none_or(|terms| terms.matches(node.name(), |key| node.label(key)))
}

/// Whether a node has the labels that a pod's spec selects.
pub fn selected(spec: &Value, node: &Object) -> bool {
    let mut selector = spec["nodeSelector"].as_object().into_iter().flatten();
    selector.all(|(key, value)| node.label(key) == value.as_str())
}

/// Whether a pod with this spec bears a taint.
pub fn tolerated(spec: &Value, taint: &Value) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let bears = |toleration: &Value| {
        let (key, effect) = (text(&toleration["key"]), text(&toleration["effect"]));
        if (!effect.is_empty() && effect != text(&taint["effect"]))
            || (!key.is_empty() && key != text(&taint["key"]))
        {
            return false;
        }
        match toleration["operator"].as_str().unwrap_or_default() {
            "" | "Equal" => !key.is_empty() && text(&toleration["value"]) == text(&taint["value"]),
            _ => true,
        }
    };
    spec["tolerations"].as_array().is_some_and(|all| all.iter().any(bears))
}
