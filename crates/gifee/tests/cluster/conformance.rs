//! Upstream's conformance tests that need controllers or a scheduler but no particular container, and those of kubectl:
//! step by step what their bodies do, side by side on one cluster.

use crate::api::Api;
use crate::fixture::{BUSYBOX, Cluster};
use crate::run::{DEADLINE, runtime};
use crate::steps::Steps;
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// A namespace, and what is done in it.
pub type Step = (&'static str, fn(&Api<'_>));

const STEPS: &[Step] = &[
    ("orphans-rs", replica_sets_are_orphaned),
    ("orphans-rc", pods_of_replication_controllers_are_orphaned),
    ("services", services_go_with_their_namespace),
    ("root-ca", the_root_certificate_is_in_every_namespace),
    ("endpoints", services_that_select_nothing_have_empty_endpoints),
    ("runtimes", runtime_classes_are_scheduled),
    ("selectors", a_selector_that_no_node_has_is_respected),
    ("volumes", volumes_and_claims_live),
    ("volume-status", the_status_of_volumes_and_claims_is_written),
    ("failure", a_replication_controller_says_why_it_fails),
    ("budgets", budgets_are_observed),
    ("mirrors", endpoints_are_mirrored),
    ("master", the_api_server_is_a_service),
    ("kubectl", kubectl_asks_and_compares),
    ("proxy", kubectl_is_a_proxy),
];

#[test]
fn conformance() {
    let cluster = Cluster::up("conformance");
    let steps = Steps::new(&cluster);
    steps.step("an image", || cluster.busybox());
    std::thread::scope(|scope| {
        for (name, step) in STEPS.iter().chain(crate::quotas::STEPS).chain(crate::volumes::STEPS) {
            let (steps, cluster) = (&steps, &cluster);
            scope.spawn(move || steps.step(name, || step(&Api::new(cluster, name))));
        }
    });
    steps.end();
}

/// A pod template with a label.
pub fn template() -> Value {
    json!({ "metadata": { "labels": { "app": "x" } },
        "spec": { "terminationGracePeriodSeconds": 0, "containers": [{ "name": "c", "image": BUSYBOX }] } })
}

fn replica_sets_are_orphaned(api: &Api<'_>) {
    let deployments = api.path("apps/v1/deployments");
    let body = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "orphans" },
        "spec": { "replicas": 2, "selector": { "matchLabels": { "app": "x" } }, "template": template() } });
    api.post(&deployments, &body);
    api.until_all("apps/v1/replicasets", "app=x", |sets| sets.len() == 1);
    api.delete(&format!("{deployments}/orphans"), &json!({ "propagationPolicy": "Orphan" }));
    api.until("apps/v1/deployments", "orphans", Value::is_null);
    let sets = api.until_all("apps/v1/replicasets", "app=x", |sets| {
        sets.iter().all(|set| set["metadata"]["ownerReferences"].is_null())
    });
    assert_eq!(sets.len(), 1);
    assert!(sets[0]["metadata"]["deletionTimestamp"].is_null());
}

fn pods_of_replication_controllers_are_orphaned(api: &Api<'_>) {
    let controllers = api.path("v1/replicationcontrollers");
    let body = json!({ "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": "orphans" },
        "spec": { "replicas": 3, "selector": { "app": "x" }, "template": template() } });
    let made = api.post(&controllers, &body);
    api.until("v1/replicationcontrollers", "orphans", |one| one["status"]["replicas"] == 3);
    let options =
        json!({ "propagationPolicy": "Orphan", "preconditions": { "uid": made["metadata"]["uid"] } });
    api.delete(&format!("{controllers}/orphans"), &options);
    api.until("v1/replicationcontrollers", "orphans", Value::is_null);
    let free = |pods: &[Value]| pods.iter().all(|pod| pod["metadata"]["ownerReferences"].is_null());
    let pods = api.until_all("v1/pods", "app=x", free);
    assert_eq!(pods.len(), 3);
    assert!(pods.iter().all(|pod| pod["metadata"]["deletionTimestamp"].is_null()));
}

fn service(name: &str, selector: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
        "spec": { "selector": selector, "ports": [{ "name": "example", "port": 80, "protocol": "TCP" }] } })
}

fn services_go_with_their_namespace(api: &Api<'_>) {
    api.post(&api.path("v1/services"), &service("test-service", &json!({ "a": "b" })));
    let path = format!("/api/v1/namespaces/{}", api.namespace);
    api.delete(&path, &Value::Null);
    let namespaces = gifee_base::Gvr::core("namespaces");
    api.cluster.until(&namespaces, "", &api.namespace, Value::is_null);
    let again = Api::new(api.cluster, &api.namespace);
    let services = again.get(&api.path("v1/services"));
    assert_eq!(services["items"], json!([]));
}

