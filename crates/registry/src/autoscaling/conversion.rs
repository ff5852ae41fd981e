//! HorizontalPodAutoscaler between autoscaling/v1 and the stored autoscaling/v2.
//!
//! Invariant: v2 → v1 → v2 gives back what there was. What v1 has no field for travels in annotations, under upstream's
//! keys and in upstream's forms. Answers to `pkg/apis/autoscaling/v1/conversion.go`.

use serde_json::{Map, Value, json};

/// What v1 has no fields for, as v1 wrote it once.
pub(super) const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Sets a field if there is a value for it.
fn put(map: &mut Map<String, Value>, field: &str, value: &Value) {
    if !value.is_null() {
        map.insert(field.to_owned(), value.clone());
    }
}

/// Where a metric source of v2 is flattened in v1: its v2 path and its v1 name.
fn names(source: &str, current: bool) -> &'static [(&'static str, &'static str)] {
    match (source, current) {
        ("resource" | "containerResource", false) => &[
            ("/name", "name"),
            ("/container", "container"),
            ("/target/averageUtilization", "targetAverageUtilization"),
            ("/target/averageValue", "targetAverageValue"),
        ],
        ("resource" | "containerResource", true) => &[
            ("/name", "name"),
            ("/container", "container"),
            ("/current/averageUtilization", "currentAverageUtilization"),
            ("/current/averageValue", "currentAverageValue"),
        ],
        ("pods", false) => &[
            ("/metric/name", "metricName"),
            ("/metric/selector", "selector"),
            ("/target/averageValue", "targetAverageValue"),
        ],
        ("pods", true) => &[
            ("/metric/name", "metricName"),
            ("/metric/selector", "selector"),
            ("/current/averageValue", "currentAverageValue"),
        ],
        ("object", false) => &[
            ("/describedObject", "target"),
            ("/metric/name", "metricName"),
            ("/metric/selector", "selector"),
            ("/target/value", "targetValue"),
            ("/target/averageValue", "averageValue"),
        ],
        ("object", true) => &[
            ("/describedObject", "target"),
            ("/metric/name", "metricName"),
            ("/metric/selector", "selector"),
            ("/current/value", "currentValue"),
            ("/current/averageValue", "averageValue"),
        ],
        ("external", false) => &[
            ("/metric/name", "metricName"),
            ("/metric/selector", "metricSelector"),
            ("/target/value", "targetValue"),
            ("/target/averageValue", "targetAverageValue"),
        ],
        ("external", true) => &[
            ("/metric/name", "metricName"),
            ("/metric/selector", "metricSelector"),
            ("/current/value", "currentValue"),
            ("/current/averageValue", "currentAverageValue"),
        ],
        _ => &[],
    }
}

fn field_of(kind: &Value) -> Option<&'static str> {
    Some(match kind.as_str()? {
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => return None,
    })
}

fn flatten(metric: &Value, current: bool) -> Value {
    let Some(field) = field_of(&metric["type"]) else { return metric.clone() };
    let mut source = Map::new();
    for (path, name) in names(field, current) {
        put(&mut source, name, metric[field].pointer(path).unwrap_or(&Value::Null));
    }
    json!({ "type": metric["type"], field: source })
}

fn unflatten(metric: &Value, current: bool) -> Value {
    let Some(field) = field_of(&metric["type"]) else { return metric.clone() };
    let mut source = json!({});
    for (path, name) in names(field, current) {
        let value = &metric[field][*name];
        if value.is_null() {
            continue;
        }
        let mut place = &mut source;
        for part in path.split('/').skip(1) {
            place = &mut place[part];
        }
        *place = value.clone();
    }
    if !current {
        let target = &source["target"];
        let kind = ["averageUtilization", "averageValue", "value"]
            .into_iter()
            .find(|one| !target[*one].is_null())
            .map_or("Value", |one| match one {
                "averageUtilization" => "Utilization",
                "averageValue" => "AverageValue",
                _ => "Value",
            });
        source["target"]["type"] = kind.into();
    }
    json!({ "type": metric["type"], field: source })
}

/// Whether this is the metric that v1 has a field for, and its value at `path`.
fn processor(metric: &Value, path: &str) -> Option<Value> {
    let ours = metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
    metric["resource"].pointer(path).filter(|value| ours && !value.is_null()).cloned()
}

/// Takes the first metric about processors out of a list.
fn take_processor(list: &mut Vec<Value>, path: &str) -> Option<Value> {
    let at = list.iter().position(|one| processor(one, path).is_some())?;
    processor(&list.remove(at), path)
}

