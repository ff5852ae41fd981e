//! When pods lose their devices.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use serde_json::json;
use tokio_util::sync::CancellationToken;

fn claim(tolerations: Value) -> Value {
    json!({ "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": { "name": "c", "namespace": "web" },
        "status": { "reservedFor": [{ "resource": "pods", "name": "p", "uid": "uid-p" }],
            "allocation": { "devices": { "results": [
                { "driver": "d", "pool": "one", "device": "gpu-0", "tolerations": tolerations }] } } } })
}

fn slice(pool: &str, device: &str, effect: &str) -> Value {
    json!({ "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": { "name": "s" },
        "spec": { "driver": "d", "pool": { "name": pool }, "devices": [{ "name": device, "taints": [
            { "key": "broken", "effect": effect, "timeAdded": "2026-01-01T00:00:00Z" }] }] } })
}

#[test]
fn a_taint_ends_those_who_do_not_bear_it() {
    let check = |tolerations: Value, slice: Value, rules: &[Value], expect: Option<&str>| {
        let found = end(&[claim(tolerations)], &[slice], rules).map(|at| at.to_string());
        assert_eq!(found.as_deref(), expect);
    };
    let tainted = || slice("one", "gpu-0", "NoExecute");
    let bears =
        |seconds: Value| json!([{ "key": "broken", "operator": "Exists", "tolerationSeconds": seconds }]);
    check(json!([]), tainted(), &[], Some("2026-01-01T00:00:00Z"));
    check(json!([]), slice("one", "gpu-1", "NoExecute"), &[], None);
    check(json!([]), slice("two", "gpu-0", "NoExecute"), &[], None);
    check(json!([]), slice("one", "gpu-0", "NoSchedule"), &[], None);
    check(bears(Value::Null), tainted(), &[], None);
    check(bears(60.into()), tainted(), &[], Some("2026-01-01T00:01:00Z"));
    let rule = |pool: &str| {
        json!({ "spec": { "deviceSelector": { "pool": pool }, "taint":
            { "key": "other", "effect": "NoExecute", "timeAdded": "2026-01-02T00:00:00Z" } } })
    };
    check(bears(Value::Null), tainted(), &[rule("one")], Some("2026-01-02T00:00:00Z"));
    check(bears(Value::Null), tainted(), &[rule("two")], None);
}

#[tokio::test(start_paused = true)]
async fn the_pod_of_a_broken_device_goes() {
    let (fake, stop, events) = (Fake::new(), CancellationToken::new(), Recorder::memory());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, events.clone(), stop.clone());
    let pods = Gvr::core("pods");
    fake.put(json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "p", "namespace": "web", "uid": "uid-p" },
        "spec": { "nodeName": "n", "resourceClaims": [{ "name": "gpu", "resourceClaimName": "c" }] } }));
    fake.put(claim(json!([])));
    tokio::spawn(run(context, Arc::default()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.writes(), Vec::<String>::new());
    fake.put(slice("one", "gpu-0", "NoExecute"));
    let key = ObjectKey::new("web", "p");
    let gone = || fake.object(&pods, &key).is_none_or(|pod| !pod["metadata"]["deletionTimestamp"].is_null());
    for _ in 0..1000 {
        if gone() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert!(gone());
    let told: Vec<String> = events.take().into_iter().map(|event| event.message).collect();
    assert_eq!(told, ["Marking for deletion"]);
    stop.cancel();
}