fn the_root_certificate_is_in_every_namespace(api: &Api<'_>) {
    let (maps, name) = ("v1/configmaps", "kube-root-ca.crt");
    let path = format!("{}/{name}", api.path(maps));
    let there =
        |map: &Value| map["data"]["ca.crt"].as_str().is_some_and(|pem| pem.contains("BEGIN CERTIFICATE"));
    let made = api.until(maps, name, there);
    api.delete(&path, &Value::Null);
    api.until(maps, name, |map| there(map) && map["metadata"]["uid"] != made["metadata"]["uid"]);
    api.patch(&path, &json!({ "data": { "ca.crt": "" } }));
    let repaired = api.until(maps, name, there);
    assert_eq!(repaired["data"], made["data"]);
}

/// Endpoints and slices are there, and empty; they go with their Service.
fn services_that_select_nothing_have_empty_endpoints(api: &Api<'_>) {
    let services = api.path("v1/services");
    api.post(
        &services,
        &service("example-empty-selector", &json!({ "does-not-match-anything": "endpoints-and-slices" })),
    );
    let endpoints = api.until("v1/endpoints", "example-empty-selector", Value::is_object);
    assert!(endpoints["subsets"].as_array().is_none_or(Vec::is_empty), "{endpoints}");
    let label = "kubernetes.io/service-name=example-empty-selector";
    let slices = api.until_all("discovery.k8s.io/v1/endpointslices", label, |all| !all.is_empty());
    assert!(slices.iter().all(|slice| slice["endpoints"].as_array().is_none_or(Vec::is_empty)), "{slices:?}");
    let managed = "endpointslice.kubernetes.io/managed-by";
    assert_eq!(slices[0]["metadata"]["labels"][managed], "endpointslice-controller.k8s.io");
    api.delete(&format!("{services}/example-empty-selector"), &Value::Null);
    api.until("v1/endpoints", "example-empty-selector", Value::is_null);
    api.until_all("discovery.k8s.io/v1/endpointslices", label, <[Value]>::is_empty);
}

fn runtime_classes_are_scheduled(api: &Api<'_>) {
    let overhead = json!({ "cpu": "10m", "memory": "1Mi" });
    for (name, overhead) in [("plain", Value::Null), ("heavy", overhead)] {
        let class_name = format!("{}-{name}", api.namespace);
        let mut class = json!({ "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": class_name },
            "handler": "test-handler" });
        if overhead.is_object() {
            class["overhead"] = json!({ "podFixed": overhead });
        }
        api.post("/apis/node.k8s.io/v1/runtimeclasses", &class);
        let mut spec = template()["spec"].clone();
        spec["runtimeClassName"] = class_name.into();
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec });
        let made = api.post(&api.path("v1/pods"), &pod);
        assert_eq!(made["spec"]["overhead"], overhead);
        let scheduled = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            conditions.into_iter().any(|one| one["type"] == "PodScheduled" && one["status"] == "True")
        };
        let bound = api.until("v1/pods", name, scheduled);
        assert!(bound["spec"]["nodeName"].is_string());
        api.delete(&format!("{}/{name}", api.path("v1/pods")), &json!({ "gracePeriodSeconds": 0 }));
    }
}

fn a_selector_that_no_node_has_is_respected(api: &Api<'_>) {
    let mut spec = template()["spec"].clone();
    spec["nodeSelector"] = json!({ "label": "nonempty" });
    let pod =
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "restricted-pod" }, "spec": spec });
    api.post(&api.path("v1/pods"), &pod);
    let about = |events: &[Value]| {
        events.iter().any(|event| {
            event["reason"] == "FailedScheduling" && event["involvedObject"]["name"] == "restricted-pod"
        })
    };
    let events = api.until_all("v1/events", "", about);
    let event = events.iter().find(|event| event["reason"] == "FailedScheduling").unwrap();
    let said = event["message"].as_str().unwrap();
    assert!(
        said.starts_with("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
        "{said}"
    );
    let left = api.get(&format!("{}/restricted-pod", api.path("v1/pods")));
    assert!(left["spec"]["nodeName"].is_null());
}

