//! Admission policies over Deployments, bound to labelled namespaces.

use crate::world::World;
use serde_json::{Value, json};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/marked/deployments";

fn deployment(name: &str, replicas: u32) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name }, "spec": { "replicas": replicas,
        "selector": { "matchLabels": { "app": "test" } }, "template": { "metadata": { "labels": { "app": "test" } },
            "spec": { "containers": [{ "name": "nginx", "image": "nginx:latest" }] } } } })
}

/// A policy about Deployments in namespaces with a label, and its binding.
async fn bound(sort: &str, mut spec: Value, actions: Value) -> World {
    let world = World::new().await;
    for (name, labels) in [("marked", json!({ "unique": "true" })), ("unmarked", json!({}))] {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } });
        world.post("/api/v1/namespaces", &namespace).await.expect(201);
    }
    let selector = json!({ "matchLabels": { "unique": "true" } });
    spec["matchConstraints"] = json!({ "namespaceSelector": selector, "resourceRules": [{ "apiGroups": ["apps"],
        "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"] }] });
    let mut binding = json!({ "policyName": "unique.policy.example.com",
        "matchResources": { "namespaceSelector": selector } });
    if actions.is_array() {
        binding["validationActions"] = actions;
    }
    let lower = sort.to_lowercase();
    for (suffix, plural, name, spec) in [
        ("", "admissionpolicies", "unique.policy.example.com", spec),
        ("Binding", "admissionpolicybindings", "unique.binding.example.com", binding),
    ] {
        let object = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{sort}AdmissionPolicy{suffix}"),
            "metadata": { "name": name }, "spec": spec });
        world.post(&format!("{GROUP}/{lower}{plural}"), &object).await.expect(201);
    }
    world
}

#[tokio::test]
async fn a_deployment_is_validated() {
    let spec = json!({ "validations": [
        { "expression": "object.spec.replicas > 1", "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas" },
        { "expression": "namespaceObject.metadata.name == 'marked'", "message": "not in the marked namespace" }] });
    let world = bound("Validating", spec.clone(), json!(["Deny"])).await;
    let refused = world.post(DEPLOYMENTS, &deployment("replicated-1", 1)).await.failure();
    // The message expression does not compile to a string, so it is as if there was none.
    assert!(refused.contains("denied request"), "{refused}");
    world.post(DEPLOYMENTS, &deployment("replicated-2", 2)).await.expect(201);
    world.post(&DEPLOYMENTS.replace("marked", "unmarked"), &deployment("replicated-1", 1)).await.expect(201);
}

#[tokio::test]
async fn expressions_refer_to_variables() {
    let spec = json!({
        "variables": [
            { "name": "replicas", "expression": "object.spec.replicas" },
            { "name": "oddReplicas", "expression": "variables.replicas % 2 == 1" },
        ],
        "validations": [
            { "expression": "variables.replicas > 1" },
            { "expression": "variables.oddReplicas" },
        ] });
    let world = bound("Validating", spec, json!(["Deny"])).await;
    for (name, replicas, why) in [
        ("replicated-1", 1, "failed expression: variables.replicas > 1"),
        ("replicated-2", 2, "failed expression: variables.oddReplicas"),
    ] {
        let refused = world.post(DEPLOYMENTS, &deployment(name, replicas)).await.failure();
        assert_eq!(
            refused,
            format!(
                "422 Invalid: deployments.apps \"{name}\" is forbidden: ValidatingAdmissionPolicy 'unique.policy.example.com' with binding 'unique.binding.example.com' denied request: {why}"
            )
        );
    }
    world.post(DEPLOYMENTS, &deployment("replicated-3", 3)).await.expect(201);
}

#[tokio::test]
async fn a_deployment_is_mutated() {
    let spec = json!({ "reinvocationPolicy": "Never", "mutations": [{ "patchType": "ApplyConfiguration",
        "applyConfiguration": { "expression":
            "\nObject{ metadata: Object.metadata{ annotations: { \"mutated-by\": \"admission-policy\" } } }" } }] });
    let world = bound("Mutating", spec, Value::Null).await;
    let made = world.post(DEPLOYMENTS, &deployment("test-deployment", 2)).await.expect(201);
    assert_eq!(made["metadata"]["annotations"]["mutated-by"], "admission-policy");
    let elsewhere = DEPLOYMENTS.replace("marked", "unmarked");
    let made = world.post(&elsewhere, &deployment("test-deployment", 2)).await.expect(201);
    assert!(made["metadata"]["annotations"].is_null());
    // What is there already is kept beside it.
    let mut noted = deployment("noted", 1);
    noted["metadata"]["annotations"] = json!({ "own": "yes" });
    let made = world.post(DEPLOYMENTS, &noted).await.expect(201);
    assert_eq!(made["metadata"]["annotations"], json!({ "own": "yes", "mutated-by": "admission-policy" }));
}
