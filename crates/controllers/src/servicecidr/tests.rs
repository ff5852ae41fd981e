//! Which ranges may go, as a table, and against a fake server.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use serde_json::Value;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn range(name: &str, cidr: &str, deleted: bool) -> Value {
    let mut range = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": { "name": name, "finalizers": [plan::FINALIZER] }, "spec": { "cidrs": [cidr] },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
    if deleted {
        range["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    }
    range
}

#[test]
fn a_range_goes_when_no_address_is_left_alone() {
    let check = |others: &[&str], addresses: &[&str], seconds: i64, expect: &str| {
        let others: Vec<Range> = others.iter().map(|cidr| Range::read(&range("o", cidr, false))).collect();
        let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let deleted: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let now = deleted + jiff::SignedDuration::from_secs(seconds);
        let found = match plan(&range("r", "10.0.0.0/24", true), &others, &addresses, now) {
            Plan::Wait(left) => format!("wait {}", left.as_secs()),
            Plan::Finalizers(left) => format!("go {}", left.len()),
            Plan::Ready(conditions) => conditions[0]["reason"].as_str().unwrap().to_owned(),
            Plan::Nothing => "nothing".into(),
        };
        assert_eq!(found, expect, "{others:?} {addresses:?}");
    };
    check(&[], &[], 0, "wait 10");
    check(&[], &[], 10, "go 0");
    check(&[], &["10.0.1.7"], 10, "go 0");
    check(&[], &["10.0.0.7"], 10, "Terminating");
    check(&["10.0.0.0/16"], &["10.0.0.7"], 10, "go 0");
    check(&["10.0.0.0/28"], &["10.0.0.7"], 10, "go 0");
    check(&["10.0.0.0/28"], &["10.0.0.77"], 10, "Terminating");
    check(&["10.0.0.0/24"], &["10.0.0.77"], 4, "wait 6");
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(plan(&range("r", "10.0.0.0/24", false), &[], &[], now), Plan::Nothing);
}

#[tokio::test(start_paused = true)]
async fn a_range_is_protected_and_ready() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
    tokio::spawn(run(context, Arc::default()));
    let mut new = range("r", "10.0.0.0/24", false);
    new["metadata"]["finalizers"] = json!([]);
    new["status"] = json!({});
    fake.put(new);
    let mut seen = Value::Null;
    for _ in 0..1000 {
        seen = fake.object(&ranges(), &ObjectKey::cluster("r")).unwrap();
        if seen["status"]["conditions"][0]["status"] == "True" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert_eq!(seen["metadata"]["finalizers"], json!([plan::FINALIZER]));
    assert_eq!(seen["status"]["conditions"][0]["message"], "Kubernetes Service CIDR is ready");
    assert_eq!(fake.writes().len(), 2);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.writes().len(), 0);
    stop.cancel();
}
