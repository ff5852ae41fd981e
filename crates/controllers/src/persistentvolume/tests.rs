//! Binding as tables of small worlds, as a property of generated ones, and against a fake server.

use super::*;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use gifee_reconcile::events::Severity;
use proptest::prelude::*;
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// A claim; `changes` is merged into it.
fn claim(name: &str, changes: Value) -> Value {
    let mut claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": name, "namespace": "web", "uid": format!("uid-{name}"), "resourceVersion": "1" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "5Gi" } },
            "storageClassName": "" },
        "status": { "phase": "Pending" },
    });
    merge(&mut claim, &changes);
    claim
}

fn volume(name: &str, size: &str, changes: Value) -> Value {
    let mut volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": { "name": name, "uid": format!("uid-{name}"), "resourceVersion": "1" },
        "spec": { "accessModes": ["ReadWriteOnce"], "capacity": { "storage": size },
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": { "path": "/data" } },
        "status": { "phase": "Available" },
    });
    merge(&mut volume, &changes);
    volume
}

fn reference(name: &str, uid: &str) -> Value {
    let mut reference = json!({ "namespace": "web", "name": name });
    if !uid.is_empty() {
        reference["uid"] = uid.into();
    }
    json!({ "spec": { "claimRef": reference } })
}

/// A JSON merge patch.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, change) in changes {
        match change {
            Value::Null => drop(target.as_object_mut().unwrap().remove(key)),
            change => merge(&mut target[key], change),
        }
    }
}

#[derive(Default)]
struct World {
    claims: Vec<Value>,
    volumes: Vec<Value>,
    classes: Vec<Value>,
    waiting: Vec<String>,
    recycler: Option<Value>,
    events: Vec<String>,
}

impl World {
    fn named<'a>(of: &'a [Value], name: &str) -> Option<&'a Value> {
        of.iter().find(|one| one["metadata"]["name"] == name)
    }

    fn plan(&self, index: usize) -> Draft {
        if index < self.claims.len() {
            let claim = Claim { tree: self.claims[index].clone() };
            let volumes = self.volumes.iter().map(|tree| Volume { tree: tree.clone() });
            let concerns = |volume: &Volume| match volume.claim() {
                Some((_, name, _)) => name == claim.name(),
                None => volume.class() == claim.class(),
            };
            return plan::claim(ClaimView {
                class: Self::named(&self.classes, claim.class()).cloned(),
                default_class: Self::named(&self.classes, "default").map(|_| "default".to_owned()),
                named: Self::named(&self.volumes, claim.volume()).map(|tree| Volume { tree: tree.clone() }),
                candidates: volumes.filter(concerns).collect(),
                waiting: self.waiting.clone(),
                claim,
            });
        }
        let volume = Volume { tree: self.volumes[index - self.claims.len()].clone() };
        let claim = volume.claim().and_then(|(_, name, _)| Self::named(&self.claims, name));
        plan::volume(VolumeView {
            claim: claim.map(|tree| Claim { tree: tree.clone() }),
            recycler: self.recycler.clone(),
            used_by: Vec::new(),
            volume,
        })
    }

    /// Takes the steps of one plan; whether it wrote anything.
    fn step(&mut self, index: usize) -> bool {
        let draft = self.plan(index);
        let (claim, volume) = (draft.claim.name().to_owned(), draft.volume.name().to_owned());
        let mut wrote = false;
        for effect in draft.effects {
            match effect {
                Effect::Patch { of, change, .. } => {
                    let (all, name) = match of {
                        Of::Claim => (&mut self.claims, &claim),
                        Of::Volume => (&mut self.volumes, &volume),
                    };
                    let one = all.iter_mut().find(|one| one["metadata"]["name"] == name.as_str()).unwrap();
                    let before = one.clone();
                    merge(one, &change);
                    assert_ne!(*one, before, "a patch that changes nothing: {change}");
                    wrote = true;
                }
                Effect::Event { reason, message, severity, .. } => {
                    let mark = if severity == Severity::Warning { "!" } else { "" };
                    self.events.push(format!("{mark}{reason}: {message}"));
                }
                Effect::Scrub(pod) => {
                    self.recycler = Some(pod);
                    wrote = true;
                }
                Effect::Swept => self.recycler = None,
            }
        }
        wrote
    }

    /// Goes on until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.events.clear();
            let count = self.claims.len() + self.volumes.len();
            if (0..count).filter(|index| self.step(*index)).count() == 0 {
                return;
            }
        }
        panic!("no end: {:#?} {:#?}", self.claims, self.volumes);
    }

    /// `claim=volume phase` and `volume=claim phase`, one word of each.
    fn words(&self) -> String {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let of = |one: &Value, other: &Value| {
            format!("{}={}:{}", text(&one["metadata"]["name"]), text(other), text(&one["status"]["phase"]))
        };
        let claims = self.claims.iter().map(|one| of(one, &one["spec"]["volumeName"]));
        let volumes = self.volumes.iter().map(|one| of(one, &one["spec"]["claimRef"]["name"]));
        claims.chain(volumes).collect::<Vec<_>>().join(" ")
    }
}

