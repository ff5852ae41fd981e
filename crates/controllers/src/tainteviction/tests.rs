//! The plan as a table, and the controller against a fake server.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use gifee_reconcile::pod::Toleration;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// `key[=value]` words.
fn taints_of(text: &str) -> Vec<Taint> {
    let taint = |word: &str| {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        Taint { key: key.into(), value: value.into(), effect: "NoExecute".into() }
    };
    text.split_whitespace().map(taint).collect()
}

/// `key[=value][:seconds]` words; `*` tolerates everything.
fn tolerations_of(text: &str) -> Vec<Toleration> {
    let toleration = |word: &str| {
        let (word, seconds) = word.split_once(':').map_or((word, None), |(word, after)| (word, Some(after)));
        let toleration_seconds = seconds.map(|seconds| seconds.parse().unwrap());
        let (key, operator, value) = match word.split_once('=') {
            _ if word == "*" => ("", "Exists", ""),
            Some((key, value)) => (key, "Equal", value),
            None => (word, "Exists", ""),
        };
        Toleration {
            key: key.into(),
            operator: operator.into(),
            value: value.into(),
            toleration_seconds,
            ..Toleration::default()
        }
    };
    text.split_whitespace().map(toleration).collect()
}

#[test]
fn a_pod_stays_as_long_as_it_bears_all_taints() {
    let check = |taints: &str, tolerations: &str, borne: u64, expected: Plan| {
        let plan = plan(&taints_of(taints), &tolerations_of(tolerations), Duration::from_secs(borne));
        assert_eq!(plan, expected, "{taints} borne by {tolerations} for {borne} s");
    };
    let wait = |seconds| Plan::Wait(Duration::from_secs(seconds));
    check("", "", 0, Plan::Stay);
    check("a", "", 0, Plan::Evict);
    check("a", "*", 0, Plan::Stay);
    check("a=1", "a=1", 9, Plan::Stay);
    check("a=1", "a=2", 0, Plan::Evict);
    check("a b", "a", 0, Plan::Evict);
    check("a b", "a:300 b:60", 10, wait(50));
    check("a b", "a:300 b", 10, wait(290));
    check("a", "a:300 b:60", 0, wait(300));
    check("a", "a:300", 300, Plan::Evict);
    check("a", "a:0", 0, Plan::Evict);
    check("a", "a:-5", 0, Plan::Evict);
}

struct World {
    fake: Arc<Fake>,
    events: Recorder,
    stop: CancellationToken,
}

impl World {
    fn start() -> Self {
        let (fake, stop, events) = (Fake::new(), CancellationToken::new(), Recorder::memory());
        let clock = gifee_testkit::RuntimeClock::new();
        let context = Context::with(fake.client(), clock, events.clone(), stop.clone());
        tokio::spawn(run(context, Arc::default()));
        Self { fake, events, stop }
    }

    fn node(&self, taints: &[&str]) {
        let taints: Vec<Value> = taints
            .iter()
            .filter_map(|taint| taint.split_once(':'))
            .map(|(key, effect)| json!({ "key": key, "effect": effect }))
            .collect();
        let name = json!({ "name": "one" });
        let spec = json!({ "taints": taints });
        self.fake.put(json!({ "apiVersion": "v1", "kind": "Node", "metadata": name, "spec": spec }));
    }

    fn pod(&self, name: &str, tolerations: Value) {
        self.fake.put(json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "web" },
            "spec": { "nodeName": "one", "tolerations": tolerations },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } }));
    }

    fn left(&self) -> Vec<String> {
        let living = self.fake.objects(&pods()).into_iter();
        let living = living.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        living.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    async fn until(&self, expected: &[&str]) {
        for _ in 0..2000 {
            if self.left() == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{:?} are left, not {expected:?}", self.left());
    }
}

#[tokio::test(start_paused = true)]
async fn a_taint_drives_out_who_does_not_bear_it_when_their_time_is_over() {
    let world = World::start();
    world.node(&["x:NoSchedule"]);
    world.pod("firm", json!([{ "operator": "Exists" }]));
    world.pod("other", json!([{ "key": "y", "operator": "Exists" }]));
    world.pod("patient", json!([{ "key": "x", "operator": "Exists", "tolerationSeconds": 1 }]));
    world.pod("plain", json!([]));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.left(), ["firm", "other", "patient", "plain"]);
    let start = Instant::now();
    world.node(&["x:NoExecute"]);
    world.until(&["firm", "patient"]).await;
    world.pod("late", json!([]));
    world.until(&["firm", "patient"]).await;
    assert!(start.elapsed() < Duration::from_secs(1), "too slow to tell");
    world.until(&["firm"]).await;
    assert!(start.elapsed() >= Duration::from_secs(1));

    let pod = world.fake.object(&pods(), &ObjectKey::new("web", "plain")).unwrap();
    let condition = &pod["status"]["conditions"][1];
    assert_eq!(condition["type"], "DisruptionTarget");
    assert_eq!(condition["reason"], "DeletionByTaintManager");
    assert_eq!(condition["message"], "Taint manager: deleting due to NoExecute taint");
    let mut writes = world.fake.writes();
    writes.sort();
    let expected = ["late", "other", "patient", "plain"];
    let expected = expected.iter().map(|name| format!("/api/v1/namespaces/web/pods/{name}"));
    let (deletes, patches): (Vec<_>, Vec<_>) =
        expected.map(|path| (format!("DELETE {path}"), format!("PATCH {path}/status"))).unzip();
    assert_eq!(writes, [deletes, patches].concat());
    let mut events: Vec<String> = world.events.take().into_iter().map(|event| event.message).collect();
    events.sort();
    assert_eq!(events[0], "Marking for deletion Pod web/late");
    assert_eq!(events.len(), 4);
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_taint_that_goes_in_time_harms_nobody() {
    let world = World::start();
    world.pod("patient", json!([{ "key": "x", "operator": "Exists", "tolerationSeconds": 1 }]));
    world.node(&["x:NoExecute"]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.node(&[]);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(world.left(), ["patient"]);
    assert_eq!(world.fake.writes(), Vec::<String>::new());
    let events: Vec<String> = world.events.take().into_iter().map(|event| event.message).collect();
    assert_eq!(events, ["Cancelling deletion of Pod web/patient"]);
    world.stop.cancel();
}
