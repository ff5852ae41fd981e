//! Who must leave for a pod of higher priority.

use super::reference::Dice;
use super::{cluster, node_with, object, outcome, pod, pod_with};
use crate::budgets::{Budget, Budgets};
use crate::cluster::Cluster;
use crate::placement::Placement;
use crate::plugins::Set;
use crate::pod::{Life, Pod, Templates};
use crate::preemption::{Outcome, Search};
use crate::profile::Profile;
use crate::ranking::{Ranking, Rankings};
use crate::scheduler::{Nominate, Scheduler, Step};
use gifee_base::ObjectKey;
use serde_json::{Value, json};
use tokio::time::Instant;

fn check(nodes: &[&str], placed: &[(&str, Value)], budgets: &Budgets, spec: &Value, expected: &str) {
    let nodes: Vec<Value> = nodes.iter().map(|name| node_with(name, &json!({}))).collect();
    let mut cluster = cluster(&nodes, placed);
    let before = format!("{:?}", cluster.load(0).requested);
    assert_eq!(outcome(&mut cluster, budgets, &pod(&pod_with("web", spec))), expected);
    assert_eq!(format!("{:?}", cluster.load(0).requested), before, "the cluster is left as it was");
}

fn lower(cpu: &str, priority: i32) -> Value {
    json!({ "cpu": cpu, "priority": priority })
}

#[test]
fn as_few_and_as_unimportant_as_can_be_leave() {
    let none = Budgets::default();
    let web = json!({ "cpu": "500m", "priority": 10 });
    let one = |cpu: &str, priority| ("one", lower(cpu, priority));
    check(&["one"], &[one("400m", 1), one("400m", 2)], &none, &web, "one without placed-0");
    check(
        &["one"],
        &[one("300m", 5), one("300m", 4), one("300m", 3)],
        &none,
        &web,
        "one without placed-1 placed-2",
    );
    check(
        &["one"],
        &[one("600m", 10), one("300m", 3)],
        &none,
        &web,
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Insufficient cpu.",
    );
    let never = json!({ "cpu": "500m", "priority": 10, "preemptionPolicy": "Never" });
    check(
        &["one"],
        &[one("800m", 1)],
        &none,
        &never,
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.",
    );
}

#[test]
fn the_node_that_loses_least_is_chosen() {
    let none = Budgets::default();
    let web = json!({ "cpu": "1", "priority": 10 });
    let two = |first: &[Value], second: &[Value], expected: &str| {
        let on = |name: &'static str, pods: &[Value]| {
            pods.iter().map(|pod| (name, pod.clone())).collect::<Vec<_>>()
        };
        let placed = [on("one", first), on("two", second)].concat();
        check(&["one", "two"], &placed, &none, &web, expected);
    };
    two(&[lower("1", 5)], &[lower("1", 4)], "two without placed-1");
    two(&[lower("500m", 4), lower("500m", 4)], &[lower("1", 4)], "two without placed-2");
    two(
        &[lower("500m", 4), lower("500m", -3)],
        &[lower("500m", 4), lower("500m", -4)],
        "two without placed-2 placed-3",
    );
}

#[test]
fn budgets_spare_their_pods_if_others_will_do() {
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "db", "namespace": "shop" },
        "spec": { "selector": { "matchLabels": { "app": "db" } } }, "status": { "disruptionsAllowed": 0 },
    });
    let mut budgets = Budgets::default();
    budgets.put(ObjectKey::new("shop", "db"), Budget::decode(&object(&budget)).unwrap());
    let nodes = [node_with("one", &json!({}))];
    let mut cluster = cluster(&nodes, &[]);
    for (name, app, priority) in [("db", "db", 1), ("cache", "cache", 2)] {
        let mut tree = pod_with(name, &lower("500m", priority));
        tree["metadata"]["labels"] = json!({ "app": app });
        cluster.place(&pod(&tree), &"one".into(), true);
    }
    let web = pod(&pod_with("web", &json!({ "cpu": "500m", "priority": 10 })));
    assert_eq!(outcome(&mut cluster, &budgets, &web), "one without cache");
    assert_eq!(outcome(&mut cluster, &Budgets::default(), &web), "one without db");
}

/// A scheduler with one full node.
fn full(now: Instant) -> Scheduler {
    let mut scheduler = Scheduler::new("default-scheduler", 1);
    scheduler.replace_nodes(vec![super::node(&node_with("one", &json!({})))], now);
    let low = json!({ "cpu": "900m", "nodeName": "one" });
    scheduler.replace_pods(vec![pod(&pod_with("low", &low))], now);
    scheduler
}

