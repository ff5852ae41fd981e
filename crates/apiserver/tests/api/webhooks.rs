//! Admission webhooks, as upstream's conformance tests drive them: a webhook server of many paths in this process.

use crate::backend::{Answers, Authority, Backend};
use crate::world::World;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gifee_apiserver::Body;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// A server with webhooks, and what they were asked.
struct Hooked {
    world: World,
    backend: Backend,
    authority: Authority,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

fn patch(operations: Value) -> Value {
    json!({ "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string()) })
}

fn denied(message: &str) -> Value {
    json!({ "allowed": false, "status": { "message": message } })
}

/// What the webhook at a path answers, without its uid.
fn answer(path: &str, request: &Value) -> Value {
    let object = &request["object"];
    let allowed = json!({ "allowed": true });
    match path {
        "/always-deny" => {
            json!({ "allowed": false, "status": { "message": "this webhook denies all requests" } })
        }
        "/pods" if object["metadata"]["name"] == "hanging-pod" => Value::Null,
        "/pods" => {
            let mut why = Vec::new();
            if object["metadata"]["labels"]["webhook-e2e-test"] == "disallow" {
                why.push("the pod contains unwanted label");
            }
            if object["spec"]["containers"][0]["name"] == "webhook-disallow" {
                why.push("the pod contains unwanted container name");
            }
            if why.is_empty() { allowed } else { denied(&why.join("; ")) }
        }
        "/configmaps" if object["data"]["webhook-e2e-test"] == "webhook-disallow" => {
            denied("the configmap contains unwanted key and value")
        }
        "/pods/attach" if request["name"] == "to-be-attached-pod" && request["operation"] == "CONNECT" => {
            denied("attaching to pod 'to-be-attached-pod' is not allowed")
        }
        "/mutating-configmaps" if object["data"]["mutation-start"] == "yes" => {
            patch(json!([{ "op": "add", "path": "/data/mutation-stage-1", "value": "yes" }]))
        }
        "/mutating-configmaps-2" if object["data"]["mutation-stage-1"] == "yes" => {
            patch(json!([{ "op": "add", "path": "/data/mutation-stage-2", "value": "yes" }]))
        }
        "/unknown-field" => patch(json!([{ "op": "add", "path": "/unknown", "value": 1 }])),
        "/move" => patch(json!([{ "op": "replace", "path": "/metadata/namespace", "value": "kube-system" }])),
        "/mutating-pods" if object["spec"]["initContainers"].is_null() => patch(json!([
            { "op": "add", "path": "/spec/initContainers", "value": [{ "image": "i", "name": "webhook-added", "resources": {} }] }
        ])),
        "/warn" => json!({ "allowed": true, "warnings": ["be careful", "be careful", "a \"quoted\" word"] }),
        "/forbid" => {
            json!({ "allowed": false, "status": { "message": "no", "reason": "Forbidden", "code": 403 } })
        }
        "/odd" => json!({ "allowed": false, "status": { "reason": "OnTuesdays", "code": 299 } }),
        "/labels" => {
            let count = object["metadata"]["labels"]["count"].as_str().unwrap_or("0").parse::<u32>().unwrap();
            let labels = json!({ "count": (count + 1).to_string() });
            patch(json!([{ "op": "add", "path": "/metadata/labels", "value": labels }]))
        }
        "/label-once" if object["metadata"]["labels"]["once"].is_null() => {
            patch(json!([{ "op": "add", "path": "/metadata/labels/once", "value": "yes" }]))
        }
        "/patch-a-deletion" => patch(json!([{ "op": "add", "path": "/x", "value": 1 }])),
        "/says" => {
            json!({ "allowed": true, "auditAnnotations": { "because": "it may", "not a key": "x" } })
        }
        "/both" => json!({ "allowed": true, "patch": "W10=" }),
        _ => allowed,
    }
}

impl Hooked {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut gifee_apiserver::Config)) -> Self {
        let authority = Authority::new();
        let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let heard = asked.clone();
        let answers: Answers = Arc::new(move |request| {
            let heard = heard.clone();
            Box::pin(async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let review: Value = serde_json::from_slice(&body).unwrap();
                heard.lock().push((path.clone(), review.clone()));
                if path == "/slow" {
                    tokio::time::sleep(Duration::from_millis(1500)).await;
                }
                let mut response = answer(&path, &review["request"]);
                if response.is_null() {
                    std::future::pending::<()>().await;
                }
                response["uid"] = review["request"]["uid"].clone();
                if path == "/wrong-uid" {
                    response["uid"] = "x".into();
                }
                let review = match path.as_str() {
                    "/nothing" => json!({ "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1" }),
                    "/wrong-kind" => json!({ "kind": "Pod", "apiVersion": "v1", "response": response }),
                    "/no-json" => return http::Response::new(Body::from("<html>")),
                    "/endless" => return crate::backend::endless_response(),
                    _ => {
                        json!({ "kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response })
                    }
                };
                http::Response::new(Body::from(review.to_string()))
            })
        });
        let backend = Backend::tls(&authority, &["localhost"], answers).await;
        let hooked = Self { world: World::with(change).await, backend, authority, asked };
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default" } });
        hooked.world.post("/api/v1/namespaces", &namespace).await;
        hooked
    }

    /// A webhook that is asked about a resource at a path.
    fn webhook(&self, path: &str, resources: &[&str], operations: &[&str], more: &Value) -> Value {
        let mut webhook = json!({
            "name": format!("{}.example.com", path.trim_start_matches('/').replace('/', "-")),
            "clientConfig": { "url": self.backend.url(path), "caBundle": self.authority.bundle() },
            "rules": [{ "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources, "operations": operations }],
            "sideEffects": "None", "admissionReviewVersions": ["v1", "v1beta1"], "timeoutSeconds": 5,
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            webhook[field] = value.clone();
        }
        webhook
    }

    async fn register(&self, list: &str, name: &str, webhooks: &[Value]) -> Value {
        let kind = if list == VALIDATING {
            "ValidatingWebhookConfiguration"
        } else {
            "MutatingWebhookConfiguration"
        };
        let body = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": { "name": name, "labels": { "test": "here" } }, "webhooks": webhooks });
        self.world.post(list, &body).await.expect(201)
    }

    async fn validating(&self, path: &str, resources: &[&str], operations: &[&str], more: Value) {
        let webhook = self.webhook(path, resources, operations, &more);
        let name = path.trim_start_matches('/').replace('/', "-");
        self.register(VALIDATING, &name, &[webhook]).await;
    }

    async fn mutating(&self, path: &str, resources: &[&str], operations: &[&str], more: Value) {
        let webhook = self.webhook(path, resources, operations, &more);
        let name = path.trim_start_matches('/').replace('/', "-");
        self.register(MUTATING, &name, &[webhook]).await;
    }

    /// The last question, with what changes from run to run removed.
    fn last(&self) -> Value {
        let mut review = self.asked.lock().last().unwrap().1.clone();
        review["request"].as_object_mut().unwrap().remove("uid");
        review["request"].take()
    }

    fn count(&self) -> usize {
        self.asked.lock().len()
    }
}

fn map(name: &str, data: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data })
}

fn pod(name: &str, container: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "containers": [{ "name": container, "image": "i" }] } })
}

