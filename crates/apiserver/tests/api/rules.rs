//! Built-in admission rules in the pipeline: above all, that concurrent writes never exceed a quota.

use crate::world::{Anything, World};
use futures_util::future::join_all;
use gifee_apiserver::admission::Rules;
use serde_json::{Value, json};
use std::sync::Arc;

pub async fn ruled() -> World {
    let world = World::with(|config| config.admission = Arc::new(Rules::new(Arc::new(Anything)))).await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "a" } });
    world.post("/api/v1/namespaces", &namespace).await.expect(201);
    world
}

const QUOTAS: &str = "/api/v1/namespaces/a/resourcequotas";
const MAPS: &str = "/api/v1/namespaces/a/configmaps";

async fn quota(world: &World, name: &str, hard: Value, used: Value) {
    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": name },
        "spec": { "hard": hard } });
    world.post(QUOTAS, &quota).await.expect(201);
    let status = json!({ "status": { "hard": hard, "used": used } });
    world.patch(&format!("{QUOTAS}/{name}/status"), "merge-patch", &status).await.expect(200);
}

fn map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_creates_never_exceed_a_quota() {
    let world = ruled().await;
    quota(&world, "one", json!({ "count/configmaps": "10" }), json!({ "count/configmaps": "0" })).await;
    quota(&world, "two", json!({ "configmaps": "7" }), json!({ "configmaps": "0" })).await;
    let names: Vec<String> = (0..40).map(|index| format!("m{index}")).collect();
    let maps: Vec<Value> = names.iter().map(|name| map(name)).collect();
    let answers = join_all(maps.iter().map(|map| world.post(MAPS, map))).await;
    let made = answers.iter().filter(|answer| answer.code == 201).count();
    assert_eq!(made, 7);
    let refused = answers.iter().find(|answer| answer.code != 201).unwrap().failure();
    assert!(refused.starts_with("403 Forbidden: configmaps \"m"), "{refused}");
    assert!(
        refused.ends_with(
            "exceeded quota: two, requested: configmaps=1, used: configmaps=7, limited: configmaps=7"
        ),
        "{refused}"
    );
    let list = world.get(MAPS).await.expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(7));
    for (name, used) in [("one", json!({ "count/configmaps": "7" })), ("two", json!({ "configmaps": "7" }))] {
        let quota = world.get(&format!("{QUOTAS}/{name}")).await.expect(200);
        assert_eq!(quota["status"]["used"], used, "{name}");
        assert!(quota["spec"]["hard"].is_object());
    }
}

#[tokio::test]
async fn what_does_not_happen_is_not_charged() {
    let world = ruled().await;
    quota(&world, "q", json!({ "configmaps": "2" }), json!({ "configmaps": "0" })).await;
    world.post(&format!("{MAPS}?dryRun=All"), &map("x")).await.expect(201);
    world.post(MAPS, &map("x")).await.expect(201);
    assert_eq!(world.post(MAPS, &map("x")).await.code, 409);
    let used = world.get(&format!("{QUOTAS}/q")).await.expect(200)["status"]["used"].clone();
    assert_eq!(used, json!({ "configmaps": "1" }));
    world.post(MAPS, &map("y")).await.expect(201);
    assert_eq!(world.post(&format!("{MAPS}?dryRun=All"), &map("z")).await.code, 403);
}

#[tokio::test]
async fn warnings_of_rules_reach_the_client() {
    let world = ruled().await;
    let labels = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/warn": "restricted" } } });
    world.patch("/api/v1/namespaces/a", "merge-patch", &labels).await.expect(200);
    let template = json!({ "metadata": { "labels": { "a": "b" } },
        "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" },
        "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": template } });
    let answer = world.post("/apis/apps/v1/namespaces/a/deployments", &deployment).await;
    assert_eq!(answer.code, 201);
    let warnings = answer.warnings().join(" ");
    assert!(warnings.contains("would violate PodSecurity \\\"restricted:latest\\\""), "{warnings}");
}

const PODS: &str = "/api/v1/namespaces/a/pods";

