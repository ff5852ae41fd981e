//! Jobs in a world of pods that end as they like, under a controller that crashes between any two writes and sees the
//! work of others late.
//!
//! What must hold: no pod is noted down twice, none that succeeded is forgotten, no more run than may, and in the end the
//! counters are the number of those who were noted down.

use crate::job::backoff::Backoff;
use crate::job::plan::{self, Creation};
use crate::job::spec::{Spec, Status};
use crate::job::track::{Applied, settle, track};
use crate::job::view::{INDEX, INDEX_FAILURES, INDEX_IGNORED, TRACKING, View};
use gifee_base::{LabelSelector, Object, clock};
use gifee_reconcile::owner;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

struct World {
    spec: Value,
    status: Value,
    /// What the store holds.
    pods: BTreeMap<String, Value>,
    /// What the controller's cache holds.
    seen: BTreeMap<String, Value>,
    now: Timestamp,
    next: u32,
    // What the controller remembers.
    backoff: Backoff,
    released: HashSet<String>,
    // What the world knows.
    noted_succeeded: BTreeSet<String>,
    noted_failed: BTreeSet<String>,
    /// What succeeded while nobody deleted it: it must be counted.
    succeeded: BTreeSet<String>,
    succeeded_indexes: BTreeSet<u32>,
    /// What succeeded although it was being deleted: it may have been given up before that was seen.
    late: BTreeSet<String>,
    late_indexes: BTreeSet<u32>,
}

/// The controller ended in the middle.
struct Crash;

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|one| one.as_str().unwrap().to_owned()).collect()
}

impl World {
    fn new(spec: Value) -> Self {
        Self {
            spec,
            status: json!({}),
            pods: BTreeMap::new(),
            seen: BTreeMap::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            next: 0,
            backoff: Backoff::default(),
            released: HashSet::new(),
            noted_succeeded: BTreeSet::new(),
            noted_failed: BTreeSet::new(),
            succeeded: BTreeSet::new(),
            succeeded_indexes: BTreeSet::new(),
            late: BTreeSet::new(),
            late_indexes: BTreeSet::new(),
        }
    }

    fn view(&mut self) -> View {
        let job = json!({ "metadata": { "name": "j", "namespace": "n", "uid": "u" }, "spec": self.spec });
        let object = |tree: &Value| Arc::new(Object::received(tree.to_string().into()).unwrap());
        let pods: Vec<Arc<Object>> = self.seen.values().map(object).collect();
        let selector = LabelSelector::from_value(&json!({ "matchLabels": { "job": "j" } })).unwrap();
        let claims = owner::claim(pods.iter(), "u", false, &selector);
        let spec = Spec::deserialize(&self.spec).unwrap();
        let status = Status::read(&self.status);
        View::new(object(&job), spec, status, claims, self.backoff, &mut self.released).unwrap()
    }

    /// One write of the controller; it ends instead when its writes are used up.
    fn spend(writes: &mut usize) -> Result<(), Crash> {
        *writes = writes.checked_sub(1).ok_or(Crash)?;
        Ok(())
    }

    /// A reconcile that may make so many writes; how many it has made.
    fn reconcile(&mut self, writes: usize) -> usize {
        if Status::read(&self.status).finished() {
            return 0;
        }
        let mut left = writes;
        if self.attempt(&mut left).is_err() {
            // Another begins with a list of all.
            (self.backoff, self.released) = (Backoff::default(), HashSet::new());
            self.seen = self.pods.clone();
        }
        writes - left
    }

    fn attempt(&mut self, left: &mut usize) -> Result<(), Crash> {
        let view = self.view();
        let plan = plan::plan(&view, self.now);
        let mut applied = Applied::default();
        for at in &plan.delete {
            let (uid, tracked) = (view.pods[*at].uid().to_owned(), view.pods[*at].tracked);
            if plan.uncount && tracked {
                Self::spend(left)?;
                if self.pods.get(&uid) != self.seen.get(&uid) {
                    applied.undeleted.push(*at);
                    continue;
                }
                self.free(&uid);
            }
            Self::spend(left)?;
            self.delete(&uid);
        }
        for creation in &plan.create {
            Self::spend(left)?;
            self.create(creation);
            applied.created += 1;
        }
        if !plan.delete.is_empty() || !plan.create.is_empty() {
            // The next view waits for these, and in order comes all that was before them.
            self.seen = self.pods.clone();
        }
        let tracking = track(&view, &plan, &applied, self.now);
        self.write(&tracking.status, left)?;
        self.backoff = plan.backoff;
        for at in &tracking.release {
            Self::spend(left)?;
            let uid = view.pods[*at].uid().to_owned();
            self.free(&uid);
            self.released.insert(uid);
        }
        let (status, _) = settle(&view, &tracking, &[], self.now);
        self.write(&status, left)
    }

