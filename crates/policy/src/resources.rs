//! Amounts of resources: what a pod asks for, and sums and comparisons of such lists.
//!
//! Invariant: pure arithmetic over trees; what is absent counts as nothing. Answers to component-helpers'
//! `resource` package and to apiserver's `quota/v1` functions over resource lists.

use gifee_base::Quantity;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Amounts by the name of their resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// The amounts of a map of quantities; what is no quantity is left out, because validation has refused it.
pub fn amounts(value: &Value) -> Amounts {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), quantity(value)?))).collect()
}

/// A quantity in a tree, written as a text or as a number.
pub fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// The amounts as a tree.
pub fn tree(amounts: &Amounts) -> Value {
    let entries = amounts.iter().map(|(name, amount)| (name.clone(), Value::String(amount.to_string())));
    Value::Object(entries.collect::<Map<_, _>>())
}

/// Adds amounts to others.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        sum.entry(name.clone()).and_modify(|sum| *sum = sum.plus(*amount)).or_insert(*amount);
    }
}

/// Raises amounts to others where those are higher.
pub fn raise(to: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        to.entry(name.clone()).and_modify(|to| *to = (*to).max(*amount)).or_insert(*amount);
    }
}

/// Which of a pod's amounts count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting {
    /// Whether what the node has given already counts, if it is more than what is asked for now.
    pub given: bool,
    /// Whether the overhead of the runtime counts.
    pub overhead: bool,
}

/// What a pod requests: the sum over its containers, or the peak of its start if that is higher.
pub fn requests(pod: &Value, counting: Counting) -> Amounts {
    let mut total = total(pod, |container| {
        let mut asked = amounts(&container["resources"]["requests"]);
        if counting.given {
            given(pod, container, &mut asked);
        }
        asked
    });
    pod_level(&mut total, &pod["spec"]["resources"]["requests"]);
    if counting.overhead {
        add(&mut total, &amounts(&pod["spec"]["overhead"]));
    }
    total
}

/// What a pod is limited to, counted as its requests are.
pub fn limits(pod: &Value, counting: Counting) -> Amounts {
    let mut total = total(pod, |container| amounts(&container["resources"]["limits"]));
    pod_level(&mut total, &pod["spec"]["resources"]["limits"]);
    if counting.overhead {
        for (name, amount) in amounts(&pod["spec"]["overhead"]) {
            if let Some(limit) = total.get_mut(&name).filter(|limit| !limit.is_zero()) {
                *limit = limit.plus(amount);
            }
        }
    }
    total
}

/// Containers run together; one that only prepares runs beside those before it that stay.
fn total(pod: &Value, of: impl Fn(&Value) -> Amounts) -> Amounts {
    let spec = &pod["spec"];
    let list = |field: &str| spec[field].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let mut total = Amounts::new();
    for container in list("containers") {
        add(&mut total, &of(container));
    }
    let mut staying = Amounts::new();
    let mut peak = Amounts::new();
    for container in list("initContainers") {
        let mut own = of(container);
        if container["restartPolicy"] == "Always" {
            add(&mut total, &own);
            add(&mut staying, &own);
            own = staying.clone();
        } else {
            add(&mut own, &staying);
        }
        raise(&mut peak, &own);
    }
    raise(&mut total, &peak);
    total
}

/// Whether a resource can be given to a pod as a whole.
pub fn of_whole_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

fn pod_level(total: &mut Amounts, own: &Value) {
    total.extend(amounts(own).into_iter().filter(|(name, _)| of_whole_pods(name)));
}

/// Raises what a container asks for to what its node has given it.
fn given(pod: &Value, container: &Value, asked: &mut Amounts) {
    for list in ["containerStatuses", "initContainerStatuses"] {
        let statuses = pod["status"][list].as_array().into_iter().flatten();
        for status in statuses.filter(|status| status["name"] == container["name"]) {
            raise(asked, &amounts(&status["resources"]["requests"]));
            raise(asked, &amounts(&status["allocatedResources"]));
        }
    }
}

/// Whether no container asks for or is limited in processor or memory: upstream's class `BestEffort`.
pub fn best_effort(pod: &Value) -> bool {
    let spec = &pod["spec"];
    let counts = |list: &Value| {
        let counted = |name: &str| quantity(&list[name]).is_some_and(|amount| amount.sign() > 0);
        counted("cpu") || counted("memory")
    };
    let any = |resources: &Value| counts(&resources["requests"]) || counts(&resources["limits"]);
    if spec["resources"].is_object() && any(&spec["resources"]) {
        return false;
    }
    let lists = ["containers", "initContainers"];
    let mut all = lists.iter().flat_map(|list| spec[*list].as_array().into_iter().flatten());
    !all.any(|container| any(&container["resources"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: Value, expect: Value) {
        let pod = json!({ "spec": spec });
        assert_eq!(tree(&requests(&pod, Counting { given: true, overhead: true })), expect, "{pod}");
    }

    fn container(cpu: &str) -> Value {
        json!({ "name": "c", "resources": { "requests": { "cpu": cpu } } })
    }

    #[test]
    fn requests_are_the_sum_or_the_peak() {
        check(json!({ "containers": [container("1"), container("500m")] }), json!({ "cpu": "1500m" }));
        check(
            json!({ "containers": [container("1")], "initContainers": [container("3")] }),
            json!({ "cpu": "3" }),
        );
        let mut stays = container("2");
        stays["restartPolicy"] = "Always".into();
        let spec = json!({ "containers": [container("1")], "initContainers": [stays, container("3")] });
        check(spec, json!({ "cpu": "5" }));
        let spec = json!({ "containers": [container("1")], "overhead": { "cpu": "1" },
            "resources": { "requests": { "cpu": "4", "example.com/x": "1" } } });
        check(spec, json!({ "cpu": "5" }));
    }

    #[test]
    fn a_pod_without_amounts_is_best_effort() {
        assert!(best_effort(&json!({ "spec": { "containers": [{ "name": "c" }] } })));
        assert!(!best_effort(&json!({ "spec": { "containers": [container("1")] } })));
        assert!(!best_effort(&json!({ "spec": { "resources": { "limits": { "memory": "1" } } } })));
    }
}
