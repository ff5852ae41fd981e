//! The rollout engine's rules, each by itself.

use super::revision::{self, Decision, Revision};
use super::*;
use gifee_base::Object;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn bounds_are_numbers_or_percentages() {
    let check = |value: Value, round, expected| assert_eq!(scaled(&value, 10, round, 7), expected, "{value}");
    check(json!(3), Round::Up, 3);
    check(json!(-3), Round::Up, 0);
    check(json!("25%"), Round::Up, 3);
    check(json!("25%"), Round::Down, 2);
    check(json!("100%"), Round::Up, 10);
    check(json!("0%"), Round::Up, 0);
    check(json!("4"), Round::Up, 4);
    check(json!("x"), Round::Up, 7);
    check(json!(null), Round::Down, 7);
    let bounds = Bounds { surge: 0, unavailable: 0 }.passable();
    assert_eq!((bounds.maximum(3), bounds.minimum_available(3), bounds.minimum_available(0)), (3, 2, 0));
}

#[test]
fn what_is_broken_goes_first_and_nothing_beyond_the_room() {
    let group = |size, available| Group { size, available };
    let check = |groups: &[Group], total, available, expected: &[i32]| {
        assert_eq!(pick(groups, Room { total, available }), expected);
    };
    check(&[group(3, 3), group(2, 0)], 5, 1, &[1, 2]);
    check(&[group(3, 3), group(2, 0)], 2, 1, &[0, 2]);
    check(&[group(3, 3), group(2, 0)], 0, 9, &[0, 0]);
    check(&[Group::one(true), Group::one(false), Group::one(true)], i32::MAX, 1, &[1, 1, 0]);
    check(&[Group::one(true), Group::one(false)], i32::MAX, -1, &[0, 1]);
    assert_eq!(grow(10, 12, 10, 0), 2);
    assert_eq!(grow(10, 12, 13, 4), 4);
    assert_eq!(grow(10, 20, 10, 3), 10);
}

#[test]
fn availability_wakes_to_the_instant() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let since = at("2026-01-01T00:00:10Z");
    let check = |now: &str, available, wait: Option<u64>| {
        let now = at(now);
        assert_eq!(availability::available(Some(since), 30, now), available);
        assert_eq!(availability::wake([since].into_iter(), 30, now), wait.map(Duration::from_millis));
    };
    check("2026-01-01T00:00:39.250Z", false, Some(750));
    check("2026-01-01T00:00:40Z", true, None);
    check("2026-01-01T00:00:00Z", false, Some(40_000));
    assert!(availability::available(Some(since), 0, since));
    assert!(!availability::available(None, 0, since));
    let window = Window { since, seconds: 60 };
    assert_eq!(window.left(since + SignedDuration::from_secs(20)), Duration::from_secs(40));
    assert_eq!(window.left(since + SignedDuration::from_secs(90)), Duration::ZERO);
}

fn stored(number: i64, data: &Value) -> Revision {
    let tree = json!({ "metadata": { "name": format!("r{number}") }, "revision": number, "data": data });
    Revision::read(&Arc::new(Object::received(tree.to_string().into()).unwrap())).unwrap()
}

#[test]
fn a_content_has_one_revision() {
    let data = |image: &str| revision::data(&json!({ "spec": { "image": image } }));
    let (one, two) = (data("1"), data("2"));
    let check = |revisions: &[Revision], data: &Value, keep, number, duplicates: &[usize]| {
        let expected = Decision { keep, number, duplicates: duplicates.to_vec() };
        assert_eq!(revision::decide(revisions, data), expected);
    };
    check(&[], &one, None, 1, &[]);
    check(&[stored(1, &one)], &two, None, 2, &[]);
    check(&[stored(1, &one), stored(2, &two)], &two, Some(1), 2, &[]);
    check(&[stored(1, &one), stored(2, &two)], &one, Some(0), 3, &[]);
    check(&[stored(1, &one), stored(2, &two), stored(3, &one)], &one, Some(2), 3, &[0]);
    assert_eq!(stored(1, &one).template(), json!({ "spec": { "image": "1" } }));
}

/// Computed by Go's `hash/fnv`, `encoding/json` and upstream's safe encoding.
#[test]
fn names_are_those_of_upstream() {
    let check = |template: Value, collisions, expected: &str| {
        assert_eq!(revision::hash(&revision::data(&template), collisions), expected);
    };
    check(json!({ "spec": { "containers": [{ "name": "a", "image": "b" }] } }), 0, "5bb8b7fff6");
    check(json!({ "spec": { "containers": [{ "name": "a", "args": ["a<b && c>d"] }] } }), 1, "79489cff5f");
    assert_eq!(revision::name(&"a".repeat(300), "h").len(), 225);
}
