//! Plans of StatefulSets from fixtures, their fixed points, and the controller against a fake server.

use super::plan::{Action, Plan, Revisions, plan};
use super::view::{Member, View, parse};
use super::*;
use crate::history::REVISION_HASH;
use expect_test::{Expect, expect};
use gifee_base::clock;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use gifee_reconcile::rollout::revision;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn object(tree: &Value) -> Arc<Object> {
    Arc::new(Object::received(tree.to_string().into()).unwrap())
}

/// A set, its pods and claims, and the servers and nodes that do as they are told.
struct Model {
    set: Value,
    pods: BTreeMap<i32, Value>,
    claims: BTreeMap<String, Value>,
    /// Templates by the name of their revision.
    templates: BTreeMap<String, Value>,
    now: Timestamp,
    made: u64,
}

impl Model {
    fn new(replicas: i32, spec: Value) -> Self {
        let mut set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": { "name": "web", "namespace": "web", "uid": "s", "generation": 1, "resourceVersion": "1" },
            "spec": { "replicas": replicas, "serviceName": "nginx", "podManagementPolicy": "OrderedReady",
                "selector": { "matchLabels": { "app": "web" } },
                "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } },
                "template": { "metadata": { "labels": { "app": "web" } },
                    "spec": { "containers": [{ "name": "web", "image": "web:1" }] } } },
        });
        merge(&mut set["spec"], &spec);
        Self {
            set,
            pods: BTreeMap::new(),
            claims: BTreeMap::new(),
            templates: BTreeMap::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            made: 0,
        }
    }

    fn view(&self) -> View {
        let mut view = View::read(&object(&self.set)).unwrap();
        view.pods = self.pods.values().map(|pod| Member::read(&object(pod)).unwrap().unwrap()).collect();
        view.volumes = self.claims.iter().map(|(name, claim)| (name.clone(), object(claim))).collect();
        view
    }

    fn revisions(&mut self) -> Revisions {
        let template = self.set["spec"]["template"].clone();
        let update = revision::name("web", &revision::hash(&revision::data(&template), 0));
        self.templates.insert(update.clone(), template.clone());
        let current = self.set["status"]["currentRevision"].as_str().unwrap_or(&update).to_owned();
        let current_template = self.templates[&current].clone();
        Revisions { current, current_template, update, collisions: 0 }
    }

    fn plan(&mut self) -> Plan {
        let revisions = self.revisions();
        plan(&self.view(), &revisions, self.now)
    }

    fn step(&mut self) {
        let plan = self.plan();
        for action in plan.stages.into_iter().flatten() {
            self.act(action);
        }
        self.set["status"] = plan.status;
    }

    fn put_claims(&mut self, claims: Vec<Value>) {
        for mut claim in claims {
            let name = claim["metadata"]["name"].as_str().unwrap().to_owned();
            claim["metadata"]["uid"] = name.as_str().into();
            assert!(self.claims.insert(name, claim).is_none(), "a claim was made twice");
        }
    }

    fn act(&mut self, action: Action) {
        self.made += 1;
        match action {
            Action::Create { mut pod, claims, going } => {
                assert_eq!(going, None);
                self.put_claims(claims);
                pod["metadata"]["uid"] = format!("p{}", self.made).into();
                pod["status"] = json!({ "phase": "Pending" });
                let (_, ordinal) = parse(pod["metadata"]["name"].as_str().unwrap()).unwrap();
                assert!(self.pods.insert(ordinal, pod).is_none(), "a pod was made twice");
            }
            Action::Claim { claims, .. } => self.put_claims(claims),
            Action::Repair { pod, patch, claims } => {
                self.put_claims(claims);
                merge(self.pods.get_mut(&parse(pod.name()).unwrap().1).unwrap(), &patch);
            }
            Action::Own { claim, patch } => merge(self.claims.get_mut(claim.name()).unwrap(), &patch),
            Action::Delete(pod) => {
                let pod = self.pods.get_mut(&parse(pod.name()).unwrap().1).unwrap();
                assert!(pod["metadata"]["deletionTimestamp"].is_null(), "a pod was deleted twice");
                pod["metadata"]["deletionTimestamp"] = clock::format_time(self.now).into();
            }
        }
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
                pod["status"] = json!({ "phase": "Running", "conditions":
                    [{ "type": "Ready", "status": state, "lastTransitionTime": since }] });
            }
        }
    }

    fn fail(&mut self, at: usize) {
        if let Some(pod) = self.at(at) {
            pod["status"] = json!({ "phase": "Failed" });
        }
    }

    /// Pods being deleted go, with the claims that they own.
    fn reap(&mut self) {
        let claims = &mut self.claims;
        self.pods.retain(|_, pod| {
            let stays = pod["metadata"]["deletionTimestamp"].is_null();
            if !stays {
                claims.retain(|_, claim| {
                    claim["metadata"]["ownerReferences"][0]["uid"] != pod["metadata"]["uid"]
                });
            }
            stays
        });
    }

    fn image(&mut self, image: &str) {
        self.set["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        self.bump();
    }

    fn bump(&mut self) {
        self.set["metadata"]["generation"] =
            (self.set["metadata"]["generation"].as_i64().unwrap() + 1).into();
    }

    fn serving(&self) -> i32 {
        let view = self.view();
        let wanted = view.pods.iter().filter(|member| view.wants(member.ordinal));
        wanted.filter(|member| member.serves(&view, self.now)).count() as i32
    }

    fn rests(&mut self) -> bool {
        let plan = self.plan();
        plan.stages.is_empty() && plan.status == self.set["status"]
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
        let pod = |pod: &Value| {
            let going = if pod["metadata"]["deletionTimestamp"].is_null() { "" } else { " going" };
            format!(
                "{} {} {}{going}\n",
                pod["metadata"]["name"].as_str().unwrap(),
                pod["spec"]["containers"][0]["image"].as_str().unwrap(),
                pod["status"]["phase"].as_str().unwrap(),
            )
        };
        self.pods.values().map(pod).collect()
    }

    fn check(&self, expected: Expect) {
        expected.assert_eq(&self.describe());
    }

    fn counts(&self) -> String {
        let status = &self.set["status"];
        let count = |name: &str| status[name].as_i64().unwrap_or_default();
        let same = status["currentRevision"] == status["updateRevision"];
        format!(
            "{} replicas, {} ready, {} available, {} current, {} updated, {}",
            count("replicas"),
            count("readyReplicas"),
            count("availableReplicas"),
            count("currentReplicas"),
            count("updatedReplicas"),
            if same { "complete" } else { "under way" }
        )
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return *target = patch.clone() };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

#[test]
fn names_say_set_and_ordinal() {
    let check = |name: &str, expected: Option<(&str, i32)>| assert_eq!(parse(name), expected, "{name}");
    check("web-0", Some(("web", 0)));
    check("my-web-12", Some(("my-web", 12)));
    check("web", None);
    check("web-", None);
    check("web-+1", None);
    check("web-99999999999", None);
}

#[test]
fn a_pod_has_an_identity_and_storage() {
    let mut model = Model::new(
        1,
        json!({ "ordinals": { "start": 3 },
        "volumeClaimTemplates": [{ "metadata": { "name": "data", "labels": { "x": "y" } }, "spec": { "a": 1 }, "status": {} }],
        "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Delete", "whenScaled": "Retain" } }),
    );
    model.set["spec"]["template"]["spec"]["volumes"] =
        json!([{ "name": "data", "emptyDir": {} }, { "name": "tmp", "emptyDir": {} }]);
    model.step();
    let pod = &model.pods[&3];
    assert_eq!(pod["metadata"]["name"], "web-3");
    let hash = pod["metadata"]["labels"][REVISION_HASH].clone();
    assert_eq!(hash, model.set["status"]["updateRevision"]);
    assert_eq!(
        pod["metadata"]["labels"],
        json!({ "app": "web", "statefulset.kubernetes.io/pod-name": "web-3", "apps.kubernetes.io/pod-index": "3",
            REVISION_HASH: hash })
    );
    assert_eq!(
        (pod["spec"]["hostname"].as_str(), pod["spec"]["subdomain"].as_str()),
        (Some("web-3"), Some("nginx"))
    );
    assert_eq!(
        pod["spec"]["volumes"],
        json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "data-web-3" } }, { "name": "tmp", "emptyDir": {} }])
    );
    let claim = &model.claims["data-web-3"];
    assert_eq!(claim["metadata"]["labels"], json!({ "app": "web", "x": "y" }));
    assert_eq!(claim["spec"], json!({ "a": 1 }));
    assert_eq!(claim["metadata"]["ownerReferences"][0]["uid"], "s");
    assert_eq!(claim["metadata"]["ownerReferences"][0]["controller"], true);
}

