//! Jobs with real containers: completions, indexes, policies, suspension, schedules, and what is left of them.

use crate::fixture::{BUSYBOX, Cluster};
use crate::steps::Steps;
use gifee_base::Gvr;
use serde_json::{Value, json};

fn jobs() -> Gvr {
    Gvr::new("batch", "v1", "jobs")
}

/// A Job that runs a line of shell.
fn job(name: &str, line: &str, spec: &Value) -> Value {
    let mut job = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name }, "spec": {
        "template": { "spec": { "restartPolicy": "Never", "containers": [
            { "name": "work", "image": BUSYBOX, "command": ["sh", "-c", line] }] } } } });
    job["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    job
}

struct Place<'a>(&'a Cluster);

impl Place<'_> {
    fn apply(&self, body: &Value) {
        self.0.gifee_with(&["apply", "-f", "-"], &body.to_string()).ok();
    }

    fn wait(&self, condition: &str, job: &str) {
        let wanted = format!("--for=condition={condition}");
        self.0.kubectl(&["wait", &wanted, "--timeout=100s", &format!("job/{job}")]).ok();
    }

    fn status(&self, job: &str) -> Value {
        self.0.until(&jobs(), "default", job, Value::is_object)["status"].clone()
    }

    fn pods(&self, job: &str) -> Vec<Value> {
        self.0.list(&Gvr::core("pods"), "default", &format!("batch.kubernetes.io/job-name={job}"))
    }
}

#[test]
fn jobs_of_every_kind() {
    let cluster = Cluster::up("jobs");
    let steps = Steps::new(&cluster);
    let place = Place(&cluster);
    steps.step("an image of one's own", || cluster.busybox());
    steps.step("a schedule", || {
        let mut template = job("x", "echo on time", &json!({}));
        let spec = template["spec"].take();
        place.apply(
            &json!({ "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": "often" }, "spec": {
            "schedule": "* * * * *", "timeZone": "Asia/Tokyo", "jobTemplate": { "spec": spec } } }),
        );
    });
    steps.step("runs to completion", || {
        place.apply(&job("plain", "echo done", &json!({ "completions": 3, "parallelism": 2 })));
        place.wait("complete", "plain");
        let status = place.status("plain");
        assert_eq!((&status["succeeded"], &status["ready"]), (&json!(3), &json!(0)), "{status}");
        assert!(place.pods("plain").iter().all(|pod| pod["metadata"]["finalizers"].is_null()));
        assert_eq!(cluster.kubectl(&["logs", "job/plain"]).ok().trim(), "done");
        let described = cluster.kubectl(&["describe", "job", "plain"]).ok();
        assert!(described.contains("SuccessfulCreate") && described.contains("Completed"), "{described}");
    });
    steps.step("each index once", || {
        let line =
            r#"test "$(hostname)" = "indexed-$JOB_COMPLETION_INDEX" && test $JOB_COMPLETION_INDEX -lt 3"#;
        let spec = json!({ "completions": 3, "parallelism": 3, "completionMode": "Indexed" });
        place.apply(&job("indexed", line, &spec));
        place.wait("complete", "indexed");
        assert_eq!(place.status("indexed")["completedIndexes"], "0-2");
    });
    steps.step("a policy ends a Job early", || {
        let spec = json!({ "backoffLimit": 6, "podFailurePolicy": { "rules": [
            { "action": "FailJob", "onExitCodes": { "operator": "In", "values": [42] } }] } });
        place.apply(&job("fatal", "exit 42", &spec));
        place.wait("failed", "fatal");
        let status = place.status("fatal");
        assert_eq!(status["failed"], 1, "{status}");
        let failed =
            status["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Failed").unwrap();
        assert_eq!(failed["reason"], "PodFailurePolicy");
    });
    steps.step("limits", || {
        place.apply(&job("hopeless", "exit 1", &json!({ "backoffLimit": 0 })));
        place.wait("failed", "hopeless");
        place.apply(&job("slow", "sleep 600", &json!({ "activeDeadlineSeconds": 2 })));
        place.wait("failed", "slow");
        let reason = |job: &str| place.status(job)["conditions"][0]["reason"].clone();
        assert_eq!(
            (reason("hopeless"), reason("slow")),
            (json!("BackoffLimitExceeded"), json!("DeadlineExceeded"))
        );
    });
    steps.step("sleeps and goes on", || {
        place.apply(&job("sleepy", "exit 0", &json!({ "suspend": true })));
        place.wait("suspended", "sleepy");
        assert!(place.pods("sleepy").is_empty());
        cluster.kubectl(&["patch", "job", "sleepy", "-p", r#"{"spec":{"suspend":false}}"#]).ok();
        place.wait("complete", "sleepy");
    });
    steps.step("goes after its time", || {
        place.apply(&job("brief", "exit 0", &json!({ "ttlSecondsAfterFinished": 1 })));
        cluster.kubectl(&["wait", "--for=delete", "--timeout=100s", "job/brief"]).ok();
        assert!(place.pods("brief").is_empty());
    });
    steps.step("pods go with their Job", || {
        cluster.kubectl(&["delete", "job", "plain"]).ok();
        cluster.until_all(
            &Gvr::core("pods"),
            "default",
            "batch.kubernetes.io/job-name=plain",
            <[Value]>::is_empty,
        );
    });
    steps.step("a schedule starts its Jobs", || {
        let cron = Gvr::new("batch", "v1", "cronjobs");
        let done = |cron: &Value| !cron["status"]["lastSuccessfulTime"].is_null();
        let cron = cluster.until(&cron, "default", "often", done);
        assert!(!cron["status"]["lastScheduleTime"].is_null(), "{cron}");
    });
    steps.end();
}
