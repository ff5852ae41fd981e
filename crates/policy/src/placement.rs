//! Which nodes a pod may be on: its selector, what its affinity requires, the taints that it bears.
//!
//! Invariant: pure; who places many pods has compiled forms of its own. Answers to component-helpers'
//! `scheduling/corev1`.

use gifee_base::Object;
use serde_json::Value;

/// Whether a node has the labels that a pod's spec selects.
pub fn selected(spec: &Value, node: &Object) -> bool {
    let mut selector = spec["nodeSelector"].as_object().into_iter().flatten();
    selector.all(|(key, value)| node.label(key) == value.as_str())
}

/// Whether a node is one that the affinity of a pod's spec requires.
pub fn wanted(spec: &Value, node: &Object) -> bool {
    let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = required["nodeSelectorTerms"].as_array();
    terms.is_none_or(|terms| terms.iter().any(|term| meets(term, node)))
}

/// Whether a node meets a term; one without requirements is met by none.
fn meets(term: &Value, node: &Object) -> bool {
    let list = |field: &str| term[field].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let (labels, fields) = (list("matchExpressions"), list("matchFields"));
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    let key = |requirement: &Value| requirement["key"].as_str().unwrap_or_default().to_owned();
    labels.iter().all(|one| holds(one, node.label(&key(one))))
        && fields.iter().all(|one| holds(one, (key(one) == "metadata.name").then(|| node.name())))
}

fn holds(requirement: &Value, value: Option<&str>) -> bool {
    let values = requirement["values"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let among = value.is_some_and(|value| values.iter().any(|one| one == value));
    let order = || {
        let bound = values.first()?.as_str()?.parse::<i64>().ok()?;
        Some(value?.parse::<i64>().ok()?.cmp(&bound))
    };
    match requirement["operator"].as_str().unwrap_or_default() {
        "In" => among,
        "NotIn" => !among,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => order().is_some_and(std::cmp::Ordering::is_gt),
        "Lt" => order().is_some_and(std::cmp::Ordering::is_lt),
        _ => false,
    }
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
