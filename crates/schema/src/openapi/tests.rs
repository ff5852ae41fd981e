//! Documents hang together, and hold what kubectl of three ages looks for.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Resource, Subresource, v2, v2_protobuf, v3, v3_index};
use crate::Schema;
use crate::shape::{Builder, FieldFlags, FieldRow, NodeId, Shape};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

fn subresource(name: &str, gvk: (&str, &str, &str), verbs: &[&str]) -> Subresource {
    Subresource { name: name.into(), gvk: (gvk.0.into(), gvk.1.into(), gvk.2.into()), verbs: words(verbs) }
}

fn resource(group: &str, kind: &str, plural: &str, namespaced: bool) -> Resource {
    Resource {
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        list_kind: format!("{kind}List"),
        plural: plural.into(),
        namespaced,
        verbs: words(&["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]),
        selectable: Vec::new(),
        subresources: vec![subresource("status", (group, "v1", kind), &["get", "patch", "update"])],
        schema: Schema::builtin(group, "v1", kind).unwrap(),
    }
}

fn resources() -> Vec<Resource> {
    let mut deployment = resource("apps", "Deployment", "deployments", true);
    deployment.subresources.push(subresource(
        "scale",
        ("autoscaling", "v1", "Scale"),
        &["get", "patch", "update"],
    ));
    let mut pod = resource("", "Pod", "pods", true);
    pod.subresources.push(subresource("eviction", ("policy", "v1", "Eviction"), &["create"]));
    let definition =
        resource("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", false);
    vec![deployment, pod, resource("", "Node", "nodes", false), definition]
}

fn references(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get("$ref") {
                out.insert(target.clone());
            }
            map.values().for_each(|value| references(value, out));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, out)),
        _ => {}
    }
}

fn all_references_resolve(document: &Value, prefix: &str, schemas: &Value) {
    let mut found = BTreeSet::new();
    references(document, &mut found);
    assert!(found.len() > 4);
    for target in found {
        let name = target.strip_prefix(prefix).unwrap();
        assert!(schemas.get(name).is_some(), "{target}");
    }
}

fn document(group: &str) -> Value {
    serde_json::from_slice(&v3(&resources(), group, "v1")).unwrap()
}

#[test]
fn references_resolve() {
    for group in ["apps", "", "apiextensions.k8s.io"] {
        let document = document(group);
        all_references_resolve(&document, "#/components/schemas/", &document["components"]["schemas"]);
    }
    let document: Value = serde_json::from_slice(&v2(&resources(), &[])).unwrap();
    all_references_resolve(&document, "#/definitions/", &document["definitions"]);
}

#[test]
fn version_3_has_what_kubectl_asks() {
    let document = document("apps");
    let item = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    let names = |parameters: &Value| -> Vec<String> {
        let names =
            parameters.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_string());
        names.collect()
    };
    assert_eq!(names(&item["patch"]["parameters"]), ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert_eq!(item["patch"]["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    assert_eq!(item["patch"]["x-kubernetes-action"], "patch");
    assert_eq!(item["patch"]["operationId"], "patchAppsV1NamespacedDeployment");
    assert_eq!(names(&item["parameters"]), ["name", "namespace", "pretty"]);
    let list = &document["paths"]["/apis/apps/v1/deployments"]["get"];
    assert_eq!(list["operationId"], "listAppsV1DeploymentForAllNamespaces");
    let scale = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"];
    assert_eq!(scale["x-kubernetes-group-version-kind"]["group"], "autoscaling");
    let schemas = &document["components"]["schemas"];
    let spec = &schemas["io.k8s.api.apps.v1.DeploymentSpec"];
    assert_eq!(spec["required"], serde_json::json!(["selector", "template"]));
    expect_test::expect![[r##"
        {
          "allOf": [
            {
              "$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentStrategy"
            }
          ],
          "default": {},
          "description": "The deployment strategy to use to replace existing pods with new ones.",
          "x-kubernetes-patch-strategy": "retainKeys"
        }"##]]
    .assert_eq(&serde_json::to_string_pretty(&spec["properties"]["strategy"]).unwrap());
    let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-list-map-keys"], serde_json::json!(["containerPort", "protocol"]));
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
    let policy = &schemas["io.k8s.api.core.v1.Container"]["properties"]["imagePullPolicy"];
    assert_eq!(policy["enum"], serde_json::json!(["Always", "IfNotPresent", "Never"]));
    let kinds =
        schemas["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"]["x-kubernetes-group-version-kind"]
            .as_array()
            .unwrap();
    assert!(kinds.iter().any(|kind| kind["group"] == "apps") && kinds.iter().any(|kind| kind["group"] == ""));
}

/// Types and fields without a description would be a sign that the crate they come from has changed its form.
#[test]
fn nearly_everything_is_described() {
    let document = document("");
    let (mut described, mut all) = (0, 0);
    for schema in document["components"]["schemas"].as_object().unwrap().values() {
        for property in schema["properties"].as_object().into_iter().flatten().map(|(_, value)| value) {
            all += 1;
            described += usize::from(property["description"].as_str().is_some_and(|text| !text.is_empty()));
        }
    }
    assert!(described * 100 > all * 97, "{described} of {all}");
}

/// The fields of a protobuf message: number, and the bytes of those that have bytes.
fn message(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return value;
            }
        }
        panic!("a varint without an end");
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        match tag & 7 {
            0 => {
                varint(&mut bytes);
                fields.push((tag >> 3, &[][..]));
            }
            1 => bytes = &bytes[8..],
            2 => {
                let length = varint(&mut bytes) as usize;
                let (field, rest) = bytes.split_at(length);
                bytes = rest;
                fields.push((tag >> 3, field));
            }
            other => panic!("wire type {other}"),
        }
    }
    fields
}

fn get<'a>(bytes: &'a [u8], path: &[u64]) -> Vec<&'a [u8]> {
    path.iter().fold(vec![bytes], |found, number| {
        let all = found.iter().flat_map(|bytes| message(bytes));
        all.filter(|(field, _)| field == number).map(|(_, bytes)| bytes).collect()
    })
}