fn pod(name: &str, resources: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "containers": [{ "name": "c", "image": "i", "resources": resources }] } })
}

pub async fn account(world: &World) {
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" } });
    world.post("/api/v1/namespaces/a/serviceaccounts", &account).await.expect(201);
}

/// Upstream: "should create a LimitRange with defaults and ensure pod has those defaults applied".
#[tokio::test]
async fn pods_get_the_defaults_of_a_limit_range_and_keep_to_it() {
    let world = ruled().await;
    account(&world).await;
    let list = |cpu: &str, memory: &str| json!({ "cpu": cpu, "memory": memory });
    let range = json!({ "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": "l" },
        "spec": { "limits": [{ "type": "Container", "min": list("50m", "100Mi"), "max": list("500m", "500Mi"),
            "default": list("500m", "500Mi"), "defaultRequest": list("100m", "200Mi") }] } });
    let ranges = "/api/v1/namespaces/a/limitranges";
    world.post(ranges, &range).await.expect(201);
    let resources = async |name: &str, asked: Value| {
        let made = world.post(PODS, &pod(name, asked)).await.expect(201);
        made["spec"]["containers"][0]["resources"].clone()
    };
    let limits = list("500m", "500Mi");
    assert_eq!(
        resources("none", json!({})).await,
        json!({ "limits": limits, "requests": list("100m", "200Mi") })
    );
    // A limit without a request is a request, too.
    assert_eq!(
        resources("some", json!({ "requests": { "memory": "150Mi" }, "limits": { "cpu": "300m" } })).await,
        json!({ "limits": list("300m", "500Mi"), "requests": list("300m", "150Mi") })
    );
    let refused = world.post(PODS, &pod("low", json!({ "requests": list("10m", "50Mi") }))).await.failure();
    assert_eq!(
        refused,
        "403 Forbidden: pods \"low\" is forbidden: [minimum cpu usage per Container is 50m, but request is 10m, minimum memory usage per Container is 100Mi, but request is 50Mi]"
    );
    let refused = world.post(PODS, &pod("high", json!({ "limits": list("600m", "600Mi") }))).await.failure();
    assert!(refused.contains("maximum cpu usage per Container is 500m, but limit is 600m"), "{refused}");
    let lower = json!({ "spec": { "limits": [{ "type": "Container", "min": list("9m", "49Mi") }] } });
    world.patch(&format!("{ranges}/l"), "strategic-merge-patch", &lower).await.expect(200);
    world.post(PODS, &pod("low", json!({ "requests": list("10m", "50Mi") }))).await.expect(201);
}

/// Upstream: "should reject a Pod requesting a non-existent RuntimeClass", and one that was deleted.
#[tokio::test]
async fn a_runtime_class_must_be_there() {
    let world = ruled().await;
    account(&world).await;
    let mut wanted = pod("p", json!({}));
    wanted["spec"]["runtimeClassName"] = "r".into();
    let refused = world.post(PODS, &wanted).await.failure();
    assert_eq!(refused, "403 Forbidden: pods \"p\" is forbidden: pod rejected: RuntimeClass \"r\" not found");
    let classes = "/apis/node.k8s.io/v1/runtimeclasses";
    let class = json!({ "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": "r" },
        "handler": "h", "overhead": { "podFixed": { "cpu": "10m" } },
        "scheduling": { "nodeSelector": { "x": "y" } } });
    world.post(classes, &class).await.expect(201);
    let made = world.post(PODS, &wanted).await.expect(201);
    assert_eq!(made["spec"]["overhead"], json!({ "cpu": "10m" }));
    assert_eq!(made["spec"]["nodeSelector"], json!({ "x": "y" }));
    world.delete(&format!("{classes}/r")).await.expect(200);
    wanted["metadata"]["name"] = "q".into();
    assert_eq!(world.post(PODS, &wanted).await.code, 403);
}

