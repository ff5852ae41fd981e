//! DEEDS: what people and machines do in a story.

use super::random::Random;
use super::story::Stage;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, ObjectKey};
use gifee_client::{DeleteOptions, ListOptions, PatchKind, Propagation, Request};
use serde_json::{Value, json};

/// Something that may be done; it says what it did.
pub struct Deed {
    /// How often, against the others.
    pub weight: u64,
    /// Does it.
    pub run: for<'a> fn(&'a mut Stage, &'a mut Random) -> BoxFuture<'a, String>,
}

/// Everything that may be done. A controller joins by a row that makes its objects, and one in the invariants.
pub const DEEDS: &[Deed] = &[
    Deed { weight: 6, run: |stage, random| deploy(stage, random).boxed() },
    Deed { weight: 4, run: |stage, random| scale(stage, random).boxed() },
    Deed { weight: 4, run: |stage, random| roll(stage, random).boxed() },
    Deed { weight: 2, run: |stage, random| delete(stage, random).boxed() },
    Deed { weight: 3, run: |stage, random| pod(stage, random).boxed() },
    Deed { weight: 5, run: |stage, random| job(stage, random).boxed() },
    Deed { weight: 2, run: |stage, random| change_job(stage, random).boxed() },
    Deed { weight: 3, run: |stage, random| set(stage, random).boxed() },
    Deed { weight: 1, run: |stage, random| daemon(stage, random).boxed() },
    Deed { weight: 3, run: |stage, random| cron(stage, random).boxed() },
    Deed { weight: 2, run: |stage, random| budget(stage, random).boxed() },
    Deed { weight: 4, run: |stage, random| evict(stage, random).boxed() },
    Deed { weight: 3, run: |stage, random| autoscale(stage, random).boxed() },
    Deed { weight: 3, run: |stage, random| queue(stage, random).boxed() },
    Deed { weight: 2, run: |stage, random| namespace(stage, random).boxed() },
    Deed { weight: 2, run: |stage, random| silence(stage, random).boxed() },
    Deed { weight: 2, run: |stage, random| remove_node(stage, random).boxed() },
    Deed { weight: 2, run: |stage, random| jump(stage, random).boxed() },
    Deed { weight: 3, run: |stage, _| restart_components(stage).boxed() },
    Deed { weight: 2, run: |stage, _| crash(stage).boxed() },
];

/// Namespaces that stories use; the first one stays.
const NAMESPACES: [&str; 3] = ["stays", "one", "two"];
const NAMES: [&str; 3] = ["web", "api", "queue"];

fn deployments() -> Gvr {
    Gvr::new("apps", "v1", "deployments")
}

fn place(random: &mut Random) -> ObjectKey {
    let namespace = NAMESPACES[random.below(3) as usize];
    ObjectKey::new(namespace, NAMES[random.below(3) as usize])
}

fn outcome<T>(what: String, result: gifee_client::Result<T>) -> String {
    match result {
        Ok(_) => what,
        Err(error) => format!("{what}: {error}"),
    }
}

fn containers(cpu: u64) -> Value {
    json!([{ "name": "main", "image": "image", "resources": { "requests": { "cpu": format!("{cpu}m") } } }])
}

async fn deploy(stage: &mut Stage, random: &mut Random) -> String {
    let key = place(random);
    let (replicas, cpu) = (random.below(5), 100 + 100 * random.below(6));
    let labels = json!({ "app": &*key.name });
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": &*key.name },
        "spec": { "replicas": replicas, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels },
                "spec": { "terminationGracePeriodSeconds": random.below(20), "containers": containers(cpu) } } },
    });
    let made = stage.client().create(&deployments(), &key.namespace, object).await;
    outcome(format!("deploy {key} × {replicas} of {cpu}m"), made)
}

async fn scale(stage: &mut Stage, random: &mut Random) -> String {
    let (key, replicas) = (place(random), random.below(8));
    let patch = json!({ "spec": { "replicas": replicas } });
    outcome(
        format!("scale {key} to {replicas}"),
        stage.client().patch(&deployments(), &key, PatchKind::Merge, patch).await,
    )
}

