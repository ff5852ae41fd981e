//! Jobs go when their time is over, and not before.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use serde_json::json;
use tokio_util::sync::CancellationToken;

struct Still(Timestamp);

impl gifee_base::Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }
}

fn job(name: &str, ended: Option<&str>, seconds: Option<i64>) -> Value {
    let mut job = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name, "namespace": "n", "uid": name },
        "spec": {}, "status": {} });
    if let Some(seconds) = seconds {
        job["spec"]["ttlSecondsAfterFinished"] = seconds.into();
    }
    if let Some(ended) = ended {
        job["status"]["conditions"] =
            json!([{ "type": "Complete", "status": "True", "lastTransitionTime": ended }]);
    }
    job
}

#[test]
fn what_is_left() {
    let check = |ended: Option<&str>, seconds: Option<i64>, expected: Option<u64>| {
        let object = Object::received(job("j", ended, seconds).to_string().into()).unwrap();
        let left = left(&object, "2026-01-01T00:01:00Z".parse().unwrap()).unwrap();
        assert_eq!(left.map(|left| left.as_secs()), expected, "{ended:?} {seconds:?}");
    };
    check(Some("2026-01-01T00:00:00Z"), Some(100), Some(40));
    check(Some("2026-01-01T00:00:00Z"), Some(60), Some(0));
    check(Some("2026-01-01T00:00:00Z"), Some(0), Some(0));
    check(Some("2026-01-01T00:00:00Z"), None, None);
    check(None, Some(0), None);
    // Ended in the future, by a clock that is ahead.
    check(Some("2026-01-01T00:02:00Z"), Some(60), Some(120));
}

#[tokio::test(start_paused = true)]
async fn only_what_is_over_its_time_is_deleted() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    fake.put(job("over", Some("2026-01-01T00:00:00Z"), Some(0)));
    fake.put(job("kept", Some("2026-01-01T00:00:00Z"), None));
    fake.put(job("runs", None, Some(0)));
    fake.put(job("later", Some("2026-01-01T00:00:00Z"), Some(1000)));
    let clock = Arc::new(Still("2026-01-01T00:01:00Z".parse().unwrap()));
    let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
    tokio::spawn(run(context, Arc::default()));
    for _ in 0..500 {
        let over = fake.object(&jobs(), &ObjectKey::new("n", "over"));
        if over.is_none_or(|over| !over["metadata"]["deletionTimestamp"].is_null()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    // Its dependents go first.
    assert_eq!(fake.writes(), ["DELETE /apis/batch/v1/namespaces/n/jobs/over"]);
    stop.cancel();
}