    fn write(&mut self, status: &Status, left: &mut usize) -> Result<(), Crash> {
        let new = status.write(&self.status);
        if new == self.status {
            return Ok(());
        }
        Self::spend(left)?;
        for (list, noted) in [("succeeded", &mut self.noted_succeeded), ("failed", &mut self.noted_failed)] {
            let before = texts(&self.status["uncountedTerminatedPods"][list]);
            for uid in texts(&new["uncountedTerminatedPods"][list]) {
                assert!(before.contains(&uid) || noted.insert(uid.clone()), "{uid} is noted down twice");
            }
        }
        let both: Vec<_> = self.noted_succeeded.intersection(&self.noted_failed).collect();
        assert!(both.is_empty(), "{both:?} both failed and succeeded");
        self.status = new;
        Ok(())
    }

    fn free(&mut self, uid: &str) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        pod["metadata"]["finalizers"] = json!([]);
        self.collect(uid);
    }

    fn delete(&mut self, uid: &str) {
        let Some(pod) = self.pods.get_mut(uid) else { return };
        pod["metadata"]["deletionTimestamp"] = clock::format_time(self.now).into();
        self.collect(uid);
    }

    /// A pod goes when it is deleted, has ended or never began, and nobody holds it.
    fn collect(&mut self, uid: &str) {
        let pod = &self.pods[uid];
        let running = pod["status"]["phase"] == "Running";
        let held = pod["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
        if !pod["metadata"]["deletionTimestamp"].is_null() && !running && !held {
            self.pods.remove(uid);
        }
    }

    fn create(&mut self, creation: &Creation) {
        self.next += 1;
        let uid = format!("p{:04}", self.next);
        let mut annotations = json!({});
        if let Some(index) = creation.index {
            annotations[INDEX] = index.to_string().into();
        }
        if let Some((failures, ignored)) = creation.failures {
            annotations[INDEX_FAILURES] = failures.to_string().into();
            annotations[INDEX_IGNORED] = ignored.to_string().into();
        }
        let pod = json!({ "metadata": { "name": uid, "namespace": "n", "uid": uid, "labels": { "job": "j" },
                "annotations": annotations, "finalizers": [TRACKING], "creationTimestamp": clock::format_time(self.now),
                "ownerReferences": [{ "apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": true }] },
            "spec": {}, "status": { "phase": "Pending" } });
        self.pods.insert(uid, pod);
        let active = self.pods.values().filter(|pod| {
            pod["metadata"]["deletionTimestamp"].is_null()
                && matches!(pod["status"]["phase"].as_str(), Some("Pending" | "Running"))
        });
        let parallelism = self.spec["parallelism"].as_u64().unwrap();
        assert!(active.count() as u64 <= parallelism, "more run than may");
    }

    /// A pod begins, or ends well or badly.
    fn advance(&mut self, which: usize, well: bool) {
        let running: Vec<String> = self
            .pods
            .iter()
            .filter(|(_, pod)| matches!(pod["status"]["phase"].as_str(), Some("Pending" | "Running")))
            .map(|(uid, _)| uid.clone())
            .collect();
        if running.is_empty() {
            return;
        }
        let uid = running[which % running.len()].clone();
        let pod = self.pods.get_mut(&uid).unwrap();
        let (now, deleting) = (clock::format_time(self.now), !pod["metadata"]["deletionTimestamp"].is_null());
        let phase = match (pod["status"]["phase"].as_str(), well) {
            // One that never began is given up by the collector of pods.
            (Some("Pending"), _) if deleting => "Failed",
            (Some("Pending"), _) => "Running",
            (_, true) => "Succeeded",
            (_, false) => "Failed",
        };
        pod["status"] = json!({ "phase": phase });
        if phase != "Running" {
            pod["status"]["containerStatuses"] = json!([{ "name": "c", "state": { "terminated": { "exitCode": i32::from(!well), "finishedAt": now } } }]);
        }
        let held = pod["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
        if phase == "Succeeded" && held {
            let (uids, indexes) = match deleting {
                true => (&mut self.late, &mut self.late_indexes),
                false => (&mut self.succeeded, &mut self.succeeded_indexes),
            };
            if let Some(index) = pod["metadata"]["annotations"][INDEX].as_str() {
                indexes.insert(index.parse().unwrap());
            }
            uids.insert(uid.clone());
        }
        self.collect(&uid);
    }

    fn step(&mut self, action: u8) {
        let which = usize::from(action >> 3);
        match action & 7 {
            0 | 1 => self.advance(which, true),
            2 => self.advance(which, false),
            // The cache comes up.
            3 => self.seen = self.pods.clone(),
            4 => self.now += SignedDuration::from_secs(i64::from(action)),
            5 => {
                self.reconcile(which % 6);
            }
            6 => {
                self.reconcile(usize::MAX);
            }
            _ if which > 28 => {
                let suspended = self.spec["suspend"] == true;
                self.spec["suspend"] = (!suspended).into();
            }
            _ => self.advance(which, true),
        }
    }

    /// All that runs succeeds, and nobody crashes; the Job must come to an end.
    fn finish(&mut self) {
        self.spec["suspend"] = false.into();
        for _ in 0..500 {
            self.now += SignedDuration::from_secs(700);
            self.seen = self.pods.clone();
            self.reconcile(usize::MAX);
            if Status::read(&self.status).finished() {
                return;
            }
            for _ in 0..3 {
                self.advance(0, true);
            }
        }
        panic!("no end: {:#} {:#?}", self.status, self.pods);
    }
}

fn spec() -> impl Strategy<Value = Value> {
    (1..5u32, 1..7u32, any::<bool>(), any::<bool>(), any::<bool>(), 0..3u32).prop_map(
        |(parallelism, completions, indexed, per_index, only_failed, limit)| {
            let mut spec = json!({ "parallelism": parallelism, "completions": completions,
                "backoffLimit": if per_index { 1000 } else { limit * 3 }, "template": {},
                "completionMode": if indexed { "Indexed" } else { "NonIndexed" } });
            if indexed && per_index {
                spec["backoffLimitPerIndex"] = limit.into();
            }
            if only_failed {
                spec["podReplacementPolicy"] = "Failed".into();
            }
            spec
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_pod_counts_once_whatever_happens(spec in spec(), actions in prop::collection::vec(any::<u8>(), 10..200)) {
        let mut world = World::new(spec);
        world.reconcile(usize::MAX);
        for action in actions {
            world.step(action);
            if Status::read(&world.status).finished() {
                break;
            }
        }
        if !Status::read(&world.status).finished() {
            world.finish();
        }
        let status = Status::read(&world.status);
        prop_assert_eq!(status.failed as usize, world.noted_failed.len());
        let uncounted = status.uncounted.clone().unwrap_or_default();
        prop_assert_eq!(uncounted.total(), 0);
        let held = world.pods.values().filter(|pod| pod["metadata"]["finalizers"] == json!([TRACKING])).count();
        prop_assert_eq!(held, 0, "somebody is held for ever");
        if world.spec["completionMode"] == "Indexed" {
            let indexes = crate::job::indexes::Indexes::parse(&status.completed_indexes, 100);
            for index in &world.succeeded_indexes {
                // One that ended while its Job failed counts as failed with it.
                prop_assert!(indexes.has(*index) || status.holds("Failed").is_some(), "{index} is lost");
            }
            let may = world.succeeded_indexes.union(&world.late_indexes).count();
            prop_assert!(may >= indexes.total() as usize, "more than succeeded");
        } else {
            prop_assert_eq!(status.succeeded as usize, world.noted_succeeded.len());
            let may: BTreeSet<String> = world.succeeded.union(&world.late).cloned().collect();
            prop_assert!(world.noted_succeeded.is_subset(&may), "more than succeeded");
            if status.holds("Complete").is_some() {
                prop_assert!(world.noted_succeeded.is_superset(&world.succeeded), "one is lost");
                prop_assert!(status.succeeded >= world.spec["completions"].as_u64().unwrap() as u32);
            }
        }
        // What has been done needs no more.
        world.seen = world.pods.clone();
        prop_assert_eq!(world.reconcile(usize::MAX), 0);
    }

    #[test]
    fn a_reconcile_comes_to_rest(spec in spec(), actions in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut world = World::new(spec);
        for action in actions {
            world.step(action);
        }
        for _ in 0..4 {
            world.seen = world.pods.clone();
            world.reconcile(usize::MAX);
        }
        world.seen = world.pods.clone();
        let before = (world.status.clone(), world.pods.clone());
        let writes = world.reconcile(usize::MAX);
        prop_assert_eq!(writes, 0, "from {:#?}", before);
    }
}
