//! Upstream's conformance tests of scheduling, step by step what their bodies do, on simulated nodes: where pods may
//! run, and who leaves for whom; and devices from a template to a pod and back.

use crate::sight::{self, Sight, Which};
use gifee_base::{Clock, Gvr, ObjectKey};
use gifee_client::{Client, DeleteOptions, PatchKind};
use gifee_simulation::fleet::{Behaviour, Fleet};
use gifee_simulation::world::Parts;
use gifee_simulation::{World, import};
use gifee_store::Limits;
use gifee_store::memory::Disk;
use gifee_testkit::RuntimeClock;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::{CancellationToken, DropGuard};

const NAMESPACE: &str = "default";
const RESOURCE: &str = "scheduling.k8s.io/foo";

/// A control plane with two simulated nodes of 4 CPUs.
struct Cluster {
    client: Client,
    _world: World,
    _fleet: Arc<Fleet>,
    _ends: DropGuard,
}

fn pods() -> Gvr {
    Gvr::core("pods")
}

fn node(name: &str, clock: &RuntimeClock) -> Value {
    let now = gifee_base::clock::format_time(clock.now());
    json!({ "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "status": {
            "capacity": { "cpu": "4", "memory": "8Gi", "pods": "110" },
            "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "110" },
            "addresses": [{ "type": "InternalIP", "address": "172.16.0.1" }],
            "conditions": [{ "type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now,
                "reason": "KubeletReady", "message": "" }],
        } })
}

impl Cluster {
    async fn start() -> Self {
        let shutdown = CancellationToken::new();
        let clock = RuntimeClock::new();
        let parts = Parts {
            store: Arc::new(Disk::default().open_inline(Limits::default()).unwrap()),
            clock: clock.clone(),
            seed: Some(1),
            between: None,
            shutdown: shutdown.clone(),
        };
        let world = World::start(parts).await.unwrap();
        let imported =
            import::write(&world.admin(), &[node("one", &clock), node("two", &clock)]).await.unwrap();
        world.components();
        let (client, behaviour) = (world.admin(), Behaviour::default());
        let fleet = Fleet::start(client.clone(), world.agents(), clock, behaviour, shutdown.clone()).await;
        fleet.adopt(&imported.nodes).await;
        let cluster = Self { client, _world: world, _fleet: fleet, _ends: shutdown.drop_guard() };
        for namespace in [NAMESPACE, "kube-system"] {
            cluster.until(&Gvr::core("serviceaccounts"), namespace, "default", |one| !one.is_null()).await;
        }
        for (name, value) in [("p1", 1), ("p2", 2), ("p3", 3), ("p4", 4)] {
            let classes = Gvr::new("scheduling.k8s.io", "v1", "priorityclasses");
            let class = json!({ "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                "metadata": { "name": name }, "value": value });
            cluster.client.create(&classes, "", class).await.unwrap();
        }
        cluster
    }

    /// Adds a resource that there is so much of to a node, as upstream's tests do.
    async fn extend(&self, node: &str, resource: &str, amount: u32) {
        let amount = amount.to_string();
        let patch =
            json!({ "status": { "capacity": { resource: amount }, "allocatable": { resource: amount } } });
        let key = ObjectKey::cluster(node);
        self.client.patch_status(&Gvr::core("nodes"), &key, PatchKind::Merge, patch).await.unwrap();
    }

    async fn create(&self, namespace: &str, name: &str, spec: Value) {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec });
        self.client.create(&pods(), namespace, pod).await.unwrap();
    }

    async fn get(&self, gvr: &Gvr, namespace: &str, name: &str) -> Value {
        let found = self.client.get(gvr, &ObjectKey::new(namespace, name)).await;
        found.ok().and_then(|object| object.to_value().ok()).unwrap_or_default()
    }

    async fn until(&self, gvr: &Gvr, namespace: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let which = Which::named(gvr.clone(), namespace, name);
        let mut sight = Sight::open(&self.client, which).await;
        let seen = sight.until(|objects| wanted(sight::one(objects))).await;
        sight::one(&seen).clone()
    }