fn take_list(map: &mut Value, field: &str) -> Vec<Value> {
    match map.as_object_mut().and_then(|map| map.remove(field)) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

fn annotate(object: &mut Value, key: &str, value: Value) {
    object["metadata"]["annotations"][key] = value.to_string().into();
}

/// From the stored autoscaling/v2 to autoscaling/v1.
pub fn from_stored(mut object: Value) -> Value {
    object["apiVersion"] = "autoscaling/v1".into();
    let mut metrics = take_list(&mut object["spec"], "metrics");
    if let Some(percent) = take_processor(&mut metrics, "/target/averageUtilization") {
        object["spec"]["targetCPUUtilizationPercentage"] = percent;
    }
    let behavior = object["spec"].as_object_mut().and_then(|spec| spec.remove("behavior"));
    let status = &mut object["status"];
    let mut current = take_list(status, "currentMetrics");
    let conditions = take_list(status, "conditions");
    if let Some(percent) = take_processor(&mut current, "/current/averageUtilization") {
        status["currentCPUUtilizationPercentage"] = percent;
    }
    if status.is_null() {
        *status = json!({});
    }
    if !metrics.is_empty() {
        annotate(&mut object, METRICS, metrics.iter().map(|one| flatten(one, false)).collect());
    }
    if !current.is_empty() {
        annotate(&mut object, CURRENT_METRICS, current.iter().map(|one| flatten(one, true)).collect());
    }
    if !conditions.is_empty() {
        annotate(&mut object, CONDITIONS, conditions.into());
    }
    if let Some(behavior) = behavior {
        annotate(&mut object, BEHAVIOR, behavior);
    }
    object
}

/// Takes what an annotation carries; a text that is no JSON counts as nothing, as upstream ignores it.
fn take_annotation(object: &mut Value, key: &str) -> Option<Value> {
    let annotations = object.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(key)?;
    if annotations.is_empty() {
        object["metadata"].as_object_mut()?.remove("annotations");
    }
    serde_json::from_str(text.as_str()?).ok()
}

fn take_metrics(object: &mut Value, key: &str, current: bool) -> Vec<Value> {
    match take_annotation(object, key) {
        Some(Value::Array(list)) => list.iter().map(|one| unflatten(one, current)).collect(),
        _ => Vec::new(),
    }
}

fn take_field(map: &mut Value, field: &str) -> Option<Value> {
    map.as_object_mut().and_then(|map| map.remove(field))
}

/// From autoscaling/v1 to the stored autoscaling/v2.
pub fn to_stored(mut object: Value) -> Value {
    object["apiVersion"] = "autoscaling/v2".into();
    let mut metrics = take_metrics(&mut object, METRICS, false);
    let mut current = take_metrics(&mut object, CURRENT_METRICS, true);
    let conditions = take_annotation(&mut object, CONDITIONS);
    let behavior = take_annotation(&mut object, BEHAVIOR);
    if let Some(percent) = take_field(&mut object["spec"], "targetCPUUtilizationPercentage") {
        let target = json!({ "type": "Utilization", "averageUtilization": percent });
        metrics.insert(0, json!({ "type": "Resource", "resource": { "name": "cpu", "target": target } }));
    }
    if let Some(percent) = take_field(&mut object["status"], "currentCPUUtilizationPercentage") {
        let usage = json!({ "averageUtilization": percent });
        current.insert(0, json!({ "type": "Resource", "resource": { "name": "cpu", "current": usage } }));
    }
    if !metrics.is_empty() {
        object["spec"]["metrics"] = metrics.into();
    }
    if let Some(behavior) = behavior {
        object["spec"]["behavior"] = behavior;
    }
    let status = &mut object["status"];
    if !current.is_empty() {
        status["currentMetrics"] = current.into();
    }
    if let Some(conditions) = conditions {
        status["conditions"] = conditions;
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v1_cannot_say_survives_it() {
        let stored = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web" },
            "spec": {
                "scaleTargetRef": { "kind": "Deployment", "name": "web" }, "minReplicas": 1, "maxReplicas": 3,
                "metrics": [
                    { "type": "Resource", "resource": { "name": "cpu",
                        "target": { "type": "Utilization", "averageUtilization": 80 } } },
                    { "type": "Pods", "pods": { "metric": { "name": "rate" },
                        "target": { "type": "AverageValue", "averageValue": "10" } } },
                    { "type": "External", "external": { "metric": { "name": "queue",
                        "selector": { "matchLabels": { "a": "b" } } }, "target": { "type": "Value", "value": "3" } } },
                ],
                "behavior": { "scaleDown": { "stabilizationWindowSeconds": 5 } },
            },
            "status": {
                "currentReplicas": 1, "desiredReplicas": 2,
                "currentMetrics": [{ "type": "Resource", "resource": { "name": "cpu",
                    "current": { "averageUtilization": 12 } } }],
                "conditions": [{ "type": "AbleToScale", "status": "True" }],
            },
        });
        let shown = from_stored(stored.clone());
        assert_eq!(shown["spec"]["targetCPUUtilizationPercentage"], 80);
        assert_eq!(shown["status"]["currentCPUUtilizationPercentage"], 12);
        assert!(shown["spec"]["metrics"].is_null() && shown["spec"]["behavior"].is_null());
        assert_eq!(to_stored(shown), stored);
    }
}
