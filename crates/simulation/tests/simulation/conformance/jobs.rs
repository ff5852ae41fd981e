//! Jobs: completion, indexes, back-off by index, failure and success policies, adoption, status, lifecycle.

use super::Step;
use super::place::{Place, condition, controller, live, names, template};
use gifee_simulation::fleet::Conduct;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// What is done.
pub const STEPS: &[Step] = &[
    ("job-local", |place| Box::pin(tasks_that_fail_once_are_restarted(place))),
    ("job-indexed", |place| Box::pin(every_index_has_its_pod(place))),
    ("job-per-index", |place| Box::pin(all_indexes_run_though_some_fail(place))),
    ("job-most", |place| Box::pin(too_many_failed_indexes_end_a_job(place))),
    ("job-fail-index", |place| Box::pin(a_policy_fails_an_index(place))),
    ("job-fail-job", |place| Box::pin(an_exit_code_fails_a_job(place))),
    ("job-disrupted", |place| Box::pin(disruptions_are_ignored(place))),
    ("job-success-all", |place| Box::pin(success_is_all_indexes(place))),
    ("job-success-count", |place| Box::pin(success_is_so_many_indexes(place))),
    ("job-success-some", |place| Box::pin(success_is_some_indexes(place))),
    ("job-adopts", |place| Box::pin(a_job_adopts_and_releases(place))),
    ("job-deleted", |place| Box::pin(a_job_is_deleted(place))),
    ("job-status", |place| Box::pin(the_status_of_a_job_is_written(place))),
    ("job-life", |place| Box::pin(a_job_lives(place))),
];

const JOBS: &str = "batch/v1/jobs";
const PATH: &str = "batch/v1/jobs/test";

fn job(policy: &str, parallelism: i32, completions: i32, more: &Value) -> Value {
    let mut template = template(&json!({ "job": "test" }), "busybox");
    template["spec"]["restartPolicy"] = policy.into();
    let mut job = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "test" }, "spec": {
        "parallelism": parallelism, "completions": completions, "template": template } });
    job["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    job
}

fn index(pod: &Value) -> i64 {
    let index = pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str();
    index.and_then(|index| index.parse().ok()).unwrap_or(-1)
}

fn holds(kind: &'static str, reason: &'static str) -> impl Fn(&Value) -> bool {
    move |job| {
        let found = condition(job, kind);
        found["status"] == "True" && (reason.is_empty() || found["reason"] == reason)
    }
}

/// Complete, after the condition that comes before it was seen.
async fn completes(place: &Place, reason: &'static str) -> Value {
    place.until(JOBS, "test", holds("SuccessCriteriaMet", reason)).await;
    let job = place.until(JOBS, "test", holds("Complete", reason)).await;
    assert!(job["status"]["completionTime"].is_string());
    assert_eq!(condition(&job, "Failed"), &Value::Null);
    job
}

/// Failed, after the condition that comes before it was seen.
async fn fails(place: &Place, reason: &'static str) -> Value {
    place.until(JOBS, "test", holds("FailureTarget", reason)).await;
    let job = place.until(JOBS, "test", holds("Failed", reason)).await;
    assert_eq!(job["status"]["completionTime"], Value::Null);
    job
}

fn codes(codes: &[i64]) -> Conduct {
    Conduct { codes: codes.to_vec(), ..Conduct::default() }
}

fn endless() -> Conduct {
    Conduct { endless: true, ..Conduct::default() }
}

async fn running(place: &Place, count: usize) -> Vec<Value> {
    let runs = |pod: &&Value| live(pod) && pod["status"]["phase"] == "Running";
    place.until_all("v1/pods", "job=test", |pods| pods.iter().filter(runs).count() == count).await
}

async fn tasks_that_fail_once_are_restarted(place: Place) {
    place.direct(|_| codes(&[1, 0]));
    place.post(JOBS, &job("OnFailure", 2, 4, &json!({}))).await;
    let job = completes(&place, "CompletionsReached").await;
    assert_eq!((&job["status"]["succeeded"], &job["status"]["failed"]), (&json!(4), &Value::Null));
    let pods = place.list("v1/pods").await;
    assert_eq!(pods.len(), 4);
    assert!(pods.iter().all(|pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1));
}

async fn every_index_has_its_pod(place: Place) {
    place.post(JOBS, &job("Never", 2, 4, &json!({ "completionMode": "Indexed" }))).await;
    let job = completes(&place, "CompletionsReached").await;
    assert_eq!(job["status"]["completedIndexes"], "0-3");
    let pods = place.list("v1/pods").await;
    let mut indexes: Vec<i64> = pods.iter().map(index).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, [0, 1, 2, 3]);
    for pod in &pods {
        assert_eq!(pod["spec"]["hostname"], format!("test-{}", index(pod)));
        let name = pod["metadata"]["name"].as_str().unwrap();
        assert!(name.starts_with(&format!("test-{}-", index(pod))), "{name}");
        let variable = &pod["spec"]["containers"][0]["env"][0];
        assert_eq!(variable["name"], "JOB_COMPLETION_INDEX");
    }
}

