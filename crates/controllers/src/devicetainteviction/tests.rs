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
        let found = end(&[claim(tolerations)], &[slice], rules).map(|end| end.at.to_string());
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

struct World {
    fake: Arc<Fake>,
    events: Recorder,
    stop: CancellationToken,
}

impl World {
    fn start() -> Self {
        let clock = gifee_testkit::RuntimeClock::new();
        let world = Self {
            fake: Fake::with_clock(clock.clone()),
            events: Recorder::memory(),
            stop: CancellationToken::new(),
        };
        let context = Context::with(world.fake.client(), clock, world.events.clone(), world.stop.clone());
        world.fake.put(json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "p", "namespace": "web", "uid": "uid-p" },
            "spec": { "nodeName": "n", "resourceClaims": [{ "name": "gpu", "resourceClaimName": "c" }] } }));
        tokio::spawn(run(context, Arc::default()));
        world
    }

    fn is_leaving(&self) -> bool {
        let pod = self.fake.object(&Gvr::core("pods"), &ObjectKey::new("web", "p"));
        pod.is_none_or(|pod| !pod["metadata"]["deletionTimestamp"].is_null())
    }

    /// What is said of the rule: status, reason and message.
    fn said(&self) -> String {
        let rule = self.fake.object(&resource("devicetaintrules"), &ObjectKey::cluster("r")).unwrap();
        let one = &rule["status"]["conditions"][0];
        format!("{} {} {}", text(&one["status"]), text(&one["reason"]), text(&one["message"]))
    }

    fn rule(&self, generation: u64, effect: &str) {
        self.fake.put(json!({ "apiVersion": "resource.k8s.io/v1", "kind": "DeviceTaintRule",
            "metadata": { "name": "r", "uid": "uid-r", "generation": generation },
            "spec": { "deviceSelector": { "pool": "one" }, "taint":
                { "key": "k", "effect": effect, "timeAdded": "2027-01-15T08:00:00Z" } } }));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Time goes on only when there is nothing to do, so after any of it all has been done.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_pod_of_a_broken_device_goes() {
    let world = World::start();
    world.fake.put(claim(json!([])));
    pass(1).await;
    assert_eq!(world.fake.writes(), Vec::<String>::new());
    world.fake.put(slice("one", "gpu-0", "NoExecute"));
    pass(1).await;
    assert!(world.is_leaving());
    let told: Vec<String> = world.events.take().into_iter().map(|event| event.message).collect();
    assert_eq!(told, ["Marking for deletion"]);
}

#[tokio::test(start_paused = true)]
async fn a_rule_says_whom_it_makes_go() {
    let world = World::start();
    world.fake.put(claim(json!([{ "key": "k", "operator": "Exists", "tolerationSeconds": 120 }])));
    world.fake.put(slice("one", "gpu-0", "None"));
    world.rule(1, "None");
    pass(1).await;
    let tried = "False NoEffect 1 published device selected. 1 allocated device selected. 1 pod would be evicted in 1 namespace if the effect was NoExecute. This information will not be updated again. Recreate the DeviceTaintRule to trigger an update.";
    assert_eq!(world.said(), tried);
    assert!(!world.is_leaving());
    world.rule(2, "NoExecute");
    pass(1).await;
    assert_eq!(world.said(), "True PodsPendingEviction 1 pod needs to be evicted in 1 namespace.");
    world.fake.writes();
    pass(60).await;
    assert_eq!((world.is_leaving(), world.fake.writes()), (false, Vec::new()));
    pass(60).await;
    assert!(world.is_leaving());
    pass(30).await;
    assert_eq!(world.said(), "False Completed 1 pod evicted since starting the controller.");
    world.rule(3, "NoSchedule");
    pass(1).await;
    let other = "False OtherEffect Eviction only happens for the NoExecute effect. 1 pod evicted since starting the controller.";
    assert_eq!(world.said(), other);
    world.fake.writes();
    pass(600).await;
    assert_eq!(world.fake.writes(), Vec::<String>::new());
}
