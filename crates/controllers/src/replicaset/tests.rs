//! Plans of ReplicaSets from fixtures.

use super::plan::{DELETION_COST, View, plan};
use super::*;
use gifee_base::Status;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use gifee_reconcile::owner::Claims;
use jiff::Timestamp;
use proptest::prelude::*;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn object(tree: Value) -> Arc<Object> {
    Arc::new(Object::received(tree.to_string().into()).unwrap())
}

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

/// `name phase node ready-minutes`, where `-` is not ready, and anything after that is the deletion cost.
fn pod_of(text: &str) -> Arc<Object> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut pod = json!({
        "metadata": { "name": words[0], "namespace": "web", "uid": words[0], "labels": { "app": "web" },
            "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "nodeName": words[2].trim_matches('_') },
        "status": { "phase": words[1] },
    });
    if let Ok(minutes) = words[3].parse::<i64>() {
        let since = now() - jiff::SignedDuration::from_mins(minutes);
        pod["status"]["conditions"] =
            json!([{ "type": "Ready", "status": "True", "lastTransitionTime": clock::format_time(since) }]);
    }
    if let Some(cost) = words.get(4) {
        pod["metadata"]["annotations"] = json!({ DELETION_COST: cost });
    }
    object(pod)
}

fn view(replicas: i32, pods: &[&str]) -> View {
    let pods: Vec<Brief> = pods.iter().map(|pod| Brief::read(&pod_of(pod)).unwrap()).collect();
    let set =
        object(json!({ "metadata": { "name": "web", "namespace": "web", "uid": "u", "generation": 3 } }));
    View {
        set,
        replicas,
        minimum_ready_seconds: 0,
        template_labels: vec![("app".into(), "web".into())],
        status: json!({}),
        claims: Claims::default(),
        pods,
        related: HashMap::new(),
        failure: None,
        counts_terminating: true,
    }
}

#[test]
fn counts_only_what_lives() {
    let check = |replicas, pods: &[&str], create, delete| {
        let plan = plan(&view(replicas, pods), now());
        assert_eq!((plan.create, plan.delete.len()), (create, delete), "{replicas} of {pods:?}");
    };
    check(3, &[], 3, 0);
    check(700, &[], 500, 0);
    check(2, &["a Running n 5", "b Failed n -"], 1, 0);
    check(1, &["a Running n 5", "b Pending _ -"], 0, 1);
    check(0, &["a Running n 5", "b Running n 5"], 0, 2);
    check(2, &["a Running n 5", "b Running n 5"], 0, 0);
}

#[test]
fn the_least_useful_pod_goes_first() {
    let check = |pods: &[&str], expected: &str| {
        let mut view = view(0, pods);
        view.related = HashMap::from([("crowded".to_owned(), 5), ("n".to_owned(), 1)]);
        let order: Vec<String> = plan(&view, now()).delete.iter().map(|pod| pod.name().to_owned()).collect();
        assert_eq!(order.join(" "), expected);
    };
    check(
        &["a Running n 5", "b Pending n -", "c Pending _ -", "d Unknown n -", "e Running n -"],
        "c b d e a",
    );
    check(&["a Running n 5 10", "b Running n 5", "c Running n 5 -1"], "c b a");
    check(&["a Running n 5", "b Running crowded 5"], "b a");
    check(&["a Running n 50", "b Running n 1"], "b a");
}