async fn roll(stage: &mut Stage, random: &mut Random) -> String {
    let (key, mark) = (place(random), random.below(1_000));
    let patch =
        json!({ "spec": { "template": { "metadata": { "annotations": { "mark": mark.to_string() } } } } });
    outcome(
        format!("roll {key} to {mark}"),
        stage.client().patch(&deployments(), &key, PatchKind::Merge, patch).await,
    )
}

async fn delete(stage: &mut Stage, random: &mut Random) -> String {
    let key = place(random);
    let foreground = random.happens(300);
    let propagation = Some(if foreground { Propagation::Foreground } else { Propagation::Background });
    let options = DeleteOptions { propagation, ..DeleteOptions::default() };
    outcome(
        format!("delete {key}, foreground: {foreground}"),
        stage.client().delete(&deployments(), &key, &options).await,
    )
}

async fn pod(stage: &mut Stage, random: &mut Random) -> String {
    let (namespace, name) = (NAMESPACES[random.below(3) as usize], format!("alone-{}", random.below(4)));
    if random.happens(400) {
        let key = ObjectKey::new(namespace, &name);
        let deleted = stage.client().delete(&Gvr::core("pods"), &key, &DeleteOptions::default()).await;
        return outcome(format!("delete pod {key}"), deleted);
    }
    let policy = if random.happens(500) { "Always" } else { "Never" };
    let object = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "restartPolicy": policy, "terminationGracePeriodSeconds": 5, "containers": containers(300) } });
    outcome(
        format!("pod {namespace}/{name}, {policy}"),
        stage.client().create(&Gvr::core("pods"), namespace, object).await,
    )
}

fn jobs() -> Gvr {
    Gvr::new("batch", "v1", "jobs")
}

async fn job(stage: &mut Stage, random: &mut Random) -> String {
    let key = place(random);
    let (parallelism, completions) = (1 + random.below(3), 1 + random.below(5));
    let policy = if random.happens(700) { "Never" } else { "OnFailure" };
    let mut spec = json!({ "parallelism": parallelism, "completions": completions, "backoffLimit": 6,
        "template": { "spec": { "restartPolicy": policy, "terminationGracePeriodSeconds": random.below(10),
            "containers": containers(200) } } });
    let indexed = random.happens(500);
    if indexed {
        spec["completionMode"] = "Indexed".into();
        if policy == "Never" && random.happens(300) {
            spec["backoffLimitPerIndex"] = 2.into();
        }
    }
    if random.happens(200) {
        spec["suspend"] = true.into();
    }
    let object =
        json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": &*key.name }, "spec": spec });
    let made = stage.client().create(&jobs(), &key.namespace, object).await;
    outcome(format!("job {key} {completions} by {parallelism}, {policy}, indexed: {indexed}"), made)
}

async fn change_job(stage: &mut Stage, random: &mut Random) -> String {
    let key = place(random);
    match random.below(3) {
        0 => {
            let deleted = stage.client().delete(&jobs(), &key, &propagated(random)).await;
            outcome(format!("delete job {key}"), deleted)
        }
        1 => {
            let parallelism = random.below(4);
            let patch = json!({ "spec": { "parallelism": parallelism } });
            let patched = stage.client().patch(&jobs(), &key, PatchKind::Merge, patch).await;
            outcome(format!("job {key} by {parallelism}"), patched)
        }
        _ => {
            let suspend = random.happens(400);
            let patch = json!({ "spec": { "suspend": suspend } });
            let patched = stage.client().patch(&jobs(), &key, PatchKind::Merge, patch).await;
            outcome(format!("suspend job {key}: {suspend}"), patched)
        }
    }
}

fn propagated(random: &mut Random) -> DeleteOptions {
    let foreground = random.happens(300);
    let propagation = Some(if foreground { Propagation::Foreground } else { Propagation::Background });
    DeleteOptions { propagation, ..DeleteOptions::default() }
}