fn volume(api: &Api<'_>, label: &str) -> (Value, Value) {
    let class = format!("{}-class", api.namespace);
    let modes = json!(["ReadWriteOnce"]);
    let volume = json!({ "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": { "name": format!("pv-{}", api.namespace), "labels": { "e2e-pv": label } },
        "spec": { "persistentVolumeReclaimPolicy": "Retain", "capacity": { "storage": "1Gi" }, "accessModes": modes,
            "storageClassName": "", "claimRef": { "name": "reserved", "namespace": api.namespace },
            "csi": { "driver": "e2e.example.com", "volumeHandle": "e2e-conformance" } } });
    let claim = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": "claim", "labels": { "e2e-pvc": label } },
        "spec": { "accessModes": modes, "storageClassName": class, "resources": { "requests": { "storage": "1Gi" } } } });
    (volume, claim)
}

fn volumes_and_claims_live(api: &Api<'_>) {
    let (volumes, claims) = ("/api/v1/persistentvolumes", api.path("v1/persistentvolumeclaims"));
    let label = api.namespace.clone();
    let (volume, claim) = volume(api, &label);
    for (list, kind, body) in [(volumes, "e2e-pv", &volume), (&*claims, "e2e-pvc", &claim)] {
        let name = api.post(list, body)["metadata"]["name"].as_str().unwrap().to_owned();
        let path = format!("{list}/{name}");
        let selected = format!("{list}?labelSelector={kind}%3D{label}");
        assert_eq!(api.get(&selected)["items"].as_array().unwrap().len(), 1);
        let patched = api.patch(&path, &json!({ "metadata": { "labels": { &name: "patched" } } }));
        assert_eq!(patched["metadata"]["labels"][&name], "patched");
        let read = api.get(&path);
        assert_eq!(read["metadata"]["uid"], patched["metadata"]["uid"]);
        api.delete(&path, &Value::Null);
        gone(api, &selected);
        api.post(list, body);
        let updated = api.update(&path, |one| one["metadata"]["labels"][&name] = "updated".into());
        assert_eq!(updated["metadata"]["labels"][&name], "updated");
        let by = format!("{list}?labelSelector={name}%3Dupdated");
        assert_eq!(api.get(&by)["items"].as_array().unwrap().len(), 1);
        api.delete(&by, &Value::Null);
        gone(api, &by);
    }
}

/// Finalizers of protection go at once when nobody uses what they protect.
fn gone(api: &Api<'_>, selected: &str) {
    let begun = std::time::Instant::now();
    while api.get(selected)["items"] != json!([]) {
        assert!(begun.elapsed() < DEADLINE, "{selected} is still there");
        std::thread::yield_now();
    }
}

fn the_status_of_volumes_and_claims_is_written(api: &Api<'_>) {
    let (volumes, claims) = ("/api/v1/persistentvolumes", api.path("v1/persistentvolumeclaims"));
    let (volume, claim) = volume(api, &api.namespace);
    for (list, body, patch) in [
        (volumes, &volume, json!({ "message": "StatusPatched", "reason": "E2E patchedStatus" })),
        (
            &*claims,
            &claim,
            json!({ "conditions": [{ "type": "StatusPatched", "status": "True", "reason": "E2E patchedStatus",
                "message": "Set by e2e test", "lastTransitionTime": "2026-01-01T00:00:00Z" }] }),
        ),
    ] {
        let name = api.post(list, body)["metadata"]["name"].as_str().unwrap().to_owned();
        let path = format!("{list}/{name}");
        let status = format!("{path}/status");
        assert_eq!(api.get(&status)["kind"], body["kind"]);
        let patched = api.patch(&status, &json!({ "status": patch }));
        for (field, value) in patch.as_object().unwrap() {
            assert_eq!(&patched["status"][field], value);
        }
        let updated = api.update(&status, |one| one["status"]["phase"] = "Pending".into());
        assert_eq!(updated["metadata"]["uid"], patched["metadata"]["uid"]);
        api.delete(&path, &Value::Null);
        gone(api, &format!("{list}?fieldSelector=metadata.name%3D{name}"));
    }
}

fn a_replication_controller_says_why_it_fails(api: &Api<'_>) {
    let hard = json!({ "pods": "2" });
    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "condition-test" },
        "spec": { "hard": hard } });
    api.post(&api.path("v1/resourcequotas"), &quota);
    api.until("v1/resourcequotas", "condition-test", |quota| quota["status"]["hard"]["pods"] == "2");
    let body = json!({ "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": "condition-test" },
        "spec": { "replicas": 3, "selector": { "app": "x" }, "template": template() } });
    api.post(&api.path("v1/replicationcontrollers"), &body);
    let failure = |one: &Value| {
        let conditions = one["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|condition| condition["type"] == "ReplicaFailure")
    };
    let settled = |one: &Value| one["status"]["observedGeneration"] == one["metadata"]["generation"];
    api.until("v1/replicationcontrollers", "condition-test", |one| settled(one) && failure(one));
    let path = format!("{}/condition-test", api.path("v1/replicationcontrollers"));
    api.patch(&path, &json!({ "spec": { "replicas": 2 } }));
    api.until("v1/replicationcontrollers", "condition-test", |one| settled(one) && !failure(one));
}