fn named<'a>(entries: &[&'a [u8]], name: &str) -> &'a [u8] {
    let found = entries.iter().find(|entry| get(entry, &[1])[0] == name.as_bytes());
    get(found.unwrap(), &[2])[0]
}

#[test]
fn version_2_says_the_same_in_protobuf() {
    let json: Value = serde_json::from_slice(&v2(&resources(), &[])).unwrap();
    let bytes = v2_protobuf(&resources(), &[]);
    assert_eq!(get(&bytes, &[1]), [b"2.0"]);
    let definitions = get(&bytes, &[9, 1]);
    assert_eq!(definitions.len(), json["definitions"].as_object().unwrap().len());
    let paths = get(&bytes, &[8, 2]);
    assert_eq!(paths.len(), json["paths"].as_object().unwrap().len());
    let spec = named(&definitions, "io.k8s.api.apps.v1.DeploymentSpec");
    let strategy = named(&get(spec, &[25, 1]), "strategy");
    assert_eq!(get(strategy, &[1]), [b"#/definitions/io.k8s.api.apps.v1.DeploymentStrategy"]);
    assert_eq!(get(strategy, &[31, 2, 2]), [b"\"retainKeys\"\n"]);
    let item = named(&paths, "/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
    let parameters = get(item, &[8, 8, 1, 2, 3, 4]);
    assert_eq!(parameters, [&b"dryRun"[..], b"fieldManager", b"fieldValidation", b"force"]);
    let kind = named(&get(item, &[8, 13]), "x-kubernetes-group-version-kind");
    assert_eq!(get(kind, &[2]), [b"{\"group\":\"apps\",\"kind\":\"Deployment\",\"version\":\"v1\"}\n"]);
}

#[test]
fn index() {
    let index = v3_index(&[("apis/apps/v1".into(), "ABC".into())], &[]);
    assert_eq!(index["paths"]["apis/apps/v1"]["serverRelativeURL"], "/openapi/v3/apis/apps/v1?hash=ABC");
}

/// A kind made at run time, as a custom resource's is: its list has no type, its objects inside no names.
#[test]
fn custom_kinds_go_the_same_way() {
    let mut builder = Builder::new("");
    let package = builder.package("com.example.stable.v1", "v1", "stable.example.com").unwrap();
    let (root, spec) =
        (builder.structure("CronTab", package).unwrap(), builder.structure("", package).unwrap());
    let (text, object) = (builder.plain(Shape::String), builder.plain(Shape::Struct(spec)));
    let field = |name: &'static str, node: NodeId| FieldRow {
        name,
        node,
        flags: FieldFlags::POINTER,
        number: 0,
        merge_key: "",
        default: "",
    };
    builder.field(spec, field("cron", text)).unwrap();
    builder.field(root, field("spec", object)).unwrap();
    let node = builder.plain(Shape::Struct(root));
    let schema = Schema::new(builder.finish().unwrap().into(), node);
    let resource = Resource {
        group: "stable.example.com".into(),
        version: "v1".into(),
        kind: "CronTab".into(),
        list_kind: "ManyTabs".into(),
        plural: "crontabs".into(),
        namespaced: true,
        selectable: vec!["spec.cron".into()],
        verbs: words(&["get", "list", "patch"]),
        subresources: Vec::new(),
        schema,
    };
    let document: Value = serde_json::from_slice(&v3(&[resource], "stable.example.com", "v1")).unwrap();
    let schemas = &document["components"]["schemas"];
    all_references_resolve(&document, "#/components/schemas/", schemas);
    let kind = &schemas["com.example.stable.v1.CronTab"];
    assert_eq!(kind["properties"]["spec"]["properties"]["cron"]["type"], "string");
    assert_eq!(kind["x-kubernetes-group-version-kind"][0]["kind"], "CronTab");
    assert_eq!(schemas["com.example.stable.v1.ManyTabs"]["required"][0], "items");
    for model in ["com.example.stable.v1.CronTab", "com.example.stable.v1.ManyTabs"] {
        let fields = &schemas[model]["x-kubernetes-selectable-fields"];
        assert_eq!(*fields, serde_json::json!([{ "fieldPath": "spec.cron" }]), "{model}");
    }
    let list = &document["paths"]["/apis/stable.example.com/v1/crontabs"]["get"];
    assert_eq!(list["operationId"], "listStableExampleComV1CronTabForAllNamespaces");
    // kubectl sends what is offered here.
    let patch =
        &document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]["patch"];
    let mut offered: Vec<_> = patch["requestBody"]["content"].as_object().unwrap().keys().collect();
    offered.sort();
    assert_eq!(
        offered,
        ["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"]
    );
    let content = patch["responses"]["200"]["content"].as_object().unwrap();
    assert!(content.keys().all(|media| !media.contains("protobuf")), "{content:?}");
}