#[track_caller]
fn check(claims: Vec<Value>, volumes: Vec<Value>, expect: &str) -> World {
    let mut world = World { claims, volumes, ..World::default() };
    world.settle();
    assert_eq!(world.words(), expect);
    world
}

#[test]
fn a_claim_gets_the_smallest_volume_that_is_enough() {
    let world = check(
        vec![claim("c", json!({}))],
        vec![
            volume("huge", "50Gi", json!({})),
            volume("fit", "6Gi", json!({})),
            volume("tiny", "1Gi", json!({})),
        ],
        "c=fit:Bound huge=-:Available fit=c:Bound tiny=-:Available",
    );
    let (claim_, volume_) = (&world.claims[0], &world.volumes[1]);
    assert_eq!(
        claim_["metadata"]["annotations"],
        json!({ "pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes" })
    );
    assert_eq!(claim_["status"]["capacity"], json!({ "storage": "6Gi" }));
    assert_eq!(claim_["status"]["accessModes"], json!(["ReadWriteOnce"]));
    assert_eq!(volume_["metadata"]["annotations"], json!({ "pv.kubernetes.io/bound-by-controller": "yes" }));
    assert_eq!(
        volume_["spec"]["claimRef"],
        json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "web", "name": "c",
            "uid": "uid-c", "resourceVersion": "1" })
    );
    let modes = json!({ "spec": { "accessModes": ["ReadWriteOnce", "ReadOnlyMany"] } });
    check(
        vec![claim("c", json!({}))],
        vec![volume("more", "5Gi", modes), volume("exact", "9Gi", json!({}))],
        "c=exact:Bound more=-:Available exact=c:Bound",
    );
}

#[test]
fn what_does_not_suit_is_left() {
    let alone = |change: Value, volume_change: Value, expect: &str| {
        check(vec![claim("c", change)], vec![volume("v", "9Gi", volume_change)], expect);
    };
    let no = "c=-:Pending v=-:Available";
    alone(json!({}), json!({ "spec": { "volumeMode": "Block" } }), no);
    alone(json!({}), json!({ "spec": { "storageClassName": "gold" } }), no);
    alone(json!({}), json!({ "spec": { "accessModes": ["ReadOnlyMany"] } }), no);
    alone(json!({}), json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }), no);
    alone(json!({ "spec": { "volumeAttributesClassName": "fast" } }), json!({}), no);
    let selector = json!({ "spec": { "selector": { "matchLabels": { "disk": "fast" } } } });
    alone(selector.clone(), json!({}), no);
    alone(selector, json!({ "metadata": { "labels": { "disk": "fast" } } }), "c=v:Bound v=c:Bound");
    let gold = json!({ "spec": { "storageClassName": "gold" } });
    alone(gold.clone(), gold, "c=v:Bound v=c:Bound");
}

#[test]
fn bindings_that_were_asked_for_are_kept() {
    let asks = json!({ "spec": { "volumeName": "v" } });
    check(vec![claim("c", asks.clone())], vec![volume("v", "9Gi", json!({}))], "c=v:Bound v=c:Bound");
    let world = check(
        vec![claim("c", asks.clone())],
        vec![volume("v", "1Gi", json!({}))],
        "c=v:Pending v=-:Available",
    );
    assert_eq!(
        world.events,
        ["!VolumeMismatch: Cannot bind to requested volume \"v\": requested PV is too small"]
    );
    check(vec![claim("c", asks.clone())], vec![], "c=v:Pending");
    let world = check(
        vec![claim("c", asks), claim("d", json!({}))],
        vec![volume("v", "9Gi", reference("d", ""))],
        "c=v:Pending d=v:Bound v=d:Bound",
    );
    assert_eq!(world.events, ["!FailedBinding: volume \"v\" already bound to a different claim."]);
    // A volume that is meant for a claim wins over a better one, whatever its class, and is not taken by others.
    check(
        vec![claim("a", json!({})), claim("c", json!({}))],
        vec![volume("v", "9Gi", reference("c", ""))],
        "a=-:Pending c=v:Bound v=c:Bound",
    );
}