fn budgets_are_observed(api: &Api<'_>) {
    let budgets = api.path("policy/v1/poddisruptionbudgets");
    let body = |name: &str, minimum: Value| {
        json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": { "name": name, "labels": { "foo_pdb": "bar_pdb" } },
            "spec": { "selector": { "matchLabels": { "foo": "bar" } }, "minAvailable": minimum } })
    };
    let observed = |one: &Value| one["status"]["observedGeneration"] == one["metadata"]["generation"];
    let resource = "policy/v1/poddisruptionbudgets";
    api.post(&budgets, &body("foo", json!("1%")));
    let mut one = api.until(resource, "foo", observed);
    one["spec"]["minAvailable"] = json!("2%");
    api.put(&format!("{budgets}/foo"), &one);
    api.until(resource, "foo", |one| observed(one) && one["spec"]["minAvailable"] == "2%");
    api.patch(&format!("{budgets}/foo"), &json!({ "spec": { "minAvailable": "3%" } }));
    api.until(resource, "foo", |one| observed(one) && one["spec"]["minAvailable"] == "3%");
    api.delete(&format!("{budgets}/foo"), &Value::Null);
    // Many of them, in two namespaces.
    let other = Api::new(api.cluster, &format!("{}-other", api.namespace));
    for (api, names) in [(api, &["foo", "foo2"][..]), (&other, &["foo3"])] {
        for name in names {
            api.post(&api.path(resource), &body(name, json!(1)));
            api.until(resource, name, observed);
        }
    }
    let selected = "labelSelector=foo_pdb%3Dbar_pdb";
    let everywhere = format!("/apis/policy/v1/poddisruptionbudgets?{selected}");
    assert_eq!(api.get(&everywhere)["items"].as_array().unwrap().len(), 3);
    assert_eq!(api.get(&format!("{budgets}?{selected}"))["items"].as_array().unwrap().len(), 2);
    api.delete(&format!("{budgets}?{selected}"), &Value::Null);
    gone(api, &format!("{budgets}?{selected}"));
    assert_eq!(api.get(&everywhere)["items"].as_array().unwrap().len(), 1);
}

fn endpoints_are_mirrored(api: &Api<'_>) {
    api.post(&api.path("v1/services"), &service("example-custom-endpoints", &Value::Null));
    let subset = |ip: &str| json!([{ "addresses": [{ "ip": ip }], "ports": [{ "port": 80 }] }]);
    let mut body = json!({ "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "example-custom-endpoints" },
        "subsets": subset("10.1.2.3") });
    api.post(&api.path("v1/endpoints"), &body);
    let (slices, label) =
        ("discovery.k8s.io/v1/endpointslices", "kubernetes.io/service-name=example-custom-endpoints");
    let shows = |address: &'static str| {
        move |all: &[Value]| {
            all.len() == 1
                && all[0]["ports"][0]["port"] == 80
                && all[0]["ports"].as_array().is_some_and(|ports| ports.len() == 1)
                && all[0]["endpoints"].as_array().is_some_and(|endpoints| endpoints.len() == 1)
                && all[0]["endpoints"][0]["addresses"] == json!([address])
        }
    };
    api.until_all(slices, label, shows("10.1.2.3"));
    body["subsets"] = subset("10.2.3.4");
    let path = format!("{}/example-custom-endpoints", api.path("v1/endpoints"));
    api.put(&path, &body);
    api.until_all(slices, label, shows("10.2.3.4"));
    api.delete(&path, &Value::Null);
    api.until_all(slices, label, <[Value]>::is_empty);
}

