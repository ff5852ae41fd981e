//! A server that is killed while many clients write: what it has acknowledged is there when it comes back, containers
//! ran on, and watches go on where they were.

use crate::first::available;
use crate::fixture::{BUSYBOX, Cluster};
use crate::run::{DEADLINE, runtime};
use crate::steps::Steps;
use futures_util::StreamExt;
use gifee_base::Gvr;
use gifee_client::{Client, Error, Event, Watch, WatchOptions};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How often it is killed.
const ROUNDS: usize = 10;
/// How many clients write at once, over how many connections.
const WRITERS: usize = 1000;
const CONNECTIONS: usize = 8;
/// It is killed after so many acknowledged writes, of more in some rounds than in others.
const WRITES: usize = 400;

#[test]
fn crash() {
    let cluster = Cluster::up("crash");
    let steps = Steps::new(&cluster);
    steps.step("containers that must run on", || {
        cluster.busybox();
        cluster.kubectl(&["create", "deployment", "web", "--image", BUSYBOX, "--replicas=3"]).ok();
        available(&cluster, "default", "web", 3);
    });
    for round in 0..ROUNDS {
        steps.step(&format!("round {round}"), || crash_once(&cluster, round));
    }
    steps.end();
}

fn crash_once(cluster: &Cluster, round: usize) {
    let containers = containers(cluster);
    assert_eq!(containers.len(), 3);
    let (gvr, namespace) = (Gvr::core("configmaps"), format!("round-{round}"));
    cluster.kubectl(&["create", "namespace", &namespace]).ok();
    let clients: Vec<Client> = (0..CONNECTIONS).map(|_| cluster.client()).collect();
    let watch = runtime().block_on(clients[0].watch(&gvr, &namespace, &WatchOptions::default())).unwrap();
    let seen = runtime().spawn(follow(watch));

    let writers = Writers::start(&clients, &namespace);
    writers.wait(WRITES * (round % 4 + 1));
    cluster.kill();
    let acknowledged = writers.end();
    let (mut seen, revision) = runtime().block_on(seen).unwrap();
    assert!(acknowledged.len() >= WRITES && !seen.is_empty() && revision > 0, "{revision}: {}", seen.len());

    cluster.start().ok();
    let stored = cluster.list(&gvr, &namespace, "");
    let stored: BTreeMap<String, String> = stored.iter().map(|object| (name(object), uid(object))).collect();
    for (name, uid) in &acknowledged {
        assert_eq!(stored.get(name), Some(uid), "{name} was acknowledged and is not there");
    }
    for (name, uid) in &seen {
        assert_eq!(stored.get(name), Some(uid), "{name} was watched and is not there");
    }
    // The watch that broke off goes on, and with what it had seen before makes the whole.
    let client = cluster.client();
    let options = WatchOptions { resource_version: Some(revision.to_string()), ..WatchOptions::default() };
    runtime().block_on(async {
        let mut watch = client.watch(&gvr, &namespace, &options).await.unwrap();
        let missing = |seen: &BTreeMap<String, String>| stored.keys().any(|name| !seen.contains_key(name));
        while missing(&seen) {
            let event = tokio::time::timeout(DEADLINE, watch.next()).await.expect("the watch is silent");
            note(&mut seen, event.expect("the watch ended").expect("the watch failed"));
        }
    });
    assert_eq!(seen, stored);
    cluster.kubectl(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=60s"]).ok();
    available(cluster, "default", "web", 3);
    assert_eq!(self::containers(cluster), containers, "a running container was restarted");
}

/// Clients that create objects until the server is gone.
struct Writers {
    tasks: JoinSet<Vec<(String, String)>>,
    written: Arc<AtomicUsize>,
    more: Arc<Notify>,
}

impl Writers {
    fn start(clients: &[Client], namespace: &str) -> Self {
        let (written, more) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let (client, namespace) = (clients[writer % clients.len()].clone(), namespace.to_owned());
            let (written, more) = (written.clone(), more.clone());
            let write = async move {
                let (maps, mut acknowledged) = (Gvr::core("configmaps"), Vec::new());
                for number in 0.. {
                    let name = format!("object-{writer}-{number}");
                    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name },
                        "data": { "text": "x".repeat(200) } });
                    match client.create(&maps, &namespace, object).await {
                        Ok(object) => acknowledged.push((name, object.uid().to_owned())),
                        Err(Error::Status(status)) => panic!("{name} was refused: {status:?}"),
                        Err(_) => break,
                    }
                    written.fetch_add(1, Ordering::Relaxed);
                    more.notify_one();
                }
                acknowledged
            };
            tasks.spawn_on(write, runtime().handle());
        }
        Self { tasks, written, more }
    }

    fn wait(&self, writes: usize) {
        runtime().block_on(async {
            let enough = async {
                while self.written.load(Ordering::Relaxed) < writes {
                    self.more.notified().await;
                }
            };
            tokio::time::timeout(DEADLINE, enough).await.expect("the server takes no writes");
        });
    }

    fn end(mut self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        while let Some(task) = runtime().block_on(self.tasks.join_next()) {
            all.extend(task.unwrap());
        }
        all
    }
}

/// Name and uid of every object that a watch has told of, until it broke off, and its last revision.
async fn follow(mut watch: Watch) -> (BTreeMap<String, String>, u64) {
    let (mut seen, mut revision) = (BTreeMap::new(), 0);
    while let Some(Ok(event)) = watch.next().await {
        revision = revision.max(note(&mut seen, event));
    }
    (seen, revision)
}

fn note(seen: &mut BTreeMap<String, String>, event: Event) -> u64 {
    match event {
        Event::Added(object) => {
            let again = seen.insert(object.name().to_owned(), object.uid().to_owned());
            assert_eq!(again, None, "{} was told of twice", object.name());
            object.revision()
        }
        Event::Bookmark { revision, .. } => revision,
        other => panic!("nobody changed or deleted anything: {other:?}"),
    }
}

/// Of every pod: its uid, its container's id, when it was started and how often.
fn containers(cluster: &Cluster) -> Vec<Value> {
    let pods = cluster.list(&Gvr::core("pods"), "default", "app=web");
    let mut all: Vec<Value> = pods
        .iter()
        .map(|pod| {
            let status = &pod["status"]["containerStatuses"][0];
            json!([pod["metadata"]["uid"], status["containerID"], status["restartCount"], status["state"]])
        })
        .collect();
    all.sort_by_key(Value::to_string);
    all
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}
