//! What must be true of CronJobs, PodDisruptionBudgets, autoscalers, and of rollouts on their way.

use super::model::{Key, Model, condition, ended};
use serde_json::Value;
use std::collections::BTreeSet;

/// How many replicas a Deployment allowed when it last scaled a set.
const ALLOWED: &str = "deployment.kubernetes.io/max-replicas";
/// For when a Job was started.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

fn owner<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true && owner["kind"] == kind)?;
    owner["uid"].as_str()
}

fn told(found: Vec<String>) -> Option<String> {
    (!found.is_empty()).then(|| found.join("; "))
}

/// After every commit: whoever raises a set leaves no more replicas than the Deployment allows.
pub fn surge(model: &Model, key: &Key) -> Option<String> {
    if key.0 != "replicasets" || !model.raised {
        return None;
    }
    let set = &model.objects.get(key)?.value;
    let deployment = owner(set, "Deployment")?;
    let allowed: u64 = set["metadata"]["annotations"][ALLOWED].as_str()?.parse().ok()?;
    let own = model.of("replicasets").filter(|(_, one)| owner(one, "Deployment") == Some(deployment));
    let total: u64 = own.filter_map(|(_, one)| one["spec"]["replicas"].as_u64()).sum();
    (total > allowed).then(|| format!("{}/{}: {total} replicas of {allowed}", key.1, key.2))
}

/// After every commit: no two Jobs of a CronJob are for one time.
pub fn twice(model: &Model, key: &Key) -> Option<String> {
    if key.0 != "jobs" {
        return None;
    }
    let job = &model.objects.get(key)?.value;
    let schedule = owner(job, "CronJob")?;
    let time = &job["metadata"]["annotations"][SCHEDULED];
    let same = |one: &Value| {
        owner(one, "CronJob") == Some(schedule) && one["metadata"]["annotations"][SCHEDULED] == *time
    };
    let count = model.of("jobs").filter(|(_, one)| same(one)).count();
    (count > 1).then(|| format!("{}/{}: {count} Jobs for {time}", key.1, key.2))
}

/// At rest: what is said to be active is there and runs, and little that has ended is kept.
pub fn schedules(model: &Model, _: &Key) -> Option<String> {
    let over = |job: &Value| {
        let is = |kind: &str| condition(job, kind).is_some_and(|one| one["status"] == "True");
        is("Complete") || is("Failed")
    };
    let mut found = Vec::new();
    for (key, schedule) in model.of("cronjobs") {
        let uid = schedule["metadata"]["uid"].as_str().unwrap_or_default();
        let own = || model.of("jobs").map(|(_, job)| job).filter(|job| owner(job, "CronJob") == Some(uid));
        let running: BTreeSet<&str> =
            own().filter(|job| !over(job)).filter_map(|job| job["metadata"]["uid"].as_str()).collect();
        let active = schedule["status"]["active"].as_array().into_iter().flatten();
        let active: BTreeSet<&str> = active.filter_map(|one| one["uid"].as_str()).collect();
        // One that was made just before a crash is not said to be active.
        let kept = own().filter(|job| over(job)).count();
        if !active.is_subset(&running) || kept > 4 {
            found.push(format!("{}/{}: {active:?} of {running:?}, {kept} kept", key.1, key.2));
        }
    }
    told(found)
}

fn number(status: &Value, field: &str) -> i64 {
    status[field].as_i64().unwrap_or_default()
}

/// At rest: budgets say what is true of their pods.
pub fn budgets(model: &Model, _: &Key) -> Option<String> {
    let mut found = Vec::new();
    for (key, budget) in model.of("poddisruptionbudgets") {
        let app = &budget["spec"]["selector"]["matchLabels"]["app"];
        let own =
            model.of("pods").filter(|(at, pod)| at.1 == key.1 && pod["metadata"]["labels"]["app"] == *app);
        let ready = |pod: &Value| {
            !ended(pod)
                && pod["metadata"]["deletionTimestamp"].is_null()
                && condition(pod, "Ready").is_some_and(|one| one["status"] == "True")
        };
        let healthy = i64::try_from(own.filter(|(_, pod)| ready(pod)).count()).unwrap_or(i64::MAX);
        let status = &budget["status"];
        let allowed = (healthy - number(status, "desiredHealthy")).max(0);
        let observed = status["observedGeneration"] == budget["metadata"]["generation"];
        let known = condition(budget, "DisruptionAllowed").is_some_and(|one| one["reason"] != "SyncFailed");
        let right =
            number(status, "currentHealthy") == healthy && number(status, "disruptionsAllowed") == allowed;
        if known && !(observed && right && status["disruptedPods"].is_null()) {
            found.push(format!("{}/{}: {healthy} pods are ready: {status}", key.1, key.2));
        }
    }
    told(found)
}

/// At rest: what an autoscaler scales is as large as it says, and within its bounds.
pub fn autoscalers(model: &Model, _: &Key) -> Option<String> {
    let mut found = Vec::new();
    for (key, autoscaler) in model.of("horizontalpodautoscalers") {
        let target = autoscaler["spec"]["scaleTargetRef"]["name"].as_str().unwrap_or_default();
        let target = ("deployments".to_owned(), key.1.clone(), target.to_owned());
        let Some(deployment) = model.objects.get(&target) else { continue };
        let size = number(&deployment.value["spec"], "replicas");
        let (spec, status) = (&autoscaler["spec"], &autoscaler["status"]);
        // Nobody wakes what a person has put to sleep.
        let bounded =
            size == 0 || (number(spec, "minReplicas")..=number(spec, "maxReplicas")).contains(&size);
        let known = number(status, "currentReplicas") == size && number(status, "desiredReplicas") == size;
        if !bounded || !known {
            found.push(format!("{}/{}: the target has {size}: {spec} {status}", key.1, key.2));
        }
    }
    told(found)
}