#[tokio::test]
async fn pods_and_config_maps_are_denied() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    hooked.validating("/pods", &["pods"], &["CREATE"], json!({ "timeoutSeconds": 1 })).await;
    let skipping = json!({ "namespaceSelector": { "matchExpressions": [
        { "key": "skip-webhook-admission", "operator": "NotIn", "values": ["yes"] }] } });
    hooked.validating("/configmaps", &["configmaps"], &["CREATE", "UPDATE"], skipping).await;
    let nowhere = json!({ "clientConfig": { "url": "https://127.0.0.1:1/" }, "failurePolicy": "Ignore" });
    hooked.validating("/fail-open", &["*"], &["*"], nowhere).await;
    let mut unwanted = pod("disallowed-pod", "webhook-disallow");
    unwanted["metadata"]["labels"] = json!({ "webhook-e2e-test": "disallow" });
    assert_eq!(
        world.post(PODS, &unwanted).await.failure(),
        "400 : admission webhook \"pods.example.com\" denied the request: the pod contains unwanted label; the pod contains unwanted container name"
    );
    let hanging = world.post(PODS, &pod("hanging-pod", "c")).await;
    assert_eq!(
        hanging.failure(),
        format!(
            "500 InternalError: Internal error occurred: failed calling webhook \"pods.example.com\": failed to call webhook: Post \"{}\": context deadline exceeded",
            hooked.backend.url("/pods?timeout=1s")
        )
    );
    assert_eq!(world.get(&format!("{PODS}/hanging-pod")).await.code, 404);
    let why = "400 : admission webhook \"configmaps.example.com\" denied the request: the configmap contains unwanted key and value";
    let wrong = json!({ "webhook-e2e-test": "webhook-disallow" });
    assert_eq!(world.post(MAPS, &map("a", wrong.clone())).await.failure(), why);
    world.post(MAPS, &map("a", json!({ "admit": "this" }))).await.expect(201);
    assert_eq!(world.put(&format!("{MAPS}/a"), &map("a", wrong.clone())).await.failure(), why);
    let change = json!({ "data": wrong });
    assert_eq!(world.patch(&format!("{MAPS}/a"), "merge-patch", &change).await.failure(), why);
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": "exempt", "labels": { "skip-webhook-admission": "yes" } } });
    world.post("/api/v1/namespaces", &namespace).await.expect(201);
    world.post("/api/v1/namespaces/exempt/configmaps", &map("a", change["data"].clone())).await.expect(201);
}

