//! Admission policies over the whole pipeline.

use crate::world::World;
use serde_json::{Value, json};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn constraints(resource: &str) -> Value {
    json!({
        "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
        "resourceRules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
            "resources": [resource], "scope": "*"
        }]
    })
}

async fn policy(world: &World, sort: &str, name: &str, mut spec: Value, mut binding: Value) {
    spec["failurePolicy"] = "Fail".into();
    if spec["matchConstraints"].is_null() {
        spec["matchConstraints"] = constraints("configmaps");
    }
    let mutating = sort == "Mutating";
    if mutating {
        spec["reinvocationPolicy"] = "IfNeeded".into();
    }
    binding["policyName"] = name.into();
    let lower = sort.to_lowercase();
    let object = |suffix: &str, spec: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{sort}AdmissionPolicy{suffix}"),
            "metadata": { "name": name }, "spec": spec
        })
    };
    let path = format!("{GROUP}/{lower}admissionpolicies");
    world.post(&path, &object("", spec)).await.expect(201);
    let path = format!("{GROUP}/{lower}admissionpolicybindings");
    world.post(&path, &object("Binding", binding)).await.expect(201);
}

fn map(name: &str, data: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data })
}

async fn world() -> World {
    let world = World::new().await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default" } });
    world.post("/api/v1/namespaces", &namespace).await;
    world
}

#[tokio::test]
async fn validations_deny_and_warn() {
    let world = world().await;
    let spec = json!({ "validations": [
        { "expression": "!has(object.data) || object.data.all(k, k != 'bad')", "message": "no bad keys" }
    ]});
    policy(&world, "Validating", "keys", spec, json!({ "validationActions": ["Deny"] })).await;
    let spec = json!({ "validations": [{ "expression": "object.metadata.name.size() < 6", "reason": "Forbidden" }] });
    policy(&world, "Validating", "names", spec, json!({ "validationActions": ["Warn"] })).await;
    world.post(MAPS, &map("fine", json!({ "good": "1" }))).await.expect(201);
    let answer = world.post(MAPS, &map("wrong", json!({ "bad": "1" }))).await;
    assert_eq!(
        answer.failure(),
        "422 Invalid: configmaps \"wrong\" is forbidden: ValidatingAdmissionPolicy 'keys' with binding 'keys' denied \
         request: no bad keys"
    );
    let answer = world.post(MAPS, &map("far-too-long", json!({}))).await;
    assert!(
        answer.warnings()[0]
            .contains("Validation failed for ValidatingAdmissionPolicy 'names' with binding 'names'")
    );
    answer.expect(201);
    // What is deleted has no say any more.
    world.delete(&format!("{GROUP}/validatingadmissionpolicybindings/keys")).await;
    world.post(MAPS, &map("wrong", json!({ "bad": "1" }))).await.expect(201);
}

#[tokio::test]
async fn parameters_are_looked_up() {
    let world = world().await;
    let spec = json!({
        "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" },
        "matchConditions": [{ "name": "others", "expression": "object.metadata.name != 'limits'" }],
        "variables": [{ "name": "most", "expression": "int(params.data.most)" }],
        "validations": [{
            "expression": "object.data.size() <= variables.most",
            "messageExpression": "'at most ' + string(variables.most)"
        }]
    });
    let reference = json!({ "name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny" });
    let binding = json!({ "validationActions": ["Deny"], "paramRef": reference });
    policy(&world, "Validating", "sizes", spec, binding).await;
    let two = map("two", json!({ "a": "1", "b": "2" }));
    let failure = world.post(MAPS, &two).await.failure();
    assert!(failure.ends_with(
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    ), "{failure}");
    // Its own limits are excused by the condition, but parameters are needed first, as upstream has it.
    world.delete(&format!("{GROUP}/validatingadmissionpolicybindings/sizes")).await;
    world.post(MAPS, &map("limits", json!({ "most": "1" }))).await.expect(201);
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": "sizes" },
        "spec": { "policyName": "sizes", "validationActions": ["Deny"], "paramRef": reference }
    });
    world.post(&format!("{GROUP}/validatingadmissionpolicybindings"), &object).await.expect(201);
    let failure = world.post(MAPS, &two).await.failure();
    assert!(failure.ends_with("denied request: at most 1"), "{failure}");
    world.post(MAPS, &map("one", json!({ "a": "1" }))).await.expect(201);
}