#[test]
fn lost_is_lost() {
    let bound = json!({ "metadata": { "annotations": { "pv.kubernetes.io/bind-completed": "yes" } },
        "spec": { "volumeName": "v" }, "status": { "phase": "Bound", "capacity": { "storage": "5Gi" } } });
    let mut world = World { claims: vec![claim("c", bound.clone())], ..World::default() };
    world.step(0);
    assert_eq!(world.words(), "c=v:Lost");
    assert_eq!(world.claims[0]["status"], json!({ "phase": "Lost" }));
    assert_eq!(
        world.events,
        ["!ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!"]
    );
    assert!(!world.step(0));
    let other = volume("v", "9Gi", reference("c", "uid-other"));
    let mut world = World { claims: vec![claim("c", bound)], volumes: vec![other], ..World::default() };
    world.step(0);
    assert_eq!(
        world.events,
        ["!ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly"]
    );
}

#[test]
fn volumes_are_let_go_by_their_policy() {
    let mut change = reference("gone", "uid-gone");
    let mut after = |policy: &str, annotations: Value, expect: &str, event: &str| {
        change["spec"]["persistentVolumeReclaimPolicy"] = policy.into();
        change["metadata"] = json!({ "annotations": annotations });
        change["status"] = json!({ "phase": "Bound" });
        let mut world = World { volumes: vec![volume("v", "9Gi", change.clone())], ..World::default() };
        world.step(0);
        assert_eq!(world.words(), expect, "{policy}");
        assert_eq!(world.events.join(" "), event, "{policy}");
        assert!(!world.step(0), "{policy}");
    };
    after("Retain", json!({}), "v=gone:Released", "");
    after("Delete", json!({ "pv.kubernetes.io/provisioned-by": "example.com/disk" }), "v=gone:Released", "");
    let message = "error getting deleter volume plugin for volume \"v\": no deletable volume plugin matched";
    after("Delete", json!({}), "v=gone:Failed", &format!("!VolumeFailedDelete: {message}"));
    let message = "!VolumeUnknownReclaimPolicy: Volume has unrecognized PersistentVolumeReclaimPolicy";
    after("Burn", json!({}), "v=gone:Failed", message);
    let claims = vec![claim("c", json!({ "spec": { "volumeName": "other" } }))];
    let mut elsewhere = reference("c", "uid-c");
    elsewhere["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"] = "yes".into();
    check(claims.clone(), vec![volume("v", "9Gi", elsewhere)], "c=other:Pending v=-:Available");
    check(claims, vec![volume("v", "9Gi", reference("c", "uid-c"))], "c=other:Pending v=c:Available");
}

#[test]
fn a_pod_empties_what_is_used_again() {
    let mut change = reference("gone", "uid-gone");
    change["spec"]["persistentVolumeReclaimPolicy"] = "Recycle".into();
    change["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"] = "yes".into();
    let mut world = World { volumes: vec![volume("v", "9Gi", change)], ..World::default() };
    world.step(0);
    assert_eq!(world.words(), "v=gone:Released");
    let pod = world.recycler.as_mut().unwrap();
    assert_eq!(pod["metadata"]["name"], "recycler-for-v");
    assert_eq!(pod["spec"]["activeDeadlineSeconds"], 270);
    pod["status"]["phase"] = "Running".into();
    assert!(!world.step(0));
    world.recycler.as_mut().unwrap()["status"]["phase"] = "Succeeded".into();
    world.step(0);
    assert_eq!(world.words(), "v=-:Available");
    assert_eq!(world.events, ["VolumeRecycled: Volume recycled"]);
    assert_eq!(world.recycler, None);
}

