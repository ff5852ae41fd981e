//! Strict field validation, of built-in kinds and of custom resources that are applied.

use crate::custom::definition;
use crate::world::{Answer, World};
use serde_json::{Value, json};

const DEPLOYMENTS: &str =
    "/apis/apps/v1/namespaces/default/deployments?fieldManager=field_validation_mgr&fieldValidation=Strict";

/// Sends a text as it is: duplicates do not survive a parser.
async fn send(world: &World, request: &str, content_type: &str, text: &str) -> Answer {
    let (method, path) = request.split_once(' ').unwrap();
    let request = http::Request::builder().method(method).uri(path).header("content-type", content_type);
    world.send(request.body(text.to_owned().into()).unwrap()).await
}

fn deployment(metadata: &str, spec: &str) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"my-dep",{metadata}"labels":{{"app":"nginx"}}}},
        "spec":{{{spec}"selector":{{"matchLabels":{{"app":"nginx"}}}},"template":{{"metadata":{{"labels":{{"app":"nginx"}}}},
        "spec":{{"containers":[{{"name":"nginx","image":"nginx:latest"}}]}}}}}}}}"#
    )
}

#[tokio::test]
async fn unknown_and_duplicate_fields_of_a_typed_object() {
    let world = World::new().await;
    let text = deployment("", r#""unknownField":"foo","replicas":2,"replicas":3,"#);
    let refused = send(&world, &format!("POST {DEPLOYMENTS}"), "application/json", &text).await.failure();
    let expect =
        r#"strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas""#;
    assert!(refused.ends_with(expect), "{refused}");
}

#[tokio::test]
async fn unknown_metadata_of_a_typed_object() {
    let world = World::new().await;
    let text = deployment(r#""unknownMeta":"foo","#, "");
    let refused = send(&world, &format!("POST {DEPLOYMENTS}"), "application/json", &text).await.failure();
    assert!(refused.ends_with(r#"strict decoding error: unknown field "metadata.unknownMeta""#), "{refused}");
}

/// Two served versions of a cluster-scoped kind; without a schema of the spec, all is kept.
async fn defined(spec: Option<Value>) -> World {
    let world = World::new().await;
    let schema = match spec {
        Some(spec) => json!({ "type": "object", "properties": { "spec": spec } }),
        None => json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }),
    };
    let version = |name: &str, storage: bool| {
        json!({ "name": name, "served": true, "storage": storage, "schema": { "openAPIV3Schema": schema },
        "subresources": { "status": {} } })
    };
    let mut crd = definition(json!([version("v1beta1", true), version("v1", false)]));
    crd["spec"]["scope"] = "Cluster".into();
    world.define(&crd).await;
    world
}

fn spec(more: &Value) -> Value {
    let number = json!({ "type": "integer", "format": "int32" });
    let text = json!({ "type": "string" });
    let mut spec = json!({ "type": "object", "properties": {
        "foo": text, "cronSpec": { "type": "string", "pattern": "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$" },
        "ports": { "type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
            "items": { "type": "object", "required": ["containerPort", "protocol"], "properties": {
                "containerPort": number, "hostIP": text, "hostPort": number, "name": text, "protocol": text } } } } });
    for (name, value) in more.as_object().into_iter().flatten() {
        match name.as_str() {
            "template" => spec["properties"]["template"] = value.clone(),
            _ => spec[name] = value.clone(),
        }
    }
    spec
}

fn tab(metadata: &str, root: &str, in_spec: &str) -> String {
    format!(
        "\napiVersion: stable.example.com/v1beta1\nkind: CronTab\nmetadata:\n  name: mytest\n{metadata}  finalizers:\n  - test-finalizer\n\
        {root}spec:\n{in_spec}  cronSpec: \"* * * * */5\"\n  ports:\n  - name: x\n    containerPort: 80\n    protocol: TCP"
    )
}

async fn apply(world: &World, text: &str) -> Answer {
    let path = "PATCH /apis/stable.example.com/v1beta1/crontabs/mytest?fieldManager=field_validation_mgr&fieldValidation=Strict";
    send(world, path, "application/apply-patch+yaml", text).await
}

#[tokio::test]
async fn custom_resources_keep_to_their_schema() {
    let world = defined(Some(spec(&Value::Null))).await;
    apply(&world, &tab("", "", "  foo: foo1\n")).await.expect(201);
    let kept = world.get("/apis/stable.example.com/v1beta1/crontabs/mytest").await.expect(200);
    assert_eq!(kept["spec"]["ports"][0]["name"], "x");

    let world = defined(Some(spec(&Value::Null))).await;
    let refused = apply(&world, &tab("", "unknownField: unknown\n", "  foo: foo1\n")).await;
    assert!(
        refused.failure().contains(".unknownField: field not declared in schema"),
        "{}",
        refused.failure()
    );
}

#[tokio::test]
async fn custom_resources_without_a_schema_have_no_unknown_fields() {
    let world = defined(None).await;
    let made = apply(&world, &tab("", "", "  unknown: uk1\n")).await.expect(201);
    assert_eq!(made["spec"]["unknown"], "uk1");
}

#[tokio::test]
async fn unknown_metadata_of_a_custom_resource_and_of_what_is_in_it() {
    let template = json!({ "type": "object", "x-kubernetes-embedded-resource": true, "properties": {
        "metadata": { "type": "object", "properties": { "name": { "type": "string" } } }, "spec": { "type": "object" } } });
    let world =
        defined(Some(spec(&json!({ "x-kubernetes-preserve-unknown-fields": true, "template": template }))))
            .await;
    let inner = "  template:\n    apiversion: foo/v1\n    kind: Sub\n    metadata:\n        unknownSubMeta: unknown\n        \
        name: subobject\n        namespace: default\n  foo: foo1\n";
    let refused = apply(&world, &tab("  unknownMeta: unknown\n", "", inner)).await.failure();
    assert!(
        refused.contains(".spec.template.metadata.unknownSubMeta: field not declared in schema")
            || refused.contains(".metadata.unknownMeta: field not declared in schema"),
        "{refused}"
    );
}

#[tokio::test]
async fn duplicates_of_a_custom_resource_that_keeps_all() {
    let world = defined(Some(spec(&json!({ "x-kubernetes-preserve-unknown-fields": true })))).await;
    let refused = apply(&world, &tab("", "", "  unknown: uk1\n  foo: foo1\n  foo: foo2\n")).await.failure();
    assert!(refused.contains("line 11: key \"foo\" already set in map"), "{refused}");
}
