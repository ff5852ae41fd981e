//! The order and the delays of the queue.

use super::{pod, pod_with};
use crate::plugins::Set;
use crate::queue::{Pending, Put, Queue};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

struct Fixture {
    queue: Queue,
    start: Instant,
    templates: crate::pod::Templates,
}

impl Fixture {
    fn new() -> Self {
        Self { queue: Queue::default(), start: Instant::now(), templates: crate::pod::Templates::default() }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn put(&mut self, name: &str, spec: &Value, seconds: f64) -> Put {
        let mut pod = pod(&pod_with(name, spec));
        pod.template = self.templates.share((*pod.template).clone());
        let gate = crate::plugins::gate(&pod.template);
        self.queue.put(pod, gate, self.at(seconds))
    }

    fn pop(&mut self, seconds: f64) -> Option<Box<Pending>> {
        self.queue.pop(self.at(seconds))
    }

    fn name(&mut self, seconds: f64) -> String {
        self.pop(seconds).map(|pending| pending.pod.key.name.to_string()).unwrap_or_default()
    }
}

#[test]
fn higher_priority_first_then_first_come() {
    let mut fixture = Fixture::new();
    fixture.put("a", &json!({}), 0.0);
    fixture.put("b", &json!({ "priority": 5 }), 1.0);
    fixture.put("c", &json!({}), 2.0);
    fixture.put("d", &json!({ "priority": 5 }), 3.0);
    let order: Vec<_> = (0..5).map(|_| fixture.name(4.0)).collect();
    assert_eq!(order.join(" "), "b d a c ");
}

#[test]
fn failed_bindings_back_off_and_double_up_to_ten_seconds() {
    let mut fixture = Fixture::new();
    fixture.put("a", &json!({}), 0.0);
    let mut now = 0.0;
    for delay in [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
        let pending = fixture.pop(now).unwrap();
        let at = fixture.at(now);
        fixture.queue.failed(pending, at);
        assert!(fixture.pop(now + delay - 0.01).is_none());
        now += delay;
        assert_eq!(fixture.queue.deadline(), Some(fixture.at(now)));
    }
}

#[test]
fn without_a_place_a_pod_waits_for_a_change_or_five_minutes() {
    let mut fixture = Fixture::new();
    fixture.put("a", &json!({}), 0.0);
    let pending = fixture.pop(0.0).unwrap();
    let at = fixture.at(0.0);
    fixture.queue.unschedulable(pending, Set::default(), at);
    assert_eq!(fixture.queue.counts(), [0, 0, 1, 0]);
    assert!(fixture.pop(299.0).is_none());
    fixture.queue.wake(fixture.start, |_| false);
    assert_eq!(fixture.queue.counts(), [0, 0, 1, 0]);
    fixture.queue.wake(fixture.start, |_| true);
    assert_eq!(fixture.queue.counts(), [0, 1, 0, 0], "it backs off");
    // Nothing else is to be done, so it need not wait.
    let pending = fixture.pop(0.0).unwrap();
    let at = fixture.at(1.0);
    fixture.queue.unschedulable(pending, Set::default(), at);
    assert_eq!(fixture.queue.deadline(), Some(fixture.at(301.0)));
    assert_eq!(fixture.name(301.0), "a");
}

#[test]
fn one_that_backs_off_gives_way_to_active_ones() {
    let mut fixture = Fixture::new();
    fixture.put("a", &json!({ "priority": 9 }), 0.0);
    let pending = fixture.pop(0.0).unwrap();
    let at = fixture.at(0.0);
    fixture.queue.unschedulable(pending, Set::default(), at);
    fixture.queue.wake(at, |_| true);
    fixture.put("b", &json!({}), 0.5);
    assert_eq!(fixture.name(0.5), "b");
    assert_eq!(fixture.name(0.5), "a");
}

#[test]
fn gates_keep_a_pod_out_until_they_are_gone() {
    let mut fixture = Fixture::new();
    let gated = json!({ "schedulingGates": [{ "name": "quota" }] });
    assert!(matches!(fixture.put("a", &gated, 0.0), Put::Gated(_)));
    assert_eq!(fixture.queue.counts(), [0, 0, 0, 1]);
    assert!(fixture.pop(400.0).is_none());
    assert_eq!(fixture.put("a", &json!({}), 1.0), Put::Queued);
    assert_eq!(fixture.name(1.0), "a");
}

#[test]
fn a_changed_pod_is_tried_again_and_an_equal_one_is_not() {
    let mut fixture = Fixture::new();
    fixture.put("a", &json!({ "cpu": "9" }), 0.0);
    let pending = fixture.pop(0.0).unwrap();
    let at = fixture.at(0.0);
    fixture.queue.unschedulable(pending, Set::default(), at);
    fixture.put("a", &json!({ "cpu": "9" }), 1.0);
    assert_eq!(fixture.queue.counts(), [0, 0, 1, 0]);
    fixture.put("a", &json!({ "cpu": "1" }), 5.0);
    assert_eq!(fixture.queue.counts(), [1, 0, 0, 0]);
}