#[tokio::test]
async fn what_webhooks_are_asked_is_the_whole_story() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    hooked.validating("/all", &["*/*"], &["*"], json!({})).await;
    let me = [("authorization", "Bearer me")];
    let made = world
        .call(
            &format!("POST {MAPS}?fieldManager=m&fieldValidation=Strict"),
            &map("a", json!({ "k": "v" })),
            &me,
        )
        .await
        .expect(201);
    let question = hooked.last();
    let place = json!({ "group": "", "version": "v1", "resource": "configmaps" });
    let kind = json!({ "group": "", "version": "v1", "kind": "ConfigMap" });
    for (field, expect) in [
        ("kind", kind.clone()),
        ("requestKind", kind),
        ("resource", place.clone()),
        ("requestResource", place),
        ("name", "a".into()),
        ("namespace", "default".into()),
        ("operation", "CREATE".into()),
        ("userInfo", json!({ "username": "me", "groups": ["system:authenticated"] })),
        ("oldObject", Value::Null),
        ("dryRun", false.into()),
        (
            "options",
            json!({ "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "m", "fieldValidation": "Strict" }),
        ),
    ] {
        assert_eq!(question[field], expect, "{field}");
    }
    assert_eq!(question["object"]["metadata"]["uid"], made["metadata"]["uid"]);
    assert!(question.get("subResource").is_none());
    let changed = world
        .call(
            &format!("PATCH {MAPS}/a?dryRun=All"),
            &json!({ "data": { "k": "w" } }),
            &[("content-type", "application/merge-patch+json")],
        )
        .await
        .expect(200);
    let question = hooked.last();
    assert_eq!(question["operation"], "UPDATE");
    assert_eq!(question["dryRun"], true);
    assert_eq!(question["options"]["kind"], "UpdateOptions");
    assert_eq!(question["options"]["dryRun"], json!(["All"]));
    assert_eq!(question["object"]["data"], changed["data"]);
    assert_eq!(question["oldObject"]["data"], made["data"]);
    assert_eq!(question["oldObject"]["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert_eq!(question["object"]["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    world.call(&format!("DELETE {MAPS}/a"), &json!({ "gracePeriodSeconds": 0 }), &[]).await.expect(200);
    let question = hooked.last();
    assert_eq!(question["operation"], "DELETE");
    assert_eq!(question["object"], Value::Null);
    assert_eq!(question["oldObject"]["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(question["options"]["kind"], "DeleteOptions");
    assert_eq!(question["options"]["gracePeriodSeconds"], 0);
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "n" } });
    world.post("/api/v1/namespaces", &namespace).await.expect(201);
    assert_eq!((&hooked.last()["namespace"], &hooked.last()["name"]), (&json!("n"), &json!("n")));
    world.post(PODS, &pod("p", "c")).await.expect(201);
    world.call(&format!("POST {PODS}/p/attach?container=c&stdin=true"), &Value::Null, &[]).await;
    let question = hooked.last();
    assert_eq!(question["operation"], "CONNECT");
    assert_eq!(question["subResource"], "attach");
    assert_eq!(question["kind"], json!({ "group": "", "version": "v1", "kind": "PodAttachOptions" }));
    assert_eq!(
        question["object"],
        json!({ "kind": "PodAttachOptions", "apiVersion": "v1", "stdin": true, "container": "c" })
    );
    let binding = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "n" } });
    world.post(&format!("{PODS}/p/binding"), &binding).await.expect(201);
    assert_eq!(hooked.last()["kind"]["kind"], "Binding");
    assert_eq!(hooked.last()["subResource"], "binding");
}

#[tokio::test]
async fn attaching_is_denied() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    hooked.validating("/pods/attach", &["pods/attach"], &["CONNECT"], json!({})).await;
    for name in ["to-be-attached-pod", "other"] {
        world.post(PODS, &pod(name, "c")).await.expect(201);
    }
    let attach = async |name: &str| {
        world.call(&format!("POST {PODS}/{name}/attach"), &Value::Null, &[]).await.failure()
    };
    assert_eq!(
        attach("to-be-attached-pod").await,
        "400 : admission webhook \"pods-attach.example.com\" denied the request: attaching to pod 'to-be-attached-pod' is not allowed"
    );
    assert!(!attach("other").await.contains("webhook"));
}