/// Makes, changes or deletes a set of pods that are not a Deployment's.
async fn change(
    stage: &mut Stage,
    random: &mut Random,
    gvr: Gvr,
    key: ObjectKey,
    object: Value,
    patch: Value,
) -> String {
    let what = format!("{} {key}", gvr.resource);
    match random.below(4) {
        0 => outcome(format!("delete {what}"), stage.client().delete(&gvr, &key, &propagated(random)).await),
        1 => {
            let said = format!("change {what}: {patch}");
            outcome(said, stage.client().patch(&gvr, &key, PatchKind::Merge, patch).await)
        }
        _ => outcome(what, stage.client().create(&gvr, &key.namespace, object).await),
    }
}

/// Pods of a StatefulSet or a DaemonSet, under names that no Deployment's pods have.
fn members(name: &str, cpu: u64, mark: u64) -> (Value, Value) {
    let labels = json!({ "set": name });
    let template = json!({ "metadata": { "labels": labels, "annotations": { "mark": mark.to_string() } },
        "spec": { "terminationGracePeriodSeconds": 2, "containers": containers(cpu) } });
    (json!({ "matchLabels": labels }), template)
}

async fn set(stage: &mut Stage, random: &mut Random) -> String {
    let key = place(random);
    let (replicas, mark) = (random.below(4), random.below(1_000));
    let (selector, template) = members(&key.name, 100, mark);
    let policy = if random.happens(500) { "OrderedReady" } else { "Parallel" };
    let object = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": &*key.name },
        "spec": { "replicas": replicas, "serviceName": "set", "podManagementPolicy": policy,
            "selector": selector, "template": template } });
    let patch = match random.happens(500) {
        true => json!({ "spec": { "replicas": replicas } }),
        false => {
            json!({ "spec": { "template": { "metadata": { "annotations": { "mark": mark.to_string() } } } } })
        }
    };
    change(stage, random, Gvr::new("apps", "v1", "statefulsets"), key, object, patch).await
}

async fn daemon(stage: &mut Stage, random: &mut Random) -> String {
    let key = place(random);
    let mark = random.below(1_000);
    let (selector, template) = members(&format!("daemon-{}", key.name), 50, mark);
    let object = json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": &*key.name },
        "spec": { "selector": selector, "template": template } });
    let patch =
        json!({ "spec": { "template": { "metadata": { "annotations": { "mark": mark.to_string() } } } } });
    change(stage, random, Gvr::new("apps", "v1", "daemonsets"), key, object, patch).await
}

async fn cron(stage: &mut Stage, random: &mut Random) -> String {
    let key = place(random);
    let policy = ["Allow", "Forbid", "Replace"][random.below(3) as usize];
    let task = json!({ "spec": { "restartPolicy": "Never", "terminationGracePeriodSeconds": 2,
        "containers": containers(50) } });
    let mut spec = json!({ "schedule": "*/2 * * * *", "concurrencyPolicy": policy, "suspend": random.happens(100),
        "jobTemplate": { "spec": { "backoffLimit": 1, "template": task } } });
    if random.happens(400) {
        spec["startingDeadlineSeconds"] = (20 + random.below(200)).into();
    }
    // Jobs of a CronJob have names that no other Jobs have.
    let object = json!({ "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": &*key.name }, "spec": spec });
    let patch = json!({ "spec": { "suspend": random.happens(500) } });
    change(stage, random, Gvr::new("batch", "v1", "cronjobs"), key, object, patch).await
}

async fn budget(stage: &mut Stage, random: &mut Random) -> String {
    let key = place(random);
    let bound = if random.happens(500) { json!(random.below(4)) } else { json!("50%") };
    let side = if random.happens(500) { "minAvailable" } else { "maxUnavailable" };
    let object = json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": &*key.name },
        "spec": { side: bound, "selector": { "matchLabels": { "app": &*key.name } } } });
    let patch = json!({ "spec": { "unhealthyPodEvictionPolicy": "AlwaysAllow" } });
    change(stage, random, Gvr::new("policy", "v1", "poddisruptionbudgets"), key, object, patch).await
}

