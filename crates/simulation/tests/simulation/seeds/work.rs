//! What must be true of Jobs, StatefulSets and DaemonSets.
//!
//! What a Job has really done is what its pods were seen to do at their commits, as long as they held the finalizer by
//! which they are to be counted.

use super::model::{Key, Model, condition, ended, unplaced};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What has been done of one Job.
#[derive(Default)]
pub struct Work {
    /// Pods that succeeded, and the index of each.
    succeeded: BTreeMap<String, Option<u64>>,
    /// Pods that there were.
    pods: BTreeSet<String>,
}

impl Work {
    /// How many completions are to be counted.
    fn done(&self, indexed: bool) -> u64 {
        let distinct: BTreeSet<&u64> = self.succeeded.values().flatten().collect();
        if indexed { distinct.len() as u64 } else { self.succeeded.len() as u64 }
    }
}

fn owner<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true && owner["kind"] == kind)?;
    owner["uid"].as_str()
}

fn tracked(pod: &Value) -> bool {
    let finalizers = pod["metadata"]["finalizers"].as_array();
    finalizers.into_iter().flatten().any(|one| one == "batch.kubernetes.io/job-tracking")
}

/// Notes what a pod has done.
pub fn note(model: &mut Model, key: &Key, pod: &Value) {
    let (Some(job), Some(uid)) = (owner(pod, "Job"), pod["metadata"]["uid"].as_str()) else { return };
    if key.0 != "pods" || !tracked(pod) {
        return;
    }
    let work = model.work.entry(job.to_owned()).or_default();
    work.pods.insert(uid.to_owned());
    if pod["status"]["phase"] == "Succeeded" {
        let index = pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"].as_str();
        work.succeeded.insert(uid.to_owned(), index.and_then(|index| index.parse().ok()));
    }
}

fn number(job: &Value, field: &str) -> u64 {
    job["status"][field].as_u64().unwrap_or_default()
}

fn is(job: &Value, kind: &str) -> bool {
    condition(job, kind).is_some_and(|one| one["status"] == "True")
}

/// What an update of a Job may not do.
pub fn keeps(old: &Value, new: &Value) -> Option<String> {
    for field in ["succeeded", "failed"] {
        let (before, after) = (number(old, field), number(new, field));
        if after < before {
            return Some(format!("has {after} {field} after {before}"));
        }
    }
    for kind in ["Complete", "Failed"] {
        if is(old, kind) && !is(new, kind) {
            return Some(format!("is no longer {kind}"));
        }
    }
    (is(new, "Complete") && is(new, "Failed")).then(|| "is complete and has failed".to_owned())
}

fn indexed(job: &Value) -> bool {
    job["spec"]["completionMode"] == "Indexed"
}

/// Done, and counted.
fn counts(model: &Model, job: &Value) -> (u64, u64) {
    let work = job["metadata"]["uid"].as_str().and_then(|uid| model.work.get(uid));
    (work.map_or(0, |work| work.done(indexed(job))), number(job, "succeeded"))
}

/// After every commit.
pub fn counted(model: &Model, key: &Key) -> Option<String> {
    if key.0 != "jobs" {
        return None;
    }
    let job = &model.objects.get(key)?.value;
    let (done, counted) = counts(model, job);
    let wanted = job["spec"]["completions"].as_u64().unwrap_or(u64::MAX);
    let failed = number(job, "failed");
    let uid = job["metadata"]["uid"].as_str().unwrap_or_default();
    let pods = model.work.get(uid).map_or(0, |work| work.pods.len() as u64);
    let wrong = counted > done || counted > wanted || failed + counted > pods;
    wrong.then(|| {
        format!(
            "{}/{}: {counted} of {wanted} counted, {done} done, {failed} failed of {pods} pods",
            key.1, key.2
        )
    })
}

/// Pods of a controller that have not ended.
fn pods_of<'a>(model: &'a Model, object: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    model.of("pods").map(|(_, pod)| pod).filter(move |pod| owner(pod, kind) == Some(uid) && !ended(pod))
}

fn told(found: Vec<String>) -> Option<String> {
    (!found.is_empty()).then(|| found.join("; "))
}

/// At rest.
pub fn jobs(model: &Model, _: &Key) -> Option<String> {
    let mut found = Vec::new();
    for (key, job) in model.of("jobs") {
        let (done, counted) = counts(model, job);
        let wanted = job["spec"]["completions"].as_u64().unwrap_or_default();
        let over = is(job, "Complete") || is(job, "Failed");
        let waits = job["spec"]["suspend"] == true
            || job["spec"]["parallelism"] == 0
            || pods_of(model, job, "Job").any(unplaced);
        let exact = done == counted && (!is(job, "Complete") || counted == wanted);
        if !(over || waits) || !exact {
            found.push(format!("{}/{}: {done} done of {wanted}: {}", key.1, key.2, job["status"]));
        }
    }
    let over = |pod: &Value| ended(pod) && tracked(pod);
    let held = model.of("pods").filter(|(_, pod)| over(pod));
    found.extend(held.map(|(key, _)| format!("pod {}/{} has ended and is not counted", key.1, key.2)));
    told(found)
}

/// At rest.
pub fn sets(model: &Model, _: &Key) -> Option<String> {
    let mut found = Vec::new();
    for (key, set) in model.of("statefulsets") {
        let wanted = set["spec"]["replicas"].as_u64().unwrap_or_default();
        let pods = pods_of(model, set, "StatefulSet").count() as u64;
        let updated = set["status"]["currentRevision"] == set["status"]["updateRevision"];
        let complete =
            [pods, number(set, "readyReplicas"), number(set, "replicas")] == [wanted; 3] && updated;
        let observed = set["status"]["observedGeneration"] == set["metadata"]["generation"];
        if !observed || !(complete || pods_of(model, set, "StatefulSet").any(unplaced)) {
            found.push(format!("{}/{} wants {wanted}, has {pods} pods: {}", key.1, key.2, set["status"]));
        }
    }
    told(found)
}

/// At rest.
pub fn daemons(model: &Model, _: &Key) -> Option<String> {
    let mut found = Vec::new();
    let nodes: BTreeSet<&str> = model.of("nodes").map(|(key, _)| key.2.as_str()).collect();
    for (key, set) in model.of("daemonsets") {
        let pods: Vec<&Value> = pods_of(model, set, "DaemonSet").collect();
        let mut places: Vec<&str> = pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
        places.sort_unstable();
        let all = places.iter().copied().eq(nodes.iter().copied());
        if !(all || pods.iter().any(|pod| unplaced(pod))) {
            found.push(format!("{}/{} is on {places:?} of {nodes:?}: {}", key.1, key.2, set["status"]));
        }
    }
    told(found)
}
