//! Who goes, and what it is told, by table.

use std::collections::BTreeSet;

use gifee_oci::Image;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::images::{Known, needed};
use super::limits::{Taken, exceeded, limited};
use super::plan::{Candidate, Part, Reading, Signal, message, victim};
use crate::config::ImageCollection;
use crate::usage::Room;

fn candidate(uid: &str, priority: i64, used: i64, requested: i64) -> Candidate {
    Candidate { uid: uid.to_owned(), priority, used, requested, parts: Vec::new() }
}

#[test]
fn who_takes_more_than_it_asked_for_goes_first() {
    let check = |all: &[(&str, i64, i64, i64)], expect: Option<&str>| {
        let all = all.iter().map(|(uid, priority, used, asked)| candidate(uid, *priority, *used, *asked));
        assert_eq!(victim(all.collect()).map(|one| one.uid).as_deref(), expect);
    };
    check(&[("modest", 0, 5, 10), ("greedy", 100, 6, 5)], Some("greedy"));
    check(&[("important", 100, 60, 5), ("ordinary", 0, 6, 5)], Some("ordinary"));
    check(&[("a", 0, 10, 5), ("b", 0, 100, 5), ("c", 0, 12, 0)], Some("b"));
    check(&[("a", 0, 1, 5), ("b", 0, 4, 5)], Some("b"));
    check(&[("critical", 2_000_000_000, 100, 0)], None);
    check(&[], None);
}

#[test]
fn it_is_told_in_upstreams_words() {
    let parts = [("main", 300 << 20, 200 << 20), ("other", 1, 5)];
    let parts = parts.map(|(name, used, requested)| Part { name: name.to_owned(), used, requested });
    let one = Candidate { parts: parts.to_vec(), ..Candidate::default() };
    let reading = Reading { signal: Signal::Memory, available: 50 << 20, threshold: 100 << 20 };
    assert!(reading.low());
    assert_eq!(
        message(&reading, &one),
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. \
         Container main was using 300Mi, request is 200Mi, has larger consumption of memory. "
    );
}

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({ "metadata": { "name": "p" }, "spec": spec })).unwrap()
}

#[test]
fn limits_of_the_disk_are_held() {
    let limit = |text: &str| json!({ "limits": { "ephemeral-storage": text } });
    let check = |spec: Value, containers: &[(&str, i64)], volumes: &[(&str, i64)], expect: Option<&str>| {
        let list =
            |all: &[(&str, i64)]| all.iter().map(|(name, mib)| ((*name).to_owned(), mib << 20)).collect();
        let taken = Taken { containers: list(containers), volumes: list(volumes) };
        let one = pod(spec);
        assert_eq!(exceeded(&one, &taken).as_deref(), expect);
        assert!(expect.is_none() || limited(&one));
    };
    let volume =
        |source: Value| json!({ "containers": [], "volumes": [{ "name": "v", "emptyDir": source }] });
    let said = "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ";
    check(volume(json!({ "sizeLimit": "1Mi" })), &[], &[("v", 2)], Some(said));
    check(volume(json!({ "sizeLimit": "1Mi" })), &[], &[("v", 1)], None);
    check(volume(json!({ "sizeLimit": "1Mi", "medium": "Memory" })), &[], &[], None);
    check(volume(json!({})), &[], &[("v", 2000)], None);
    let two = json!({ "containers": [
        { "name": "a", "resources": limit("1Mi") }, { "name": "b", "resources": limit("3Mi") }] });
    let said = "Container a exceeded its local ephemeral storage limit \"1Mi\". ";
    check(two.clone(), &[("a", 2), ("b", 1)], &[], Some(said));
    let said = "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ";
    check(two.clone(), &[("a", 1), ("b", 1)], &[("v", 3)], Some(said));
    check(two, &[("a", 1), ("b", 3)], &[], None);
    assert!(!limited(&pod(
        json!({ "containers": [{ "name": "a" }], "volumes": [{ "name": "v", "emptyDir": {} }] })
    )));
}

fn image(id: &str, size: u64, pulled: bool) -> Image {
    let digests = if pulled { vec![format!("{id}@sha256:1")] } else { Vec::new() };
    Image {
        id: id.to_owned(),
        names: Vec::new(),
        digests,
        size,
        layers: Vec::new(),
        config: Default::default(),
    }
}

#[test]
fn the_longest_unused_images_go() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let images = [image("a", 10, true), image("b", 10, true), image("c", 10, true), image("own", 10, false)];
    let used = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
    let usual = ImageCollection::default();
    let mut known = Known::default();
    // What is new stays.
    assert_eq!(known.choose(&images, &used(&["c"]), 100, &usual, at(0)), Vec::<String>::new());
    assert_eq!(known.choose(&images, &used(&["c", "a"]), 100, &usual, at(60)), Vec::<String>::new());
    assert_eq!(known.choose(&images, &used(&["c"]), 1, &usual, at(200)), ["b"]);
    // What was not pulled could not be had again.
    assert_eq!(known.choose(&images, &used(&[]), 100, &usual, at(300)), ["b", "a", "c"]);
    assert_eq!(known.choose(&images, &used(&[]), 0, &usual, at(300)), Vec::<String>::new());
}

#[test]
fn images_go_when_the_disk_is_fuller_than_it_is_to_be() {
    let usual = ImageCollection::default();
    let room = |used: u64| Room { capacity: 1000, available: 1000 - used, used, inodes: 0, inodes_free: 0 };
    assert_eq!(needed(room(840), &usual), 0);
    assert_eq!(needed(room(900), &usual), 100);
    assert_eq!(needed(Room::default(), &usual), 0);
}
