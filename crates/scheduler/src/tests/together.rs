//! Groups of pods that start together, and what pods without a place are told.

use super::{merge, node, node_with, object, pod, pod_with};
use crate::scheduler::{Scheduler, Step};
use gifee_base::ObjectKey;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

fn scheduler(nodes: &[&str], now: Instant) -> Scheduler {
    let mut scheduler = Scheduler::new("default-scheduler", 1);
    scheduler.replace_nodes(nodes.iter().map(|name| node(&node_with(name, &json!({})))).collect(), now);
    scheduler.replace_pods(Vec::new(), now);
    scheduler
}

fn member(name: &str) -> Value {
    pod_with(name, &json!({ "cpu": "600m", "schedulingGroup": { "podGroupName": "gang" } }))
}

fn create_group(scheduler: &mut Scheduler, least: u64, now: Instant) {
    let group = json!({ "apiVersion": "scheduling.k8s.io/v1beta1", "kind": "PodGroup",
        "metadata": { "name": "gang", "namespace": "shop" },
        "spec": { "schedulingPolicy": { "gang": { "minCount": least } } } });
    scheduler.cluster.groups.put(&object(&group)).unwrap();
    scheduler.group_changed(ObjectKey::new("shop", "gang"), now);
}

/// Names of the pods that are bound, and the messages of others, until there is nothing to do.
fn all(scheduler: &mut Scheduler, now: Instant) -> (Vec<String>, Vec<String>) {
    let (mut bound, mut messages) = (Vec::new(), Vec::new());
    while let Some(step) = scheduler.next(now) {
        match step {
            Step::Bind(binding) => bound.push(binding.pod.key.name.to_string()),
            Step::Report(report) => messages.push(report.message),
            Step::Group(report) => messages.push(format!("group {}: {}", report.scheduled, report.message)),
            Step::Preempt(_) | Step::Deallocate(_) | Step::Ask(_) => panic!("nobody is to leave"),
        }
        assert!(bound.len() + messages.len() < 100, "it comes to rest");
    }
    bound.sort();
    (bound, messages)
}

#[test]
fn as_many_as_must_start_get_places_or_none() {
    let mut now = Instant::now();
    let mut scheduler = scheduler(&["one", "two"], now);
    scheduler.pod_changed(pod(&member("a")), now);
    let (bound, messages) = all(&mut scheduler, now);
    assert_eq!((bound, messages), (Vec::new(), Vec::new()), "it waits without a word");
    create_group(&mut scheduler, 3, now);
    now += Duration::from_secs(20);
    let (bound, messages) = all(&mut scheduler, now);
    assert_eq!((bound, messages), (Vec::new(), Vec::new()), "it waits without a word");
    for name in ["b", "c"] {
        scheduler.pod_changed(pod(&member(name)), now);
    }
    now += Duration::from_secs(20);
    let (bound, messages) = all(&mut scheduler, now);
    assert_eq!(bound, Vec::<String>::new(), "there is room for two of three");
    let why = "pod group is unschedulable, minCount (3) cannot be satisfied: 2 scheduled, 0 remaining";
    assert_eq!(messages.iter().filter(|one| *one == why).count(), 2, "{messages:?}");
    assert!(messages.contains(&format!("group false: {why}")), "{messages:?}");
    assert!(messages.iter().any(|one| one.contains("2 Insufficient cpu")), "{messages:?}");
    // The room is not kept for them.
    scheduler.pod_changed(pod(&pod_with("other", &json!({ "cpu": "600m" }))), now);
    assert_eq!(all(&mut scheduler, now).0, ["other"]);
    scheduler.pod_removed(&ObjectKey::new("shop", "other"), now);
    scheduler.node_changed(node(&node_with("three", &json!({}))), now);
    now += Duration::from_secs(20);
    let (bound, messages) = all(&mut scheduler, now);
    assert_eq!(bound, ["a", "b", "c"]);
    assert_eq!(messages, ["group true: "]);
    // One more than must start is decided on by itself.
    scheduler.pod_changed(pod(&member("d")), now);
    scheduler.node_changed(node(&node_with("four", &json!({}))), now);
    now += Duration::from_secs(20);
    assert_eq!(all(&mut scheduler, now).0, ["d"]);
}

#[test]
fn others_leave_for_a_group_as_a_whole_or_stay() {
    let check = |least: u64, expected: &[&str]| {
        let mut now = Instant::now();
        let mut scheduler = scheduler(&["one", "two"], now);
        for (name, node) in [("low-1", "one"), ("low-2", "two")] {
            let mut low = pod_with(name, &json!({ "cpu": "600m" }));
            low["spec"]["nodeName"] = node.into();
            scheduler.pod_changed(pod(&low), now);
        }
        create_group(&mut scheduler, least, now);
        for name in ["a", "b", "c"] {
            let mut one = member(name);
            one["spec"]["priority"] = 9.into();
            scheduler.pod_changed(pod(&one), now);
        }
        let (mut leave, mut told) = (Vec::new(), Vec::new());
        while let Some(step) = scheduler.next(now) {
            match step {
                Step::Preempt(one) => {
                    leave.extend(one.victims.iter().map(|(key, _)| key.name.to_string()));
                    scheduler.preempted(&one.pod, true, now);
                }
                Step::Group(report) => told.push(report.message),
                Step::Report(_) => {}
                other => panic!("{other:?}"),
            }
        }
        leave.sort();
        assert_eq!(leave, expected, "{told:?}");
        for name in expected {
            scheduler.pod_removed(&ObjectKey::new("shop", name), now);
        }
        now += Duration::from_secs(20);
        let (bound, messages) = all(&mut scheduler, now);
        assert_eq!(bound.len(), expected.len(), "{messages:?}");
    };
    // There is room for two at most, even without the others.
    check(3, &[]);
    check(2, &["low-1", "low-2"]);
}