/// Evicts some pods of a Deployment, one after the other.
async fn evict(stage: &mut Stage, random: &mut Random) -> String {
    let key = place(random);
    let labels = gifee_base::LabelSelector::parse(&format!("app={}", key.name)).expect("it is a selector");
    let options = ListOptions { labels, ..ListOptions::default() };
    let Ok(pods) = stage.client().list_all(&Gvr::core("pods"), &key.namespace, &options).await else {
        return format!("evict pods of {key}: they cannot be listed");
    };
    let mut went = 0;
    for pod in pods.items.iter().take(1 + random.below(3) as usize) {
        let body =
            json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": pod.name() } });
        let path = format!("/api/v1/namespaces/{}/pods/{}/eviction", key.namespace, pod.name());
        let request = Request::new(http::Method::POST, path).payload("application/json", &body);
        went += u32::from(stage.client().value(&request).await.is_ok());
    }
    format!("evict pods of {key}: {went}")
}

async fn autoscale(stage: &mut Stage, random: &mut Random) -> String {
    let key = place(random);
    let (least, most) = (random.below(3), 3 + random.below(3));
    let metric = json!({ "type": "External", "external": { "metric": { "name": "queue" },
        "target": { "type": "AverageValue", "averageValue": "10" } } });
    let object = json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": &*key.name }, "spec": { "minReplicas": least, "maxReplicas": most, "metrics": [metric],
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": &*key.name } } });
    let patch = json!({ "spec": { "maxReplicas": most } });
    change(stage, random, Gvr::new("autoscaling", "v2", "horizontalpodautoscalers"), key, object, patch).await
}

/// A queue elsewhere grows or shrinks.
async fn queue(stage: &mut Stage, random: &mut Random) -> String {
    let length = random.below(60);
    stage.queue(length);
    format!("{length} wait elsewhere")
}

async fn namespace(stage: &mut Stage, random: &mut Random) -> String {
    let name = NAMESPACES[1 + random.below(2) as usize];
    let namespaces = Gvr::core("namespaces");
    if random.happens(500) {
        let deleted =
            stage.client().delete(&namespaces, &ObjectKey::cluster(name), &DeleteOptions::default()).await;
        return outcome(format!("delete namespace {name}"), deleted);
    }
    let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    outcome(format!("namespace {name}"), stage.client().create(&namespaces, "", object).await)
}

async fn silence(stage: &mut Stage, random: &mut Random) -> String {
    let name = stage.node(random.below(4) as usize);
    if random.happens(500) {
        stage.fleet().adopt(std::slice::from_ref(&name)).await;
        return format!("node {name} speaks again");
    }
    stage.fleet().fail(std::slice::from_ref(&name));
    stage.faults.happened("a node falls silent");
    format!("node {name} falls silent")
}

async fn remove_node(stage: &mut Stage, random: &mut Random) -> String {
    let index = random.below(4) as usize;
    let name = stage.node(index);
    let nodes = Gvr::core("nodes");
    if random.happens(400) {
        stage.fleet().fail(std::slice::from_ref(&name));
        let deleted =
            stage.client().delete(&nodes, &ObjectKey::cluster(&name), &DeleteOptions::default()).await;
        return outcome(format!("remove node {name}"), deleted);
    }
    outcome(format!("add node {name}"), stage.add_node(index).await)
}

async fn jump(stage: &mut Stage, random: &mut Random) -> String {
    let seconds = random.below(600).cast_signed() - 200;
    stage.clock.jump(seconds);
    stage.faults.happened("the wall clock jumps");
    format!("the clock jumps by {seconds} s")
}

async fn restart_components(stage: &mut Stage) -> String {
    stage.restart_components();
    "controllers and scheduler crash".into()
}

async fn crash(stage: &mut Stage) -> String {
    stage.crash().await;
    "everything crashes".into()
}
