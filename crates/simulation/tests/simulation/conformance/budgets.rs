//! PodDisruptionBudgets and evictions.

use super::Step;
use super::place::{Place, condition, names, observed, ready, template};
use serde_json::{Value, json};

/// What is done.
pub const STEPS: &[Step] = &[
    ("budget-blocks", |place| Box::pin(a_budget_blocks_evictions_until_it_allows_them(place))),
    ("budget-observes", |place| Box::pin(a_budget_sees_its_pods(place))),
    ("budget-status", |place| Box::pin(the_status_of_a_budget_is_written(place))),
];

const BUDGETS: &str = "policy/v1/poddisruptionbudgets";
const PATH: &str = "policy/v1/poddisruptionbudgets/foo";

async fn make(place: &Place, minimum: i32, pods: usize) {
    let spec = json!({ "selector": { "matchLabels": { "foo": "bar" } }, "minAvailable": minimum });
    place.post(BUDGETS, &json!({ "metadata": { "name": "foo" }, "spec": spec })).await;
    for index in 0..pods {
        let mut pod = template(&json!({ "foo": "bar" }), "pause");
        pod["metadata"]["name"] = format!("pod-{index}").into();
        place.post("v1/pods", &pod).await;
    }
    place.until_all("v1/pods", "foo=bar", |all| all.len() == pods && all.iter().all(ready)).await;
}

async fn evict(place: &Place, pod: &str) -> Result<Value, gifee_base::Status> {
    let body = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": pod } });
    let path = format!("v1/pods/{pod}/eviction");
    place.try_call(http::Method::POST, &path, "application/json", &body).await
}

fn allows(count: i32) -> impl Fn(&Value) -> bool {
    move |budget| observed(budget) && budget["status"]["disruptionsAllowed"] == count
}

async fn refused(place: &Place, pod: &str) {
    let status = evict(place, pod).await.expect_err("it was evicted");
    assert_eq!(status.code, 429, "{status:?}");
    assert_eq!(status.message, "Cannot evict pod as it would violate the pod's disruption budget.");
    let details = status.details.as_ref().unwrap();
    assert_eq!(details.causes[0].reason, "DisruptionBudget");
    // Clients would wait and try again by themselves if they were told when.
    assert_eq!(details.retry_after_seconds, 0);
}

async fn a_budget_blocks_evictions_until_it_allows_them(place: Place) {
    make(&place, 3, 3).await;
    place.until(BUDGETS, "foo", |budget| allows(0)(budget) && budget["status"]["currentHealthy"] == 3).await;
    refused(&place, "pod-0").await;
    place.update(PATH, |budget| budget["spec"]["minAvailable"] = 2.into()).await;
    let one = place.until(BUDGETS, "foo", allows(1)).await;
    assert_eq!(condition(&one, "DisruptionAllowed")["status"], "True");
    evict(&place, "pod-0").await.unwrap();
    place.until("v1/pods", "pod-0", Value::is_null).await;
    place.until(BUDGETS, "foo", |budget| allows(0)(budget) && budget["status"]["currentHealthy"] == 2).await;
    // Another pod comes, so one more might go, had the budget not been raised.
    place.patch(PATH, &json!({ "spec": { "minAvailable": 3 } })).await;
    let mut pod = template(&json!({ "foo": "bar" }), "pause");
    pod["metadata"]["name"] = "pod-3".into();
    place.post("v1/pods", &pod).await;
    place.until(BUDGETS, "foo", |budget| allows(0)(budget) && budget["status"]["currentHealthy"] == 3).await;
    refused(&place, "pod-1").await;
    place.delete(PATH, &Value::Null).await;
    place.until(BUDGETS, "foo", Value::is_null).await;
    evict(&place, "pod-1").await.unwrap();
    place.until("v1/pods", "pod-1", Value::is_null).await;
    assert_eq!(names(&place.list("v1/pods").await), ["pod-2", "pod-3"]);
}

async fn a_budget_sees_its_pods(place: Place) {
    make(&place, 1, 3).await;
    let budget = place.until(BUDGETS, "foo", allows(2)).await;
    let status = &budget["status"];
    assert_eq!((&status["expectedPods"], &status["desiredHealthy"]), (&json!(3), &json!(1)));
}

async fn the_status_of_a_budget_is_written(place: Place) {
    make(&place, 1, 3).await;
    place.until(BUDGETS, "foo", allows(2)).await;
    let path = "policy/v1/poddisruptionbudgets/foo/status";
    let now = gifee_base::clock::format_time(gifee_base::Clock::now(&gifee_base::SystemClock));
    let disrupted = json!({ "pod-0": now });
    let updated = place.update(path, |budget| budget["status"]["disruptedPods"] = disrupted.clone()).await;
    assert_eq!(updated["status"]["disruptedPods"], disrupted);
    let patched = place.patch(path, &json!({ "status": { "disruptedPods": null } })).await;
    assert!(patched["status"]["disruptedPods"].is_null(), "{patched}");
}
