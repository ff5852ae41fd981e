//! The typed side against a fake server.

use super::*;
use async_trait::async_trait;
use gifee_base::{Gvk, Gvr, LabelSelector, Object, ObjectKey, SystemClock};
use gifee_client::fake::Fake;
use gifee_client::{Cache, Queue, Scope};
use lease::{Election, Timing};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn object(tree: Value) -> Arc<Object> {
    Arc::new(Object::received(tree.to_string().into()).unwrap())
}

fn pod(name: &str, revision: u64) -> Object {
    let tree = json!({ "metadata": { "name": name, "namespace": "web", "uid": name,
        "resourceVersion": revision.to_string() } });
    Object::received(tree.to_string().into()).unwrap()
}

async fn until(what: &str, test: impl Fn() -> bool) {
    for _ in 0..1000 {
        if test() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    panic!("{what}");
}

/// Fails, panics, asks for more, rests; one after the other.
struct Moody(Mutex<Vec<String>>);

#[async_trait]
impl Reconcile<ObjectKey> for Moody {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let tries = {
            let mut tries = self.0.lock();
            tries.push(key.to_string());
            tries.len()
        };
        match tries {
            1 => Err(Error::invalid(key, "not yet")),
            2 => panic!("worse"),
            3 => Ok(Outcome::After(Duration::from_millis(5))),
            _ => Ok(Outcome::Done),
        }
    }
}

#[tokio::test]
async fn a_reconcile_that_fails_or_panics_comes_back() {
    let stop = CancellationToken::new();
    let context =
        Context::with(Fake::new().client(), Arc::new(SystemClock), Recorder::memory(), stop.clone());
    let (queue, moody) = (Arc::new(Queue::new()), Arc::new(Moody(Mutex::default())));
    queue.add(ObjectKey::new("web", "a"));
    let worker = tokio::spawn({
        let (context, queue, moody) = (context.clone(), queue.clone(), moody.clone());
        async move { work(&context, "moody", queue, moody, 3).await }
    });
    let counts = context.counts("moody");
    until("four tries", || moody.0.lock().len() == 4 && counts.done.load(Ordering::Relaxed) == 2).await;
    assert_eq!(counts.failed.load(Ordering::Relaxed), 1);
    assert_eq!(counts.panicked.load(Ordering::Relaxed), 1);
    stop.cancel();
    worker.await.unwrap();
}

#[test]
fn a_view_is_stale_until_it_shows_own_writes() {
    let cache = Cache::detached(Scope::all(Gvr::core("pods")));
    cache.replace(vec![pod("a", 1), pod("b", 2)], 5);
    let (expectations, key) = (Expectations::new(cache.clone()), ObjectKey::new("web", "set"));
    assert!(expectations.met(&key));
    expectations.wrote(&key, 7);
    assert!(!expectations.met(&key));
    cache.apply(pod("other", 6));
    assert!(!expectations.met(&key));
    cache.apply(pod("c", 7));
    assert!(expectations.met(&key));

    for name in ["a", "b"] {
        expectations.deleting(&key, &ObjectKey::new("web", name), name);
    }
    cache.remove(pod("a", 8));
    assert!(!expectations.met(&key));
    expectations.kept(&key, "b");
    assert!(expectations.met(&key));
}

#[test]
fn claims_are_by_controller_and_selector() {
    let candidate = |name: &str, app: &str, owner: Option<&str>, deleting: bool| {
        let mut tree = json!({ "metadata": { "name": name, "namespace": "web", "uid": name, "resourceVersion": "3",
            "labels": { "app": app } } });
        if let Some(uid) = owner {
            tree["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x",
                "uid": uid, "controller": true, "newer": "kept" }]);
        }
        if deleting {
            tree["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        object(tree)
    };
    let all = [
        candidate("own", "web", Some("me"), false),
        candidate("strayed", "other", Some("me"), false),
        candidate("foreign", "web", Some("you"), false),
        candidate("orphan", "web", None, false),
        candidate("going", "web", None, true),
        candidate("unrelated", "other", None, false),
    ];
    let selector = LabelSelector::parse("app=web").unwrap();
    let names =
        |list: &[Arc<Object>]| list.iter().map(|one| one.name().to_owned()).collect::<Vec<_>>().join(" ");
    let claims = owner::claim(all.iter(), "me", false, &selector);
    assert_eq!(
        (names(&claims.owned), names(&claims.adopt), names(&claims.release)),
        ("own".into(), "orphan".into(), "strayed".into())
    );
    let claims = owner::claim(all.iter(), "me", true, &selector);
    assert_eq!((names(&claims.owned), claims.adopt.len(), claims.release.len()), ("own".into(), 0, 0));

    let reference = owner::controller_reference(&all[0], &Gvk::new("apps", "v1", "ReplicaSet"));
    let patch = owner::adopt_patch(&all[3], reference).unwrap();
    assert_eq!(patch["metadata"]["uid"], "orphan");
    assert_eq!(patch["metadata"]["resourceVersion"], "3");
    assert_eq!(patch["metadata"]["ownerReferences"][0]["blockOwnerDeletion"], true);
    let patch = owner::release_patch(&all[1], "someone").unwrap();
    assert_eq!(patch["metadata"]["ownerReferences"][0]["newer"], "kept");
    assert!(owner::release_patch(&all[1], "me").unwrap()["metadata"]["ownerReferences"].is_null());
}