fn odd_ones_fail(pod: &Value) -> Conduct {
    codes(&[index(pod) % 2])
}

async fn all_indexes_run_though_some_fail(place: Place) {
    place.direct(odd_ones_fail);
    let spec = json!({ "completionMode": "Indexed", "backoffLimitPerIndex": 1 });
    place.post(JOBS, &job("Never", 2, 4, &spec)).await;
    let job = fails(&place, "FailedIndexes").await;
    let status = &job["status"];
    assert_eq!((&status["failedIndexes"], &status["completedIndexes"]), (&json!("1,3"), &json!("0,2")));
    assert_eq!((&status["failed"], &status["succeeded"]), (&json!(4), &json!(2)));
}

async fn too_many_failed_indexes_end_a_job(place: Place) {
    place.direct(|_| codes(&[1]));
    let spec = json!({ "completionMode": "Indexed", "backoffLimitPerIndex": 0, "maxFailedIndexes": 0 });
    place.post(JOBS, &job("Never", 1, 4, &spec)).await;
    let job = fails(&place, "MaxFailedIndexesExceeded").await;
    let status = &job["status"];
    assert_eq!((&status["failedIndexes"], &status["failed"]), (&json!("0"), &json!(1)));
}

fn rule(action: &str, code: i64) -> Value {
    json!({ "action": action, "onExitCodes": { "operator": "In", "values": [code] } })
}

async fn a_policy_fails_an_index(place: Place) {
    place.direct(odd_ones_fail);
    let spec = json!({ "completionMode": "Indexed", "backoffLimitPerIndex": 1,
        "podFailurePolicy": { "rules": [rule("FailIndex", 1)] } });
    place.post(JOBS, &job("Never", 2, 2, &spec)).await;
    let job = fails(&place, "FailedIndexes").await;
    let status = &job["status"];
    assert_eq!((&status["failedIndexes"], &status["completedIndexes"]), (&json!("1"), &json!("0")));
    assert_eq!((&status["failed"], &status["succeeded"]), (&json!(1), &json!(1)));
}

async fn an_exit_code_fails_a_job(place: Place) {
    place.direct(|_| codes(&[1]));
    let spec = json!({ "backoffLimit": 6, "podFailurePolicy": { "rules": [rule("FailJob", 1)] } });
    place.post(JOBS, &job("Never", 2, 4, &spec)).await;
    let job = fails(&place, "PodFailurePolicy").await;
    let said = condition(&job, "Failed")["message"].as_str().unwrap();
    assert!(said.contains("failed with exit code 1 matching FailJob rule at index 0"), "{said}");
    place.until(JOBS, "test", |job| job["status"]["active"].is_null()).await;
}

/// The first pod of an index is evicted; that counts for nothing, though no failure may be counted.
async fn disruptions_are_ignored(place: Place) {
    let first = Mutex::new(String::new());
    place.direct(move |pod| {
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        let mut first = first.lock();
        if index(pod) == 0 && first.is_empty() {
            *first = uid.to_owned();
        }
        Conduct { endless: uid == *first, ..Conduct::default() }
    });
    let target =
        json!({ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] });
    let spec =
        json!({ "completionMode": "Indexed", "backoffLimit": 0, "podFailurePolicy": { "rules": [target] } });
    place.post(JOBS, &job("Never", 2, 4, &spec)).await;
    place.until(JOBS, "test", |job| job["status"]["succeeded"] == 3).await;
    let pods = running(&place, 1).await;
    let pod = pods.iter().find(|pod| pod["status"]["phase"] == "Running").unwrap();
    let name = pod["metadata"]["name"].as_str().unwrap();
    let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } });
    place.post(&format!("v1/pods/{name}/eviction"), &eviction).await;
    place.until("v1/pods", name, Value::is_null).await;
    let job = completes(&place, "CompletionsReached").await;
    assert_eq!((&job["status"]["succeeded"], &job["status"]["failed"]), (&json!(4), &Value::Null), "{job:#}");
}

async fn success_is_all_indexes(place: Place) {
    let spec =
        json!({ "completionMode": "Indexed", "successPolicy": { "rules": [{ "succeededIndexes": "0-1" }] } });
    place.post(JOBS, &job("Never", 2, 2, &spec)).await;
    let job = completes(&place, "SuccessPolicy").await;
    assert_eq!((&job["status"]["completedIndexes"], &job["status"]["succeeded"]), (&json!("0,1"), &json!(2)));
    let said = condition(&job, "SuccessCriteriaMet")["message"].as_str().unwrap();
    assert_eq!(said, "Matched rules at index 0");
}