/// Upstream: "PriorityClass endpoints can be operated with different HTTP methods", and what pods get of a class.
#[tokio::test]
async fn priorities_come_from_their_class() {
    let world = ruled().await;
    account(&world).await;
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let class = json!({ "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": { "name": "high" }, "value": 9, "preemptionPolicy": "Never" });
    world.post(classes, &class).await.expect(201);
    let changed = world.patch(&format!("{classes}/high"), "merge-patch", &json!({ "value": 8 })).await;
    assert_eq!(
        changed.failure(),
        "422 Invalid: PriorityClass.scheduling.k8s.io \"high\" is invalid: value: Forbidden: may not be changed in an update."
    );
    world.patch(&format!("{classes}/high"), "merge-patch", &json!({ "description": "d" })).await.expect(200);
    let mut wanted = pod("p", json!({}));
    wanted["spec"]["priorityClassName"] = "high".into();
    let made = world.post(PODS, &wanted).await.expect(201);
    assert_eq!((&made["spec"]["priority"], &made["spec"]["preemptionPolicy"]), (&json!(9), &json!("Never")));
    wanted["metadata"]["name"] = "q".into();
    wanted["spec"]["preemptionPolicy"] = "PreemptLowerPriority".into();
    let refused = world.post(PODS, &wanted).await.failure();
    assert!(
        refused.ends_with("the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name"),
        "{refused}"
    );
}

/// What a quota holds, and how: the API half of upstream's "ResourceQuota should …".
#[tokio::test]
async fn quotas_hold_pods_services_and_claims() {
    let world = ruled().await;
    account(&world).await;
    let hard = json!({ "pods": "2", "requests.cpu": "1", "services": "2", "services.nodeports": "1",
        "requests.storage": "2Gi", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi" });
    let used: serde_json::Map<_, _> =
        hard.as_object().unwrap().keys().map(|name| (name.clone(), json!("0"))).collect();
    quota(&world, "q", hard, used.into()).await;
    let cpu = |cpu: &str| json!({ "requests": { "cpu": cpu } });
    world.post(PODS, &pod("one", cpu("600m"))).await.expect(201);
    let refused = world.post(PODS, &pod("two", cpu("500m"))).await.failure();
    assert_eq!(
        refused,
        "403 Forbidden: pods \"two\" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1"
    );
    let refused = world.post(PODS, &pod("two", json!({}))).await.failure();
    assert!(refused.ends_with("failed quota: q: must specify requests.cpu for: c"), "{refused}");
    let service = |name: &str, kind: &str| {
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
            "spec": { "type": kind, "ports": [{ "port": 80 }] } })
    };
    let services = "/api/v1/namespaces/a/services";
    world.post(services, &service("a", "NodePort")).await.expect(201);
    let refused = world.post(services, &service("b", "NodePort")).await.failure();
    assert!(
        refused.ends_with(
            "requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1"
        ),
        "{refused}"
    );
    world.post(services, &service("b", "ClusterIP")).await.expect(201);
    let more = json!({ "spec": { "type": "NodePort" } });
    let refused = world.patch(&format!("{services}/b"), "merge-patch", &more).await.failure();
    assert!(refused.contains("exceeded quota: q, requested: services.nodeports=1"), "{refused}");
    let claim = |name: &str, class: &str| {
        json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name },
            "spec": { "storageClassName": class, "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": "1Gi" } } } })
    };
    let claims = "/api/v1/namespaces/a/persistentvolumeclaims";
    let made = world.post(claims, &claim("a", "gold")).await.expect(201);
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let refused = world.post(claims, &claim("b", "gold")).await.failure();
    assert!(
        refused
            .contains("exceeded quota: q, requested: gold.storageclass.storage.k8s.io/requests.storage=1Gi"),
        "{refused}"
    );
    world.post(claims, &claim("b", "plain")).await.expect(201);
    let used = world.get(&format!("{QUOTAS}/q")).await.expect(200)["status"]["used"].clone();
    assert_eq!(
        used,
        json!({ "pods": "1", "requests.cpu": "600m", "services": "2", "services.nodeports": "1",
            "requests.storage": "2Gi", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi" })
    );
}
