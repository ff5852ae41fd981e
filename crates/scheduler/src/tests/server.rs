//! From a created pod to a bound one, over a fake server; time passes only while nothing can be done.

use crate::{Config, run};
use gifee_base::{Gvr, ObjectKey};
use gifee_client::fake::Fake;
use gifee_testkit::RuntimeClock;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn node(name: &str, cpu: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
        "status": { "allocatable": { "cpu": cpu, "memory": "4Gi", "pods": "110" } },
    })
}

fn pod(name: &str, cpu: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "shop" },
        "spec": {
            "schedulerName": "default-scheduler",
            "containers": [{ "name": "web", "image": "web:1", "resources": { "requests": { "cpu": cpu } } }],
        },
        "status": { "phase": "Pending" },
    })
}

fn pods() -> Gvr {
    Gvr::core("pods")
}

/// Waits until a pod is as it should be.
async fn eventually(fake: &Arc<Fake>, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let key = ObjectKey::new("shop", name);
    let last = async {
        loop {
            let pod = fake.object(&pods(), &key).unwrap_or_default();
            if wanted(&pod) {
                return pod;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(20), last).await;
    found.unwrap_or_else(|_| panic!("{name}: {:?}", fake.object(&pods(), &key)))
}

fn bound(pod: &Value) -> bool {
    pod["spec"]["nodeName"].is_string()
}

fn start(fake: &Arc<Fake>) -> CancellationToken {
    for (resource, kind, namespaced) in [
        ("csinodes", "CSINode", false),
        ("csidrivers", "CSIDriver", false),
        ("csistoragecapacities", "CSIStorageCapacity", true),
    ] {
        fake.add_kind("storage.k8s.io/v1", resource, kind, namespaced);
    }
    let shutdown = CancellationToken::new();
    let config = Config { seed: Some(1), clock: RuntimeClock::new(), ..Config::default() };
    tokio::spawn(run(fake.client(), config, shutdown.clone()));
    shutdown
}

#[tokio::test(start_paused = true)]
async fn binds_what_fits_and_says_why_not() {
    let fake = Fake::new();
    fake.put(node("one", "1"));
    fake.put(pod("first", "600m"));
    let shutdown = start(&fake);
    let first = eventually(&fake, "first", bound).await;
    assert_eq!(first["spec"]["nodeName"], "one");

    fake.put(pod("second", "600m"));
    let second = eventually(&fake, "second", |pod| pod["status"]["conditions"].is_array()).await;
    let condition = &second["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!("PodScheduled"), &json!("False")));
    assert_eq!(condition["reason"], "Unschedulable");
    assert_eq!(
        condition["message"],
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: \
         1 No preemption victims found for incoming pod."
    );

    fake.remove(&pods(), &ObjectKey::new("shop", "first"));
    eventually(&fake, "second", bound).await;
    shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_quiet_cluster_is_not_written_to() {
    let fake = Fake::new();
    fake.put(node("one", "1"));
    fake.put(pod("large", "2"));
    fake.put(pod("small", "100m"));
    let mut other = pod("other", "100m");
    other["spec"]["schedulerName"] = "mine".into();
    fake.put(other);
    let shutdown = start(&fake);
    eventually(&fake, "small", bound).await;
    eventually(&fake, "large", |pod| pod["status"]["conditions"].is_array()).await;
    // The events come last.
    while fake.objects(&Gvr::new("events.k8s.io", "v1", "events")).len() < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    fake.writes();
    // Changes that are none to the scheduler.
    fake.change(&Gvr::core("nodes"), &ObjectKey::cluster("one"), |node| {
        node["metadata"]["annotations"] = json!({ "seen": "now" });
    });
    fake.change(&pods(), &ObjectKey::new("shop", "small"), |pod| pod["status"]["phase"] = "Running".into());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fake.writes(), Vec::<String>::new());
    let other = fake.object(&pods(), &ObjectKey::new("shop", "other")).unwrap();
    assert!(!bound(&other));
    shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn makes_room_for_a_pod_of_higher_priority() {
    let fake = Fake::new();
    fake.put(node("one", "1"));
    fake.put(pod("low", "600m"));
    let shutdown = start(&fake);
    eventually(&fake, "low", bound).await;
    let mut high = pod("high", "600m");
    high["spec"]["priority"] = 1000.into();
    fake.put(high);
    let low = eventually(&fake, "low", |pod| pod["metadata"]["deletionTimestamp"].is_string()).await;
    let conditions = low["status"]["conditions"].as_array().unwrap();
    let target = conditions.iter().find(|one| one["type"] == "DisruptionTarget").unwrap();
    assert_eq!((&target["status"], &target["reason"]), (&json!("True"), &json!("PreemptionByScheduler")));
    let high = eventually(&fake, "high", |pod| pod["status"]["nominatedNodeName"] == "one").await;
    assert!(!bound(&high));
    fake.remove(&pods(), &ObjectKey::new("shop", "low"));
    eventually(&fake, "high", bound).await;
    let events = Gvr::new("events.k8s.io", "v1", "events");
    while !fake.objects(&events).iter().any(|event| event["reason"] == "Preempted") {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_refused_binding_is_tried_again() {
    let fake = Fake::new();
    fake.put(node("one", "1"));
    let refusals = std::sync::atomic::AtomicUsize::new(0);
    fake.intercept(move |method, path| {
        let first = method == "POST"
            && path.ends_with("/binding")
            && refusals.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        first.then(|| gifee_base::Status::new(gifee_base::Reason::InternalError, "not now"))
    });
    fake.put(pod("web", "600m"));
    let shutdown = start(&fake);
    let web = eventually(&fake, "web", |pod| pod["status"]["conditions"].is_array()).await;
    assert_eq!(web["status"]["conditions"][0]["reason"], "SchedulerError");
    assert_eq!(web["status"]["conditions"][0]["message"], "binding rejected: not now");
    eventually(&fake, "web", bound).await;
    shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_late_claim_is_bound_before_the_pod() {
    let fake = Fake::new();
    fake.put(node("one", "1"));
    fake.put(
        json!({ "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "late" },
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer" }),
    );
    let claims = Gvr::core("persistentvolumeclaims");
    fake.put(json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": "data", "namespace": "shop", "uid": "uid-data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "late",
            "resources": { "requests": { "storage": "1Gi" } } } }));
    fake.put(json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "v" },
        "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "late", "capacity": { "storage": "1Gi" } },
        "status": { "phase": "Available" } }));
    let mut web = pod("web", "100m");
    web["spec"]["volumes"] = json!([{ "name": "d", "persistentVolumeClaim": { "claimName": "data" } }]);
    fake.put(web);
    let shutdown = start(&fake);
    let (volumes, key) = (Gvr::core("persistentvolumes"), ObjectKey::cluster("v"));
    let claimed = async {
        loop {
            let volume = fake.object(&volumes, &key).unwrap_or_default();
            if volume["spec"]["claimRef"]["uid"] == "uid-data" {
                return volume;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let volume = tokio::time::timeout(Duration::from_secs(20), claimed).await.expect("the volume is claimed");
    assert_eq!(volume["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"], "yes");
    assert!(!bound(&fake.object(&pods(), &ObjectKey::new("shop", "web")).unwrap()));
    // As the binder does.
    fake.change(&claims, &ObjectKey::new("shop", "data"), |claim| {
        claim["spec"]["volumeName"] = "v".into();
        claim["metadata"]["annotations"] = json!({ "pv.kubernetes.io/bind-completed": "yes" });
    });
    eventually(&fake, "web", bound).await;
    shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_claim_gets_its_device_before_the_pod_is_bound() {
    let fake = Fake::new();
    fake.put(node("one", "1"));
    fake.put(
        json!({ "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": { "name": "gpu" },
        "spec": {} }),
    );
    fake.put(
        json!({ "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": { "name": "s" },
        "spec": { "driver": "gpu.example.com", "nodeName": "one", "devices": [{ "name": "a" }],
            "pool": { "name": "one", "generation": 1, "resourceSliceCount": 1 } } }),
    );
    let claims = Gvr::new("resource.k8s.io", "v1", "resourceclaims");
    fake.put(json!({ "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": { "name": "c", "namespace": "shop", "uid": "uid-c" },
        "spec": { "devices": { "requests": [{ "name": "r", "exactly": { "deviceClassName": "gpu",
            "allocationMode": "ExactCount", "count": 1 } }] } } }));
    // Somebody else changes the claim just then.
    let conflicts = std::sync::atomic::AtomicUsize::new(0);
    fake.intercept(move |method, path| {
        let first = method == "PATCH"
            && path.contains("/resourceclaims/")
            && conflicts.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        first.then(|| gifee_base::Status::new(gifee_base::Reason::Conflict, "changed"))
    });
    let mut web = pod("web", "100m");
    web["spec"]["resourceClaims"] = json!([{ "name": "g", "resourceClaimName": "c" }]);
    fake.put(web);
    let shutdown = start(&fake);
    let web = eventually(&fake, "web", bound).await;
    let claim = fake.object(&claims, &ObjectKey::new("shop", "c")).unwrap();
    assert_eq!(claim["metadata"]["finalizers"], json!(["resource.kubernetes.io/delete-protection"]));
    assert_eq!(claim["status"]["allocation"]["devices"]["results"][0]["device"], "a");
    assert_eq!(
        claim["status"]["reservedFor"],
        json!([{ "resource": "pods", "name": "web", "uid": web["metadata"]["uid"] }])
    );
    // Another has to wait, and is told why.
    fake.put(json!({ "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": { "name": "d", "namespace": "shop", "uid": "uid-d" }, "spec": claim["spec"] }));
    let mut other = pod("other", "100m");
    other["spec"]["resourceClaims"] = json!([{ "name": "g", "resourceClaimName": "d" }]);
    fake.put(other);
    let other = eventually(&fake, "other", |pod| pod["status"]["conditions"].is_array()).await;
    assert_eq!(
        other["status"]["conditions"][0]["message"],
        "0/1 nodes are available: 1 cannot allocate all claims. still not schedulable, preemption: 0/1 nodes are \
         available: 1 Preemption is not helpful for scheduling."
    );
    fake.change(&claims, &ObjectKey::new("shop", "c"), |claim| claim["status"] = json!({}));
    eventually(&fake, "other", bound).await;
    shutdown.cancel();
}
