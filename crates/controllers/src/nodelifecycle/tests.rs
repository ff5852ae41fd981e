//! Health and taints of nodes from fixtures.

use super::plan::plan;
use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use jiff::Timestamp;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

/// `conditions | taints`, such as `Ready=True DiskPressure=True | not-ready:NoSchedule team=a:NoExecute`;
/// the word `cordoned` among the conditions makes it unschedulable.
fn node(text: &str) -> Value {
    let (conditions, taints) = text.split_once('|').unwrap_or((text, ""));
    let conditions: Vec<Value> = conditions
        .split_whitespace()
        .filter_map(|word| word.split_once('='))
        .map(|(kind, status)| json!({ "type": kind, "status": status, "lastHeartbeatTime": "2026-01-01T00:00:00Z" }))
        .collect();
    let taints: Vec<Value> = taints
        .split_whitespace()
        .filter_map(|word| word.split_once(':'))
        .map(|(key, effect)| json!({ "key": format!("node.kubernetes.io/{key}"), "effect": effect }))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": "one", "uid": "uid-one", "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "unschedulable": text.contains("cordoned"), "taints": taints },
        "status": { "conditions": conditions },
    })
}

fn view(tree: &Value, silent: Duration, permit: Permit) -> View {
    let object = Arc::new(Object::received(tree.to_string().into()).unwrap());
    View { node: Node::read(&object).unwrap(), timing: Timing::default(), silent, permit, pods: Vec::new() }
}

/// Puts a plan into effect.
fn applied(tree: &Value, plan: &Plan) -> Value {
    let mut tree = tree.clone();
    for changed in &plan.conditions {
        let conditions = tree["status"]["conditions"].as_array_mut().unwrap();
        conditions.retain(|one| one["type"] != changed["type"]);
        conditions.push(changed.clone());
    }
    if let Some(taints) = &plan.taints {
        tree["spec"]["taints"] = taints.clone().into();
    }
    for (name, value) in &plan.labels {
        tree["metadata"]["labels"][name] = value.clone();
    }
    tree
}

fn words(tree: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap().trim_start_matches("node.kubernetes.io/").to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let conditions = list(&tree["status"]["conditions"]);
    let conditions = conditions.iter().map(|one| format!("{}={}", text(&one["type"]), text(&one["status"])));
    let taints = list(&tree["spec"]["taints"]);
    let taints = taints.iter().map(|one| format!("{}:{}", text(&one["key"]), text(&one["effect"])));
    let join = |words: Vec<String>| words.join(" ");
    format!("{} | {}", join(conditions.collect()), join(taints.collect()))
}

#[test]
fn taints_follow_conditions_and_then_rest() {
    let check = |before: &str, silent: u64, permit: Permit, expected: &str| {
        let tree = node(before);
        let silent = Duration::from_secs(silent);
        let after = applied(&tree, &plan(&view(&tree, silent, permit), now()));
        assert_eq!(words(&after), expected, "{before} after {silent:?}");
        let again = plan(&view(&after, silent, permit), now() + jiff::SignedDuration::from_mins(1));
        assert_eq!(Plan { again: None, lost: false, ..again }, Plan::default(), "{before} again");
    };
    let held = Permit::Held;
    check(
        "Ready=True | not-ready:NoSchedule not-ready:NoExecute mine:NoExecute",
        0,
        held,
        "Ready=True | mine:NoExecute",
    );
    check("Ready=False |", 0, held, "Ready=False | not-ready:NoSchedule");
    check("Ready=False |", 0, Permit::Now, "Ready=False | not-ready:NoSchedule not-ready:NoExecute");
    check("Ready=False | not-ready:NoExecute", 0, Permit::Never, "Ready=False | not-ready:NoSchedule");
    check(
        "Ready=False | unreachable:NoSchedule unreachable:NoExecute",
        0,
        held,
        "Ready=False | not-ready:NoSchedule not-ready:NoExecute",
    );
    check(
        "Ready=True MemoryPressure=True PIDPressure=True DiskPressure=False NetworkUnavailable=True cordoned |",
        0,
        held,
        "Ready=True MemoryPressure=True PIDPressure=True DiskPressure=False NetworkUnavailable=True | \
         memory-pressure:NoSchedule network-unavailable:NoSchedule pid-pressure:NoSchedule unschedulable:NoSchedule",
    );
    check("Ready=True | unschedulable:NoSchedule", 0, held, "Ready=True | ");
    check(
        "Ready=True DiskPressure=True | disk-pressure:NoSchedule",
        49,
        held,
        "Ready=True DiskPressure=True | disk-pressure:NoSchedule",
    );
    check(
        "Ready=True DiskPressure=True | disk-pressure:NoSchedule",
        50,
        Permit::Now,
        "Ready=Unknown MemoryPressure=Unknown DiskPressure=Unknown PIDPressure=Unknown | \
         unreachable:NoSchedule unreachable:NoExecute",
    );
    check(" | mine:NoSchedule", 59, held, " | mine:NoSchedule");
    check(
        "NetworkUnavailable=False |",
        60,
        held,
        "NetworkUnavailable=False Ready=Unknown MemoryPressure=Unknown DiskPressure=Unknown PIDPressure=Unknown | \
         unreachable:NoSchedule",
    );
}