#[test]
fn pods_start_one_after_the_other_and_go_in_reverse() {
    let mut model = Model::new(3, json!({}));
    model.step();
    model.step();
    model.check(expect![[r#"
        web-0 web:1 Pending
    "#]]);
    model.ready(0, true);
    model.step();
    model.check(expect![[r#"
        web-0 web:1 Running
        web-1 web:1 Pending
    "#]]);
    // One that is not ready any more stops everything.
    model.ready(1, true);
    model.ready(0, false);
    model.step();
    assert_eq!(model.pods.len(), 2);
    model.settle();
    assert_eq!(model.counts(), "3 replicas, 3 ready, 3 available, 3 current, 3 updated, complete");
    model.set["spec"]["replicas"] = 1.into();
    model.step();
    model.step();
    model.check(expect![[r#"
        web-0 web:1 Running
        web-1 web:1 Running
        web-2 web:1 Running going
    "#]]);
    model.reap();
    // While one that stays is broken, none goes.
    model.ready(0, false);
    model.step();
    assert_eq!(model.describe().matches("going").count(), 0);
    model.ready(0, true);
    model.step();
    assert_eq!(model.describe().matches("going").count(), 1);
}

#[test]
fn a_parallel_set_does_all_at_once() {
    let mut model = Model::new(3, json!({ "podManagementPolicy": "Parallel" }));
    model.step();
    assert_eq!(model.pods.len(), 3);
    model.set["spec"]["replicas"] = 0.into();
    model.step();
    assert_eq!(model.describe().matches("going").count(), 3);
}

#[test]
fn an_update_goes_from_the_last_down_to_the_partition() {
    let mut model = Model::new(3, json!({ "updateStrategy": { "rollingUpdate": { "partition": 2 } } }));
    model.settle();
    model.image("web:2");
    model.settle();
    model.check(expect![[r#"
        web-0 web:1 Running
        web-1 web:1 Running
        web-2 web:2 Running
    "#]]);
    assert_eq!(model.counts(), "3 replicas, 3 ready, 3 available, 2 current, 1 updated, under way");
    // Whoever is below keeps the old revision even if it must be made again.
    model.pods.remove(&0);
    model.settle();
    assert!(model.describe().starts_with("web-0 web:1"));
    model.set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = 0.into();
    model.step();
    model.check(expect![[r#"
        web-0 web:1 Running
        web-1 web:1 Running going
        web-2 web:2 Running
    "#]]);
    model.settle();
    assert_eq!(model.counts(), "3 replicas, 3 ready, 3 available, 3 current, 3 updated, complete");
}

#[test]
fn on_delete_waits_for_somebody() {
    let mut model = Model::new(2, json!({ "updateStrategy": { "type": "OnDelete", "rollingUpdate": null } }));
    model.settle();
    model.image("web:2");
    model.settle();
    assert_eq!(model.describe().matches("web:1").count(), 2);
    model.pods.clear();
    model.settle();
    assert_eq!(model.describe().matches("web:2").count(), 2);
    assert_eq!(model.counts(), "2 replicas, 2 ready, 2 available, 2 current, 2 updated, complete");
}

#[test]
fn broken_pods_of_a_parallel_set_are_updated_first() {
    let spec = json!({ "podManagementPolicy": "Parallel", "updateStrategy": { "rollingUpdate": { "maxUnavailable": 2 } } });
    let mut model = Model::new(4, spec);
    model.settle();
    model.image("web:2");
    model.ready(0, false);
    model.step();
    model.check(expect![[r#"
        web-0 web:1 Running going
        web-1 web:1 Running
        web-2 web:1 Running
        web-3 web:1 Running going
    "#]]);
}

#[test]
fn availability_takes_its_time() {
    let mut model = Model::new(2, json!({ "minReadySeconds": 30 }));
    model.step();
    model.ready(0, true);
    model.now += SignedDuration::from_millis(10_500);
    assert_eq!(model.plan().again, Some(Duration::from_millis(19_500)));
    model.step();
    assert_eq!(model.pods.len(), 1);
    model.now += SignedDuration::from_millis(19_500);
    model.step();
    assert_eq!(model.pods.len(), 2);
    assert_eq!(model.counts(), "1 replicas, 1 ready, 1 available, 1 current, 1 updated, complete");
}

#[test]
fn claims_follow_the_retention_policy() {
    let spec = json!({ "volumeClaimTemplates": [{ "metadata": { "name": "data" } }],
        "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Delete", "whenScaled": "Delete" } });
    let mut model = Model::new(2, spec);
    model.settle();
    let owner =
        |model: &Model, claim: &str| model.claims[claim]["metadata"]["ownerReferences"][0]["kind"].clone();
    assert_eq!(owner(&model, "data-web-1"), "StatefulSet");
    model.set["spec"]["replicas"] = 1.into();
    model.step();
    assert_eq!(owner(&model, "data-web-1"), "Pod");
    assert_eq!(owner(&model, "data-web-0"), "StatefulSet");
    // The set grows again while the claim still waits for its pod to be gone: no pod gets it.
    model.set["spec"]["replicas"] = 2.into();
    model.pods.remove(&1);
    model.step();
    assert_eq!(model.pods.len(), 1);
    model.claims.remove("data-web-1");
    model.settle();
    assert_eq!(owner(&model, "data-web-1"), "StatefulSet");
    model.set["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({});
    model.settle();
    assert!(owner(&model, "data-web-0").is_null());
    // A claim of somebody else's stays theirs.
    model.set["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({ "whenDeleted": "Delete" });
    model.claims.get_mut("data-web-0").unwrap()["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "v1", "kind": "X", "name": "x", "uid": "x", "controller": true }]);
    model.settle();
    assert_eq!(owner(&model, "data-web-0"), "X");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

    /// In any order of events, as long as no pod fails: never too few serve, and none below the partition changes.
    #[test]
    fn an_update_stays_within_its_bounds(
        (replicas, unavailable, partition, parallel) in (1..7_i32, 1..4_i32, 0..4_i32, any::<bool>()),
        events in prop::collection::vec((0..8_u8, 0..64_usize), 0..100),
    ) {
        let policy = if parallel { "Parallel" } else { "OrderedReady" };
        let mut model = Model::new(replicas, json!({ "podManagementPolicy": policy,
            "updateStrategy": { "rollingUpdate": { "partition": partition, "maxUnavailable": unavailable } } }));
        model.settle();
        for (event, at) in events {
            match event {
                0 => model.image(&format!("web:{}", at % 3 + 1)),
                1..=3 => model.step(),
                4 | 5 => model.reap(),
                _ => model.ready(at, true),
            }
            prop_assert!(model.serving() >= replicas - unavailable, "{}", model.describe());
            for ordinal in 0..partition.min(replicas) {
                prop_assert_eq!(&model.pods[&ordinal]["spec"]["containers"][0]["image"], "web:1");
            }
        }
        model.settle();
        let wanted = model.set["spec"]["template"]["spec"]["containers"][0]["image"].clone();
        for ordinal in partition..replicas {
            prop_assert_eq!(&model.pods[&ordinal]["spec"]["containers"][0]["image"], &wanted);
        }
    }

    /// Whatever happens, it comes to rest with the wanted pods and their claims.
    #[test]
    fn every_history_ends_at_rest(
        events in prop::collection::vec((0..10_u8, 0..64_usize), 0..80),
        (parallel, scaled, deleted) in any::<(bool, bool, bool)>(),
    ) {
        let policy = |delete| if delete { "Delete" } else { "Retain" };
        let mut model = Model::new(3, json!({ "podManagementPolicy": if parallel { "Parallel" } else { "OrderedReady" },
            "volumeClaimTemplates": [{ "metadata": { "name": "data" } }],
            "persistentVolumeClaimRetentionPolicy": { "whenScaled": policy(scaled), "whenDeleted": policy(deleted) } }));
        for (event, at) in events {
            match event {
                0 => model.image(&format!("web:{}", at % 3 + 1)),
                1 => { model.set["spec"]["replicas"] = (at % 6).into(); model.bump() }
                2 => { model.set["spec"]["ordinals"] = json!({ "start": at % 3 }); model.bump() }
                3 => model.ready(at, false),
                4 => model.fail(at),
                5 => model.reap(),
                6 | 7 => model.step(),
                _ => model.ready(at, true),
            }
        }
        model.settle();
        let view = model.view();
        prop_assert_eq!(model.pods.len() as i32, view.replicas);
        prop_assert!(model.pods.keys().all(|ordinal| view.wants(*ordinal)));
        for ordinal in model.pods.keys() {
            let claim = format!("data-web-{ordinal}");
            prop_assert!(model.claims.contains_key(&claim));
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
        self.fake.object(&sets(), &ObjectKey::new("web", "web")).unwrap()
    }

    /// Nodes that run every pod, until the test holds.
    async fn until(&self, what: &str, test: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            for mut pod in self.fake.objects(&Gvr::core("pods")) {
                if !pod["metadata"]["deletionTimestamp"].is_null() {
                    let name = pod["metadata"]["name"].as_str().unwrap();
                    self.fake.remove(&Gvr::core("pods"), &ObjectKey::new("web", name));
                } else if pod["status"]["conditions"].is_null() {
                    pod["status"] =
                        json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
                    self.fake.put(pod);
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            if test(self) {
                return;
            }
        }
        panic!("{what}: {:#}", self.set());
    }

    async fn complete(&self, image: &str, replicas: usize) {
        self.until(image, |world| {
            let (set, pods) = (world.set(), world.fake.objects(&Gvr::core("pods")));
            let status = &set["status"];
            pods.len() == replicas
                && pods.iter().all(|pod| pod["spec"]["containers"][0]["image"] == image)
                && status["updatedReplicas"] == replicas
                && status["readyReplicas"] == replicas
                && status["replicas"] == replicas
                && status["currentRevision"] == status["updateRevision"]
                && status["observedGeneration"] == set["metadata"]["generation"]
        })
        .await;
    }

    fn history(&self) -> Vec<(i64, String)> {
        let mut history: Vec<_> = self
            .fake
            .objects(&Gvr::new("apps", "v1", "controllerrevisions"))
            .iter()
            .map(|one| {
                let image = &one["data"]["spec"]["template"]["spec"]["containers"][0]["image"];
                (one["revision"].as_i64().unwrap(), image.as_str().unwrap().to_owned())
            })
            .collect();
        history.sort();
        history
    }
}

#[tokio::test(start_paused = true)]
async fn updates_rolls_back_and_then_rests() {
    let world = World::start();
    let mut set = Model::new(
        3,
        json!({ "revisionHistoryLimit": 1,
        "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": {} }] }),
    )
    .set;
    set["metadata"] = json!({ "name": "web", "namespace": "web" });
    world.fake.put(set);
    world.complete("web:1", 3).await;
    assert_eq!(world.fake.objects(&volumes()).len(), 3);
    let key = ObjectKey::new("web", "web");
    for (image, history) in [
        ("web:2", vec![(1, "web:1"), (2, "web:2")]),
        ("web:3", vec![(2, "web:2"), (3, "web:3")]),
        ("web:2", vec![(3, "web:3"), (4, "web:2")]),
    ] {
        let mut set = world.set();
        set["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        world.fake.client().update(&sets(), &key, &set).await.unwrap();
        world.complete(image, 3).await;
        let history: Vec<_> = history.into_iter().map(|(number, image)| (number, image.to_owned())).collect();
        world.until("history", |world| world.history() == history).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.fake.writes();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.fake.writes(), Vec::<String>::new(), "a cluster at rest is not written to");
    world.stop.cancel();
}
