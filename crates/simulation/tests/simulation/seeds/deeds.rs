//! DEEDS: what people and machines do in a story.

use super::random::Random;
use super::story::Stage;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, ObjectKey};
use gifee_client::{DeleteOptions, PatchKind, Propagation};
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
