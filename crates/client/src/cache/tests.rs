//! Caches against a fake server: lists, watches, resumptions, indexes.

use super::*;
use crate::fake::Fake;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

const BY_NODE: Index = Index {
    name: "node",
    values: |object, add| add(object.to_value().unwrap()["spec"]["nodeName"].as_str().unwrap_or_default()),
};

fn pod(namespace: &str, name: &str, node: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": namespace },
        "spec": { "nodeName": node } })
}

fn names<'a>(objects: impl Iterator<Item = &'a Arc<Object>>) -> String {
    objects.map(|object| object.key().to_string()).collect::<Vec<_>>().join(" ")
}

fn pods() -> Scope {
    Scope::all(Gvr::core("pods"))
}

#[tokio::test]
async fn follows_the_server() {
    let fake = Fake::new();
    fake.put(pod("b", "one", "n1"));
    fake.put(pod("a", "two", "n2"));
    let stop = CancellationToken::new();
    let cache = Cache::start(fake.client(), pods(), stop.clone());
    cache.add_index(BY_NODE);
    cache.synced().await;
    assert_eq!(names(cache.read().all()), "a/two b/one");
    assert_eq!(cache.revision(), 2);

    fake.put(pod("b", "three", "n1"));
    fake.put(pod("b", "one", "n2"));
    fake.remove(&Gvr::core("pods"), &ObjectKey::new("a", "two"));
    cache.reached(fake.revision()).await;
    let view = cache.read();
    assert_eq!(names(view.namespace("b")), "b/one b/three");
    assert_eq!(names(view.namespace("a")), "");
    assert_eq!(names(view.indexed(&BY_NODE, "n1")), "b/three");
    assert_eq!(names(view.indexed(&BY_NODE, "n2")), "b/one");
    stop.cancel();
}

#[tokio::test]
async fn lists_again_after_compaction_and_tells_only_differences() {
    let fake = Fake::new();
    for name in ["kept", "changed", "gone"] {
        fake.put(pod("a", name, ""));
    }
    let stop = CancellationToken::new();
    let cache = Cache::start(fake.client(), pods(), stop.clone());
    cache.synced().await;
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = told.clone();
    cache.subscribe(move |change| {
        let side = |side: Option<&Arc<Object>>| side.map_or(0, |object| object.revision());
        sink.lock().push(format!("{} {}-{}", change.object().name(), side(change.old), side(change.new)));
    });
    assert_eq!(told.lock().drain(..).collect::<Vec<_>>().join(", "), "changed 0-2, gone 0-3, kept 0-1");

    // The watch is told nothing of these: it only finds that history is gone.
    fake.put(pod("a", "changed", "n"));
    fake.remove(&Gvr::core("pods"), &ObjectKey::new("a", "gone"));
    fake.put(pod("a", "new", ""));
    fake.compact();
    cache.reached(6).await;
    let told = told.lock().drain(..).collect::<Vec<_>>().join(", ");
    assert_eq!(told, "changed 2-4, new 0-6, gone 3-0");
    stop.cancel();
}

#[tokio::test]
async fn falls_back_to_pages_where_lists_do_not_stream() {
    let fake = Fake::new();
    fake.put(pod("a", "one", ""));
    let refusals = Arc::new(AtomicUsize::new(0));
    let counted = refusals.clone();
    fake.intercept(move |_, path| {
        let refused = path.contains("sendInitialEvents");
        counted.fetch_add(usize::from(refused), Ordering::Relaxed);
        refused
            .then(|| gifee_base::Status::new(gifee_base::Reason::Invalid, "sendInitialEvents is forbidden"))
    });
    let stop = CancellationToken::new();
    let cache = Cache::start(fake.client(), pods(), stop.clone());
    cache.synced().await;
    fake.put(pod("a", "two", ""));
    cache.reached(2).await;
    assert_eq!(names(cache.read().all()), "a/one a/two");
    assert_eq!(refusals.load(Ordering::Relaxed), 1);
    stop.cancel();
}
