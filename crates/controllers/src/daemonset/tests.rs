//! Plans of DaemonSets from fixtures, their fixed points, and the controller against a fake server.

use super::plan::{self as planning, Plan, plan};
use super::view::View;
use super::*;
use expect_test::{Expect, expect};
use gifee_base::clock;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn object(tree: &Value) -> Arc<Object> {
    Arc::new(Object::received(tree.to_string().into()).unwrap())
}

fn node_of(name: &str, labels: Value, taints: Value) -> Node {
    let tree = json!({ "metadata": { "name": name, "labels": labels }, "spec": { "taints": taints } });
    Node::read(&object(&tree)).unwrap()
}

#[test]
fn a_daemon_goes_where_it_is_wanted_and_borne() {
    let check = |spec: Value, labels: Value, taints: Value, run, stay| {
        let place = Place::read(&json!({ "spec": spec }));
        assert_eq!(place.verdict(&node_of("a", labels, taints)), Verdict { run, stay }, "{spec}");
    };
    let taint = |key: &str, effect: &str| json!([{ "key": key, "effect": effect }]);
    check(json!({}), json!({}), json!(null), true, true);
    check(json!({ "nodeName": "b" }), json!({}), json!([]), false, false);
    check(json!({ "nodeSelector": { "disk": "ssd" } }), json!({ "disk": "ssd" }), json!([]), true, true);
    check(json!({ "nodeSelector": { "disk": "ssd" } }), json!({}), json!([]), false, false);
    check(json!({}), json!({}), taint("mine", "NoSchedule"), false, true);
    check(json!({}), json!({}), taint("mine", "PreferNoSchedule"), true, true);
    check(json!({}), json!({}), taint("mine", "NoExecute"), false, false);
    check(
        json!({ "tolerations": [{ "key": "mine", "operator": "Exists" }] }),
        json!({}),
        taint("mine", "NoExecute"),
        true,
        true,
    );
    for trouble in ["unschedulable", "memory-pressure", "disk-pressure", "pid-pressure"] {
        check(
            json!({}),
            json!({}),
            taint(&format!("node.kubernetes.io/{trouble}"), "NoSchedule"),
            true,
            true,
        );
    }
    check(json!({}), json!({}), taint("node.kubernetes.io/not-ready", "NoExecute"), true, true);
    check(json!({}), json!({}), taint("node.kubernetes.io/not-ready", "NoSchedule"), false, true);
    let network = taint("node.kubernetes.io/network-unavailable", "NoSchedule");
    check(json!({}), json!({}), network.clone(), false, true);
    check(json!({ "hostNetwork": true }), json!({}), network, true, true);
    let affinity = |terms: Value| {
        json!({ "affinity": { "nodeAffinity":
        { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } } })
    };
    let named = |name: &str| json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [name] }] }]);
    check(affinity(named("a")), json!({}), json!([]), true, true);
    check(affinity(named("b")), json!({}), json!([]), false, false);
    check(affinity(json!([])), json!({}), json!([]), false, false);
    check(affinity(json!([{}])), json!({}), json!([]), false, false);
    let labelled =
        json!([{ "matchExpressions": [{ "key": "disk", "operator": "NotIn", "values": ["hdd"] }] }]);
    check(affinity(labelled.clone()), json!({}), json!([]), true, true);
    check(affinity(labelled), json!({ "disk": "hdd" }), json!([]), false, false);
}

/// A set, its pods and the nodes, which do as they are told.
struct Model {
    set: Value,
    nodes: BTreeMap<String, Node>,
    pods: BTreeMap<String, Value>,
    now: Timestamp,
    made: usize,
}

impl Model {
    fn new(nodes: usize, rolling: Value) -> Self {
        let strategy = if rolling.is_null() {
            json!({ "type": "OnDelete" })
        } else {
            json!({ "type": "RollingUpdate", "rollingUpdate": rolling })
        };
        let names = (0..nodes).map(|at| format!("n{at}"));
        Self {
            set: json!({
                "apiVersion": "apps/v1", "kind": "DaemonSet",
                "metadata": { "name": "log", "namespace": "sys", "uid": "d", "generation": 1, "resourceVersion": "1" },
                "spec": { "selector": { "matchLabels": { "app": "log" } }, "updateStrategy": strategy,
                    "template": { "metadata": { "labels": { "app": "log" } },
                        "spec": { "containers": [{ "name": "log", "image": "log:1" }] } } },
            }),
            nodes: names.map(|name| (name.clone(), node_of(&name, json!({}), json!([])))).collect(),
            pods: BTreeMap::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            made: 0,
        }
    }