#[tokio::test]
async fn a_webhook_that_fails_closed_refuses_all() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    let nowhere = json!({
        "clientConfig": { "service": { "namespace": "default", "name": "e2e-test-webhook", "path": "/configmaps" },
            "caBundle": hooked.authority.bundle() },
        "failurePolicy": "Fail", "namespaceSelector": { "matchLabels": { "fail-closed-webhook": "yes" } } });
    hooked.validating("/fail-closed", &["configmaps"], &["CREATE"], nowhere).await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": "closed", "labels": { "fail-closed-webhook": "yes" } } });
    world.post("/api/v1/namespaces", &namespace).await.expect(201);
    assert_eq!(
        world.post("/api/v1/namespaces/closed/configmaps", &map("a", json!({}))).await.failure(),
        "500 InternalError: Internal error occurred: failed calling webhook \"fail-closed.example.com\": failed to call webhook: Post \"https://e2e-test-webhook.default.svc:443/configmaps?timeout=5s\": service \"e2e-test-webhook\" not found"
    );
    world.post(MAPS, &map("a", json!({}))).await.expect(201);
}

#[tokio::test]
async fn objects_are_mutated_in_order_and_completed() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    let first = hooked.webhook("/mutating-configmaps", &["configmaps"], &["CREATE"], &json!({}));
    let second = hooked.webhook("/mutating-configmaps-2", &["configmaps"], &["CREATE"], &json!({}));
    hooked.register(MUTATING, "maps", &[first, second]).await;
    let made = world.post(MAPS, &map("a", json!({ "mutation-start": "yes" }))).await.expect(201);
    let expect = json!({ "mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes" });
    assert_eq!(made["data"], expect);
    hooked.mutating("/mutating-pods", &["pods"], &["CREATE"], json!({})).await;
    let made = world.post(PODS, &pod("p", "c")).await.expect(201);
    let added = &made["spec"]["initContainers"][0];
    assert_eq!(added["name"], "webhook-added");
    assert_eq!(added["terminationMessagePolicy"], "File", "defaults come after the mutation");
    assert_eq!(added["terminationMessagePath"], "/dev/termination-log");
    hooked.mutating("/unknown-field", &["secrets"], &["CREATE"], json!({})).await;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" } });
    let made = world.post("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    assert!(made.get("unknown").is_none(), "what the kind does not have is dropped");
    hooked.mutating("/move", &["services"], &["CREATE"], json!({})).await;
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": { "ports": [{ "port": 1 }] } });
    assert_eq!(
        world.post("/api/v1/namespaces/default/services", &service).await.failure(),
        "400 BadRequest: the namespace of the provided object does not match the namespace sent on the request"
    );
}

#[tokio::test]
async fn webhook_configurations_are_out_of_reach() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    hooked.validating("/always-deny", &["*"], &["*"], json!({})).await;
    hooked.mutating("/labels", &["*"], &["*"], json!({})).await;
    let count = hooked.count();
    for (list, name) in [(VALIDATING, "dummy-v"), (MUTATING, "dummy-m")] {
        let webhook = hooked.webhook("/always-deny", &["invalid"], &["CREATE"], &json!({}));
        let made = hooked.register(list, name, &[webhook]).await;
        assert_eq!(made["metadata"]["labels"], json!({ "test": "here" }));
        world.delete(&format!("{list}/{name}")).await.expect(200);
    }
    assert_eq!(hooked.count(), count);
    assert_eq!(world.post(MAPS, &map("a", json!({}))).await.code, 400);
}

#[tokio::test]
async fn definitions_of_custom_resources_are_denied() {
    let hooked = Hooked::new().await;
    hooked.validating("/always-deny", &["customresourcedefinitions"], &["CREATE"], json!({})).await;
    let definition = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "tests.example.com", "labels": { "e2e-list-test-uuid": "x" } },
        "spec": { "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "tests", "singular": "test", "kind": "Test", "listKind": "TestList" },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object" } } }] } });
    assert_eq!(
        hooked
            .world
            .post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition)
            .await
            .failure(),
        "400 : admission webhook \"always-deny.example.com\" denied the request: this webhook denies all requests"
    );
}