#[test]
fn the_status_says_what_is_there_and_then_rests() {
    let mut view = view(2, &["a Running n 5", "b Running n 1", "c Failed n -"]);
    view.minimum_ready_seconds = 120;
    let first = plan(&view, now());
    assert_eq!(
        first.status,
        json!({ "replicas": 2, "observedGeneration": 3, "terminatingReplicas": 0,
            "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 1 })
    );
    assert_eq!(first.again, Some(Duration::from_secs(60)));
    view.status = first.status;
    view.failure = Some(("FailedCreate", "no".into()));
    let failed = plan(&view, now());
    assert_eq!(failed.status["conditions"][0]["reason"], "FailedCreate");
    view.status = failed.status.clone();
    assert_eq!(
        plan(&view, now() + jiff::SignedDuration::from_mins(9)).status["conditions"],
        failed.status["conditions"]
    );
}

/// Plans once and does it to the pods; whether there was anything to do. Every step stays between what is there and what
/// is wanted.
fn step(replicas: i32, pods: &mut Vec<String>, made: &mut usize) -> bool {
    let texts: Vec<&str> = pods.iter().map(String::as_str).collect();
    let plan = plan(&view(replicas, &texts), now());
    let active = pods.iter().filter(|pod| !pod.contains("Failed")).count();
    let wanted = usize::try_from(replicas).unwrap();
    assert!(plan.create == 0 || plan.delete.is_empty(), "it makes what it deletes");
    assert_eq!(
        (plan.create, plan.delete.len()),
        (wanted.saturating_sub(active), active.saturating_sub(wanted))
    );
    for gone in &plan.delete {
        let at = pods.iter().position(|pod| pod.split(' ').next() == Some(gone.name())).unwrap();
        assert!(!pods.remove(at).contains("Failed"), "what has ended makes no room");
    }
    for _ in 0..plan.create {
        *made += 1;
        pods.push(format!("p{made} Pending _ -"));
    }
    plan.create > 0 || !plan.delete.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens in between, one step is enough, and the plan of an applied plan is empty.
    #[test]
    fn one_step_leads_to_rest(events in prop::collection::vec((0..6_u8, 0..40_usize), 0..60)) {
        let (mut replicas, mut pods, mut made) = (3, Vec::new(), 0);
        for (event, at) in events {
            let index = at % pods.len().max(1);
            let word = |pod: &String| pod.split(' ').next().unwrap_or_default().to_owned();
            match (event, pods.get(index).map(word)) {
                (0, _) => replicas = i32::try_from(at).unwrap(),
                (1, Some(name)) => pods[index] = format!("{name} Running n 5"),
                (2, Some(name)) => pods[index] = format!("{name} Failed n -"),
                (3, Some(_)) => drop(pods.remove(index)),
                _ => drop(step(replicas, &mut pods, &mut made)),
            }
        }
        step(replicas, &mut pods, &mut made);
        prop_assert!(!step(replicas, &mut pods, &mut made), "it does not rest");
        let active = pods.iter().filter(|pod| !pod.contains("Failed")).count();
        prop_assert_eq!(active, usize::try_from(replicas).unwrap());
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

    fn set(&self, replicas: i32) {
        self.fake.put(json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": { "name": "web", "namespace": "web", "uid": "u" },
            "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "web" } },
                "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [] } } } }));
    }

    fn pods(&self) -> Vec<Value> {
        self.fake.objects(&Gvr::core("pods"))
    }

    async fn until(&self, what: &str, test: impl Fn(&Self) -> bool) {
        for _ in 0..500 {
            if test(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        panic!("{what}: {:#?}", self.pods());
    }

    fn status(&self) -> Value {
        let set = self.fake.object(&REPLICA_SETS.gvr(), &ObjectKey::new("web", "web")).unwrap();
        set["status"]["replicas"].clone()
    }
}

#[tokio::test(start_paused = true)]
async fn creates_replaces_and_deletes_then_rests() {
    let world = World::start();
    world.set(20);
    world.until("20 pods", |world| world.pods().len() == 20 && world.status() == 20).await;
    let creates = |writes: Vec<String>| writes.iter().filter(|write| write.starts_with("POST")).count();
    assert_eq!(creates(world.fake.writes()), 20, "each pod is created once");
    let first = world.pods()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    world.fake.remove(&Gvr::core("pods"), &ObjectKey::new("web", &first));
    world.until("a replacement", |world| world.pods().len() == 20).await;
    world.set(3);
    world.until("3 pods", |world| world.pods().len() == 3 && world.status() == 3).await;
    world.fake.writes();
    // Events about anything else, even about its own unchanged object, lead to no write.
    world
        .fake
        .put(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "x", "namespace": "web" } }));
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(world.fake.writes(), Vec::<String>::new());
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn adopts_what_it_selects_and_releases_what_it_does_not() {
    let world = World::start();
    world.fake.put(json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "orphan", "namespace": "web", "labels": { "app": "web" } } }));
    world.set(1);
    world.until("adoption", |world| world.pods()[0]["metadata"]["ownerReferences"][0]["uid"] == "u").await;
    world.until("status", |world| world.status() == 1).await;
    assert_eq!(world.pods().len(), 1);
    world.fake.change(&Gvr::core("pods"), &ObjectKey::new("web", "orphan"), |pod| {
        pod["metadata"]["labels"]["app"] = "other".into();
    });
    world.until("release", |world| world.pods().len() == 2).await;
    let orphan = world.fake.object(&Gvr::core("pods"), &ObjectKey::new("web", "orphan")).unwrap();
    assert!(orphan["metadata"]["ownerReferences"].is_null());
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_shows_in_the_status_and_is_tried_again() {
    let world = World::start();
    world.fake.intercept(|method, path| {
        let refused = method == "POST" && path.ends_with("/pods");
        refused.then(|| Status::forbidden("", "pods", "", "exceeded quota"))
    });
    world.set(10);
    let failing = |world: &World| {
        let set = world.fake.object(&REPLICA_SETS.gvr(), &ObjectKey::new("web", "web")).unwrap();
        set["status"]["conditions"][0]["reason"] == "FailedCreate"
    };
    world.until("a condition", failing).await;
    let tries = world.fake.writes().iter().filter(|write| write.starts_with("POST")).count();
    assert!(tries < 10, "{tries} tries: a failing batch stops the rest");
    world.fake.intercept(|_, _| None);
    world.until("10 pods", |world| world.pods().len() == 10).await;
    world.until("no condition", |world| !failing(world)).await;
    world.stop.cancel();
}
