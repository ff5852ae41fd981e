//! Claims of devices: who gets which, what is said to those that get none, and a plain reference.

use super::reference::{Dice, list, text};
use super::{merge, node, node_with, object, pod, pod_with};
use crate::devices::Kind;
use crate::pod::Pod;
use crate::scheduler::{Binding, Scheduler, Step};
use gifee_base::ObjectKey;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

fn kind(tree: &Value) -> Kind {
    match text(&tree["kind"]) {
        "ResourceClaim" => Kind::Claim,
        "DeviceClass" => Kind::Class,
        "ResourceSlice" => Kind::Slice,
        _ => Kind::Rule,
    }
}

fn class(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": { "name": name }, "spec": spec })
}

/// A slice of the driver `gpu.example.com` with a pool of its name.
fn slice(name: &str, spec: &Value) -> Value {
    let mut tree = json!({ "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": { "name": name },
        "spec": { "driver": "gpu.example.com",
            "pool": { "name": name, "generation": 1, "resourceSliceCount": 1 } } });
    merge(&mut tree["spec"], spec);
    tree
}

/// A slice of a node's own, with devices.
fn local(node: &str, devices: &Value) -> Value {
    slice(node, &json!({ "nodeName": node, "devices": devices }))
}

fn claim(name: &str, devices: &Value) -> Value {
    json!({ "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": { "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "1" },
        "spec": { "devices": devices } })
}

fn request(name: &str, exactly: &Value) -> Value {
    let mut one = json!({ "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1 });
    merge(&mut one, exactly);
    json!({ "name": name, "exactly": one })
}

fn asks(name: &str, requests: &[Value]) -> Value {
    claim(name, &json!({ "requests": requests }))
}

fn using(name: &str, claims: &[&str]) -> Value {
    let claims: Vec<Value> =
        claims.iter().map(|claim| json!({ "name": claim, "resourceClaimName": claim })).collect();
    pod_with(name, &json!({ "resourceClaims": claims }))
}

fn scheduler(nodes: &[&str], stored: &[Value], now: Instant) -> Scheduler {
    let mut scheduler = Scheduler::new("default-scheduler", 1);
    let zone = |at: usize| json!({ "metadata": { "labels": { "zone": if at == 0 { "a" } else { "b" } } } });
    let nodes = nodes.iter().enumerate().map(|(at, name)| node(&node_with(name, &zone(at))));
    scheduler.replace_nodes(nodes.collect(), now);
    scheduler.replace_pods(Vec::new(), now);
    stored.iter().for_each(|tree| put(&mut scheduler, tree, now));
    scheduler
}

fn put(scheduler: &mut Scheduler, tree: &Value, now: Instant) {
    scheduler.device_put(kind(tree), &object(tree), now).unwrap();
}

fn next(scheduler: &mut Scheduler, now: Instant) -> Result<Box<Binding>, String> {
    match scheduler.next(now) {
        Some(Step::Bind(binding)) => Ok(Box::new(binding)),
        Some(Step::Report(report)) => Err(report.message),
        Some(other) => panic!("{other:?}"),
        None => Err("it waits".into()),
    }
}

/// The devices that a binding gives, as `request:device` and `!` before those with admin access.
fn given(binding: &Binding) -> String {
    let results = binding.devices.iter().flat_map(|one| {
        let tree = one.allocation.as_ref().map(|one| one.tree.clone()).unwrap_or_default();
        list(&tree["devices"]["results"]).cloned().collect::<Vec<_>>()
    });
    let named = results.map(|one| {
        let admin = if one["adminAccess"] == true { "!" } else { "" };
        format!("{admin}{}:{}/{}", text(&one["request"]), text(&one["pool"]), text(&one["device"]))
    });
    named.collect::<Vec<_>>().join(" ")
}

/// What one pod with a claim `c` comes to: its node and devices, or the reason.
fn check(stored: &[Value], expected: &str) {
    let now = Instant::now();
    let mut scheduler = scheduler(&["one", "two"], stored, now);
    scheduler.pod_changed(pod(&using("web", &["c"])), now);
    let outcome = match next(&mut scheduler, now) {
        Ok(binding) => format!("{} {}", binding.node, given(&binding)),
        Err(message) => {
            let message = message.trim_start_matches("0/2 nodes are available: ").to_owned();
            message.split(" preemption: ").next().unwrap_or_default().to_owned()
        }
    };
    assert_eq!(outcome, expected, "{stored:#?}");
}

fn gpu() -> Value {
    class("gpu", &json!({ "selectors": [{ "cel": { "expression": "device.driver == 'gpu.example.com'" } }] }))
}

const NONE: &str = "2 cannot allocate all claims. still not schedulable,";

#[test]
fn devices_are_found_where_they_are() {
    let (a, ab) = (json!([{ "name": "a" }]), json!([{ "name": "a" }, { "name": "b" }]));
    let one = || asks("c", &[request("r", &json!({}))]);
    let two = || asks("c", &[request("r", &json!({ "count": 2 }))]);
    check(&[gpu(), local("two", &a), one()], "two r:two/a");
    check(&[gpu(), local("two", &a), local("one", &ab), two()], "one r:one/a r:one/b");
    check(&[gpu(), local("two", &a), two()], NONE);
    check(&[gpu(), one()], NONE);
    let everywhere = slice("net", &json!({ "allNodes": true, "devices": [{ "name": "a" }] }));
    check(&[gpu(), everywhere, local("one", &a), two()], "one r:net/a r:one/a");
    let zone = json!({ "nodeSelectorTerms": [{ "matchExpressions": [
        { "key": "zone", "operator": "In", "values": ["b"] }] }] });
    check(&[gpu(), slice("z", &json!({ "nodeSelector": zone, "devices": a })), one()], "two r:z/a");
    let each = json!({ "perDeviceNodeSelection": true,
        "devices": [{ "name": "a", "nodeName": "elsewhere" }, { "name": "b", "nodeSelector": zone }] });
    check(&[gpu(), slice("p", &each), one()], "two r:p/b");
    check(
        &[local("one", &a), one()],
        "request r: device class gpu does not exist. no new claims to deallocate,",
    );
    let all = asks("c", &[request("r", &json!({ "allocationMode": "All" }))]);
    check(&[gpu(), local("two", &ab), all.clone()], "two r:two/a r:two/b");
    let admin = asks("c", &[request("r", &json!({ "adminAccess": true, "allocationMode": "All" }))]);
    check(&[gpu(), local("two", &ab), admin], "two !r:two/a !r:two/b");
    // Old slices of a pool do not count, nor one of which some are missing where all are wanted.
    let newer =
        slice("x", &json!({ "pool": { "name": "two", "generation": 2 }, "nodeName": "two", "devices": ab }));
    check(&[gpu(), local("two", &json!([{ "name": "old" }])), newer, one()], "two r:two/a");
    let part = slice("part", &json!({ "pool": { "resourceSliceCount": 2 }, "allNodes": true, "devices": a }));
    check(&[gpu(), part.clone(), one()], "two r:part/a");
    let why = "running \"DynamicResources\" filter plugin: claim shop/c, request r: asks for all devices, but resource pool \
               gpu.example.com/part is currently being updated";
    check(&[gpu(), part, all], why);
    let twice = json!([{ "name": "a" }, { "name": "a" }]);
    check(
        &[gpu(), slice("t", &json!({ "allNodes": true, "devices": twice })), one()],
        "2 invalid resource pools were encountered. still not schedulable,",
    );
}

#[test]
fn expressions_constraints_and_taints_select() {
    let devices = json!([
        { "name": "a", "attributes": { "numa": { "int": 0 }, "v": { "version": "1.2.0" } }, "capacity": { "memory": { "value": "8Gi" } } },
        { "name": "b", "attributes": { "numa": { "int": 1 } }, "capacity": { "memory": { "value": "16Gi" } } },
        { "name": "c", "attributes": { "numa": { "int": 1 }, "x.example.com/good": { "bool": true } },
            "taints": [{ "key": "broken", "value": "yes", "effect": "NoSchedule" }, { "key": "old", "effect": "None" }] },
    ]);
    let stored = |claim: Value| vec![gpu(), local("one", &devices), claim];
    let selecting = |expression: &str, more: Value| {
        let mut one = json!({ "selectors": [{ "cel": { "expression": expression } }] });
        merge(&mut one, &more);
        stored(asks("c", &[request("r", &one)]))
    };
    let own = "device.attributes['gpu.example.com']";
    check(&selecting(&format!("{own}.numa == 1"), json!({})), "one r:one/b");
    check(
        &selecting(&format!("has({own}.v) && {own}.v.isGreaterThan(semver('1.0.0'))"), json!({})),
        "one r:one/a",
    );
    let size = "device.capacity['gpu.example.com'].memory.compareTo(quantity('10Gi')) >= 0";
    check(
        &selecting(&format!("has(device.capacity['gpu.example.com'].memory) && {size}"), json!({})),
        "one r:one/b",
    );
    let good = "has(device.attributes['x.example.com'].good)";
    check(&selecting(good, json!({})), NONE);
    let bears = json!({ "tolerations": [{ "key": "broken", "operator": "Equal", "value": "yes" }] });
    check(&selecting(good, bears), "one r:one/c");
    let why = "running \"DynamicResources\" filter plugin: claim shop/c: selector #0: CEL runtime error: no such key: v";
    check(&selecting(&format!("{own}.v.major() == 1 || {own}.numa == 7"), json!({ "count": 2 })), why);
    let constrained = |kind: &str| {
        let constraint = json!({ kind: "gpu.example.com/numa" });
        let any = json!({ "tolerations": [{ "operator": "Exists" }] });
        let requests = json!([request("r", &any), request("s", &any)]);
        stored(claim("c", &json!({ "requests": requests, "constraints": [constraint] })))
    };
    check(&constrained("matchAttribute"), "one r:one/b s:one/c");
    check(&constrained("distinctAttribute"), "one r:one/a s:one/b");
    let rule = json!({ "apiVersion": "resource.k8s.io/v1", "kind": "DeviceTaintRule", "metadata": { "name": "r" },
        "spec": { "deviceSelector": { "pool": "one", "device": "a" },
            "taint": { "key": "k", "effect": "NoExecute" } } });
    check(&[stored(asks("c", &[request("r", &json!({}))])), vec![rule]].concat(), "one r:one/b");
}

#[test]
fn alternatives_counters_and_shares() {
    let sub = |name: &str, count: u64| json!({ "name": name, "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count });
    let ranked = asks("c", &[json!({ "name": "r", "firstAvailable": [sub("two", 2), sub("one", 1)] })]);
    let a = json!([{ "name": "a" }]);
    check(&[gpu(), local("one", &a), ranked.clone()], "one r/one:one/a");
    // The node with the better alternative is preferred.
    let ab = json!([{ "name": "a" }, { "name": "b" }]);
    check(&[gpu(), local("one", &a), local("two", &ab), ranked], "two r/two:two/a r/two:two/b");
    let consumes = |name: &str, memory: &str| json!({ "name": name, "consumesCounters": [{ "counterSet": "m", "counters": { "memory": { "value": memory } } }] });
    let parts = slice(
        "one",
        &json!({ "nodeName": "one", "sharedCounters": [{ "name": "m", "counters": { "memory": { "value": "10Gi" } } }],
            "devices": [consumes("whole", "10Gi"), consumes("half", "5Gi"), consumes("other", "5Gi")] }),
    );
    let two = asks("c", &[request("r", &json!({ "count": 2 }))]);
    check(&[gpu(), parts.clone(), two], "one r:one/half r:one/other");
    check(&[gpu(), parts, asks("c", &[request("r", &json!({ "count": 3 }))])], NONE);
    let shared = local(
        "one",
        &json!([{ "name": "nic", "allowMultipleAllocations": true, "capacity": { "bandwidth": { "value": "10",
            "requestPolicy": { "default": "1", "validRange": { "min": "1", "step": "2", "max": "9" } } } } }]),
    );
    let wants = |amount: &str| json!({ "capacity": { "requests": { "bandwidth": amount } } });
    let both = asks("c", &[request("r", &wants("4")), request("s", &wants("5"))]);
    check(&[gpu(), shared.clone(), both], "one r:one/nic s:one/nic");
    let much = asks("c", &[request("r", &wants("6")), request("s", &wants("5"))]);
    check(&[gpu(), shared, much], NONE);
}

#[test]
fn a_device_goes_to_one_claim_and_comes_back() {
    let now = Instant::now();
    let devices = local("one", &json!([{ "name": "a" }]));
    let claims = ["c", "d"].map(|name| asks(name, &[request("r", &json!({}))]));
    let mut scheduler = scheduler(&["one", "two"], &[vec![gpu(), devices], claims.to_vec()].concat(), now);
    scheduler.pod_changed(pod(&using("first", &["c"])), now);
    scheduler.pod_changed(pod(&using("sharing", &["c"])), now);
    scheduler.pod_changed(pod(&using("second", &["d"])), now);
    let binding = next(&mut scheduler, now).unwrap();
    assert_eq!(given(&binding), "r:one/a");
    let selector = &binding.devices[0].allocation.as_ref().unwrap().tree["nodeSelector"];
    assert_eq!(selector["nodeSelectorTerms"][0]["matchFields"][0]["values"], json!(["one"]));
    let message = next(&mut scheduler, now).unwrap_err();
    assert!(message.contains("resource claim shop/c is in the process of being allocated"), "{message}");
    let message = next(&mut scheduler, now).unwrap_err();
    assert!(message.contains("2 cannot allocate all claims"), "{message}");
    // It cannot be written, and another gets it.
    scheduler.forget_devices(&binding.devices, now);
    scheduler.bind_failed(&binding.pod, true, now);
    let later = now + Duration::from_secs(20);
    let binding = next(&mut scheduler, later).unwrap();
    assert_eq!(given(&binding), "r:one/a");
    // The API says so; then a pod that shares the claim goes where its device is.
    let own: ObjectKey = binding.devices[0].key.clone();
    scheduler.cluster.devices.written(&binding.devices[0], 7);
    let mut written = claims.iter().find(|one| text(&one["metadata"]["name"]) == &*own.name).unwrap().clone();
    written["metadata"]["resourceVersion"] = "7".into();
    written["status"] = json!({ "allocation": binding.devices[0].allocation.as_ref().unwrap().tree,
        "reservedFor": [{ "resource": "pods", "name": &*binding.pod.key.name, "uid": &*binding.pod.uid }] });
    put(&mut scheduler, &written, later);
    assert_eq!(scheduler.cluster.devices.holders().map(|(_, count)| count).collect::<Vec<_>>(), [1]);
    scheduler.pod_changed(pod(&using("joining", &[&own.name])), later);
    let mut bound = Vec::new();
    loop {
        match next(&mut scheduler, later) {
            Err(why) if why == "it waits" => break,
            Err(_) => {}
            Ok(binding) => {
                assert!(binding.devices[0].allocation.is_none());
                bound.push((binding.pod.key.name.to_string(), binding.node.to_string()));
            }
        }
    }
    assert!(bound.contains(&("joining".into(), "one".into())), "{bound:?}");
    // Deallocated: whoever waits for the device gets it.
    let before = scheduler.queue.counts();
    assert_eq!(before[2], 1, "{before:?}");
    written["status"] = json!({});
    written["metadata"]["resourceVersion"] = "8".into();
    put(&mut scheduler, &written, later);
    assert_eq!(scheduler.cluster.devices.holders().count(), 0);
    let binding = next(&mut scheduler, later + Duration::from_secs(20)).unwrap();
    assert_eq!(given(&binding), "r:one/a");
}

#[test]
fn pods_wait_for_their_claims_without_a_word() {
    let now = Instant::now();
    let mut scheduler = scheduler(&["one"], &[gpu(), local("one", &json!([{ "name": "a" }]))], now);
    let mut web =
        pod_with("web", &json!({ "resourceClaims": [{ "name": "g", "resourceClaimTemplateName": "t" }] }));
    scheduler.pod_changed(pod(&web), now);
    assert!(scheduler.next(now).is_none());
    web["status"]["resourceClaimStatuses"] = json!([{ "name": "g", "resourceClaimName": "web-g" }]);
    scheduler.pod_changed(pod(&web), now);
    assert!(scheduler.next(now).is_none());
    let mut made = asks("web-g", &[request("r", &json!({}))]);
    put(&mut scheduler, &made, now);
    assert!(scheduler.next(now).is_none(), "it is somebody else's");
    made["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "uid-web", "controller": true }]);
    put(&mut scheduler, &made, now);
    assert_eq!(given(&next(&mut scheduler, now).unwrap()), "r:one/a");
}

#[test]
fn a_claim_elsewhere_that_nobody_uses_gives_up_its_devices() {
    let now = Instant::now();
    let mut held = asks("c", &[request("r", &json!({}))]);
    let selector = json!({ "nodeSelectorTerms": [{ "matchFields": [
        { "key": "metadata.name", "operator": "In", "values": ["gone"] }] }] });
    let result = json!({ "request": "r", "driver": "gpu.example.com", "pool": "gone", "device": "a" });
    held["status"] =
        json!({ "allocation": { "nodeSelector": selector, "devices": { "results": [result] } } });
    let mut scheduler =
        scheduler(&["one"], &[gpu(), local("one", &json!([{ "name": "a" }])), held.clone()], now);
    scheduler.pod_changed(pod(&using("web", &["c"])), now);
    let message = next(&mut scheduler, now).unwrap_err();
    assert_eq!(
        message,
        "0/1 nodes are available: 1 resourceclaim not available on the node. \
         deallocation of ResourceClaim completed, preemption: 0/1 nodes are available: \
         1 Preemption is not helpful for scheduling."
    );
    let Some(Step::Deallocate(freed)) = scheduler.next(now) else { panic!("the claim is freed") };
    assert_eq!(&*freed.key.name, "c");
    held["status"] = json!({});
    put(&mut scheduler, &held, now);
    let binding = next(&mut scheduler, now + Duration::from_secs(20)).unwrap();
    assert_eq!(given(&binding), "r:one/a");
}

/// Tries all choices, and judges each when it is complete.
fn possible(devices: &[Value], taken: &[usize], requests: &[Value], constraint: &Value) -> bool {
    let wanted: Vec<(&str, u64)> = requests
        .iter()
        .flat_map(|one| {
            let minimum = one["exactly"]["minimum"].as_u64().unwrap_or_default();
            let count = one["exactly"]["count"].as_u64().unwrap();
            (0..count).map(move |_| (text(&one["name"]), minimum))
        })
        .collect();
    let number = |at: usize, name: &str| devices[at]["attributes"][name]["int"].as_u64().unwrap_or(99);
    let judge = |chosen: &[usize]| {
        let distinct = chosen.iter().enumerate().all(|(at, one)| !chosen[..at].contains(one));
        let free = chosen.iter().all(|one| !taken.contains(one));
        let selected = chosen.iter().zip(&wanted).all(|(one, (_, minimum))| number(*one, "size") >= *minimum);
        let values: Vec<u64> = chosen.iter().map(|one| number(*one, "numa")).collect();
        let constrained =
            match (constraint["matchAttribute"].is_string(), constraint["distinctAttribute"].is_string()) {
                (true, _) => values.iter().all(|one| *one == values[0]),
                (_, true) => values.iter().enumerate().all(|(at, one)| !values[..at].contains(one)),
                _ => true,
            };
        let mut used: BTreeMap<&str, u64> = BTreeMap::new();
        for one in taken.iter().chain(chosen) {
            for set in list(&devices[*one]["consumesCounters"]) {
                *used.entry(text(&set["counterSet"])).or_default() +=
                    text(&set["counters"]["m"]["value"]).parse::<u64>().unwrap();
            }
        }
        distinct && free && selected && constrained && used.values().all(|sum| *sum <= 4)
    };
    let mut chosen = vec![0; wanted.len()];
    loop {
        if judge(&chosen) {
            return true;
        }
        let Some(at) = chosen.iter().position(|one| *one + 1 < devices.len()) else { return false };
        chosen[at] += 1;
        chosen[..at].fill(0);
    }
}

#[test]
fn generated_claims_get_devices_exactly_if_some_choice_is_possible() {
    let (mut placed, mut refused) = (0, 0);
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let devices: Vec<Value> = (0..2 + dice.below(4))
            .map(|number| {
                let mut one = json!({ "name": format!("d{number}"), "attributes": {
                    "size": { "int": dice.below(4) }, "numa": { "int": dice.below(2) } } });
                if dice.one_in(3) {
                    one["consumesCounters"] = json!([{ "counterSet": dice.pick(&["x", "y"]),
                        "counters": { "m": { "value": (1 + dice.below(3)).to_string() } } }]);
                }
                one
            })
            .collect();
        let requests: Vec<Value> = (0..1 + dice.below(2))
            .map(|number| {
                let minimum = dice.below(3);
                let expression = format!("device.attributes['gpu.example.com'].size >= {minimum}");
                request(
                    &format!("r{number}"),
                    &json!({ "count": 1 + dice.below(2), "minimum": minimum,
                        "selectors": [{ "cel": { "expression": expression } }] }),
                )
            })
            .collect();
        let constraint = match dice.below(3) {
            0 => json!({ "matchAttribute": "gpu.example.com/numa" }),
            1 => json!({ "distinctAttribute": "gpu.example.com/numa" }),
            _ => Value::Null,
        };
        let taken: Vec<usize> = (0..devices.len()).filter(|_| dice.one_in(5)).collect();
        let set = |name: &str| json!({ "name": name, "counters": { "m": { "value": "4" } } });
        let pool = slice(
            "one",
            &json!({ "nodeName": "one", "devices": devices, "sharedCounters": [set("x"), set("y")] }),
        );
        let mut other = asks("other", &[]);
        let results: Vec<Value> = taken
            .iter()
            .map(|at| json!({ "request": "r", "driver": "gpu.example.com", "pool": "one", "device": format!("d{at}") }))
            .collect();
        other["status"] = json!({ "allocation": { "devices": { "results": results } } });
        let constraints: Vec<&Value> = Some(&constraint).into_iter().filter(|one| !one.is_null()).collect();
        let wanted = claim("c", &json!({ "requests": requests, "constraints": constraints }));
        let now = Instant::now();
        let mut scheduler = scheduler(&["one"], &[gpu(), pool, other, wanted], now);
        let web: Pod = pod(&using("web", &["c"]));
        scheduler.pod_changed(web, now);
        let outcome = next(&mut scheduler, now);
        let expected = possible(&devices, &taken, &requests, &constraint);
        assert_eq!(
            outcome.is_ok(),
            expected,
            "seed {seed}: {outcome:?} {devices:?} {requests:?} {constraint}"
        );
        if expected { placed += 1 } else { refused += 1 }
    }
    assert!(placed > 50 && refused > 50, "{placed} {refused}");
}
