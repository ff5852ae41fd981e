//! Plans of Deployments from fixtures, and their fixed points.

use super::plan::{Plan, plan};
use super::revision::{DESIRED, HISTORY, REVISION};
use super::template::{hash, same};
use super::view::{Set, View};
use super::*;
use expect_test::{Expect, expect};
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Deployment, replica sets and pods, with a replica set controller and nodes that do as they are told.
struct Model {
    deployment: Value,
    sets: Vec<Value>,
    /// Of each set, whether each pod is ready.
    pods: Vec<Vec<bool>>,
    now: Timestamp,
    revision: u64,
}

impl Model {
    fn new(replicas: i32, strategy: Value) -> Self {
        Self {
            deployment: json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": { "name": "web", "namespace": "web", "uid": "d", "generation": 1,
                    "annotations": { "kubernetes.io/change-cause": "first" } },
                "spec": { "replicas": replicas, "revisionHistoryLimit": 2, "progressDeadlineSeconds": 600,
                    "selector": { "matchLabels": { "app": "web" } }, "strategy": strategy,
                    "template": { "metadata": { "labels": { "app": "web" } },
                        "spec": { "containers": [{ "name": "web", "image": "web:1" }] } } },
            }),
            sets: Vec::new(),
            pods: Vec::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            revision: 1,
        }
    }

    fn rolling(replicas: i32, surge: i32, unavailable: i32) -> Self {
        let bounds = json!({ "maxSurge": surge, "maxUnavailable": unavailable });
        Self::new(replicas, json!({ "type": "RollingUpdate", "rollingUpdate": bounds }))
    }

    fn object(&self, tree: &Value) -> Arc<Object> {
        let mut tree = tree.clone();
        tree["metadata"]["resourceVersion"] = self.revision.to_string().into();
        Arc::new(Object::received(tree.to_string().into()).unwrap())
    }

    fn view(&self) -> View {
        let mut view = View::read(&self.object(&self.deployment)).unwrap();
        view.sets = self.sets.iter().map(|set| Set::read(&self.object(set)).unwrap()).collect();
        let running = self.sets.iter().zip(&self.pods).filter(|(_, pods)| !pods.is_empty());
        view.running = running.map(|(set, _)| set["metadata"]["uid"].as_str().unwrap().to_owned()).collect();
        view
    }

    fn plan(&self) -> Plan {
        plan(&self.view(), self.now)
    }

    /// Applies a plan as the server would.
    fn apply(&mut self, plan: Plan) {
        self.revision += 1;
        if let Some(mut set) = plan.create {
            set["metadata"]["uid"] = format!("s{}", self.revision).into();
            set["metadata"]["generation"] = 1.into();
            set["metadata"]["creationTimestamp"] =
                gifee_base::clock::format_time(self.now + SignedDuration::from_secs(self.revision as i64))
                    .into();
            self.sets.push(set);
            self.pods.push(Vec::new());
        }
        for change in plan.change {
            let set = self.sets.iter_mut().find(|set| set["metadata"]["name"] == change.set.name()).unwrap();
            merge(set, &change.patch);
            let generation = set["metadata"]["generation"].as_i64().unwrap();
            set["metadata"]["generation"] = (generation + 1).into();
        }
        for gone in plan.delete {
            let at = self.sets.iter().position(|set| set["metadata"]["name"] == gone.name()).unwrap();
            assert_eq!(self.pods[at].len(), 0, "history with pods was deleted");
            self.sets.remove(at);
            self.pods.remove(at);
        }
        if let Some(annotate) = &plan.annotate {
            merge(&mut self.deployment, annotate);
        }
        self.deployment["status"] = plan.status;
    }

    fn step(&mut self) {
        let plan = self.plan();
        self.apply(plan);
    }

    /// What the replica set controller does about one set.
    fn sync_set(&mut self, at: usize) {
        let Some(set) = self.sets.get_mut(at) else { return };
        let wanted = set["spec"]["replicas"].as_u64().unwrap() as usize;
        let pods = &mut self.pods[at];
        pods.sort_unstable();
        while pods.len() > wanted {
            pods.remove(0);
        }
        pods.resize(wanted, false);
        let ready = pods.iter().filter(|ready| **ready).count();
        set["status"] = json!({ "replicas": pods.len(), "readyReplicas": ready, "availableReplicas": ready,
            "observedGeneration": set["metadata"]["generation"] });
    }

    fn ready(&mut self, at: usize, ready: bool) {
        let mut pods: Vec<&mut bool> = self.pods.iter_mut().flatten().collect();
        if !pods.is_empty() {
            let at = at % pods.len();
            *pods[at] = ready;
        }
    }

    fn image(&mut self, image: &str) {
        self.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        self.bump();
    }

    fn bump(&mut self) {
        let generation = self.deployment["metadata"]["generation"].as_i64().unwrap();
        self.deployment["metadata"]["generation"] = (generation + 1).into();
    }

    /// What is asked for: pods that are still being deleted do not count, upstream neither.
    fn total(&self) -> i64 {
        self.sets.iter().map(|set| set["spec"]["replicas"].as_i64().unwrap()).sum()
    }

    fn available(&self) -> usize {
        self.pods.iter().flatten().filter(|ready| **ready).count()
    }

    /// Lets everything happen until nothing more does.
    fn settle(&mut self) {
        for _ in 0..200 {
            for at in 0..self.sets.len() {
                self.sync_set(at);
                self.pods[at].fill(true);
                self.sync_set(at);
            }
            if self.rests() {
                return;
            }
            self.step();
        }
        panic!("never comes to rest: {}", self.describe());
    }

    fn rests(&self) -> bool {
        let plan = self.plan();
        let quiet = plan.create.is_none()
            && plan.change.is_empty()
            && plan.delete.is_empty()
            && plan.annotate.is_none()
            && plan.status == self.deployment["status"];
        let synced =
            self.sets.iter().all(|set| set["status"]["observedGeneration"] == set["metadata"]["generation"]);
        quiet && synced
    }

    fn describe(&self) -> String {
        let set = |set: &Value| {
            format!(
                "{} revision {} image {} replicas {} available {}\n",
                set["metadata"]["name"].as_str().unwrap(),
                set["metadata"]["annotations"][REVISION].as_str().unwrap_or("none"),
                set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap(),
                set["spec"]["replicas"],
                set["status"]["availableReplicas"],
            )
        };
        let conditions = self.deployment["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let conditions: Vec<String> = conditions
            .iter()
            .map(|one| {
                format!("{}={} {} {}\n", one["type"], one["status"], one["reason"], one["message"])
                    .replace('"', "")
            })
            .collect();
        self.sets.iter().map(set).collect::<String>() + &conditions.concat()
    }

    fn check(&self, expected: Expect) {
        expected.assert_eq(&self.describe());
    }
}