#[tokio::test]
async fn timeouts_are_honoured() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    let slow = |seconds: u32, policy: &str| json!({ "timeoutSeconds": seconds, "failurePolicy": policy });
    hooked.validating("/slow", &["configmaps"], &["CREATE"], slow(1, "Fail")).await;
    let failed = world.post(MAPS, &map("a", json!({}))).await.failure();
    assert!(failed.contains("/slow?timeout=1s\": context deadline exceeded"), "{failed}");
    world.delete(&format!("{VALIDATING}/slow")).await.expect(200);
    hooked.validating("/slow", &["configmaps"], &["CREATE"], slow(1, "Ignore")).await;
    world.post(MAPS, &map("a", json!({}))).await.expect(201);
    world.delete(&format!("{VALIDATING}/slow")).await.expect(200);
    hooked.validating("/slow", &["configmaps"], &["CREATE"], slow(10, "Fail")).await;
    world.post(MAPS, &map("b", json!({}))).await.expect(201);
    world.delete(&format!("{VALIDATING}/slow")).await.expect(200);
    // Validating webhooks are asked at once: three slow ones take no longer than one.
    let webhooks: Vec<_> = (0..3)
        .map(|index| {
            hooked.webhook(
                "/slow",
                &["configmaps"],
                &["CREATE"],
                &json!({ "name": format!("s{index}.example.com") }),
            )
        })
        .collect();
    hooked.register(VALIDATING, "three", &webhooks).await;
    let began = Instant::now();
    world.post(MAPS, &map("c", json!({}))).await.expect(201);
    assert!(began.elapsed() < Duration::from_millis(2900), "{:?}", began.elapsed());
}

#[tokio::test]
async fn changed_configurations_count_at_once() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    let wrong = || map("a", json!({ "webhook-e2e-test": "webhook-disallow" }));
    hooked.validating("/configmaps", &["configmaps"], &["CREATE"], json!({})).await;
    assert_eq!(world.post(MAPS, &wrong()).await.code, 400);
    let path = format!("{VALIDATING}/configmaps");
    let mut configuration = world.get(&path).await.expect(200);
    configuration["webhooks"][0]["rules"][0]["operations"] = json!(["UPDATE"]);
    world.put(&path, &configuration).await.expect(200);
    world.post(MAPS, &wrong()).await.expect(201);
    world.delete(&format!("{MAPS}/a")).await.expect(200);
    let back = json!([{ "op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"] }]);
    world.patch(&path, "json-patch", &back).await.expect(200);
    assert_eq!(world.post(MAPS, &wrong()).await.code, 400);
    let listed = world.get(&format!("{VALIDATING}?labelSelector=test%3Dhere")).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    world.delete(&format!("{VALIDATING}?labelSelector=test%3Dhere")).await.expect(200);
    world.post(MAPS, &wrong()).await.expect(201);
}

#[tokio::test]
async fn discovery_shows_webhook_configurations() {
    let world = World::new().await;
    let groups = world.get("/apis").await.expect(200);
    let group =
        groups["groups"].as_array().unwrap().iter().find(|one| one["name"] == "admissionregistration.k8s.io");
    let expect = json!({ "groupVersion": "admissionregistration.k8s.io/v1", "version": "v1" });
    assert_eq!(group.unwrap()["versions"][0], expect);
    let group = world.get("/apis/admissionregistration.k8s.io").await.expect(200);
    assert_eq!(group["versions"][0], expect);
    let resources = world.get("/apis/admissionregistration.k8s.io/v1").await.expect(200);
    for name in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        assert!(resources["resources"].as_array().unwrap().iter().any(|one| one["name"] == name), "{name}");
    }
}

#[tokio::test]
async fn answers_say_warnings_reasons_and_what_is_wrong_with_them() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    hooked.validating("/warn", &["configmaps"], &["CREATE"], json!({})).await;
    let answer = world.post(MAPS, &map("a", json!({}))).await;
    assert_eq!(answer.warnings(), ["299 - \"be careful\"", "299 - \"a \\\"quoted\\\" word\""]);
    world.delete(&format!("{VALIDATING}/warn")).await.expect(200);
    for (path, expect) in [
        ("/forbid", "403 Forbidden: admission webhook \"forbid.example.com\" denied the request: no"),
        ("/odd", "400 OnTuesdays: admission webhook \"odd.example.com\" denied the request: OnTuesdays"),
        (
            "/nothing",
            "failed calling webhook \"nothing.example.com\": received invalid webhook response: webhook response was absent",
        ),
        ("/wrong-uid", "received invalid webhook response: expected response.uid="),
        (
            "/wrong-kind",
            "received invalid webhook response: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /v1, Kind=Pod",
        ),
        ("/no-json", "failed calling webhook \"no-json.example.com\": failed to call webhook: "),
        ("/both", "received invalid webhook response: validating webhook may not return response.patch"),
        ("/endless", "the answer is longer than"),
    ] {
        hooked.validating(path, &["configmaps"], &["CREATE"], json!({})).await;
        let failure = world.post(MAPS, &map("b", json!({}))).await.failure();
        assert!(failure.contains(expect), "{path}: {failure}");
        world.delete(&format!("{VALIDATING}/{}", path.trim_start_matches('/'))).await.expect(200);
    }
    hooked.mutating("/both", &["configmaps"], &["CREATE"], json!({})).await;
    let failure = world.post(MAPS, &map("b", json!({}))).await.failure();
    assert!(failure.contains("webhook returned response.patch but not response.patchType"), "{failure}");
    world.delete(&format!("{MUTATING}/both")).await.expect(200);
    hooked.mutating("/patch-a-deletion", &["configmaps"], &["DELETE"], json!({})).await;
    let failure = world.delete(&format!("{MAPS}/a")).await.failure();
    assert!(
        failure.contains("attempted to modify the object, which is not supported for this operation"),
        "{failure}"
    );
}