    fn image(&mut self, image: &str) {
        self.set["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
    }

    fn view(&self) -> View {
        let mut view = View::read(&object(&self.set)).unwrap();
        // Any name of the content does.
        view.hash = self.set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().into();
        for (name, node) in &self.nodes {
            view.spots.entry(name.clone()).or_default().verdict = Some(view.place.verdict(node));
        }
        for pod in self.pods.values() {
            let pod = object(pod);
            let node = node::target(&pod).unwrap();
            view.spots.entry(node).or_default().pods.push(Brief::read(&pod).unwrap());
        }
        view
    }

    fn plan(&self) -> Plan {
        plan(&self.view(), self.now)
    }

    fn step(&mut self) {
        let (view, plan) = (self.view(), self.plan());
        for node in &plan.create {
            self.made += 1;
            let name = format!("log-{:04}", self.made);
            let mut pod = planning::pod(&planning::template(&view), node);
            pod["metadata"]["name"] = name.as_str().into();
            pod["metadata"]["uid"] = name.as_str().into();
            pod["metadata"]["creationTimestamp"] = clock::format_time(self.now).into();
            pod["status"] = json!({ "phase": "Pending" });
            self.pods.insert(name, pod);
        }
        for pod in &plan.delete {
            let pod = self.pods.get_mut(pod.name()).unwrap();
            assert!(pod["metadata"]["deletionTimestamp"].is_null(), "a pod was deleted twice");
            pod["metadata"]["deletionTimestamp"] = clock::format_time(self.now).into();
        }
        self.set["status"] = plan.status;
        self.now += SignedDuration::from_secs(1);
    }

    fn at(&mut self, at: usize) -> Option<&mut Value> {
        let count = self.pods.len().max(1);
        self.pods.values_mut().nth(at % count)
    }

    fn ready(&mut self, at: usize, ready: bool) {
        let since = clock::format_time(self.now);
        if let Some(pod) = self.at(at)
            && pod["status"]["phase"] != "Failed"
        {
            let state = if ready { "True" } else { "False" };
            if pod["status"]["conditions"][0]["status"] != state {
                pod["spec"]["nodeName"] = node::target(&object(pod)).unwrap().into();
                pod["status"] = json!({ "phase": "Running", "conditions":
                    [{ "type": "Ready", "status": state, "lastTransitionTime": since }] });
            }
        }
    }

    fn reap(&mut self) {
        self.pods.retain(|_, pod| pod["metadata"]["deletionTimestamp"].is_null());
    }

    fn rests(&self) -> bool {
        let plan = self.plan();
        plan.create.is_empty() && plan.delete.is_empty() && plan.status == self.set["status"]
    }

    fn settle(&mut self) {
        for _ in 0..400 {
            self.reap();
            for at in 0..self.pods.len() {
                self.ready(at, true);
            }
            self.now += SignedDuration::from_secs(60);
            if self.rests() {
                return;
            }
            self.step();
        }
        panic!("never comes to rest: {}", self.describe());
    }

    fn describe(&self) -> String {
        let mut lines: Vec<String> = self
            .pods
            .values()
            .map(|pod| {
                let going = if pod["metadata"]["deletionTimestamp"].is_null() { "" } else { " going" };
                let image = pod["spec"]["containers"][0]["image"].as_str().unwrap();
                let phase = pod["status"]["phase"].as_str().unwrap();
                format!("{} {image} {phase}{going}\n", node::target(&object(pod)).unwrap())
            })
            .collect();
        lines.sort();
        lines.concat()
    }

    fn check(&self, expected: Expect) {
        expected.assert_eq(&self.describe());
    }

    /// Nodes that have an available pod that is not going; those that have one of an old template beside
    /// another; the most pods on one.
    fn state(&self) -> (i32, i32, usize) {
        let view = self.view();
        let (mut serving, mut surging, mut most) = (0, 0, 0);
        for spot in view.spots.values() {
            let staying: Vec<&Brief> = spot.pods.iter().filter(|pod| pod.deleted.is_none()).collect();
            let available = |pod: &&&Brief| view.available(pod, self.now);
            serving += i32::from(staying.iter().any(|pod| available(&pod)));
            let old = staying.iter().filter(available).any(|pod| !view.updated(pod));
            surging += i32::from(old && staying.len() > 1);
            most = most.max(staying.len());
        }
        (serving, surging, most)
    }

    fn counts(&self) -> String {
        let count = |name: &str| self.set["status"][name].as_i64().unwrap_or_default();
        format!(
            "{} desired, {} current, {} misscheduled, {} ready, {} updated, {} available, {} unavailable",
            count("desiredNumberScheduled"),
            count("currentNumberScheduled"),
            count("numberMisscheduled"),
            count("numberReady"),
            count("updatedNumberScheduled"),
            count("numberAvailable"),
            count("numberUnavailable")
        )
    }
}

#[test]
fn each_node_gets_one_pod_tied_to_it() {
    let mut model = Model::new(2, json!({}));
    model.step();
    model.check(expect![[r#"
        n0 log:1 Pending
        n1 log:1 Pending
    "#]]);
    let pod = model.pods.values().next().unwrap();
    expect![[r#"{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"In","values":["n0"]}]}]}}"#]]
        .assert_eq(&pod["spec"]["affinity"]["nodeAffinity"].to_string());
    assert_eq!(pod["metadata"]["labels"], json!({ "app": "log", REVISION_HASH: "log:1" }));
    assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 6);
    model.settle();
    assert_eq!(
        model.counts(),
        "2 desired, 2 current, 0 misscheduled, 2 ready, 2 updated, 2 available, 0 unavailable"
    );
    // A taint that lets it stay makes it misplaced, one that does not makes it go.
    let taint = |effect: &str| node_of("n0", json!({}), json!([{ "key": "x", "effect": effect }]));
    model.nodes.insert("n0".into(), taint("NoSchedule"));
    model.settle();
    assert_eq!(
        model.counts(),
        "1 desired, 1 current, 1 misscheduled, 1 ready, 1 updated, 1 available, 0 unavailable"
    );
    model.nodes.insert("n0".into(), taint("NoExecute"));
    model.settle();
    assert_eq!(model.describe(), "n1 log:1 Running\n");
    // What was meant for a node that is gone goes; what ran there is the pod garbage collector's.
    model.nodes.insert("n2".into(), node_of("n2", json!({}), json!([])));
    model.step();
    model.nodes.clear();
    model.step();
    model.check(expect![[r#"
        n1 log:1 Running
        n2 log:1 Pending going
    "#]]);
}

#[test]
fn an_update_takes_few_away_and_what_is_broken_first() {
    let mut model = Model::new(4, json!({ "maxUnavailable": 2, "maxSurge": 0 }));
    model.settle();
    model.image("log:2");
    model.ready(3, false);
    model.step();
    model.check(expect![[r#"
        n0 log:1 Running going
        n1 log:1 Running
        n2 log:1 Running
        n3 log:1 Running going
    "#]]);
    model.settle();
    assert_eq!(model.describe().matches("log:2").count(), 4);
}

#[test]
fn an_update_with_surge_has_two_until_the_new_one_is_available() {
    let mut model = Model::new(2, json!({ "maxUnavailable": 0, "maxSurge": 1 }));
    model.set["spec"]["minReadySeconds"] = 10.into();
    model.settle();
    model.image("log:2");
    model.step();
    model.step();
    model.check(expect![[r#"
        n0 log:1 Running
        n0 log:2 Pending
        n1 log:1 Running
    "#]]);
    model.ready(2, true);
    let again = model.plan().again;
    assert_eq!(again, Some(Duration::from_secs(10)));
    model.now += SignedDuration::from_secs(10);
    model.step();
    model.check(expect![[r#"
        n0 log:1 Running going
        n0 log:2 Running
        n1 log:1 Running
    "#]]);
    model.settle();
    assert_eq!(model.describe(), "n0 log:2 Running\nn1 log:2 Running\n");
}

#[test]
fn going_back_restarts_only_what_had_gone_ahead() {
    let mut model = Model::new(3, json!({ "maxUnavailable": 1, "maxSurge": 0 }));
    model.settle();
    model.image("log:broken");
    model.step();
    model.reap();
    model.step();
    let names = |model: &Model| model.pods.keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(names(&model), "log-0002 log-0003 log-0004");
    model.image("log:1");
    model.settle();
    assert_eq!(names(&model), "log-0002 log-0003 log-0005");
}

#[test]
fn on_delete_waits_for_somebody() {
    let mut model = Model::new(2, json!(null));
    model.settle();
    model.image("log:2");
    model.settle();
    assert_eq!(
        model.counts(),
        "2 desired, 2 current, 0 misscheduled, 2 ready, 0 updated, 2 available, 0 unavailable"
    );
    model.pods.clear();
    model.settle();
    assert_eq!(model.describe().matches("log:2").count(), 2);
}

#[test]
fn a_failed_pod_is_replaced_after_its_back_off() {
    let mut model = Model::new(1, json!({}));
    model.step();
    model.at(0).unwrap()["status"] = json!({ "phase": "Failed" });
    let mut view = model.view();
    assert_eq!(plan(&view, model.now).ended.len(), 1);
    view.spots.get_mut("n0").unwrap().backoff = Some(model.now + SignedDuration::from_secs(4));
    let waiting = plan(&view, model.now);
    assert!(waiting.delete.is_empty() && waiting.again == Some(Duration::from_secs(4)));

    let (backoffs, key, now) = (Backoffs::default(), ObjectKey::new("sys", "log"), model.now);
    let until = |node: &str, generation| {
        backoffs.until(&key, ("d", generation), node).map(|at| (at - now).get_seconds())
    };
    for expected in [1, 2, 4] {
        backoffs.failed(&key, ("d", 1), "n0", now);
        assert_eq!(until("n0", 1), Some(expected));
    }
    assert_eq!((until("n1", 1), until("n0", 2)), (None, None));
    backoffs.failed(&key, ("d", 2), "n0", now);
    assert_eq!((until("n0", 1), until("n0", 2)), (None, Some(1)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

    /// In any order of events, as long as no pod fails: never too few serve, never too many are there.
    #[test]
    fn an_update_stays_within_its_bounds(
        (nodes, bound, surging) in (1..7_usize, 1..4_i32, any::<bool>()),
        events in prop::collection::vec((0..8_u8, 0..64_usize), 0..100),
    ) {
        let (surge, unavailable) = if surging { (bound, 0) } else { (0, bound) };
        let mut model = Model::new(nodes, json!({ "maxSurge": surge, "maxUnavailable": unavailable }));
        model.settle();
        for (event, at) in events {
            let before = model.state().1;
            match event {
                0 => model.image(&format!("log:{}", at % 3 + 1)),
                1..=3 => model.step(),
                4 | 5 => model.reap(),
                _ => model.ready(at, true),
            }
            let (serving, after, most) = model.state();
            prop_assert!(serving >= nodes as i32 - unavailable && most <= 2, "{}", model.describe());
            // Pods that become ready, or old, by themselves are nobody's surge.
            prop_assert!(!(1..=3).contains(&event) || after <= before.max(surge), "{}", model.describe());
        }
        model.settle();
        let image = model.view().hash;
        prop_assert_eq!(model.describe().matches(&image).count(), nodes);
        prop_assert_eq!(model.pods.len(), nodes);
    }

    /// Whatever happens, it comes to rest with one pod of the last template on each node that it is for.
    #[test]
    fn every_history_ends_at_rest(
        events in prop::collection::vec((0..9_u8, 0..64_usize), 0..80),
        (surge, unavailable) in prop::sample::select(vec![(0, 1), (0, 2), (1, 0), (2, 0)]),
    ) {
        let mut model = Model::new(4, json!({ "maxSurge": surge, "maxUnavailable": unavailable }));
        for (event, at) in events {
            let name = format!("n{}", at % 5);
            match event {
                0 => model.image(&format!("log:{}", at % 3 + 1)),
                1 => { model.nodes.insert(name.clone(), node_of(&name, json!({}), json!([]))); }
                2 => {
                    let effect = ["NoSchedule", "NoExecute"][at % 2];
                    let taints = json!([{ "key": "x", "effect": effect }]);
                    model.nodes.insert(name.clone(), node_of(&name, json!({}), taints));
                }
                3 => model.ready(at, false),
                4 => if let Some(pod) = model.at(at) { pod["status"] = json!({ "phase": "Failed" }); }
                5 => model.reap(),
                6 | 7 => model.step(),
                _ => model.ready(at, true),
            }
        }
        model.settle();
        let view = model.view();
        for spot in view.spots.values() {
            let verdict = spot.verdict.unwrap();
            let allowed = usize::from(verdict.stay);
            let right = spot.pods.len() <= allowed && (!verdict.run || spot.pods.len() == 1);
            prop_assert!(right, "{}", model.describe());
            prop_assert!(!verdict.run || view.updated(&spot.pods[0]));
        }
    }
}

struct World {
    fake: Arc<Fake>,
    stop: CancellationToken,
}

impl World {
    fn start() -> Self {
        let (fake, stop) = (Fake::new(), CancellationToken::new());
        let clock = gifee_testkit::RuntimeClock::new();
        let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
        tokio::spawn(run(context, Arc::default()));
        Self { fake, stop }
    }

    fn set(&self) -> Value {
        self.fake.object(&sets(), &ObjectKey::new("sys", "log")).unwrap()
    }

    /// Nodes that run every pod, until all are of an image.
    async fn complete(&self, image: &str, nodes: usize) {
        for _ in 0..2000 {
            let pods = self.fake.objects(&Gvr::core("pods"));
            for mut pod in pods.clone() {
                if !pod["metadata"]["deletionTimestamp"].is_null() {
                    let name = pod["metadata"]["name"].as_str().unwrap();
                    self.fake.remove(&Gvr::core("pods"), &ObjectKey::new("sys", name));
                } else if pod["status"]["conditions"].is_null() {
                    pod["spec"]["nodeName"] = node::target(&object(&pod)).unwrap().into();
                    pod["status"] =
                        json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
                    self.fake.put(pod);
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            let (set, all) = (self.set(), Value::from(nodes));
            let status = &set["status"];
            if pods.len() == nodes
                && pods.iter().all(|pod| pod["spec"]["containers"][0]["image"] == image)
                && (&status["updatedNumberScheduled"], &status["numberAvailable"]) == (&all, &all)
                && status["observedGeneration"] == set["metadata"]["generation"]
            {
                return;
            }
        }
        panic!("{image}: {:#}", self.set());
    }

    fn history(&self) -> Vec<(i64, String)> {
        let read = |one: &Value| {
            let image = &one["data"]["spec"]["template"]["spec"]["containers"][0]["image"];
            (one["revision"].as_i64().unwrap(), image.as_str().unwrap().to_owned())
        };
        let revisions = self.fake.objects(&Gvr::new("apps", "v1", "controllerrevisions"));
        let mut history: Vec<_> = revisions.iter().map(read).collect();
        history.sort();
        history
    }
}

#[tokio::test(start_paused = true)]
async fn follows_nodes_updates_rolls_back_and_then_rests() {
    let world = World::start();
    let node = |name: &str| json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
    let mut set = Model::new(0, json!({ "maxUnavailable": 1, "maxSurge": 0 })).set;
    set["metadata"] = json!({ "name": "log", "namespace": "sys" });
    world.fake.put(node("n0"));
    world.fake.put(set);
    world.complete("log:1", 1).await;
    world.fake.put(node("n1"));
    world.complete("log:1", 2).await;
    let key = ObjectKey::new("sys", "log");
    for (image, history) in
        [("log:2", vec![(1, "log:1"), (2, "log:2")]), ("log:1", vec![(2, "log:2"), (3, "log:1")])]
    {
        let mut set = world.set();
        set["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        world.fake.client().update(&sets(), &key, &set).await.unwrap();
        world.complete(image, 2).await;
        let history: Vec<_> = history.into_iter().map(|(number, image)| (number, image.to_owned())).collect();
        assert_eq!(world.history(), history);
    }
    // A revision that says the same again is taken out, and its pods get the label of the one that stays.
    let mut twin = world.fake.objects(&Gvr::new("apps", "v1", "controllerrevisions"));
    let mut twin = twin.remove(twin.iter().position(|one| one["revision"] == 3).unwrap());
    twin["metadata"] = json!({ "name": "twin", "namespace": "sys", "labels": twin["metadata"]["labels"],
        "ownerReferences": twin["metadata"]["ownerReferences"] });
    twin["revision"] = 1.into();
    world.fake.put(twin);
    // It is only looked at with the set.
    world.fake.change(&sets(), &key, |set| set["metadata"]["annotations"] = json!({ "look": "again" }));
    for _ in 0..1000 {
        if world.history().len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(world.history().len(), 2);
    world.complete("log:1", 2).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.fake.writes();
    let mut heartbeat = node("n0");
    heartbeat["status"] = json!({ "conditions": [] });
    world.fake.put(heartbeat);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.fake.writes(), Vec::<String>::new(), "a cluster at rest is not written to");
    world.stop.cancel();
}
