//! Autoscalers by metrics of objects, of pods and from outside, served by somebody else behind an APIService.

use crate::conformance::place::{Place, condition, names, template};
use crate::conformance::{Cluster, store};
use crate::measured::{Net, Told, register, waiting};
use serde_json::{Value, json};
use std::sync::Arc;

const AUTOSCALERS: &str = "autoscaling/v2/horizontalpodautoscalers";

/// A Deployment of `replicas`, and an autoscaler of it by one metric.
pub async fn scaled(place: &Place, name: &str, replicas: u32, least: u32, metric: &Value) {
    let labels = json!({ "app": name });
    let spec = json!({ "replicas": replicas, "selector": { "matchLabels": labels },
        "template": template(&labels, "pause") });
    place.post("apps/v1/deployments", &json!({ "metadata": { "name": name }, "spec": spec })).await;
    place.until("apps/v1/deployments", name, has(replicas)).await;
    let spec = json!({ "minReplicas": least, "maxReplicas": 8, "metrics": [metric],
        "behavior": { "scaleDown": { "stabilizationWindowSeconds": 0 } },
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": name } });
    place.post(AUTOSCALERS, &json!({ "metadata": { "name": name }, "spec": spec })).await;
}

/// Whether a Deployment wants so many and has them.
fn has(count: u32) -> impl Fn(&Value) -> bool {
    move |one| {
        let available = one["status"]["availableReplicas"].as_u64().unwrap_or_default();
        one["spec"]["replicas"] == count && available == u64::from(count)
    }
}

/// By how long a queue is that is elsewhere, ten for each.
pub fn by_queue() -> Value {
    json!({ "type": "External", "external": {
        "metric": { "name": "queue", "selector": { "matchLabels": { "q": "mail" } } },
        "target": { "type": "AverageValue", "averageValue": "10" } } })
}

/// A value of a metric of an object.
fn of(kind: &str, name: &str, value: &str) -> Value {
    json!({ "describedObject": { "kind": kind, "name": name, "apiVersion": "v1" }, "metric": { "name": "m" },
        "timestamp": "2026-01-01T00:00:00Z", "value": value })
}

/// Waits until a Deployment has a size, and says what its autoscaler says: conditions and current metrics.
async fn sized(place: &Place, name: &str, count: u32) -> Value {
    place.until("apps/v1/deployments", name, has(count)).await;
    let settled = move |one: &Value| {
        one["status"]["desiredReplicas"] == count
            && condition(one, "AbleToScale")["reason"] != "SucceededRescale"
    };
    place.until(AUTOSCALERS, name, settled).await
}

#[tokio::test(start_paused = true)]
async fn metrics_of_others_scale() {
    let told = Arc::new(Told::default());
    let net = Net::new(told.clone());
    let cluster = Cluster::start(store(), |config| net.configure(config)).await;
    let place = cluster.place("scaled").open().await;
    register(&place).await;

    told.set("services/main/requests", &[of("Service", "main", "4k")]);
    let metric = json!({ "type": "Object", "object": { "metric": { "name": "requests" },
        "describedObject": { "apiVersion": "v1", "kind": "Service", "name": "main" },
        "target": { "type": "Value", "value": "2k" } } });
    scaled(&place, "object", 2, 1, &metric).await;
    place.until("apps/v1/deployments", "object", has(4)).await;
    told.set("services/main/requests", &[of("Service", "main", "2k")]);
    let object = sized(&place, "object", 4).await;
    assert_eq!(
        object["status"]["currentMetrics"],
        json!([{ "type": "Object", "object": { "current": { "value": "2k" }, "metric": { "name": "requests" },
            "describedObject": { "apiVersion": "v1", "kind": "Service", "name": "main" } } }])
    );
    assert_eq!(
        condition(&object, "ScalingActive")["message"],
        "the HPA was able to successfully calculate a replica count from Service metric requests"
    );

    let metric = json!({ "type": "Pods", "pods": { "metric": { "name": "packets" },
        "target": { "type": "AverageValue", "averageValue": "100" } } });
    scaled(&place, "pods", 2, 1, &metric).await;
    let failed = |one: &Value| condition(one, "ScalingActive")["reason"] == "FailedGetPodsMetric";
    place.until(AUTOSCALERS, "pods", failed).await;
    let pods = place.get("v1/pods?labelSelector=app%3Dpods").await["items"].as_array().unwrap().clone();
    let each: Vec<Value> = names(&pods).into_iter().map(|name| of("Pod", name, "150")).collect();
    told.set("pods/*/packets", &each);
    place.until("apps/v1/deployments", "pods", has(3)).await;
    assert!(told.was_asked("pods/*/packets?labelSelector=app%3Dpods"), "pods are selected");

    told.set("queue", &[waiting("12"), waiting("18")]);
    scaled(&place, "external", 1, 0, &by_queue()).await;
    let external = sized(&place, "external", 3).await;
    assert_eq!(
        external["status"]["currentMetrics"][0]["external"]["current"],
        json!({ "averageValue": "10" })
    );
    assert_eq!(condition(&external, "ScaledToZero")["reason"], "NotScaledToZero");
    assert!(told.was_asked("queue?labelSelector=q%3Dmail"), "series are selected");
    told.set("queue", &[waiting("0")]);
    let asleep = sized(&place, "external", 0).await;
    assert_eq!(condition(&asleep, "ScaledToZero")["status"], "True");
    told.set("queue", &[waiting("20")]);
    sized(&place, "external", 2).await;
}