#[tokio::test]
async fn side_effects_keep_webhooks_out_of_dry_runs() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    let old = json!({ "sideEffects": "NoneOnDryRun" });
    hooked.validating("/all", &["configmaps"], &["CREATE"], old).await;
    world.post(&format!("{MAPS}?dryRun=All"), &map("a", json!({}))).await.expect(201);
    assert_eq!(hooked.last()["dryRun"], true);
    assert_eq!(world.get(&format!("{MAPS}/a")).await.code, 404);
}

#[tokio::test]
async fn webhooks_are_called_again_only_if_they_want() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    let again = |policy: &str| json!({ "reinvocationPolicy": policy, "name": format!("{}.example.com", policy.to_lowercase()) });
    let never = hooked.webhook("/labels", &["configmaps"], &["CREATE"], &again("Never"));
    let needed = hooked.webhook("/labels", &["configmaps"], &["CREATE"], &again("IfNeeded"));
    let once = hooked.webhook("/label-once", &["configmaps"], &["CREATE"], &json!({}));
    hooked.register(MUTATING, "a", &[never, needed.clone()]).await;
    let made = world.post(MAPS, &map("a", json!({}))).await.expect(201);
    assert_eq!(made["metadata"]["labels"]["count"], "2", "its own change calls nobody again");
    hooked.register(MUTATING, "b", &[once]).await;
    let made = world.post(MAPS, &map("b", json!({}))).await.expect(201);
    assert_eq!(made["metadata"]["labels"]["count"], "3", "that of a later one does");
}

#[tokio::test]
async fn rules_selectors_and_versions_decide() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    let asked = async |rule: Value, more: Value, path: &str, body: &Value| {
        let mut webhook = hooked.webhook("/all", &[], &[], &more);
        webhook["rules"] = json!([rule]);
        hooked.register(VALIDATING, "one", &[webhook]).await;
        let before = hooked.count();
        world.post(&format!("{path}?dryRun=All"), body).await.expect(201);
        world.delete(&format!("{VALIDATING}/one")).await.expect(200);
        hooked.count() > before
    };
    let rule = |groups: &[&str], versions: &[&str], resources: &[&str], operations: &[&str], scope: &str| json!({ "apiGroups": groups, "apiVersions": versions, "resources": resources, "operations": operations, "scope": scope });
    let body = map("a", json!({}));
    for (rule, expect) in [
        (rule(&[""], &["v1"], &["configmaps"], &["CREATE"], "*"), true),
        (rule(&["*"], &["*"], &["*"], &["*"], "Namespaced"), true),
        (rule(&["*"], &["*"], &["*"], &["*"], "Cluster"), false),
        (rule(&["apps"], &["v1"], &["configmaps"], &["CREATE"], "*"), false),
        (rule(&[""], &["v2"], &["configmaps"], &["CREATE"], "*"), false),
        (rule(&[""], &["v1"], &["configmaps/status", "pods"], &["CREATE"], "*"), false),
        (rule(&[""], &["v1"], &["configmaps"], &["UPDATE", "DELETE"], "*"), false),
        (rule(&[""], &["v1"], &["*/*"], &["CREATE"], "*"), true),
    ] {
        assert_eq!(asked(rule.clone(), json!({}), MAPS, &body).await, expect, "{rule}");
    }
    let all = rule(&["*"], &["*"], &["*"], &["*"], "*");
    let labelled = json!({ "objectSelector": { "matchLabels": { "a": "b" } } });
    assert!(!asked(all.clone(), labelled.clone(), MAPS, &body).await);
    let mut marked = body.clone();
    marked["metadata"]["labels"] = json!({ "a": "b" });
    assert!(asked(all.clone(), labelled, MAPS, &marked).await);
    let elsewhere = json!({ "namespaceSelector": { "matchLabels": { "a": "b" } } });
    assert!(!asked(all.clone(), elsewhere.clone(), MAPS, &body).await);
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "m", "labels": { "a": "b" } } });
    assert!(asked(all, elsewhere, "/api/v1/namespaces", &namespace).await, "a Namespace's own labels count");
    // Equivalent versions: a rule for one version is asked in that version.
    let scaler = json!({ "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "h" },
        "spec": { "maxReplicas": 3, "targetCPUUtilizationPercentage": 50, "scaleTargetRef": { "kind": "Deployment", "name": "d" } } });
    let scalers = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let v2 = rule(&["autoscaling"], &["v2"], &["horizontalpodautoscalers"], &["CREATE"], "*");
    assert!(!asked(v2.clone(), json!({ "matchPolicy": "Exact" }), scalers, &scaler).await);
    assert!(asked(v2, json!({ "matchPolicy": "Equivalent" }), scalers, &scaler).await);
    let question = hooked.last();
    assert_eq!(question["kind"]["version"], "v2");
    assert_eq!(question["requestKind"]["version"], "v1");
    assert_eq!(question["object"]["apiVersion"], "autoscaling/v2");
    assert_eq!(question["object"]["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
}

#[tokio::test]
async fn a_bad_webhook_harms_nobody_else() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    hooked.validating("/slow", &["secrets"], &["CREATE"], json!({})).await;
    hooked.validating("/endless", &["services"], &["CREATE"], json!({})).await;
    let secret = |index: usize| json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": format!("s{index}") } });
    let path = "/api/v1/namespaces/default/secrets";
    let waiting = futures_util::future::join_all((0..100).map(|index| {
        let body = secret(index);
        async move { world.post(path, &body).await.code }
    }));
    let quick = async {
        let began = Instant::now();
        for index in 0..50 {
            world.post(MAPS, &map(&format!("m{index}"), json!({}))).await.expect(201);
        }
        began.elapsed()
    };
    let (codes, elapsed) = tokio::join!(waiting, quick);
    assert!(codes.iter().all(|code| *code == 201));
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
}

