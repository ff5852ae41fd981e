//! Deletion of namespaces against a fake server.

use super::plan::{Remains, View, plan};
use super::*;
use expect_test::expect;
use gifee_base::Status;
use gifee_client::fake::Fake;
use gifee_reconcile::Recorder;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[test]
fn says_what_it_waits_for_and_then_rests() {
    let tree = json!({ "metadata": { "name": "web" }, "status": { "phase": "Active" } });
    let mut view = View {
        namespace: Arc::new(Object::received(tree.to_string().into()).unwrap()),
        tree,
        remains: BTreeMap::from([
            (Gvr::core("pods"), Remains { objects: 2, finalizers: BTreeMap::new() }),
            (
                Gvr::new("apps", "v1", "deployments"),
                Remains { objects: 1, finalizers: BTreeMap::from([("example.com/x".into(), 1)]) },
            ),
        ]),
        discovery_failure: None,
        content_failure: None,
        tries: 3,
    };
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let first = plan(&view, now);
    assert_eq!((first.finalize, first.again), (false, Some(Duration::from_secs(4))));
    let texts: Vec<String> = first.status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["status"] == "True")
        .map(|one| format!("{} {}", one["reason"].as_str().unwrap(), one["message"].as_str().unwrap()))
        .collect();
    expect![[r#"
        SomeResourcesRemain Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances
        SomeFinalizersRemain Some content in the namespace has finalizers remaining: example.com/x in 1 resource instances
    "#]]
    .assert_eq(&(texts.join("\n") + "\n"));
    view.tree["status"] = first.status.clone();
    assert_eq!(plan(&view, "2026-01-01T00:09:00Z".parse().unwrap()), first);
    view.remains.clear();
    view.discovery_failure = Some("away".into());
    assert!(!plan(&view, now).finalize, "what is not known may not be empty");
    view.discovery_failure = None;
    assert!(plan(&view, now).finalize);
}

#[tokio::test(start_paused = true)]
async fn empties_pods_first_then_all_else_then_goes() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    fake.add_kind("example.com/v1", "widgets", "Widget", true);
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
    tokio::spawn(run(context, Arc::default()));
    let client = fake.client();
    client.create(&namespaces(), "", json!({ "metadata": { "name": "web" } })).await.unwrap();
    let put = |api_version: &str, kind: &str, name: &str, namespace: &str| {
        fake.put(json!({ "apiVersion": api_version, "kind": kind, "spec": { "nodeName": "n" },
            "metadata": { "name": name, "namespace": namespace } }));
    };
    put("v1", "Pod", "p", "web");
    put("v1", "ConfigMap", "c", "web");
    put("example.com/v1", "Widget", "w", "web");
    put("v1", "ConfigMap", "kept", "other");
    let widgets = Gvr::new("example.com", "v1", "widgets");
    let widget = ObjectKey::new("web", "w");
    fake.change(&widgets, &widget, |widget| widget["metadata"]["finalizers"] = json!(["example.com/x"]));
    let key = ObjectKey::cluster("web");
    client.delete(&namespaces(), &key, &DeleteOptions::default()).await.unwrap();
    let until = async |what: &str, test: &dyn Fn() -> bool| {
        for _ in 0..1000 {
            if test() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        panic!("{what}: {:#?}", fake.object(&namespaces(), &key));
    };
    let says = |reason: &str| {
        let namespace = fake.object(&namespaces(), &key).unwrap_or_default();
        let conditions = namespace["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["reason"] == reason)
    };
    until("a pod that ends gracefully", &|| says("SomeResourcesRemain")).await;
    let maps = Gvr::core("configmaps");
    assert!(fake.object(&maps, &ObjectKey::new("web", "c")).is_some(), "the pod still needs it");
    fake.remove(&Gvr::core("pods"), &ObjectKey::new("web", "p"));
    until("the finalizer", &|| says("SomeFinalizersRemain")).await;
    assert!(fake.object(&maps, &ObjectKey::new("web", "c")).is_none());
    client
        .patch(&widgets, &widget, PatchKind::Merge, json!({ "metadata": { "finalizers": null } }))
        .await
        .unwrap();
    until("it is gone", &|| fake.object(&namespaces(), &key).is_none()).await;
    assert!(fake.object(&maps, &ObjectKey::new("other", "kept")).is_some());
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_namespace_and_shows() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, Recorder::memory(), stop.clone());
    fake.put(
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s", "namespace": "web" } }),
    );
    fake.intercept(|method, path| {
        (method == "DELETE" && path.contains("/secrets")).then(|| Status::internal("not today"))
    });
    let client = fake.client();
    client.create(&namespaces(), "", json!({ "metadata": { "name": "web" } })).await.unwrap();
    client.delete(&namespaces(), &ObjectKey::cluster("web"), &DeleteOptions::default()).await.unwrap();
    tokio::spawn(run(context, Arc::default()));
    let conditions = || {
        let namespace = fake.object(&namespaces(), &ObjectKey::cluster("web"))?;
        let conditions = namespace["status"]["conditions"].as_array()?.clone();
        conditions.into_iter().find(|one| one["reason"] == "ContentDeletionFailed")
    };
    for _ in 0..1000 {
        if conditions().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    assert!(
        conditions().unwrap()["message"]
            .as_str()
            .unwrap()
            .contains("v1/secrets: Internal error occurred: not today")
    );
    fake.intercept(|_, _| None);
    for _ in 0..1000 {
        if fake.object(&namespaces(), &ObjectKey::cluster("web")).is_none() {
            stop.cancel();
            return;
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    panic!("still there");
}
