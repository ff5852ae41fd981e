//! A cluster at rest is not written to, and of several who could run the controllers one does.

use crate::{Config, run_timed, start};
use gifee_base::{Gvr, ObjectKey};
use gifee_client::fake::Fake;
use gifee_reconcile::lease::Timing;
use gifee_reconcile::{Context, Recorder};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A cluster that was not written to for so long has come to rest.
const SETTLED: Duration = Duration::from_secs(4);
const QUIET: Duration = Duration::from_secs(60);

fn labelled(api_version: &str, kind: &str, name: &str, rest: Value) -> Value {
    let mut object = json!({ "apiVersion": api_version, "kind": kind,
        "metadata": { "name": name, "namespace": "web", "labels": { "app": "a" } } });
    if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    object
}

fn cluster_scoped(api_version: &str, kind: &str, name: &str, rest: Value) -> Value {
    let mut object = labelled(api_version, kind, name, rest);
    object["metadata"].as_object_mut().unwrap().remove("namespace");
    object
}

/// A bit of everything, as its authors left it.
fn world() -> Vec<Value> {
    let selector = json!({ "matchLabels": { "app": "a" } });
    let template = json!({ "metadata": { "labels": { "app": "a" } }, "spec": {
        "containers": [{ "name": "c", "image": "i" }],
        "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "c" } }] } });
    vec![
        cluster_scoped(
            "v1",
            "Namespace",
            "web",
            json!({ "spec": { "finalizers": ["kubernetes"] },
            "status": { "phase": "Active" } }),
        ),
        labelled(
            "apps/v1",
            "Deployment",
            "d",
            json!({ "spec": { "replicas": 2, "selector": selector,
            "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10, "template": template,
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } } } }),
        ),
        labelled(
            "apps/v1",
            "StatefulSet",
            "t",
            json!({ "spec": { "replicas": 2, "selector": selector, "serviceName": "s", "template": template,
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } } } }),
        ),
        labelled(
            "apps/v1",
            "DaemonSet",
            "e",
            json!({ "spec": { "selector": selector, "template": template,
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 } } } }),
        ),
        labelled(
            "v1",
            "Service",
            "s",
            json!({ "spec": { "selector": { "app": "a" }, "clusterIP": "10.0.0.9",
            "clusterIPs": ["10.0.0.9"], "ipFamilies": ["IPv4"], "type": "ClusterIP",
            "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }] } }),
        ),
        labelled(
            "policy/v1",
            "PodDisruptionBudget",
            "b",
            json!({ "spec": { "minAvailable": 1, "selector": selector } }),
        ),
        labelled(
            "v1",
            "ResourceQuota",
            "q",
            json!({ "spec": { "hard": { "pods": "9", "count/configmaps": "5" } } }),
        ),
        labelled(
            "v1",
            "PersistentVolumeClaim",
            "c",
            json!({ "spec": { "storageClassName": "",
            "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
            "status": { "phase": "Pending" } }),
        ),
        labelled(
            "v1",
            "PersistentVolumeClaim",
            "waits",
            json!({ "spec": { "storageClassName": "late",
            "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
            "status": { "phase": "Pending" } }),
        ),
        cluster_scoped(
            "v1",
            "PersistentVolume",
            "v",
            json!({ "spec": { "accessModes": ["ReadWriteOnce"],
            "capacity": { "storage": "1Gi" }, "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": { "path": "/data" } } }),
        ),
        cluster_scoped(
            "storage.k8s.io/v1",
            "StorageClass",
            "late",
            json!({ "provisioner": "example.com/disk",
            "volumeBindingMode": "WaitForFirstConsumer" }),
        ),
        cluster_scoped(
            "networking.k8s.io/v1",
            "ServiceCIDR",
            "kubernetes",
            json!({ "spec": { "cidrs": ["10.0.0.0/24"] } }),
        ),
        labelled(
            "batch/v1",
            "CronJob",
            "n",
            json!({ "spec": { "schedule": "* * * * *", "suspend": true,
            "jobTemplate": { "spec": { "template": { "spec": {} } } } } }),
        ),
    ]
}

fn beat() -> String {
    gifee_base::clock::format_micro_time(jiff::Timestamp::now())
}

/// What a node's agent does: it renews its Lease, and pods run.
async fn agent(fake: Arc<Fake>) {
    let lease = |fake: &Fake| {
        fake.put(json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "n", "namespace": "kube-node-lease" }, "spec": { "renewTime": beat() } }));
    };
    fake.put(cluster_scoped(
        "v1",
        "Node",
        "n",
        json!({ "spec": {}, "status": { "conditions": [
        { "type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z" }] } }),
    ));
    loop {
        lease(&fake);
        for pod in fake.objects(&Gvr::core("pods")) {
            if pod["status"]["phase"] != "Running" {
                let metadata = &pod["metadata"];
                let key = ObjectKey::new("web", metadata["name"].as_str().unwrap());
                fake.change(&Gvr::core("pods"), &key, |pod| {
                    pod["spec"]["nodeName"] = "n".into();
                    pod["status"] = json!({ "phase": "Running", "podIP": "10.1.0.7", "podIPs": [{ "ip": "10.1.0.7" }],
                        "conditions": [{ "type": "Ready", "status": "True",
                            "lastTransitionTime": "2026-01-01T00:00:00Z" }] });
                });
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_cluster_is_not_written_to_for_a_minute() {
    let (fake, stop, events) = (Fake::new(), CancellationToken::new(), Recorder::memory());
    for (api_version, resource, kind, namespaced) in super::MORE_KINDS {
        fake.add_kind(api_version, resource, kind, *namespaced);
    }
    let clock = gifee_testkit::RuntimeClock::new();
    let context = Context::with(fake.client(), clock, events.clone(), stop.clone());
    let config = Config { root_ca: Some("PEM".into()), ..Config::default() };
    let running = tokio::spawn(async move { start(&context, config).await });
    let agent = tokio::spawn(agent(fake.clone()));
    world().into_iter().for_each(|object| drop(fake.put(object)));
    let mut writes = 0;
    for _ in 0..15 {
        tokio::time::sleep(SETTLED).await;
        match fake.writes().len() {
            0 => break,
            more => writes += more,
        }
    }
    assert!(writes > 10, "{writes}");
    // Two of each set, and one for the node.
    assert_eq!(fake.objects(&Gvr::core("pods")).len(), 5);
    let deployment =
        fake.object(&Gvr::new("apps", "v1", "deployments"), &ObjectKey::new("web", "d")).unwrap();
    assert_eq!(deployment["status"]["readyReplicas"], 2);
    let claim = fake.object(&Gvr::core("persistentvolumeclaims"), &ObjectKey::new("web", "c")).unwrap();
    assert_eq!(claim["status"]["phase"], "Bound");
    events.take();
    tokio::time::sleep(QUIET).await;
    assert_eq!(fake.writes(), Vec::<String>::new());
    let told: Vec<String> = events.take().into_iter().map(|event| event.message).collect();
    assert_eq!(told, Vec::<String>::new());
    agent.abort();
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_two_one_runs_and_the_other_takes_over() {
    let fake = Fake::new();
    for (api_version, resource, kind, namespaced) in super::MORE_KINDS {
        fake.add_kind(api_version, resource, kind, *namespaced);
    }
    let (lease, renew, retry) = (Duration::from_secs(3), Duration::from_secs(2), Duration::from_millis(100));
    let contend = |name: &str| {
        let stop = CancellationToken::new();
        let config = Config { elect_as: Some(name.into()), ..Config::default() };
        let timing = Timing { lease, renew, retry };
        (tokio::spawn(run_timed(fake.client(), config, timing, stop.clone())), stop)
    };
    let accounts = Gvr::core("serviceaccounts");
    // A namespace that comes gets its account from whoever runs; no two try.
    let serves = async |namespace: &str| {
        fake.writes();
        fake.put(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace },
            "status": { "phase": "Active" } }));
        let key = ObjectKey::new(namespace, "default");
        for _ in 0..200 {
            if fake.object(&accounts, &key).is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let path = format!("POST /api/v1/namespaces/{namespace}/serviceaccounts");
        assert_eq!(fake.writes().iter().filter(|write| **write == path).count(), 1, "{namespace}");
    };
    let holder = || {
        let lease = ObjectKey::new("kube-system", "kube-controller-manager");
        let lease = fake.object(&Gvr::new("coordination.k8s.io", "v1", "leases"), &lease).unwrap();
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    };
    let (first, stop) = contend("one");
    serves("a").await;
    let (second, _) = contend("two");
    serves("b").await;
    assert_eq!(holder(), "one");
    // One that ends gives way at once.
    stop.cancel();
    first.await.unwrap();
    serves("c").await;
    assert_eq!(holder(), "two");
    // One that dies is waited for as long as its lease lasts.
    let (third, last) = contend("three");
    second.abort();
    for _ in 0..200 {
        if holder() == "three" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(holder(), "three");
    serves("d").await;
    last.cancel();
    third.await.unwrap();
}
