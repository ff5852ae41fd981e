//! The fake server keeps the rules that controllers rely on.

use super::*;
use crate::options::{DeleteOptions, ListOptions, PatchKind, Propagation, WatchOptions};
use crate::watch::Event;
use futures_util::StreamExt;

fn deployments() -> Gvr {
    Gvr::new("apps", "v1", "deployments")
}

fn key() -> ObjectKey {
    ObjectKey::new("web", "blog")
}

#[tokio::test]
async fn writes_keep_the_rules_of_the_api() {
    let fake = Fake::new();
    let client = fake.client();
    let body = json!({ "metadata": { "name": "blog" }, "spec": { "replicas": 1 }, "status": { "x": 1 } });
    let created = client.create(&deployments(), "web", &body).await.unwrap();
    assert_eq!((created.generation(), created.namespace()), (1, "web"));
    assert!(created.to_value().unwrap()["status"].is_null());
    assert!(client.create(&deployments(), "web", &body).await.unwrap_err().is_already_exists());

    let mut stale = created.to_value().unwrap();
    let patched = client
        .patch(&deployments(), &key(), PatchKind::Merge, json!({ "spec": { "replicas": 2 } }))
        .await
        .unwrap();
    assert_eq!(patched.generation(), 2);
    stale["spec"]["replicas"] = 3.into();
    assert!(client.update(&deployments(), &key(), &stale).await.unwrap_err().is_conflict());

    let status = client
        .patch_status(
            &deployments(),
            &key(),
            PatchKind::Merge,
            json!({ "status": { "replicas": 2 }, "spec": null }),
        )
        .await
        .unwrap();
    assert_eq!((status.generation(), status.to_value().unwrap()["spec"]["replicas"].as_i64()), (2, Some(2)));

    let options = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    client.delete(&deployments(), &key(), &options).await.unwrap();
    let deleting = client.get(&deployments(), &key()).await.unwrap();
    assert!(deleting.deleting() && deleting.finalizers() == 1);
    client
        .patch(&deployments(), &key(), PatchKind::Merge, json!({ "metadata": { "finalizers": null } }))
        .await
        .unwrap();
    assert!(client.get(&deployments(), &key()).await.unwrap_err().is_not_found());
    assert_eq!(fake.writes().len(), 7);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let fake = Fake::new();
    for n in 0..25 {
        let labels = json!({ "odd": (n % 2 == 1).to_string() });
        let name = format!("p{n:02}");
        fake.put(json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "web", "labels": labels } }));
    }
    let client = fake.client();
    let options = ListOptions {
        labels: gifee_base::LabelSelector::parse("odd=true").unwrap(),
        limit: 5,
        ..ListOptions::default()
    };
    let first = client.list(&Gvr::core("pods"), "", &options).await.unwrap();
    assert_eq!((first.items.len(), first.continuation.is_some()), (5, true));
    let all = client.list_all(&Gvr::core("pods"), "web", &options).await.unwrap();
    assert_eq!((all.items.len(), all.continuation), (12, None));
    assert_eq!(all.items[11].name(), "p23");
}

#[tokio::test]
async fn a_watch_sees_its_own_selection_only() {
    let fake = Fake::new();
    let client = fake.client();
    let options = WatchOptions {
        fields: gifee_base::FieldSelector::parse("spec.nodeName=one").unwrap(),
        resource_version: Some("0".into()),
        ..WatchOptions::default()
    };
    let pod = |node: &str| {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a", "namespace": "web" },
            "spec": { "nodeName": node } })
    };
    fake.put(pod("one"));
    let mut watch = client.watch(&Gvr::core("pods"), "", &options).await.unwrap();
    fake.put(pod("two"));
    fake.put(pod("one"));
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(match watch.next().await.unwrap().unwrap() {
            Event::Added(_) => "added",
            Event::Modified(_) => "modified",
            Event::Deleted(_) => "deleted",
            Event::Bookmark { .. } => "bookmark",
        });
    }
    assert_eq!(seen, ["added", "deleted", "added"]);
}
