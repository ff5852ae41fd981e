//! What is published of custom resources in OpenAPI: their schemas, as soon as and as long as they are served.

use super::definitions::{gone, simple};
use crate::custom::DEFINITIONS;
use crate::world::World;
use serde_json::{Value, json};

fn foo() -> Value {
    let text = |description: &str| json!({ "description": description, "type": "string" });
    json!({ "description": "Foo CRD for Testing", "type": "object", "properties": {
        "spec": { "type": "object", "description": "Specification of Foo", "properties": { "bars": {
            "description": "List of Bars and their specs.", "type": "array", "items": { "type": "object", "required": ["name"],
            "properties": { "name": text("Name of Bar."), "age": text("Age of Bar."),
                "feeling": { "description": "Whether Bar is feeling great.", "type": "string", "enum": ["Great", "Down"] },
                "bazs": { "description": "List of Bazs.", "items": { "type": "string" }, "type": "array" } } } } } },
        "status": { "description": "Status of Foo", "type": "object", "properties": { "bars": {
            "description": "List of Bars and their statuses.", "type": "array", "items": { "type": "object", "properties": {
                "name": text("Name of Bar."), "available": { "description": "Whether the Bar is installed.", "type": "boolean" },
                "quxType": { "description": "Indicates to external qux type.", "pattern": "in-tree|out-of-tree",
                    "type": "string" } } } } } } } })
}

/// Open at the root, in its spec, or not at all.
fn waldo(open_root: bool, open_spec: bool) -> Value {
    let mut schema = json!({ "description": "Waldo CRD for Testing", "type": "object", "properties": {
        "spec": { "description": "Specification of Waldo", "type": "object", "properties": {
            "dummy": { "description": "Dummy property.", "type": "object" } } },
        "status": { "description": "Status of Waldo", "type": "object", "properties": { "bars": {
            "description": "List of Bars and their statuses.", "type": "array", "items": { "type": "object" } } } } } });
    for (open, part) in [(open_root, ""), (open_spec, "/properties/spec")] {
        if open {
            schema.pointer_mut(part).unwrap()["x-kubernetes-preserve-unknown-fields"] = true.into();
        }
    }
    schema
}

/// One definition, in a group named after a suffix, with a schema in each of its versions.
struct Published<'a> {
    world: &'a World,
    group: String,
    singular: String,
}

impl<'a> Published<'a> {
    async fn new(world: &'a World, singular: &str, schema: &Value, suffix: &str, versions: &[&str]) -> Self {
        let group = format!("crd-publish-openapi-test-{suffix}.example.com");
        let mut crd = simple(&group, singular);
        let versions = versions.iter().enumerate().map(|(index, name)| {
            json!({ "name": name, "served": true, "storage": index == 0, "schema": { "openAPIV3Schema": schema } })
        });
        crd["spec"]["versions"] = versions.collect();
        world.define(&crd).await;
        Self { world, group, singular: singular.into() }
    }

    fn definition(&self, version: &str) -> String {
        let (first, rest) = self.group.split_once('.').unwrap();
        let rest: Vec<&str> = rest.split('.').rev().collect();
        format!("{}.{first}.{version}.{}-kind", rest.join("."), self.singular)
    }

    /// What is published of a version, without what every object has.
    async fn shown(&self, version: &str) -> Option<Value> {
        let document = self.world.get("/openapi/v2").await;
        let etag = document.headers["etag"].to_str().unwrap().to_owned();
        let again = self.world.call("GET /openapi/v2", &Value::Null, &[("if-none-match", &etag)]).await;
        assert_eq!(again.code, 304);
        let mut shown = document.expect(200)["definitions"].get(self.definition(version))?.clone();
        let fields = shown.as_object_mut().unwrap();
        let gvk =
            json!([{ "group": self.group, "version": version, "kind": format!("{}-kind", self.singular) }]);
        assert_eq!(fields.remove("x-kubernetes-group-version-kind").unwrap(), gvk);
        let properties = fields.get_mut("properties").and_then(Value::as_object_mut);
        if let Some(properties) = properties {
            for name in ["metadata", "apiVersion", "kind"] {
                assert!(properties.remove(name).is_some(), "{name} of {version}");
            }
            if properties.is_empty() {
                fields.remove("properties");
            }
        }
        Some(shown)
    }

    /// What is published follows a definition a moment later.
    async fn becomes(&self, version: &str, wanted: Option<Value>) {
        let followed = async {
            while self.shown(version).await != wanted {
                tokio::task::yield_now().await;
            }
        };
        let followed = tokio::time::timeout(std::time::Duration::from_secs(10), followed).await;
        assert!(followed.is_ok(), "{version} is not published as {wanted:?}");
    }

    async fn delete(self, versions: &[&str]) {
        let name = format!("{}s.{}", self.singular, self.group);
        self.world.delete(&format!("{DEFINITIONS}/{name}")).await.expect(200);
        gone(self.world, DEFINITIONS, &name).await;
        for version in versions {
            self.becomes(version, None).await;
        }
    }