#[tokio::test]
async fn mutations_are_applied_in_order() {
    let world = world().await;
    let spec = json!({ "mutations": [
        { "patchType": "ApplyConfiguration", "applyConfiguration": {
            "expression": "Object{metadata: Object.metadata{labels: {'made': 'by-policy'}}}" } },
        { "patchType": "JSONPatch", "jsonPatch": {
            "expression": "[JSONPatch{op: 'test', path: '/metadata/labels/made', value: 'by-policy'}, \
                           JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: object.metadata.name}]" } }
    ]});
    policy(&world, "Mutating", "labels", spec, json!({})).await;
    let made = world.post(MAPS, &map("x", json!({ "k": "v" }))).await.expect(201);
    assert_eq!(made["metadata"]["labels"], json!({ "made": "by-policy", "a/b": "x" }));
    assert_eq!(made["data"], json!({ "k": "v" }));
}

#[tokio::test]
async fn configurations_are_merged_as_applied_ones() {
    let world = world().await;
    let apply = |expression: &str| {
        json!({ "matchConstraints": constraints("pods"), "mutations": [{ "patchType": "ApplyConfiguration",
            "applyConfiguration": { "expression": expression } }] })
    };
    let spec = apply(
        "Object{spec: Object.spec{containers: [\
             Object.spec.containers{name: 'b', env: [Object.spec.containers.env{name: 'MADE', value: 'yes'}]},\
             Object.spec.containers{name: 'added', image: 'i'}]}}",
    );
    policy(&world, "Mutating", "containers", spec, json!({})).await;
    let pod = |name: &str| {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": { "containers": [
            { "name": "a", "image": "i" },
            { "name": "b", "image": "j", "env": [{ "name": "OWN", "value": "1" }] } ] } })
    };
    const PODS: &str = "/api/v1/namespaces/default/pods";
    let made = world.post(PODS, &pod("merged")).await.expect(201);
    let containers = made["spec"]["containers"].as_array().unwrap();
    let names: Vec<_> = containers.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "added"]);
    assert_eq!(containers[1]["image"], "j");
    assert_eq!(
        containers[1]["env"],
        json!([{ "name": "OWN", "value": "1" }, { "name": "MADE", "value": "yes" }])
    );
    for (name, expression, why) in [
        (
            "whole",
            "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'b', args: ['x']}]}}",
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.containers[0].args",
        ),
        (
            "unknown",
            "Object{spec: Object.spec{nothing: true}}",
            "failed to convert patch object to typed object: .spec.nothing: field not declared in schema",
        ),
    ] {
        policy(&world, "Mutating", name, apply(expression), json!({})).await;
        assert_eq!(
            world.post(PODS, &pod("refused")).await.failure(),
            format!(
                "403 Invalid: policy '{name}' with binding '{name}' denied request: error applying patch: {why}"
            )
        );
        world.delete(&format!("{GROUP}/mutatingadmissionpolicybindings/{name}")).await;
    }
}

#[tokio::test]
async fn expressions_that_do_not_compile_are_refused() {
    let world = world().await;
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": "p" },
        "spec": {
            "failurePolicy": "Fail", "matchConstraints": constraints("pods"),
            "validations": [{ "expression": "object.x == 1 && nope", "messageExpression": "1" }]
        }
    });
    let failure = world.post(&format!("{GROUP}/validatingadmissionpolicies"), &object).await.failure();
    assert!(failure.contains("spec.validations[0].expression: Invalid value"), "{failure}");
    assert!(failure.contains("undeclared reference to 'nope'"), "{failure}");
    assert!(failure.contains("spec.validations[0].messageExpression: Invalid value"), "{failure}");
}