/// The Service `kubernetes`, its Endpoints and slices, and the default range of Services.
fn the_api_server_is_a_service(api: &Api<'_>) {
    let service = api.get("/api/v1/namespaces/default/services/kubernetes");
    let ports = service["spec"]["ports"].as_array().unwrap();
    assert!(ports.iter().any(|port| port["port"] == 443 && port["name"] == "https"), "{service}");
    let endpoints = api.get("/api/v1/namespaces/default/endpoints/kubernetes");
    let addresses = &endpoints["subsets"][0]["addresses"];
    let slices = api.get(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes",
    );
    assert_eq!(slices["items"].as_array().unwrap().len(), 1);
    let slice = &slices["items"][0];
    assert_eq!(slice["endpoints"][0]["addresses"][0], addresses[0]["ip"]);
    assert_eq!(slice["ports"], endpoints["subsets"][0]["ports"]);

    let ranges = "/apis/networking.k8s.io/v1/servicecidrs";
    let range = api.get(&format!("{ranges}/kubernetes"));
    let status = api.get(&format!("{ranges}/kubernetes/status"));
    assert_eq!(
        (&status["kind"], &status["metadata"]["uid"]),
        (&json!("ServiceCIDR"), &range["metadata"]["uid"])
    );
    assert_eq!(api.get(ranges)["items"].as_array().unwrap().len(), 1);
    api.cluster.until(
        &gifee_base::Gvr::new("networking.k8s.io", "v1", "servicecidrs"),
        "",
        "kubernetes",
        |one| one["metadata"]["uid"] == range["metadata"]["uid"],
    );
}

fn kubectl_asks_and_compares(api: &Api<'_>) {
    let namespace = format!("--namespace={}", api.namespace);
    let run = |words: &[&str], input: &str| api.cluster.aged("1.36", &[words, &[&namespace]].concat(), input);
    let versions = run(&["api-versions"], "").ok();
    assert!(versions.lines().any(|line| line == "v1"), "{versions}");
    let info = run(&["cluster-info"], "").ok();
    assert!(info.contains("Kubernetes control plane") && info.contains("is running at"), "{info}");
    let version = run(&["version"], "").ok();
    assert!(version.contains("Client Version") && version.contains("Server Version: v1.37"), "{version}");
    let deployment = |image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: httpd-deployment }}\nspec:\n  replicas: 1\n  \
             selector: {{ matchLabels: {{ app: httpd }} }}\n  template:\n    metadata: {{ labels: {{ app: httpd }} }}\n    \
             spec:\n      containers:\n      - {{ name: httpd, image: '{image}' }}\n"
        )
    };
    run(&["create", "-f", "-"], &deployment(BUSYBOX)).ok();
    let differs = run(&["diff", "-f", "-"], &deployment("busybox:2"));
    assert_eq!(differs.code, 1, "{differs}");
    assert!(
        differs.out.contains("+        image: busybox:2")
            || differs.out.contains("+      - image: busybox:2"),
        "{differs}"
    );
    run(&["run", "e2e-test-httpd-pod", "--restart=Never", "--image", BUSYBOX], "").ok();
    let pod = api.get(&format!("{}/e2e-test-httpd-pod", api.path("v1/pods")));
    assert_eq!(pod["spec"]["restartPolicy"], "Never");
    assert_eq!(pod["spec"]["containers"][0]["image"], BUSYBOX);
    run(&["delete", "pods", "e2e-test-httpd-pod", "--now"], "").ok();
}

/// Runs `kubectl proxy`, and asks it for `/api/` over what it says it listens on.
fn kubectl_is_a_proxy(api: &Api<'_>) {
    let socket = api.cluster.folder.path().join("proxy.sock");
    let unix = format!("--unix-socket={}", socket.display());
    for words in [&["proxy", "-p", "0", "--disable-filter"][..], &["proxy", &unix]] {
        let asked = async {
            let mut child = tokio::process::Command::new(api.cluster.kubectl_path("1.36"))
                .args(words)
                .env("KUBECONFIG", api.cluster.kubeconfig())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let said = lines.next_line().await.unwrap().expect("it says where it listens");
            let address = said.strip_prefix("Starting to serve on ").expect("the address").to_owned();
            let request = b"GET /api/ HTTP/1.0\r\nHost: localhost\r\n\r\n";
            let mut answer = String::new();
            if address.contains('/') {
                let mut stream = tokio::net::UnixStream::connect(&address).await.unwrap();
                stream.write_all(request).await.unwrap();
                stream.read_to_string(&mut answer).await.unwrap();
            } else {
                let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
                stream.write_all(request).await.unwrap();
                stream.read_to_string(&mut answer).await.unwrap();
            }
            answer
        };
        let answer = runtime().block_on(async { tokio::time::timeout(DEADLINE, asked).await }).unwrap();
        assert!(answer.contains(" 200 ") && answer.contains("\"versions\""), "{answer}");
    }
}