    async fn running(&self, name: &str) -> Value {
        self.until(&pods(), NAMESPACE, name, |pod| pod["status"]["phase"] == "Running").await
    }

    /// Waits until a pod is said to have no place, in such words.
    async fn refused(&self, name: &str, words: impl Fn(&str) -> bool) {
        let said = |pod: &Value| {
            let condition = &pod["status"]["conditions"][0];
            condition["reason"] == "Unschedulable" && condition["message"].as_str().is_some_and(&words)
        };
        let pod = self.until(&pods(), NAMESPACE, name, said).await;
        assert!(pod["spec"]["nodeName"].is_null(), "{pod}");
    }

    /// Waits until the pods of a label are as wanted.
    async fn until_all(&self, label: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let which = Which::labelled(pods(), NAMESPACE, &format!("name={label}"));
        Sight::open(&self.client, which).await.until(wanted).await
    }
}

/// A spec of one container with requests; further fields beside it.
fn pause(requests: Value, more: Value) -> Value {
    let mut spec = json!({ "terminationGracePeriodSeconds": 0, "containers": [{ "name": "pause", "image": "pause",
        "resources": { "requests": requests.clone(), "limits": requests } }] });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn on(node: &str) -> Value {
    json!({ "nodeSelector": { "kubernetes.io/hostname": node } })
}

#[tokio::test(start_paused = true)]
async fn limits_selectors_and_host_ports_are_respected() {
    let cluster = Cluster::start().await;
    // Resource limits: what is left of each node is filled, and one more does not fit.
    for node in ["one", "two"] {
        let name = format!("filler-{node}");
        cluster.create(NAMESPACE, &name, pause(json!({ "cpu": "2800m" }), on(node))).await;
        assert_eq!(cluster.running(&name).await["spec"]["nodeName"], node);
    }
    cluster.create(NAMESPACE, "additional-pod", pause(json!({ "cpu": "2" }), json!({}))).await;
    let full = "0/2 nodes are available: 2 Insufficient cpu.";
    cluster.refused("additional-pod", |said| said.starts_with(full)).await;
    // A selector that a node has: the pod goes there.
    let key = ObjectKey::cluster("two");
    let label = json!({ "metadata": { "labels": { "kubernetes.io/e2e-x": "42" } } });
    cluster.client.patch(&Gvr::core("nodes"), &key, PatchKind::Merge, label).await.unwrap();
    let selector = json!({ "nodeSelector": { "kubernetes.io/e2e-x": "42" } });
    cluster.create(NAMESPACE, "with-labels", pause(json!({}), selector.clone())).await;
    assert_eq!(cluster.running("with-labels").await["spec"]["nodeName"], "two");
    // The same port of a node on all addresses, and then on one.
    let port = |address: &str| {
        let mut spec = pause(json!({}), selector.clone());
        let port = json!({ "containerPort": 5555, "hostPort": 54322, "hostIP": address, "protocol": "TCP" });
        spec["containers"][0]["ports"] = json!([port]);
        spec
    };
    cluster.create(NAMESPACE, "pod4", port("0.0.0.0")).await;
    cluster.running("pod4").await;
    cluster.create(NAMESPACE, "pod5", port("172.16.0.1")).await;
    let ports = "node(s) didn't have free ports for the requested pod ports";
    cluster.refused("pod5", |said| said.contains(ports)).await;
}

/// A victim of low priority and others of medium priority take four fifths of each node; who then needs as much as the
/// victim gets its place.
async fn preempt_the_lowest(namespace: &str, preemptor: Value) {
    let cluster = Cluster::start().await;
    let mut names: Vec<String> = Vec::new();
    for node in ["one", "two"] {
        cluster.extend(node, RESOURCE, 5).await;
        for _ in 0..2 {
            let class = if names.is_empty() { "p1" } else { "p2" };
            let mut more = on(node);
            more["priorityClassName"] = class.into();
            let name = format!("pod{}-{class}", names.len());
            cluster.create(NAMESPACE, &name, pause(json!({ RESOURCE: "2" }), more)).await;
            names.push(name);
        }
    }
    for name in &names {
        cluster.running(name).await;
    }
    cluster.create(namespace, "preemptor-pod", pause(json!({ RESOURCE: "2" }), preemptor)).await;
    cluster.until(&pods(), NAMESPACE, &names[0], Value::is_null).await;
    let running = |pod: &Value| pod["status"]["phase"] == "Running";
    cluster.until(&pods(), namespace, "preemptor-pod", running).await;
    for name in &names[1..] {
        let pod = cluster.get(&pods(), NAMESPACE, name).await;
        assert!(running(&pod) && pod["metadata"]["deletionTimestamp"].is_null(), "{pod}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_high_priority_gets_the_place_of_the_lowest() {
    preempt_the_lowest(NAMESPACE, json!({ "priorityClassName": "p3" })).await;
}

#[tokio::test(start_paused = true)]
async fn a_critical_pod_gets_the_place_of_the_lowest() {
    preempt_the_lowest("kube-system", json!({ "priorityClassName": "system-cluster-critical" })).await;
}

#[tokio::test(start_paused = true)]
async fn a_preempted_pod_says_so() {
    let cluster = Cluster::start().await;
    cluster.extend("one", RESOURCE, 1).await;
    let with = |class: &str| {
        let mut more = on("one");
        more["priorityClassName"] = class.into();
        pause(json!({ RESOURCE: "1" }), more)
    };
    let victim = json!({ "apiVersion": "v1", "kind": "Pod", "spec": with("p1"),
        "metadata": { "name": "victim-pod", "finalizers": ["example.com/test-finalizer"] } });
    cluster.client.create(&pods(), NAMESPACE, victim).await.unwrap();
    cluster.running("victim-pod").await;
    cluster.create(NAMESPACE, "preemptor-pod", with("p3")).await;
    let leaving = |pod: &Value| !pod["metadata"]["deletionTimestamp"].is_null();
    let victim = cluster.until(&pods(), NAMESPACE, "victim-pod", leaving).await;
    let conditions = victim["status"]["conditions"].as_array().unwrap();
    let target = conditions.iter().find(|one| one["type"] == "DisruptionTarget").unwrap();
    assert_eq!((&target["status"], &target["reason"]), (&json!("True"), &json!("PreemptionByScheduler")));
    let patch = json!({ "metadata": { "finalizers": null } });
    let key = ObjectKey::new(NAMESPACE, "victim-pod");
    cluster.client.patch(&pods(), &key, PatchKind::Merge, patch).await.unwrap();
    cluster.running("preemptor-pod").await;
}

#[tokio::test(start_paused = true)]
async fn replica_sets_make_again_what_was_preempted() {
    let cluster = Cluster::start().await;
    cluster.extend("one", RESOURCE, 1000).await;
    let template = |class: &str, amount: &str| {
        let mut more = on("one");
        more["priorityClassName"] = class.into();
        pause(json!({ RESOURCE: amount }), more)
    };
    for (number, amount) in [(1, "200"), (2, "300"), (3, "450")] {
        let label = format!("pod{number}");
        let set = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": { "name": format!("rs-{label}") },
            "spec": { "replicas": 1, "selector": { "matchLabels": { "name": label } },
                "template": { "metadata": { "labels": { "name": label } },
                    "spec": template(&format!("p{number}"), amount) } } });
        cluster.client.create(&Gvr::new("apps", "v1", "replicasets"), NAMESPACE, set).await.unwrap();
    }
    let mut first = Vec::new();
    for number in 1..=3 {
        let label = format!("pod{number}");
        let runs = |pods: &[Value]| pods.len() == 1 && pods[0]["status"]["phase"] == "Running";
        first.push(cluster.until_all(&label, runs).await[0]["metadata"]["uid"].clone());
    }
    cluster.create(NAMESPACE, "pod4", template("p4", "500")).await;
    cluster.running("pod4").await;
    // The first two are seen twice each, the third once.
    for (number, uid) in first[..2].iter().enumerate() {
        let other = |pods: &[Value]| pods.len() == 1 && pods[0]["metadata"]["uid"] != *uid;
        cluster.until_all(&format!("pod{}", number + 1), other).await;
    }
    assert_eq!(cluster.until_all("pod3", |_| true).await[0]["metadata"]["uid"], first[2]);
    let key = ObjectKey::new(NAMESPACE, "pod4");
    cluster.client.delete(&pods(), &key, &DeleteOptions::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pods_get_devices_and_leave_them_to_others() {
    let cluster = Cluster::start().await;
    let resource = |name: &str| Gvr::new("resource.k8s.io", "v1", name);
    let claims = resource("resourceclaims");
    let create = |name: &'static str, namespace: &'static str, mut tree: Value| {
        tree["apiVersion"] = "resource.k8s.io/v1".into();
        let client = cluster.client.clone();
        async move { client.create(&resource(name), namespace, tree).await.unwrap() }
    };
    let selector = json!({ "cel": { "expression": "device.attributes['gpu.example.com'].model == 'a1'" } });
    let class =
        json!({ "kind": "DeviceClass", "metadata": { "name": "gpu" }, "spec": { "selectors": [selector] } });
    create("deviceclasses", "", class).await;
    let device =
        |name: &str, model: &str| json!({ "name": name, "attributes": { "model": { "string": model } } });
    let spec = json!({ "driver": "gpu.example.com", "nodeName": "two", "devices": [device("x", "b2"), device("y", "a1")],
        "pool": { "name": "two", "generation": 1, "resourceSliceCount": 1 } });
    create(
        "resourceslices",
        "",
        json!({ "kind": "ResourceSlice", "metadata": { "name": "s" }, "spec": spec }),
    )
    .await;
    let request = json!({ "name": "r", "exactly": { "deviceClassName": "gpu" } });
    let spec = json!({ "spec": { "devices": { "requests": [request] } } });
    let template =
        json!({ "kind": "ResourceClaimTemplate", "metadata": { "name": "one-gpu" }, "spec": spec });
    create("resourceclaimtemplates", NAMESPACE, template).await;
    let wants = json!({ "resourceClaims": [{ "name": "gpu", "resourceClaimTemplateName": "one-gpu" }] });
    cluster.create(NAMESPACE, "first", pause(json!({}), wants.clone())).await;
    let first = cluster.running("first").await;
    assert_eq!(first["spec"]["nodeName"], "two");
    let name = first["status"]["resourceClaimStatuses"][0]["resourceClaimName"].as_str().unwrap();
    let claim = cluster.get(&claims, NAMESPACE, name).await;
    let result = &claim["status"]["allocation"]["devices"]["results"][0];
    assert_eq!((&result["request"], &result["device"]), (&json!("r"), &json!("y")), "{claim}");
    assert_eq!(claim["status"]["reservedFor"][0]["uid"], first["metadata"]["uid"]);
    assert_eq!(claim["metadata"]["finalizers"], json!(["resource.kubernetes.io/delete-protection"]));
    cluster.create(NAMESPACE, "second", pause(json!({}), wants)).await;
    let taken = "0/2 nodes are available: 2 cannot allocate all claims. still not schedulable,";
    cluster.refused("second", |said| said.starts_with(taken)).await;
    let key = ObjectKey::new(NAMESPACE, "first");
    cluster.client.delete(&pods(), &key, &DeleteOptions::default()).await.unwrap();
    let second = cluster.running("second").await;
    assert_eq!(second["spec"]["nodeName"], "two");
    cluster.until(&claims, NAMESPACE, name, Value::is_null).await;
}
