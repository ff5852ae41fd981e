//! The plans as tables, and the controller against a fake server.

use super::plan::{end, excess};
use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// `name node phase`, where `-` is nothing, then `deleting=GRACE`, `evicted`, `finalizer` or `at=MINUTE`.
fn pod(text: &str) -> Value {
    let words: Vec<&str> = text.split_whitespace().collect();
    let word = |at: usize| words[at].trim_matches('-');
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": words[0], "namespace": "web", "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "nodeName": word(1) }, "status": { "phase": word(2) },
    });
    for extra in &words[3..] {
        match extra.split_once('=') {
            Some(("deleting", grace)) => {
                pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
                pod["metadata"]["deletionGracePeriodSeconds"] = grace.parse::<i64>().unwrap().into();
            }
            Some(("at", minute)) => {
                pod["metadata"]["creationTimestamp"] = format!("2026-01-01T00:{minute}:00Z").into();
            }
            _ if *extra == "evicted" => pod["status"]["reason"] = "Evicted".into(),
            _ => pod["metadata"]["finalizers"] = json!(["example.com/keep"]),
        }
    }
    pod
}

fn read(text: &str) -> Pod {
    Pod::read(&Arc::new(Object::received(pod(text).to_string().into()).unwrap())).unwrap()
}

#[test]
fn forces_an_end_once() {
    let check =
        |text: &str, fail, delete| assert_eq!(end(&read(text)), plan::Plan { fail, delete }, "{text}");
    check("a n Running", true, true);
    check("a n Succeeded", false, true);
    check("a - Pending deleting=30", true, true);
    check("a n Failed deleting=30", false, true);
    check("a n Failed deleting=0 finalizer", false, false);
}

#[test]
fn evicted_and_old_pods_are_the_first_too_many() {
    let ended = ["new n Failed at=50", "b n Failed at=10", "a n Succeeded at=10", "e n Failed at=59 evicted"];
    let check = |threshold, expected: &str| {
        let excess = excess(ended.iter().map(|text| read(text)).collect(), threshold);
        let names: Vec<&str> = excess.iter().map(|pod| pod.object.name()).collect();
        assert_eq!(names.join(" "), expected, "beyond {threshold}");
    };
    check(4, "");
    check(3, "e");
    check(1, "e a b");
}

struct World {
    fake: Arc<Fake>,
    stop: CancellationToken,
}

impl World {
    fn start(limits: Limits) -> Self {
        let (fake, stop) = (Fake::new(), CancellationToken::new());
        let clock = gifee_testkit::RuntimeClock::new();
        let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
        tokio::spawn(run_limited(context, limits));
        Self { fake, stop }
    }

    fn node(&self, name: &str, taint: &str, ready: &str) {
        self.fake.put(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
            "spec": { "taints": [{ "key": taint, "effect": "NoExecute" }] },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] } }));
    }

    fn names(&self) -> String {
        let pods = self.fake.objects(&pods());
        let names: Vec<&str> = pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap()).collect();
        names.join(" ")
    }

    async fn until(&self, expected: &str) {
        for _ in 0..2000 {
            if self.names() == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{:?} are there, not {expected:?}", self.names());
    }
}

const QUICK: Limits = Limits { ended_maximum: 2, quarantine: Duration::from_millis(200) };

#[tokio::test(start_paused = true)]
async fn the_pods_of_a_node_that_is_gone_fail_and_go() {
    let world = World::start(QUICK);
    world.node("here", "", "True");
    world.node("back", "", "True");
    for text in ["a here Running", "b gone Running", "c gone Running finalizer", "d back Running"] {
        world.fake.put(pod(text));
    }
    world.fake.remove(&nodes(), &ObjectKey::cluster("back"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.node("back", "", "True");
    assert_eq!((world.names().as_str(), world.fake.writes()), ("a b c d", Vec::new()));
    world.until("a c d").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let kept = world.fake.object(&pods(), &ObjectKey::new("web", "c")).unwrap();
    assert_eq!(kept["status"]["phase"], "Failed");
    assert_eq!(kept["status"]["conditions"][0]["type"], "DisruptionTarget");
    assert_eq!(kept["status"]["conditions"][0]["reason"], "DeletionByPodGC");
    assert_eq!(kept["status"]["conditions"][0]["message"], "PodGC: node no longer exists");
    assert_eq!(world.fake.writes().len(), 4, "each is marked once and deleted once");
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn deleted_pods_that_nobody_answers_for_go_at_once() {
    let world = World::start(QUICK);
    world.node("dead", "node.kubernetes.io/out-of-service", "Unknown");
    world.node("late", "", "Unknown");
    world.node("fine", "node.kubernetes.io/out-of-service", "True");
    for text in [
        "a - Pending deleting=30",
        "b dead Running deleting=30",
        "c dead Running",
        "d late Running deleting=30",
        "e fine Running deleting=30",
    ] {
        world.fake.put(pod(text));
    }
    world.until("c d e").await;
    world.node("late", "node.kubernetes.io/out-of-service", "Unknown");
    world.until("c e").await;
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn ended_pods_stay_up_to_a_number() {
    let world = World::start(QUICK);
    world.node("n", "", "True");
    for text in ["a n Succeeded at=10", "b n Failed at=11", "c n Running at=12"] {
        world.fake.put(pod(text));
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((world.names().as_str(), world.fake.writes()), ("a b c", Vec::new()));
    world.fake.put(pod("d n Failed at=13"));
    world.until("b c d").await;
    assert_eq!(world.fake.writes(), ["DELETE /api/v1/namespaces/web/pods/a"]);
    world.stop.cancel();
}