#[test]
fn a_pod_is_read_whatever_is_null() {
    let tree = json!({ "metadata": { "name": "a", "annotations": null, "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "nodeName": null, "tolerations": null, "containers": [{ "ports": null }] },
        "status": { "phase": "Running", "podIPs": null,
            "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z" }] } });
    let brief = pod::Brief::read(&object(tree)).unwrap();
    let at = |text: &str| text.parse().unwrap();
    assert!(brief.active() && brief.ready());
    assert!(!brief.available(30, at("2026-01-01T00:00:39Z")));
    assert!(brief.available(30, at("2026-01-01T00:00:40Z")));
}

#[test]
fn typed_objects_come_and_go() {
    use k8s_openapi::api::coordination::v1::Lease;
    let lease: Lease =
        decode(&object(json!({ "metadata": { "name": "a" }, "spec": { "leaseDurationSeconds": 5 } })))
            .unwrap();
    assert_eq!(lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds), Some(5));
    let bytes = encode(&lease).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap()["kind"], "Lease");
    assert_eq!(gvr::<Lease>(), gvr_of("coordination.k8s.io/v1/leases"));
    let wrong = decode::<Lease>(&object(json!({ "metadata": { "name": "a" }, "spec": 5 }))).unwrap_err();
    assert!(wrong.to_string().starts_with("decoding Lease a:"), "{wrong}");
}

#[tokio::test]
async fn one_leads_until_it_ends_or_cannot_renew() {
    let fake = Fake::new();
    let timing = Timing {
        lease: Duration::from_secs(1),
        renew: Duration::from_millis(300),
        retry: Duration::from_millis(20),
    };
    let leading: Arc<Mutex<Vec<String>>> = Arc::default();
    let candidate = |name: &'static str| {
        let (stop, leading) = (CancellationToken::new(), leading.clone());
        let election = Election {
            client: fake.client(),
            clock: Arc::new(SystemClock),
            lease: ObjectKey::new("kube-system", "test"),
            identity: name.into(),
            timing,
        };
        let token = stop.clone();
        tokio::spawn(async move {
            let lead = |term: CancellationToken| {
                let leading = leading.clone();
                async move {
                    leading.lock().push(name.into());
                    term.cancelled().await;
                    leading.lock().retain(|one| one != name);
                }
            };
            election.run(token, lead).await;
        });
        stop
    };
    let now = |expected: &[&str]| *leading.lock() == expected;
    let first = candidate("first");
    until("the first leads", || now(&["first"])).await;
    let _second = candidate("second");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(now(&["first"]));
    // One that ends lets the next in without waiting for the lease to run out.
    first.cancel();
    until("the second leads", || now(&["second"])).await;
    // One that cannot renew ends before its lease does.
    fake.intercept(|method, _| (method == "PUT").then(|| gifee_base::Status::internal("no")));
    until("nobody leads", || now(&[])).await;
    fake.intercept(|_, _| None);
    until("the second leads again", || now(&["second"])).await;
    let lease = fake
        .object(&gvr_of("coordination.k8s.io/v1/leases"), &ObjectKey::new("kube-system", "test"))
        .unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "second");
}

#[tokio::test]
async fn events_reach_the_server_counted() {
    let (fake, stop) = (Fake::new(), CancellationToken::new());
    let source = events::Source { component: "kubelet".into(), host: "node-1".into() };
    let recorder = Recorder::start(fake.client(), Arc::new(SystemClock), source, stop.clone());
    let reference =
        Reference { kind: "Pod".into(), namespace: "web".into(), name: "a".into(), ..Reference::default() };
    for _ in 0..3 {
        recorder.warning(reference.clone(), "BackOff", "again");
    }
    let events = || fake.objects(&Gvr::core("events"));
    until("one event, counted", || events().first().is_some_and(|event| event["count"] == 3)).await;
    let event = &events()[0];
    assert_eq!((event["source"]["host"].as_str(), event["type"].as_str()), (Some("node-1"), Some("Warning")));
    // One that was deleted meanwhile is written anew.
    fake.remove(&Gvr::core("events"), &ObjectKey::new("web", event["metadata"]["name"].as_str().unwrap()));
    recorder.warning(reference, "BackOff", "again");
    until("it is back", || events().first().is_some_and(|event| event["count"] == 4)).await;
    stop.cancel();
}