#[tokio::test]
async fn conditions_decide_who_is_asked() {
    let hooked = Hooked::new().await;
    let world = &hooked.world;
    let conditions = |list: Value| json!({ "matchConditions": list });
    let skip = json!([
        { "name": "no-leases", "expression": "!(request.resource.group == 'coordination.k8s.io')" },
        { "name": "not-skipped", "expression": "object.metadata.name != 'skip-me'" }
    ]);
    hooked.validating("/always-deny", &["configmaps"], &["CREATE"], conditions(skip)).await;
    world.post(MAPS, &map("skip-me", json!({}))).await.expect(201);
    assert_eq!(hooked.count(), 0);
    assert_eq!(world.post(MAPS, &map("a", json!({}))).await.code, 400);
    assert_eq!(hooked.count(), 1);
    world.delete(&format!("{VALIDATING}/always-deny")).await.expect(200);
    // One that does not hold counts more than one that fails.
    let failing = json!({ "name": "fails", "expression": "object.data.nothing == 'x'" });
    let not = json!({ "name": "not", "expression": "false" });
    hooked.mutating("/labels", &["configmaps"], &["CREATE"], conditions(json!([failing, not]))).await;
    world.post(MAPS, &map("b", json!({}))).await.expect(201);
    world.delete(&format!("{MUTATING}/labels")).await.expect(200);
    hooked.mutating("/labels", &["configmaps"], &["CREATE"], conditions(json!([failing]))).await;
    assert_eq!(
        world.post(MAPS, &map("c", json!({}))).await.failure(),
        "403 Forbidden: configmaps \"c\" is forbidden: expression 'object.data.nothing == 'x'' resulted in error: no such key: data"
    );
    world.delete(&format!("{MUTATING}/labels")).await.expect(200);
    let ignored = json!({ "matchConditions": [failing], "failurePolicy": "Ignore" });
    hooked.mutating("/labels", &["configmaps"], &["CREATE"], ignored).await;
    world.post(MAPS, &map("c", json!({}))).await.expect(201);
    assert_eq!(hooked.count(), 1);
    // The authorizer of these tests lets everybody do everything.
    let may = json!([{ "name": "may",
        "expression": "authorizer.group('').resource('configmaps').namespace('default').check('create').allowed()" }]);
    world.delete(&format!("{MUTATING}/labels")).await.expect(200);
    hooked.mutating("/labels", &["configmaps"], &["CREATE"], conditions(may)).await;
    let made = world.post(MAPS, &map("d", json!({}))).await.expect(201);
    assert_eq!(made["metadata"]["labels"]["count"], "1");
}