#[test]
fn the_least_change_is_advised() {
    let check = |nodes: &[Value], spec: Value, expected: Option<&str>| {
        let now = Instant::now();
        let mut scheduler = scheduler(&[], now);
        nodes.iter().for_each(|tree| scheduler.node_changed(node(tree), now));
        scheduler.pod_changed(pod(&pod_with("web", &spec)), now);
        let Some(Step::Report(report)) = scheduler.next(now) else { panic!("it has a place") };
        assert_eq!(report.advice.as_deref(), expected, "{spec}");
        // Another time there is nothing new to say.
        let mut changed = pod_with("web", &spec);
        merge(&mut changed, &json!({ "metadata": { "labels": { "new": "yes" } } }));
        scheduler.pod_changed(pod(&changed), now);
        let Some(Step::Report(report)) = scheduler.next(now + Duration::from_secs(20)) else {
            panic!("it has a place")
        };
        assert_eq!(report.advice, None);
    };
    let larger = node_with("two", &json!({ "status": { "allocatable": { "cpu": "1500m" } } }));
    let nodes = [node_with("one", &json!({})), larger];
    check(&nodes, json!({ "cpu": "2" }), Some("It would fit on two with 500m more cpu."));
    check(
        &nodes[..1],
        json!({ "cpu": "1200m", "memory": "1025Mi" }),
        Some("It would fit on one with 200m more cpu and 1Mi more memory."),
    );
    let tainted = json!({ "spec": { "taints": [{ "key": "own", "value": "db", "effect": "NoSchedule" }] } });
    let advice = "It would fit on one with a toleration of own=db:NoSchedule.";
    check(&[node_with("one", &tainted)], json!({}), Some(advice));
    check(&[node_with("one", &tainted)], json!({ "cpu": "2" }), None);
    let cordoned = node_with("one", &json!({ "spec": { "unschedulable": true } }));
    check(&[cordoned], json!({}), Some("It would fit on one with `kubectl uncordon one`."));
}

/// A scheduler of three nodes whose extender has been asked about the first of a group of two.
fn asked(now: Instant) -> (Scheduler, crate::extender::Question) {
    let configured = crate::configuration::read(&json!({ "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "extenders": [{ "urlPrefix": "http://127.0.0.1:1", "filterVerb": "filter", "nodeCacheCapable": true }] }));
    let mut scheduler = Scheduler::new("default-scheduler", 1).with_extenders(configured.unwrap().extenders);
    let nodes = ["one", "two", "three"].map(|name| node(&node_with(name, &json!({}))));
    scheduler.replace_nodes(nodes.into(), now);
    scheduler.replace_pods(Vec::new(), now);
    create_group(&mut scheduler, 2, now);
    for name in ["a", "b"] {
        scheduler.pod_changed(pod(&member(name)), now);
    }
    let Some(Step::Ask(question)) = scheduler.next(now) else { panic!("its extender is asked") };
    (scheduler, question)
}

fn only(node: &str) -> crate::extender::Answer {
    crate::extender::Answer { nodes: vec![(node.into(), 0)], ..Default::default() }
}

#[test]
fn extenders_have_a_say_in_where_a_group_goes() {
    let now = Instant::now();
    let (mut scheduler, question) = asked(now);
    assert_eq!((&*question.pod.key.name, question.nodes.len()), ("a", 3));
    assert!(scheduler.next(now).is_none(), "nothing else is decided meanwhile");
    scheduler.answered(&question.pod.key, only("two"), now);
    let Some(Step::Ask(question)) = scheduler.next(now) else { panic!("then about the other") };
    let nodes: Vec<&str> = question.nodes.iter().map(|name| &**name).collect();
    assert_eq!((&*question.pod.key.name, nodes), ("b", vec!["one", "three"]), "two is full with a");
    scheduler.answered(&question.pod.key, only("three"), now);
    let (bound, messages) = all(&mut scheduler, now);
    assert_eq!((bound, messages), (vec!["a".to_owned(), "b".to_owned()], vec!["group true: ".to_owned()]));

    // Of a group of which extenders leave one without a place none gets one.
    let (mut scheduler, question) = asked(now);
    scheduler.answered(&question.pod.key, only("two"), now);
    let Some(Step::Ask(question)) = scheduler.next(now) else { panic!("then about the other") };
    scheduler.answered(&question.pod.key, crate::extender::Answer::default(), now);
    let (bound, messages) = all(&mut scheduler, now);
    let why = "pod group is unschedulable, minCount (2) cannot be satisfied: 1 scheduled, 0 remaining";
    assert_eq!(bound, Vec::<String>::new());
    assert!(messages.contains(&why.to_owned()), "{messages:?}");
    assert!(scheduler.cluster.pods().next().is_none());
}

#[test]
fn a_member_that_goes_while_extenders_are_asked_is_forgotten() {
    let now = Instant::now();
    for first in [true, false] {
        let (mut scheduler, question) = asked(now);
        let gone = if first { question.pod.key.clone() } else { ObjectKey::new("shop", "b") };
        scheduler.pod_removed(&gone, now);
        scheduler.answered(&question.pod.key, only("two"), now);
        let mut steps = 0;
        while let Some(step) = scheduler.next(now) {
            steps += 1;
            assert!(steps < 20, "it comes to rest");
            match step {
                Step::Ask(question) => scheduler.answered(&question.pod.key, only("one"), now),
                Step::Bind(binding) => panic!("{} has a place alone", binding.pod.key),
                Step::Report(report) => assert_ne!(report.pod.key, gone),
                _ => {}
            }
        }
        assert!(scheduler.queue.get(&gone).is_none());
        assert!(scheduler.cluster.pods().next().is_none());
    }
}