#[tokio::test]
async fn policies_are_checked_against_the_kinds_they_name() {
    let world = world().await;
    let group = format!("{GROUP}/validatingadmissionpolicies");
    let rule = |groups: Value, resources: Value| json!({ "apiGroups": groups, "apiVersions": ["v1"], "operations": ["CREATE"], "resources": resources });
    let validations = json!([
        { "expression": "object.spec.replicas > 1", "messageExpression": "'got ' + object.spec.replicas" },
        { "expression": "object.spec.template.metadata.labels['a'] == 'b' && object.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z')" },
        { "expression": "object.spec.replcas > 1" }
    ]);
    let body = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": "typed" },
        "spec": { "matchConstraints": { "resourceRules": [rule(json!(["apps"]), json!(["deployments"]))] },
            "validations": validations }
    });
    world.post(&group, &body).await.expect(201);
    let observed = |generation: i64| move |one: &Value| one["status"]["observedGeneration"] == generation;
    let policy = world.until(&group, "typed", observed(1)).await;
    let found = policy["status"]["typeChecking"]["expressionWarnings"].as_array().unwrap();
    let texts: Vec<_> = found
        .iter()
        .map(|one| format!("{} {}", one["fieldRef"].as_str().unwrap(), one["warning"].as_str().unwrap()))
        .collect();
    assert_eq!(
        texts,
        [
            "spec.validations[0].messageExpression apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:8: found no matching overload for '_+_' applied to '(string, int)'\n | 'got ' + object.spec.replicas\n | .......^\n",
            "spec.validations[2].expression apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:12: undefined field 'replcas'\n | object.spec.replcas > 1\n | ...........^\n",
        ]
    );
    // What is right leaves nothing to say.
    let mut right = policy.clone();
    right["spec"]["validations"] = json!([{ "expression": "object.spec.replicas > 1" }]);
    world.put(&format!("{group}/typed"), &right).await.expect(200);
    let policy = world.until(&group, "typed", observed(2)).await;
    assert_eq!(policy["status"]["typeChecking"], json!({}));
}

#[derive(Default)]
struct Heard(parking_lot::Mutex<Vec<Value>>);

impl gifee_apiserver::audit::Sink for Heard {
    fn event(&self, line: &bytes::Bytes) {
        self.0.lock().push(serde_json::from_slice(line).unwrap());
    }
}

#[tokio::test]
async fn what_policies_found_is_in_the_audit_log() {
    let heard = std::sync::Arc::new(Heard::default());
    let audit = gifee_policy::audit::Policy::read(
        json!({ "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [{ "level": "Metadata", "resources": [{ "resources": ["configmaps"] }] }] }),
    )
    .unwrap();
    let clock = std::sync::Arc::new(gifee_base::clock::SystemClock);
    let auditor = gifee_apiserver::audit::Auditor::new(audit, vec![heard.clone()], clock);
    let world = World::with(|config| config.audit = Some(std::sync::Arc::new(auditor))).await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default" } });
    world.post("/api/v1/namespaces", &namespace).await;
    let spec = json!({
        "validations": [{ "expression": "true" }, { "expression": "has(object.data)", "message": "no data" }],
        "auditAnnotations": [
            { "key": "name", "valueExpression": "'it is ' + object.metadata.name" },
            { "key": "nothing", "valueExpression": "null" }
        ]
    });
    policy(&world, "Validating", "p", spec, json!({ "validationActions": ["Audit", "Warn"] })).await;
    let empty = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" } });
    world.post(MAPS, &empty).await.expect(201);
    let event = heard.0.lock().pop().unwrap();
    let annotations = &event["annotations"];
    let found = annotations["validation.policy.admission.k8s.io/validation_failure"].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(found).unwrap(),
        json!([{ "message": "no data", "policy": "p", "binding": "p", "expressionIndex": 1,
            "validationActions": ["Audit", "Warn"] }])
    );
    assert_eq!(annotations["p/name"], "it is x");
    assert!(annotations["p/nothing"].is_null());
}