/// Only index 0 ends by itself; the others are ended when it has.
async fn first_is_enough(place: &Place, rule: Value) {
    place.direct(|pod| if index(pod) == 0 { Conduct::default() } else { endless() });
    let spec = json!({ "completionMode": "Indexed", "successPolicy": { "rules": [rule] } });
    place.post(JOBS, &job("Never", 2, 5, &spec)).await;
    let job = completes(place, "SuccessPolicy").await;
    assert_eq!((&job["status"]["completedIndexes"], &job["status"]["succeeded"]), (&json!("0"), &json!(1)));
    let left = |job: &Value| {
        job["status"]["terminating"].as_i64().unwrap_or_default() == 0 && job["status"]["active"].is_null()
    };
    place.until(JOBS, "test", left).await;
    let runs = |pod: &Value| pod["status"]["phase"] == "Running";
    place.until_all("v1/pods", "job=test", |pods| !pods.iter().any(runs)).await;
}

async fn success_is_so_many_indexes(place: Place) {
    first_is_enough(&place, json!({ "succeededCount": 1 })).await;
}

async fn success_is_some_indexes(place: Place) {
    first_is_enough(&place, json!({ "succeededIndexes": "0" })).await;
}

async fn a_job_adopts_and_releases(place: Place) {
    place.direct(|_| endless());
    let job = place.post(JOBS, &job("Never", 2, 4, &json!({}))).await;
    let pods = running(&place, 2).await;
    let name = pods[0]["metadata"]["name"].as_str().unwrap();
    let path = format!("v1/pods/{name}");
    place.update(&path, |pod| pod["metadata"]["ownerReferences"] = json!([])).await;
    place.until("v1/pods", name, |pod| controller(pod) == job["metadata"]["uid"]).await;
    assert_eq!(running(&place, 2).await.len(), 2, "nothing took its place");
    place.update(&path, |pod| pod["metadata"]["labels"] = Value::Null).await;
    let free = |pod: &Value| controller(pod).is_null() && pod["metadata"]["finalizers"].is_null();
    place.until("v1/pods", name, free).await;
    running(&place, 2).await;
}

async fn a_job_is_deleted(place: Place) {
    place.direct(|_| endless());
    place.post(JOBS, &job("Never", 2, 4, &json!({}))).await;
    running(&place, 2).await;
    place.delete(PATH, &json!({ "propagationPolicy": "Foreground" })).await;
    place.until(JOBS, "test", Value::is_null).await;
    place.until_all("v1/pods", "", <[Value]>::is_empty).await;
}

async fn the_status_of_a_job_is_written(place: Place) {
    place.direct(|_| endless());
    place.post(JOBS, &job("Never", 2, 4, &json!({}))).await;
    running(&place, 2).await;
    let path = "batch/v1/jobs/test/status";
    let own = json!({ "type": "CustomConditionType", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let patch = json!({ "metadata": { "annotations": { "patchedstatus": "true" } }, "status": { "conditions": [own] } });
    let patched = place.patch(path, &patch).await;
    assert_eq!(condition(&patched, "CustomConditionType")["lastTransitionTime"], "2026-01-01T00:00:00Z");
    assert_eq!(patched["metadata"]["annotations"]["patchedstatus"], "true");
    let updated = place
        .update(path, |job| {
            let conditions = job["status"]["conditions"].as_array_mut().unwrap();
            let own = conditions.iter_mut().find(|one| one["type"] == "CustomConditionType").unwrap();
            own["lastTransitionTime"] = "2026-01-02T00:00:00Z".into();
        })
        .await;
    assert_eq!(condition(&updated, "CustomConditionType")["lastTransitionTime"], "2026-01-02T00:00:00Z");
    let read = place.get(path).await;
    assert_eq!(read["metadata"]["uid"], updated["metadata"]["uid"]);
    assert_eq!(condition(&read, "CustomConditionType")["status"], "True");
}

async fn a_job_lives(place: Place) {
    let mut body = job("Never", 2, 4, &json!({ "suspend": true }));
    body["metadata"]["labels"] = json!({ "e2e-job-label": "created" });
    place.post(JOBS, &body).await;
    place.until(JOBS, "test", holds("Suspended", "JobSuspended")).await;
    assert_eq!(place.list("v1/pods").await, Vec::<Value>::new());
    let patch = json!({ "metadata": { "labels": { "test": "patched" } } });
    assert_eq!(place.strategic(PATH, &patch).await["metadata"]["labels"]["test"], "patched");
    place
        .update(PATH, |job| {
            job["spec"]["suspend"] = false.into();
            job["metadata"]["annotations"]["updated"] = "true".into();
        })
        .await;
    let resumed = |job: &Value| condition(job, "Suspended")["reason"] == "JobResumed";
    place
        .until(JOBS, "test", |job| resumed(job) && job["metadata"]["annotations"]["updated"] == "true")
        .await;
    completes(&place, "CompletionsReached").await;
    assert_eq!(names(&place.list("/apis/batch/v1/jobs?labelSelector=test%3Dpatched").await), ["test"]);
    let background = json!({ "propagationPolicy": "Background" });
    place.delete("batch/v1/jobs?labelSelector=test%3Dpatched", &background).await;
    place.until(JOBS, "test", Value::is_null).await;
    place.until_all("v1/pods", "", <[Value]>::is_empty).await;
}