fn merge(target: &mut Value, patch: &Value) {
    match patch {
        Value::Object(changes) => {
            for (key, change) in changes {
                merge(&mut target[key.as_str()], change);
            }
        }
        other => *target = other.clone(),
    }
}

#[test]
fn a_rollout_from_the_first_set_to_the_third() {
    let mut model = Model::rolling(4, 1, 1);
    model.step();
    model.check(expect![[r#"
        web-794686fc5b revision 1 image web:1 replicas 4 available null
        Progressing=True NewReplicaSetCreated Created new replica set \web-794686fc5b\
        Available=False MinimumReplicasUnavailable Deployment does not have minimum availability.
    "#]]);
    model.settle();
    model.image("web:2");
    model.deployment["metadata"]["annotations"]["kubernetes.io/change-cause"] = "second".into();
    model.step();
    model.sync_set(1);
    model.step();
    model.check(expect![[r#"
        web-794686fc5b revision 1 image web:1 replicas 3 available 4
        web-849fb4b4d5 revision 2 image web:2 replicas 1 available 0
        Available=True MinimumReplicasAvailable Deployment has minimum availability.
        Progressing=True ReplicaSetUpdated ReplicaSet \web-849fb4b4d5\ is progressing.
    "#]]);
    model.settle();
    assert_eq!(model.sets[1]["metadata"]["annotations"]["kubernetes.io/change-cause"], "second");
    // Back to the first template: its set is found again, renumbered, and keeps its history.
    model.image("web:1");
    model.settle();
    model.check(expect![[r#"
        web-794686fc5b revision 3 image web:1 replicas 4 available 4
        web-849fb4b4d5 revision 2 image web:2 replicas 0 available 0
        Available=True MinimumReplicasAvailable Deployment has minimum availability.
        Progressing=True NewReplicaSetAvailable ReplicaSet \web-794686fc5b\ has successfully progressed.
    "#]]);
    assert_eq!(model.sets[0]["metadata"]["annotations"][HISTORY], "1");
    assert_eq!(model.deployment["metadata"]["annotations"][REVISION], "3");
    // The history is cut to two old sets.
    for image in ["web:3", "web:4", "web:5"] {
        model.image(image);
        model.settle();
    }
    assert_eq!(model.sets.len(), 3);
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let mut model = Model::new(3, json!({ "type": "Recreate" }));
    model.settle();
    model.image("web:2");
    model.step();
    assert_eq!((model.sets.len(), &model.sets[0]["spec"]["replicas"]), (1, &json!(0)));
    model.step();
    assert_eq!(model.sets.len(), 1, "three old pods still run");
    model.sync_set(0);
    model.step();
    assert_eq!((model.sets.len(), &model.sets[1]["spec"]["replicas"]), (2, &json!(3)));
    model.settle();
}

#[test]
fn a_pause_stops_rollouts_but_not_scaling() {
    let mut model = Model::rolling(4, 1, 1);
    model.settle();
    model.deployment["spec"]["paused"] = true.into();
    model.image("web:2");
    model.deployment["spec"]["replicas"] = 6.into();
    model.settle();
    model.check(expect![[r#"
        web-794686fc5b revision 1 image web:1 replicas 6 available 6
        Progressing=Unknown DeploymentPaused Deployment is paused
        Available=True MinimumReplicasAvailable Deployment has minimum availability.
    "#]]);
    model.deployment["spec"]["paused"] = false.into();
    model.settle();
    assert_eq!(model.sets.len(), 2);
}

#[test]
fn scaling_in_a_rollout_is_proportional() {
    let mut model = Model::rolling(10, 3, 2);
    model.settle();
    model.image("web:2");
    // The new pods never become ready: the rollout stands at 8 old and 5 new ones.
    for _ in 0..6 {
        model.step();
        (0..model.sets.len()).for_each(|at| model.sync_set(at));
    }
    let replicas =
        |model: &Model| model.sets.iter().map(|set| set["spec"]["replicas"].clone()).collect::<Vec<_>>();
    assert_eq!(replicas(&model), [8, 5]);
    model.deployment["spec"]["replicas"] = 15.into();
    model.step();
    assert_eq!(replicas(&model), [11, 7]);
    assert_eq!(model.sets[0]["metadata"]["annotations"][DESIRED], "15");
}

#[test]
fn no_progress_for_too_long_is_said_once() {
    let mut model = Model::rolling(2, 1, 0);
    model.step();
    model.sync_set(0);
    model.step();
    let again = model.plan().again.unwrap();
    assert_eq!(again, Duration::from_secs(601));
    model.now += SignedDuration::try_from(again).unwrap();
    model.step();
    model.check(expect![[r#"
        web-794686fc5b revision 1 image web:1 replicas 2 available 0
        Available=False MinimumReplicasUnavailable Deployment does not have minimum availability.
        Progressing=False ProgressDeadlineExceeded ReplicaSet \web-794686fc5b\ has timed out progressing.
    "#]]);
    assert!(model.rests() && model.plan().again.is_none());
    model.settle();
    assert!(model.describe().contains("Progressing=True NewReplicaSetAvailable"));
}

#[test]
fn a_template_is_the_same_whatever_its_hash_label() {
    let one = json!({ "metadata": { "labels": { "app": "a", "pod-template-hash": "x" } }, "spec": { "containers": [{ "name": "a" }] } });
    let two = json!({ "metadata": { "labels": { "app": "a" }, "annotations": {} }, "spec": { "containers": [{ "name": "a" }], "volumes": null } });
    assert!(same(&one, &two));
    assert_eq!(hash(&one, None), hash(&two, None));
    assert_ne!(hash(&one, None), hash(&one, Some(1)));
    assert!(!same(&one, &json!({ "spec": { "containers": [{ "name": "b" }] } })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// In any order of events, as long as no pod fails: never too few available, never too many at all.
    #[test]
    fn a_rollout_stays_within_its_bounds(
        (replicas, surge, unavailable) in (1..12_i32, 0..5_i32, 0..5_i32),
        events in prop::collection::vec((0..8_u8, 0..64_usize), 0..120),
    ) {
        let mut model = Model::rolling(replicas, surge, unavailable);
        model.settle();
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        let minimum = (replicas - unavailable).max(0) as usize;
        let maximum = i64::from(replicas + surge);
        for (event, at) in events {
            match event {
                0 => model.image(&format!("web:{}", at % 4)),
                1..=3 => model.step(),
                4 | 5 => { let count = model.sets.len(); model.sync_set(at % count) }
                _ => model.ready(at, true),
            }
            prop_assert!(model.available() >= minimum, "{} available: {}", model.available(), model.describe());
            prop_assert!(model.total() <= maximum, "{} pods: {}", model.total(), model.describe());
        }
        model.settle();
        prop_assert_eq!(model.available(), replicas as usize);
        prop_assert_eq!(model.sets.iter().filter(|set| set["spec"]["replicas"] != 0).count(), 1);
    }

    /// Whatever happens, it comes to rest in the wanted state.
    #[test]
    fn every_history_ends_at_rest(
        events in prop::collection::vec((0..10_u8, 0..64_usize), 0..80),
        recreate in any::<bool>(),
    ) {
        let strategy = if recreate { json!({ "type": "Recreate" }) } else { json!({ "type": "RollingUpdate" }) };
        let mut model = Model::new(5, strategy);
        for (event, at) in events {
            match event {
                0 => model.image(&format!("web:{}", at % 4)),
                1 => { model.deployment["spec"]["replicas"] = (at % 9).into(); model.bump() }
                2 => { model.deployment["spec"]["paused"] = (at % 2 == 0).into(); model.bump() }
                3..=5 => model.step(),
                6 | 7 => { let count = model.sets.len().max(1); model.sync_set(at % count) }
                8 => model.ready(at, false),
                _ => model.ready(at, true),
            }
        }
        model.deployment["spec"]["paused"] = false.into();
        model.settle();
        prop_assert_eq!(model.available() as i64, model.deployment["spec"]["replicas"].as_i64().unwrap());
        prop_assert!(model.sets.len() <= 3);
    }
}

#[tokio::test(start_paused = true)]
async fn runs_with_replica_sets_and_then_rests() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let context =
        Context::with(fake.client(), gifee_testkit::RuntimeClock::new(), Recorder::memory(), stop.clone());
    tokio::spawn(run(context.clone(), Arc::default()));
    tokio::spawn(crate::replicaset::run(context, Arc::default()));
    let mut deployment = Model::rolling(3, 1, 0).deployment;
    deployment["metadata"].as_object_mut().unwrap().remove("uid");
    fake.put(deployment);
    let pods = Gvr::core("pods");
    let key = ObjectKey::new("web", "web");
    // A node that makes every pod ready at once.
    let settle = async |available: i64, image: &str| {
        for _ in 0..2000 {
            for pod in fake.objects(&pods) {
                if pod["status"]["conditions"].is_null() {
                    let mut pod = pod;
                    pod["status"]["conditions"] = json!([{ "type": "Ready", "status": "True" }]);
                    fake.put(pod);
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            let deployment = fake.object(&deployments(), &key).unwrap();
            let current =
                fake.objects(&pods).iter().all(|pod| pod["spec"]["containers"][0]["image"] == image);
            let status = &deployment["status"];
            let count = |name: &str| status[name].as_i64().unwrap_or_default();
            if current
                && status["observedGeneration"] == deployment["metadata"]["generation"]
                && (count("updatedReplicas"), count("availableReplicas"), count("replicas"))
                    == (available, available, available)
            {
                return;
            }
        }
        panic!("{:#}", fake.object(&deployments(), &key).unwrap());
    };
    settle(3, "web:1").await;
    fake.client()
        .patch(&deployments(), &key, PatchKind::Merge, json!({ "spec": { "replicas": 5 } }))
        .await
        .unwrap();
    settle(5, "web:1").await;
    let mut deployment = fake.object(&deployments(), &key).unwrap();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2".into();
    fake.client().update(&deployments(), &key, &deployment).await.unwrap();
    settle(5, "web:2").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    fake.writes();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(fake.writes(), Vec::<String>::new(), "a cluster at rest is not written to");
    stop.cancel();
}