#[test]
fn the_room_is_kept_for_the_nominee() {
    let now = Instant::now();
    let mut scheduler = full(now);
    scheduler.pod_changed(pod(&pod_with("high", &json!({ "cpu": "600m", "priority": 9 }))), now);
    let Some(Step::Report(report)) = scheduler.next(now) else { panic!("a report comes first") };
    assert_eq!(report.nominate, Nominate::Node("one".into()));
    assert_eq!(report.message, "0/1 nodes are available: 1 Insufficient cpu.");
    let Some(Step::Preempt(preemption)) = scheduler.next(now) else { panic!("then others must leave") };
    assert_eq!(preemption.victims.len(), 1);
    // While the victim is told, and while it leaves, nobody else must.
    let mut low = pod_with("low", &json!({ "cpu": "900m", "nodeName": "one" }));
    low["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    low["status"]["conditions"] =
        json!([{ "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler" }]);
    scheduler.pod_changed(pod(&low), now);
    scheduler.preempted(&preemption.pod, false, now);
    let Some(Step::Report(report)) = scheduler.next(now) else { panic!("it waits") };
    assert!(
        report.message.ends_with("due to a terminating pod on the nominated node."),
        "{}",
        report.message
    );
    assert_eq!(report.nominate, Nominate::Keep);
    // Another pod that comes first does not get the room.
    scheduler.pod_removed(&ObjectKey::new("shop", "low"), now);
    let Some(Step::Bind(binding)) = scheduler.next(now) else { panic!("it has a place") };
    assert_eq!(&*binding.pod.key.name, "high");
}

#[test]
fn a_pod_of_lower_priority_does_not_take_the_room() {
    let now = Instant::now();
    let mut scheduler = full(now);
    scheduler.pod_changed(pod(&pod_with("high", &json!({ "cpu": "600m", "priority": 9 }))), now);
    let _ = (scheduler.next(now), scheduler.next(now));
    // The victim goes, but the nominee is not looked at yet: it backs off, and another is active.
    scheduler.pod_changed(pod(&pod_with("small", &json!({ "cpu": "500m" }))), now);
    scheduler.pod_removed(&ObjectKey::new("shop", "low"), now);
    let mut bound = Vec::new();
    while let Some(step) = scheduler.next(now) {
        if let Step::Bind(binding) = step {
            bound.push(binding.pod.key.name.to_string());
        }
    }
    assert_eq!(bound, ["high"]);
    scheduler.pod_removed(&ObjectKey::new("shop", "high"), now);
    assert!(matches!(scheduler.next(now), Some(Step::Bind(_))), "small fits now");
}

#[test]
fn a_nominee_that_goes_leaves_its_room_to_others() {
    let now = Instant::now();
    let mut scheduler = full(now);
    scheduler.pod_changed(pod(&pod_with("high", &json!({ "cpu": "600m", "priority": 9 }))), now);
    let _ = (scheduler.next(now), scheduler.next(now));
    scheduler.pod_removed(&ObjectKey::new("shop", "low"), now);
    // The nominee is gated meanwhile, so it stays a nominee without being tried.
    let gated = json!({ "cpu": "600m", "priority": 9, "schedulingGates": [{ "name": "hold" }] });
    let mut tree = pod_with("high", &gated);
    tree["status"]["nominatedNodeName"] = "one".into();
    scheduler.pod_changed(pod(&tree), now);
    scheduler.pod_changed(pod(&pod_with("small", &json!({ "cpu": "500m" }))), now);
    while let Some(step) = scheduler.next(now) {
        assert!(matches!(step, Step::Report(_)), "{step:?}");
    }
    scheduler.pod_removed(&ObjectKey::new("shop", "high"), now);
    assert!(matches!(scheduler.next(now), Some(Step::Bind(_))), "small fits now");
}

/// What a search comes to: the node and who leaves it, or why there is none; and what stood in the way.
fn found(
    (cluster, profile): (&Cluster, &Profile),
    ranking: &mut Ranking,
    pod: &Pod,
    budgets: &Budgets,
    random: u64,
) -> String {
    let diagnosis = match ranking.choose(cluster, profile, pod, &mut || 0) {
        // Among equals the order decides, which is not the same.
        Placement::Node(_) => return "a place".into(),
        Placement::None(diagnosis) => diagnosis,
    };
    let search = Search { cluster, profile, pod, budgets, random, all: false };
    let mut rejected = Set::default();
    let outcome = match search.find(ranking, &diagnosis, &mut rejected) {
        Outcome::None(why) | Outcome::Waiting(why) => why,
        Outcome::Several(_) => unreachable!("only one is wanted"),
        Outcome::Found(one) => {
            let victims: Vec<&str> = one.victims.iter().map(|(key, _)| &*key.name).collect();
            format!("{} without {} of {}", cluster.node(one.node).name, victims.join(" "), one.violations)
        }
    };
    format!("{outcome} {rejected:?}")
}

/// Something happens that who can leave depends on.
fn change(dice: &mut Dice, cluster: &mut Cluster, budgets: &mut Budgets, templates: &mut Templates) {
    let keys: Vec<ObjectKey> = {
        let mut keys: Vec<_> = cluster.pods().map(|(key, _)| key.clone()).collect();
        keys.sort_by(|one, other| one.name.cmp(&other.name));
        keys
    };
    let node: std::sync::Arc<str> = dice.pick(&["n0", "n1", "n2", "n3"]).into();
    let number = dice.below(1000);
    let mut new = |spec: &Value| {
        let mut new = pod(&pod_with(&format!("new-{number}"), spec));
        new.template = templates.share((*new.template).clone());
        new
    };
    match (dice.below(6), keys.get(usize::try_from(dice.below(8)).unwrap())) {
        (0, Some(key)) => drop(cluster.remove(key)),
        (1, Some(key)) => {
            let life =
                Life { started: i64::try_from(number).unwrap(), deleting: dice.one_in(2), preempted: false };
            cluster.live(key, life);
        }
        (2, _) => {
            let new = new(&lower("300m", i32::try_from(dice.below(4)).unwrap()));
            cluster.place(&new, &node, true);
        }
        (3, _) => {
            let new = new(&json!({ "cpu": "400m", "priority": 5 + dice.below(9) }));
            cluster.nominate(&new.key, &new.template, &node);
        }
        (4, _) => {
            let budget = json!({
                "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "b", "namespace": "shop" },
                "spec": { "selector": { "matchExpressions": [{ "key": "app", "operator": dice.pick(&["Exists", "DoesNotExist"]) }] } },
                "status": { "disruptionsAllowed": dice.below(2) },
            });
            budgets.put(ObjectKey::new("shop", "b"), Budget::decode(&object(&budget)).unwrap());
        }
        _ => {
            let cpu = json!({ "status": { "allocatable": { "cpu": dice.pick(&["1", "2"]) } } });
            cluster.put_node(super::node(&node_with(&node, &cpu)));
        }
    }
}

#[test]
fn what_equal_pods_share_is_what_each_would_find_alone() {
    for seed in 0..80 {
        let mut dice = Dice(seed);
        let nodes: Vec<Value> = (0..4).map(|at| node_with(&format!("n{at}"), &json!({}))).collect();
        let placed: Vec<(String, Value)> = (0..8)
            .map(|_| (format!("n{}", dice.below(4)), lower("300m", i32::try_from(dice.below(4)).unwrap())))
            .collect();
        let placed: Vec<(&str, Value)> =
            placed.iter().map(|(node, spec)| (node.as_str(), spec.clone())).collect();
        let mut cluster = cluster(&nodes, &placed);
        let (mut budgets, mut templates) = (Budgets::default(), Templates::default());
        let profile = Profile { candidates: (0, 2), ..Profile::new("default-scheduler") };
        let mut rankings = Rankings::default();
        for number in 0..30 {
            let cpu = dice.pick(&["700m", "900m"]);
            let mut one = pod(&pod_with(&format!("web-{number}"), &json!({ "cpu": cpu, "priority": 7 })));
            one.template = templates.share((*one.template).clone());
            if dice.one_in(3) {
                let node: std::sync::Arc<str> = dice.pick(&["n0", "n1", "n2", "n3"]).into();
                cluster.nominate(&one.key, &one.template, &node);
                one.nominated = Some(node);
            }
            let random = dice.below(100);
            let spread = crate::selectors::Selectors::default().spread(&profile, &one.template);
            let ranking = rankings.of(&mut cluster, &profile, &one, spread.clone());
            let shared = found((&cluster, &profile), ranking, &one, &budgets, random);
            let mut alone = Ranking::new(&mut cluster, &profile, &one, spread, None);
            let alone = found((&cluster, &profile), &mut alone, &one, &budgets, random);
            assert_eq!(shared, alone, "seed {seed}, pod {number}");
            change(&mut dice, &mut cluster, &mut budgets, &mut templates);
        }
    }
}