#[test]
fn classes_say_who_provides_and_when() {
    let class = |name: &str, provisioner: &str, mode: &str| json!({ "metadata": { "name": name }, "provisioner": provisioner, "volumeBindingMode": mode });
    let after = |claim_class: Value, classes: Vec<Value>, waiting: &[&str], node: bool| {
        let mut change = json!({ "spec": { "storageClassName": claim_class } });
        if node {
            change["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] = "n".into();
        }
        let waiting = waiting.iter().map(|pod| (*pod).to_owned()).collect();
        let mut world = World { claims: vec![claim("c", change)], classes, waiting, ..World::default() };
        world.settle();
        world
    };
    let event = |world: &World| world.events.join(" ");
    let fast = class("fast", "example.com/disk", "Immediate");
    let world = after("fast".into(), vec![fast.clone()], &[], false);
    let annotations = &world.claims[0]["metadata"]["annotations"];
    assert_eq!(annotations["volume.kubernetes.io/storage-provisioner"], "example.com/disk");
    assert_eq!(annotations["volume.beta.kubernetes.io/storage-provisioner"], "example.com/disk");
    assert!(event(&world).starts_with(
        "ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'example.com/disk' or"
    ));
    let late = || vec![class("late", "example.com/disk", "WaitForFirstConsumer")];
    let none = "WaitForFirstConsumer: waiting for first consumer to be created before binding";
    assert_eq!(event(&after("late".into(), late(), &[], false)), none);
    let one = "WaitForPodScheduled: waiting for pod p to be scheduled";
    assert_eq!(event(&after("late".into(), late(), &["p"], false)), one);
    let two = "WaitForPodScheduled: waiting for pods p,q to be scheduled";
    assert_eq!(event(&after("late".into(), late(), &["p", "q"], false)), two);
    assert!(event(&after("late".into(), late(), &[], true)).starts_with("ExternalProvisioning"));
    let missing = "!ProvisioningFailed: storageclass.storage.k8s.io \"nowhere\" not found";
    assert_eq!(event(&after("nowhere".into(), vec![], &[], false)), missing);
    let hand = class("hand", "kubernetes.io/no-provisioner", "Immediate");
    let plugin = "!ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner";
    assert_eq!(event(&after("hand".into(), vec![hand], &[], false)), plugin);
    let old = class("old", "kubernetes.io/aws-ebs", "Immediate");
    let world = after("old".into(), vec![old], &[], false);
    assert!(event(&world).contains("'ebs.csi.aws.com'"), "{:?}", world.events);
    let nothing = "FailedBinding: no persistent volumes available for this claim and no storage class is set";
    assert_eq!(event(&after("".into(), vec![], &[], false)), nothing);
    let default = class("default", "example.com/disk", "Immediate");
    let world = after(Value::Null, vec![default], &[], false);
    assert_eq!(world.claims[0]["spec"]["storageClassName"], "default");
    assert!(event(&world).starts_with("ExternalProvisioning"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// In whatever order plans are made, they come to an end, and no two claims share a volume.
    #[test]
    fn generated_worlds_settle(
        sizes in proptest::collection::vec(1_u8..9, 1..5),
        asked in proptest::collection::vec((1_u8..9, 0_u8..6), 1..5),
        meant in proptest::collection::vec(0_usize..8, 1..5),
        order in proptest::collection::vec(0_usize..10, 0..60),
    ) {
        let volumes: Vec<Value> = sizes.iter().enumerate().map(|(index, size)| {
            let target = meant.get(index).copied().unwrap_or(9);
            let change = if target < asked.len() { reference(&format!("c{target}"), "") } else { json!({}) };
            volume(&format!("v{index}"), &format!("{size}Gi"), change)
        }).collect();
        let claims: Vec<Value> = asked.iter().enumerate().map(|(index, (size, named))| {
            let mut change = json!({ "spec": { "resources": { "requests": { "storage": format!("{size}Gi") } } } });
            if usize::from(*named) < sizes.len() {
                change["spec"]["volumeName"] = format!("v{named}").into();
            }
            claim(&format!("c{index}"), change)
        }).collect();
        let mut world = World { claims, volumes, ..World::default() };
        let count = world.claims.len() + world.volumes.len();
        for index in order {
            world.step(index % count);
        }
        world.settle();
        for volume in &world.volumes {
            let name = &volume["metadata"]["name"];
            let bound = world.claims.iter()
                .filter(|claim| claim["status"]["phase"] == "Bound" && claim["spec"]["volumeName"] == *name);
            prop_assert!(bound.count() <= 1, "{}", world.words());
        }
        for claim in world.claims.iter().filter(|claim| claim["status"]["phase"] == "Bound") {
            let volume = World::named(&world.volumes, claim["spec"]["volumeName"].as_str().unwrap()).unwrap();
            prop_assert_eq!(&volume["spec"]["claimRef"]["uid"], &claim["metadata"]["uid"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn binds_releases_and_then_rests() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
    for index in 0..3 {
        let mut one = volume(&format!("v{index}"), "9Gi", json!({}));
        one["status"] = json!({});
        fake.put(one);
        fake.put(claim(&format!("c{index}"), json!({})));
    }
    tokio::spawn(run(context, Arc::new(Config::default())));
    let phases = |gvr: &Gvr| {
        let all = fake.objects(gvr);
        all.iter().map(|one| one["status"]["phase"].as_str().unwrap_or("").to_owned()).collect::<Vec<_>>()
    };
    let until = async |gvr: Gvr, expect: [&str; 3]| {
        for _ in 0..2000 {
            if phases(&gvr) == expect {
                return;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        panic!("{:?}", fake.objects(&gvr));
    };
    until(claims(), ["Bound"; 3]).await;
    until(volumes(), ["Bound"; 3]).await;
    let lost = fake.object(&volumes(), &ObjectKey::cluster("v1")).unwrap();
    let name = lost["spec"]["claimRef"]["name"].as_str().unwrap();
    let mut names: Vec<Value> =
        fake.objects(&volumes()).iter().map(|one| one["spec"]["claimRef"]["name"].clone()).collect();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["c0", "c1", "c2"]);
    fake.remove(&claims(), &ObjectKey::new("web", name));
    until(volumes(), ["Bound", "Released", "Bound"]).await;
    fake.writes();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(fake.writes(), Vec::<String>::new());
    stop.cancel();
}