    /// Strict creation and application of an object, or what is said against it.
    async fn check(&self, version: &str, body: &Value) -> Result<(), String> {
        let path = format!("/apis/{}/{version}/namespaces/default/{}s", self.group, self.singular);
        let mut object = json!({ "apiVersion": format!("{}/{version}", self.group),
            "kind": format!("{}-kind", self.singular), "metadata": { "name": "test-cr" } });
        object.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let made = self.world.post(&format!("{path}?fieldValidation=Strict"), &object).await;
        let ok = made.code == 201;
        let said = if ok { String::new() } else { made.failure() };
        if ok {
            self.world.delete(&format!("{path}/test-cr")).await.expect(200);
        }
        let apply = format!("PATCH {path}/test-cr?fieldManager=kubectl&fieldValidation=Strict");
        let applied =
            self.world.call(&apply, &object, &[("content-type", "application/apply-patch+yaml")]).await;
        assert_eq!(applied.code == 201, ok, "{said} {}", String::from_utf8_lossy(&applied.bytes));
        if ok {
            self.world.delete(&format!("{path}/test-cr")).await.expect(200);
        }
        if ok { Ok(()) } else { Err(said) }
    }
}

#[tokio::test]
async fn a_schema_is_published_and_held_to() {
    let world = World::new().await;
    let published = Published::new(&world, "e2e-test-foo", &foo(), "foo", &["v1"]).await;
    assert_eq!(published.shown("v1").await.unwrap(), foo());
    let bars = |bar: Value| json!({ "spec": { "bars": [bar] } });
    published.check("v1", &bars(json!({ "name": "test-bar" }))).await.unwrap();
    for (body, why) in [
        (
            bars(json!({ "name": "test-bar", "feeling": "NonExistentValue" })),
            "Unsupported value: \"NonExistentValue\"",
        ),
        (json!({ "spec": { "foo": true } }), "unknown field \"spec.foo\""),
        (bars(json!({ "age": "10" })), "spec.bars[0].name: Required value"),
    ] {
        let said = published.check("v1", &body).await.unwrap_err();
        assert!(said.contains(why), "{said}");
    }
    published.delete(&["v1"]).await;
}

#[tokio::test]
async fn open_schemas_are_published_open() {
    let world = World::new().await;
    let empty = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let any = json!({ "a": { "b": [{ "c": "d" }] } });
    let published = Published::new(&world, "e2e-test-empty", &empty, "empty", &["v1"]).await;
    assert_eq!(published.shown("v1").await.unwrap()["type"], "object");
    published.check("v1", &any).await.unwrap();
    published.delete(&["v1"]).await;

    let root = Published::new(&world, "e2e-test-root", &waldo(true, false), "unknown-at-root", &["v1"]).await;
    assert!(root.shown("v1").await.is_some());
    root.check("v1", &any).await.unwrap();
    root.delete(&["v1"]).await;

    let nested =
        Published::new(&world, "e2e-test-nested", &waldo(false, true), "unknown-in-nested", &["v1"]).await;
    assert_eq!(nested.shown("v1").await.unwrap()["description"], "Waldo CRD for Testing");
    nested.check("v1", &json!({ "spec": { "a": null, "b": [{ "c": "d" }] } })).await.unwrap();
    nested.delete(&["v1"]).await;
}

#[tokio::test]
async fn groups_versions_and_kinds_are_published_side_by_side() {
    let world = World::new().await;
    let plain = waldo(false, false);
    let one = Published::new(&world, "e2e-test-foo", &foo(), "foo", &["v1"]).await;
    let other = Published::new(&world, "e2e-test-waldo", &plain, "waldo", &["v1beta1"]).await;
    assert_eq!(one.shown("v1").await.unwrap(), foo());
    assert_eq!(other.shown("v1beta1").await.unwrap(), plain);
    one.delete(&["v1"]).await;
    other.delete(&["v1beta1"]).await;

    let many = Published::new(&world, "e2e-test-many", &foo(), "multi-ver", &["v2", "v3"]).await;
    assert_eq!(many.shown("v2").await.unwrap(), foo());
    assert_eq!(many.shown("v3").await.unwrap(), foo());
    many.delete(&["v2", "v3"]).await;

    for versions in [["v4", "v5"], ["v6", "v6"]] {
        let one = Published::new(&world, "e2e-test-foo", &foo(), "common-group", &versions[..1]).await;
        let other = Published::new(&world, "e2e-test-waldo", &plain, "common-group", &versions[1..]).await;
        assert_eq!(one.shown(versions[0]).await.unwrap(), foo());
        assert_eq!(other.shown(versions[1]).await.unwrap(), plain);
        one.delete(&versions[..1]).await;
        assert_eq!(other.shown(versions[1]).await.unwrap(), plain);
        other.delete(&versions[1..]).await;
    }
}

#[tokio::test]
async fn a_renamed_version_is_published_by_its_new_name() {
    let world = World::new().await;
    let many = Published::new(&world, "e2e-test-many", &foo(), "multi-ver", &["v2", "v3"]).await;
    let patch = json!([{ "op": "test", "path": "/spec/versions/1/name", "value": "v3" },
        { "op": "replace", "path": "/spec/versions/1/name", "value": "v4" }]);
    let path = format!("{DEFINITIONS}/e2e-test-manys.{}", many.group);
    world.patch(&path, "json-patch", &patch).await.expect(200);
    many.becomes("v4", Some(foo())).await;
    many.becomes("v3", None).await;
    assert_eq!(many.shown("v2").await.unwrap(), foo());
}

#[tokio::test]
async fn a_version_that_is_not_served_is_not_published() {
    let world = World::new().await;
    let many =
        Published::new(&world, "e2e-test-many", &foo(), "multi-to-single-ver", &["v5", "v6alpha1"]).await;
    let path = format!("{DEFINITIONS}/e2e-test-manys.{}", many.group);
    let mut crd = world.get(&path).await.expect(200);
    crd["spec"]["versions"][1]["served"] = false.into();
    world.put(&path, &crd).await.expect(200);
    many.becomes("v6alpha1", None).await;
    assert_eq!(many.shown("v5").await.unwrap(), foo());
}