#[test]
fn says_in_upstreams_words_why_a_node_is_unknown() {
    let tree = node("Ready=True MemoryPressure=False DiskPressure=False");
    let plan = plan(&view(&tree, Duration::from_secs(50), Permit::Held), now());
    assert!(plan.lost);
    assert_eq!(
        plan.conditions[0],
        json!({ "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T01:00:00Z" })
    );
    assert_eq!(
        plan.conditions[3],
        json!({ "type": "PIDPressure", "status": "Unknown", "reason": "NodeStatusNeverUpdated",
            "message": "Kubelet never posted node status.",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T01:00:00Z" })
    );
}

#[test]
fn looks_again_when_the_next_sign_is_overdue() {
    let check = |text: &str, silent: u64, permit, expected: Option<u64>| {
        let plan = plan(&view(&node(text), Duration::from_secs(silent), permit), now());
        assert_eq!(plan.again, expected.map(Duration::from_secs), "{text} after {silent}");
    };
    check("Ready=True", 10, Permit::Held, Some(40));
    check("", 10, Permit::Held, Some(50));
    check("Ready=True", 50, Permit::Held, None);
    check("Ready=False", 0, Permit::Later(Duration::from_secs(7)), Some(7));
    check("Ready=True", 0, Permit::Later(Duration::from_secs(7)), Some(50));
}

#[test]
fn old_labels_follow_new_ones() {
    let mut tree = node("Ready=True");
    tree["metadata"]["labels"] = json!({ "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/arch": "arm" });
    let plan = plan(&view(&tree, Duration::ZERO, Permit::Held), now());
    let expected = json!({ "beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": "amd64" });
    assert_eq!(Value::from(plan.labels), expected);
}

struct World {
    fake: Arc<Fake>,
    events: Recorder,
    stop: CancellationToken,
}

impl World {
    fn start(grace: Duration) -> Self {
        let (fake, stop, events) = (Fake::new(), CancellationToken::new(), Recorder::memory());
        let clock = gifee_testkit::RuntimeClock::new();
        let context = Context::with(fake.client(), clock, events.clone(), stop.clone());
        let timing = Timing { monitor_grace: grace, startup_grace: grace };
        tokio::spawn(run_timed(context, timing));
        Self { fake, events, stop }
    }

    fn node(&self, name: &str, text: &str) {
        let mut tree = node(text);
        tree["metadata"] = json!({ "name": name });
        self.fake.put(tree);
    }

    fn words(&self, name: &str) -> String {
        words(&self.fake.object(&nodes(), &ObjectKey::cluster(name)).unwrap())
    }

    async fn until(&self, what: &str, test: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !test(self) {
            let late = start.elapsed() > Duration::from_secs(10);
            assert!(!late, "{what}: {:#?}", self.fake.objects(&nodes()));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn renew(&self, name: &str, minute: u32) {
        self.fake.put(json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": name, "namespace": LEASES },
            "spec": { "renewTime": format!("2026-01-01T00:{minute:02}:00.000000Z") } }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_becomes_ready_is_opened() {
    let world = World::start(Duration::from_secs(60));
    world.node("one", "Ready=False | not-ready:NoSchedule");
    let registered = |world: &World| world.events.take().iter().any(|one| one.reason == "RegisteredNode");
    world.until("registered", registered).await;
    assert_eq!(world.words("one"), "Ready=False | not-ready:NoSchedule");
    world.fake.change(&nodes(), &ObjectKey::cluster("one"), |node| {
        node["status"]["conditions"][0]["status"] = "True".into();
    });
    world.until("open", |world| world.words("one") == "Ready=True | ").await;
    assert_eq!(world.fake.writes(), ["PATCH /api/v1/nodes/one"]);
    world.stop.cancel();
}

const LOST: &str = "Ready=Unknown MemoryPressure=Unknown DiskPressure=Unknown PIDPressure=Unknown | \
    unreachable:NoSchedule";

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_lost_and_one_that_renews_is_not() {
    let world = World::start(Duration::from_millis(1000));
    world.node("one", "Ready=True");
    world.node("two", "Ready=True");
    for (name, node) in [("on-one", "one"), ("on-two", "two")] {
        world.fake.put(json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "web" }, "spec": { "nodeName": node },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] } }));
    }
    for minute in 0..25 {
        world.renew("two", minute);
        tokio::time::sleep(Duration::from_millis(80)).await;
        if minute == 4 {
            assert_eq!(world.fake.writes(), Vec::<String>::new(), "a short silence is no fault");
        }
    }
    assert_eq!(world.words("one"), format!("{LOST} unreachable:NoExecute"));
    assert_eq!(world.words("two"), "Ready=True | ");
    let ready = |name: &str| {
        let pod = world.fake.object(&Gvr::core("pods"), &ObjectKey::new("web", name)).unwrap();
        pod["status"]["conditions"][0]["status"].as_str().unwrap().to_owned()
    };
    assert_eq!((ready("on-one").as_str(), ready("on-two").as_str()), ("False", "True"));
    assert_eq!(
        world.fake.writes(),
        [
            "PATCH /api/v1/nodes/one/status",
            "PATCH /api/v1/nodes/one",
            "PATCH /api/v1/namespaces/web/pods/on-one/status"
        ]
    );
    let events: Vec<String> = world.events.take().into_iter().map(|event| event.message).collect();
    assert!(events.contains(&"Node one status is now: NodeNotReady".to_owned()), "{events:?}");
    assert!(events.contains(&"Node is not ready".to_owned()), "{events:?}");

    world.fake.change(&nodes(), &ObjectKey::cluster("one"), |node| {
        for condition in node["status"]["conditions"].as_array_mut().unwrap() {
            condition["status"] = if condition["type"] == "Ready" { "True" } else { "False" }.into();
            condition["lastHeartbeatTime"] = "2026-01-01T00:30:00Z".into();
        }
    });
    world.until("back", |world| world.words("one").ends_with("| ")).await;
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_evicted_while_no_node_is_well() {
    let world = World::start(Duration::from_millis(500));
    world.node("one", "Ready=True");
    world.node("two", "Ready=True");
    world.until("both lost", |world| ["one", "two"].iter().all(|name| world.words(name) == LOST)).await;
    world.node("three", "Ready=True");
    let mut tainted = 0;
    for minute in 0..60 {
        world.renew("three", minute);
        tokio::time::sleep(Duration::from_millis(30)).await;
        let names = ["one", "two"].iter();
        tainted = names.filter(|name| world.words(name).ends_with("unreachable:NoExecute")).count();
    }
    assert_eq!(tainted, 1, "two that share a ration of one in ten seconds");
    world.stop.cancel();
}
