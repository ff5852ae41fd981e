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
    spec["matchConstraints"] = constraints("configmaps");
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