#[tokio::test]
async fn conditions_are_compiled_when_they_are_written() {
    let hooked = Hooked::new().await;
    let refused = async |list: Value| {
        let webhook = hooked.webhook("/x", &["configmaps"], &["CREATE"], &json!({ "matchConditions": list }));
        let body = json!({ "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration", "metadata": { "name": "x" }, "webhooks": [webhook] });
        hooked.world.post(VALIDATING, &body).await.failure()
    };
    let failure = refused(json!([{ "name": "one", "expression": "... [}" }])).await;
    assert!(
        failure.contains("webhooks[0].matchConditions[0].expression: Invalid value: \"... [}\": compilation failed: ERROR: <input>:1:2: Syntax error"),
        "{failure}"
    );
    let failure = refused(json!([
        { "name": "", "expression": "true" }, { "name": "a", "expression": " " }, { "name": "a", "expression": "1" },
        { "name": "b", "expression": "params.x" }
    ]))
    .await;
    for why in [
        "webhooks[0].matchConditions[0].name: Required value",
        "webhooks[0].matchConditions[1].expression: Required value",
        "webhooks[0].matchConditions[2].expression: Invalid value: \"1\": must evaluate to bool",
        "webhooks[0].matchConditions[2].name: Duplicate value: \"a\"",
        "undeclared reference to 'params'",
    ] {
        assert!(failure.contains(why), "{why}\n{failure}");
    }
}

/// The annotations of the last event.
#[derive(Default)]
struct Heard(Mutex<Vec<Value>>);

impl gifee_apiserver::audit::Sink for Heard {
    fn event(&self, line: &bytes::Bytes) {
        self.0.lock().push(serde_json::from_slice(line).unwrap());
    }
}

#[tokio::test]
async fn what_webhooks_did_is_in_the_audit_log() {
    let heard = Arc::new(Heard::default());
    let policy = json!({ "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [{ "level": "Request", "resources": [{ "resources": ["configmaps"] }] },
            { "level": "Metadata", "resources": [{ "resources": ["secrets"] }] }] });
    let policy = gifee_policy::audit::Policy::read(policy).unwrap();
    let clock = Arc::new(gifee_base::clock::SystemClock);
    let auditor = gifee_apiserver::audit::Auditor::new(policy, vec![heard.clone()], clock);
    let hooked = Hooked::with(|config| config.audit = Some(Arc::new(auditor))).await;
    let world = &hooked.world;
    let nowhere = json!({ "clientConfig": { "url": "https://127.0.0.1:1/" }, "failurePolicy": "Ignore" });
    let both = ["configmaps", "secrets"];
    let webhooks = [
        hooked.webhook("/labels", &both, &["CREATE"], &json!({})),
        hooked.webhook("/gone", &both, &["CREATE"], &nowhere),
        hooked.webhook("/says", &both, &["CREATE"], &json!({})),
    ];
    hooked.register(MUTATING, "m", &webhooks).await;
    hooked.validating("/gone", &both, &["CREATE"], nowhere).await;
    world.post(MAPS, &map("a", json!({}))).await.expect(201);
    let event = heard.0.lock().pop().unwrap();
    let annotations = &event["annotations"];
    let parsed =
        |key: &str| -> Value { serde_json::from_str(annotations[key].as_str().unwrap_or("null")).unwrap() };
    let place = |sort: &str, round: usize, index: usize| {
        format!("{sort}.webhook.admission.k8s.io/round_{round}_index_{index}")
    };
    let name = "labels.example.com";
    assert_eq!(
        parsed(&place("mutation", 0, 0)),
        json!({ "configuration": "m", "webhook": name, "mutated": true })
    );
    assert_eq!(
        parsed(&place("patch", 0, 0)),
        json!({ "configuration": "m", "webhook": name, "patchType": "JSONPatch",
            "patch": [{ "op": "add", "path": "/metadata/labels", "value": { "count": "1" } }] })
    );
    assert_eq!(parsed(&place("mutation", 0, 1))["mutated"], false);
    assert_eq!(annotations[place("failed-open.mutation", 0, 1)], "gone.example.com");
    assert_eq!(annotations[place("failed-open.validating", 0, 0)], "gone.example.com");
    assert_eq!(annotations["says.example.com/because"], "it may");
    assert!(annotations["says.example.com/not a key"].is_null());
    // A patch may hold what this level does not show.
    let secret = json!({ "metadata": { "name": "s" } });
    world.post("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    let event = heard.0.lock().pop().unwrap();
    assert!(event["annotations"][place("mutation", 0, 0)].is_string());
    assert!(event["annotations"][place("patch", 0, 0)].is_null());
}
