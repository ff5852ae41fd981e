//! Custom resources: a definition makes at run time what a built-in kind has at compile time.

use super::world::{Events, World};
use serde_json::{Value, json};

pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A definition of CronTabs in `stable.example.com`, with these versions.
pub fn definition(versions: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab",
                "listKind": "CronTabList", "shortNames": ["ct"], "categories": ["all"]},
            "versions": versions,
        },
    })
}

/// One version with a schema, served and stored.
pub fn version(name: &str, properties: Value) -> Value {
    json!({
        "name": name, "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
    })
}

impl World {
    /// Waits until an object satisfies a test, by watching it.
    pub async fn until(&self, path: &str, name: &str, test: impl Fn(&Value) -> bool) -> Value {
        let mut events = self.watch(&format!("{path}?watch=true&fieldSelector=metadata.name%3D{name}")).await;
        loop {
            let event = events.next().await.expect("the watch goes on");
            if test(&event["object"]) || event["type"] == "DELETED" {
                return event["object"].clone();
            }
        }
    }

    /// Creates a definition and waits until it is established.
    pub async fn define(&self, definition: &Value) -> Value {
        self.post(DEFINITIONS, definition).await.expect(201);
        let name = definition["metadata"]["name"].as_str().unwrap();
        self.until(DEFINITIONS, name, established).await
    }
}

pub fn established(definition: &Value) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions
        .is_some_and(|all| all.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
}

const TABS: &str = "/apis/stable.example.com/v1/namespaces/default/crontabs";

fn tab(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": spec})
}

async fn world() -> World {
    let world = World::new().await;
    let namespace = json!({"metadata": {"name": "default"}});
    world.post("/api/v1/namespaces", &namespace).await.expect(201);
    world
}

fn simple() -> Value {
    let spec = json!({
        "type": "object", "required": ["cronSpec"],
        "properties": {
            "cronSpec": {"type": "string", "pattern": "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$"},
            "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 2},
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    });
    let status = json!({"type": "object", "properties": {
        "replicas": {"type": "integer"}, "selector": {"type": "string"}}});
    let mut version = version("v1", json!({"spec": spec, "status": status}));
    version["subresources"] = json!({"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}});
    version["additionalPrinterColumns"] = json!([
        {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"},
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]);
    version["selectableFields"] = json!([{"jsonPath": ".spec.cronSpec"}]);
    definition(json!([version]))
}

#[tokio::test]
async fn a_definition_is_served_and_its_objects_live_by_it() {
    let world = world().await;
    let defined = world.define(&simple()).await;
    assert_eq!(defined["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(defined["status"]["acceptedNames"], defined["spec"]["names"]);
    let listed = world.get("/apis/stable.example.com/v1").await.expect(200);
    let names: Vec<_> =
        listed["resources"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["crontabs", "crontabs/scale", "crontabs/status"]);
    assert_eq!(listed["resources"][0]["shortNames"], json!(["ct"]));

    let made = world.post(TABS, &tab("a", json!({"cronSpec": "* * * * */5", "other": 1}))).await;
    assert_eq!(made.warnings(), [r#"299 - "unknown field \"spec.other\"""#]);
    let made = made.expect(201);
    assert_eq!(made["spec"], json!({"cronSpec": "* * * * */5", "replicas": 2}));
    assert_eq!(made["metadata"]["generation"], 1);

    let strict = format!("{TABS}?fieldValidation=Strict");
    let refused = world.post(&strict, &tab("b", json!({"cronSpec": "* * * * *", "other": 1}))).await;
    assert_eq!(
        refused.failure(),
        "400 BadRequest: CronTab in version \"v1\" cannot be handled as a CronTab: strict decoding error: unknown field \"spec.other\""
    );
    let refused = world.post(TABS, &tab("b", json!({"cronSpec": "x", "replicas": 11}))).await;
    assert_eq!(
        refused.failure(),
        "422 Invalid: CronTab.stable.example.com \"b\" is invalid: [spec.cronSpec: Invalid value: \"x\": spec.cronSpec in body should match '^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$', spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10]"
    );

    let as_table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = world.call(&format!("GET {TABS}"), &Value::Null, &as_table).await.expect(200);
    assert_eq!(table["columnDefinitions"][2]["priority"], 1);
    assert_eq!(
        table["rows"][0]["cells"].as_array().unwrap()[..3],
        [json!("a"), json!("* * * * */5"), json!(2)]
    );

    let scale = world.get(&format!("{TABS}/a/scale")).await.expect(200);
    assert_eq!(scale["spec"], json!({"replicas": 2}));
    let patch = json!({"spec": {"replicas": 4}});
    world.patch(&format!("{TABS}/a/scale"), "merge-patch", &patch).await.expect(200);
    let now = world.get(&format!("{TABS}/a")).await.expect(200);
    assert_eq!((&now["spec"]["replicas"], &now["metadata"]["generation"]), (&json!(4), &json!(2)));

    let mut status = now.clone();
    status["status"] = json!({"replicas": 3, "selector": "a=b", "gone": true});
    status["spec"]["replicas"] = 9.into();
    let status = world.put(&format!("{TABS}/a/status"), &status).await.expect(200);
    assert_eq!(status["spec"]["replicas"], 4);
    assert_eq!(status["status"], json!({"replicas": 3, "selector": "a=b"}));
    assert_eq!(status["metadata"]["generation"], 2);

    let strategic = world.patch(&format!("{TABS}/a"), "strategic-merge-patch", &patch).await;
    assert_eq!(strategic.code, 415);
    let selected = world.get(&format!("{TABS}?fieldSelector=spec.cronSpec%3D*%20*%20*%20*%20*%2F5")).await;
    assert_eq!(selected.expect(200)["items"].as_array().unwrap().len(), 1);
    let wrong = world.get(&format!("{TABS}?fieldSelector=spec.replicas%3D4")).await;
    assert_eq!(wrong.failure(), "400 BadRequest: field label not supported: spec.replicas");
}

#[tokio::test]
async fn a_deleted_definition_takes_its_objects_along() {
    let world = world().await;
    world.define(&simple()).await;
    world.post(TABS, &tab("a", json!({"cronSpec": "* * * * *"}))).await.expect(201);
    let mut held = tab("held", json!({"cronSpec": "* * * * *"}));
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    world.post(TABS, &held).await.expect(201);
    let mut events = world.watch(&format!("{TABS}?watch=true")).await;
    assert_eq!(events.take(2).await, ["ADDED a", "ADDED held"]);
    let name = "crontabs.stable.example.com";
    let mut ends = world.watch(&format!("{DEFINITIONS}?watch=true")).await;
    let going = world.delete(&format!("{DEFINITIONS}/{name}")).await.expect(200);
    assert_eq!(going["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    assert_eq!(events.take(2).await, ["DELETED a", "MODIFIED held"]);
    let refused = world.post(TABS, &tab("late", json!({"cronSpec": "* * * * *"}))).await;
    assert_eq!(
        refused.failure(),
        "403 Forbidden: crontabs.stable.example.com \"late\" is forbidden: create not allowed while custom resource definition is terminating"
    );
    let free = json!({"metadata": {"finalizers": null}});
    world.patch(&format!("{TABS}/held"), "merge-patch", &free).await.expect(200);
    assert_eq!(events.take(1).await, ["DELETED held"]);
    let last = loop {
        let event = ends.next().await.unwrap();
        if event["type"] == "DELETED" {
            break event["object"].clone();
        }
    };
    let ended =
        last["status"]["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Terminating");
    assert_eq!(ended.unwrap()["reason"], "InstanceDeletionInProgress");
    assert!(events.next().await.is_none(), "the watch of what is not served any more ends");
    assert_eq!(world.get(TABS).await.code, 404);
    assert_eq!(world.get("/apis/stable.example.com").await.code, 404);
}

#[tokio::test]
async fn versions_show_the_same_objects_in_their_own_forms() {
    let world = world().await;
    let properties = |default: &str| {
        json!({"spec": {"type": "object", "properties": {
            "a": {"type": "string", "default": default}, "b": {"type": "string"}}}})
    };
    let mut first = version("v1beta1", properties("old"));
    first["storage"] = false.into();
    let second = version("v1", properties("new"));
    let defined = world.define(&definition(json!([first, second]))).await;
    let groups = world.get("/apis/stable.example.com").await.expect(200);
    assert_eq!(groups["preferredVersion"]["version"], "v1");
    let old_tabs = TABS.replace("/v1/", "/v1beta1/");
    let mut watch = world.watch(&format!("{old_tabs}?watch=true")).await;
    let made = world.post(TABS, &tab("x", json!({"b": "c"}))).await.expect(201);
    assert_eq!(made["spec"], json!({"a": "new", "b": "c"}));
    let seen = watch.next().await.unwrap();
    assert_eq!(seen["object"]["apiVersion"], "stable.example.com/v1beta1");
    let mut old = world.get(&format!("{old_tabs}/x")).await.expect(200);
    assert_eq!(old["apiVersion"], "stable.example.com/v1beta1");
    let same = world.put(&format!("{old_tabs}/x"), &old).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], old["metadata"]["resourceVersion"]);
    old["spec"]["b"] = "d".into();
    world.put(&format!("{old_tabs}/x"), &old).await.expect(200);
    assert_eq!(world.get(&format!("{TABS}/x")).await.expect(200)["spec"]["b"], "d");

    // A default that comes later holds for what was stored before, and so does a field that goes.
    let mut changed = world.get(&format!("{DEFINITIONS}/crontabs.stable.example.com")).await.expect(200);
    let spec = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "a": {"type": "string"}, "late": {"type": "integer", "default": 5}}}}});
    changed["spec"]["versions"][1]["schema"]["openAPIV3Schema"] = spec;
    world.put(&format!("{DEFINITIONS}/crontabs.stable.example.com"), &changed).await.expect(200);
    let mut events = watch_of_ended(&mut watch).await;
    assert_eq!(events.pop(), None);
    let now = world.get(&format!("{TABS}/x")).await.expect(200);
    assert_eq!(now["spec"], json!({"a": "new", "late": 5}));
    assert_eq!(defined["spec"]["versions"].as_array().unwrap().len(), 2);
}

/// What still comes before a watch ends, but for changes.
async fn watch_of_ended(events: &mut Events) -> Vec<Value> {
    let mut rest = Vec::new();
    while let Some(event) = events.next().await {
        if event["type"] != "MODIFIED" {
            rest.push(event);
        }
    }
    rest
}

#[tokio::test]
async fn rules_are_asked_on_every_write() {
    let world = world().await;
    let spec = json!({
        "type": "object",
        "x-kubernetes-validations": [
            {"rule": "self.minimum <= self.maximum", "message": "minimum over maximum"},
            {"rule": "self.maximum < 10", "messageExpression": "self.maximum > 11 ? 'far too much' : 'too much'",
                "fieldPath": ".maximum", "reason": "FieldValueForbidden"},
        ],
        "properties": {
            "minimum": {"type": "integer", "default": 0}, "maximum": {"type": "integer", "default": 5},
            "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]},
        },
    });
    world.define(&definition(json!([version("v1", json!({"spec": spec}))]))).await;
    let invalid = "422 Invalid: CronTab.stable.example.com \"a\" is invalid: ";
    for (spec, expect) in [
        (json!({"minimum": 7}), "spec: Invalid value: minimum over maximum"),
        (json!({"maximum": 12}), "spec.maximum: Forbidden: far too much"),
        (
            json!({"minimum": "x"}),
            "[spec.minimum: Invalid value: \"string\": spec.minimum in body must be of type integer: \"string\", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]",
        ),
    ] {
        let refused = world.post(TABS, &tab("a", spec)).await;
        assert_eq!(refused.failure(), format!("{invalid}{expect}"));
    }
    world.post(TABS, &tab("a", json!({"fixed": "x"}))).await.expect(201);
    let change = json!({"spec": {"fixed": "y"}});
    let refused = world.patch(&format!("{TABS}/a"), "merge-patch", &change).await;
    assert_eq!(
        refused.failure(),
        format!("{invalid}spec.fixed: Invalid value: \"y\": failed rule: self == oldSelf")
    );
}

#[tokio::test]
async fn documents_show_definitions_as_soon_as_they_are_served() {
    let world = world().await;
    let spec = json!({"type": "object", "description": "What is wanted.", "required": ["a"], "properties": {
        "a": {"type": "string", "nullable": true}, "b": {"x-kubernetes-int-or-string": true},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    world.define(&definition(json!([version("v1", json!({"spec": spec}))]))).await;
    let document = world.get("/openapi/v2").await.expect(200);
    let model = &document["definitions"]["com.example.stable.v1.CronTab"];
    let gvk = json!([{"group": "stable.example.com", "kind": "CronTab", "version": "v1"}]);
    assert_eq!(model["x-kubernetes-group-version-kind"], gvk);
    assert_eq!(
        model["properties"]["spec"],
        json!({"type": "object", "description": "What is wanted.", "properties": {
            "a": {}, "b": {"x-kubernetes-int-or-string": true},
            "open": {"x-kubernetes-preserve-unknown-fields": true}}})
    );
    let index = world.get("/openapi/v3").await.expect(200);
    let address = index["paths"]["apis/stable.example.com/v1"]["serverRelativeURL"].as_str().unwrap();
    let document = world.get(address).await.expect(200);
    let model = &document["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(model["properties"]["spec"]["properties"]["a"], json!({"type": "string", "nullable": true}));
    assert!(document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs"].is_object());
    let protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    for (path, accept, code, media) in [
        ("v2", "image/png", 406, None),
        ("v2", &format!("application/json, {protobuf}"), 200, Some("application/json")),
        ("v2", protobuf, 200, Some("application/com.github.proto-openapi.spec.v2.v1.0+protobuf")),
        ("v3/api/v9", "*/*", 404, None),
        ("v3/apis/stable.example.com/v1", "text/html", 406, None),
        ("v3/apis/stable.example.com/v1", "text/html, application/*", 200, Some("application/json")),
    ] {
        let answer = world.call(&format!("GET /openapi/{path}"), &Value::Null, &[("accept", accept)]).await;
        let told = answer.headers.get("content-type").map(|media| media.to_str().unwrap());
        assert_eq!(
            (answer.code, told, answer.bytes.is_empty()),
            (code, media, media.is_none()),
            "{path} {accept}"
        );
    }
}

#[tokio::test]
async fn what_nobody_serves_is_said_as_upstream_says_it() {
    let world = World::new().await;
    let definition = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "tins.example.com" }, "spec": { "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "tins", "kind": "Tin" }, "versions": [{ "name": "v1", "served": true, "storage": true,
                "subresources": { "status": {} }, "schema": { "openAPIV3Schema": { "type": "object" } } }] } });
    world.define(&definition).await;
    let tins = "/apis/example.com/v1/namespaces/default/tins";
    let tin = json!({ "apiVersion": "example.com/v1", "kind": "Tin", "metadata": { "name": "a" } });
    world.post("/api/v1/namespaces", &json!({ "metadata": { "name": "default" } })).await.expect(201);
    world.post(tins, &tin).await.expect(201);
    // What no routes lead to is a page of no kind; so are other versions and scopes of custom resources.
    for request in [
        "GET /nope",
        "GET /healthz/nope",
        "GET /apis/nope",
        "GET /apis/nope/v1",
        "GET /apis/nope/v1/things",
        "POST /apis/nope/v1/things",
        "GET /apis/example.com/v2/namespaces/default/tins",
        "POST /apis/example.com/v1/tins",
        "GET /apis/example.com/v1/tins/a",
        "GET /apis/example.com/v1/cans",
    ] {
        let answer = world.call(request, &Value::Null, &[]).await;
        let text = String::from_utf8(answer.bytes).unwrap();
        assert_eq!((answer.code, text.as_str()), (404, "404 page not found\n"), "{request}");
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    }
    let nowhere = "404 NotFound: the server could not find the requested resource";
    let unsupported = |verb: &str| {
        format!("405 MethodNotAllowed: {verb} is not supported on resources of kind \"tins.example.com\"")
    };
    let odd = |kind: &str| {
        format!(
            "422 Invalid: {kind}.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\""
        )
    };
    let merge = &[("content-type", "application/merge-patch+json")][..];
    for (request, body, headers, expect) in [
        ("GET /api/v1/things", Value::Null, &[][..], nowhere.to_owned()),
        ("GET /apis/apps/v9", Value::Null, &[], nowhere.to_owned()),
        ("GET /apis/apps/v9/deployments", Value::Null, &[], nowhere.to_owned()),
        (&format!("GET {tins}/a/nope"), Value::Null, &[], "404 NotFound: tins.example.com \"a\" not found".to_owned()),
        (&format!("DELETE {tins}/a/status"), Value::Null, &[], unsupported("delete")),
        (&format!("POST {tins}/a/status"), json!({}), &[], unsupported("create")),
        (&format!("OPTIONS {tins}"), Value::Null, &[], unsupported("")),
        (
            &format!("POST {tins}"),
            json!({ "metadata": {} }),
            &[],
            "400 BadRequest: the object provided is unrecognized (must be of type Tin): Object 'Kind' is missing in \
                '{\"metadata\":{}}' ({\"metadata\":{}})"
                .to_owned(),
        ),
        (
            &format!("POST {tins}"),
            json!({ "kind": "Tin" }),
            &[],
            "400 BadRequest: the API version in the data () does not match the expected API version (example.com/v1)"
                .to_owned(),
        ),
        (
            &format!("POST {tins}"),
            json!({ "apiVersion": "example.com/v1", "kind": "Can", "metadata": { "name": "b" } }),
            &[],
            "422 Invalid: Can.example.com \"b\" is invalid: kind: Invalid value: \"Can\": must be Tin".to_owned(),
        ),
        (&format!("PUT {tins}"), tin.clone(), &[], "400 BadRequest: name must be provided".to_owned()),
        (&format!("PATCH {tins}"), json!({}), merge, "400 BadRequest: name must be provided".to_owned()),
        (&format!("POST {tins}?dryRun=Some"), tin.clone(), &[], odd("CreateOptions")),
        (&format!("PUT {tins}/a?dryRun=Some"), tin.clone(), &[], odd("UpdateOptions")),
        (&format!("PATCH {tins}/a?dryRun=Some"), json!({}), merge, odd("PatchOptions")),
        (&format!("DELETE {tins}/a?dryRun=Some"), Value::Null, &[], odd("DeleteOptions")),
        (&format!("DELETE {tins}/a"), json!({ "dryRun": ["Some"] }), &[], odd("DeleteOptions")),
        (
            &format!("DELETE {tins}/a?uid=u"),
            Value::Null,
            &[],
            "409 Conflict: Operation cannot be fulfilled on tins.example.com \"a\": the UID in the precondition (u) does not match".to_owned(),
        ),
        (
            &format!("DELETE {tins}/a?resourceVersion=1"),
            Value::Null,
            &[],
            "409 Conflict: Operation cannot be fulfilled on tins.example.com \"a\": the ResourceVersion in the precondition (1) does not match".to_owned(),
        ),
    ] {
        let failure = world.call(request, &body, headers).await.failure();
        assert!(failure.starts_with(&expect), "{request}: {failure}");
    }
    let not_allowed = "405 MethodNotAllowed: the server does not allow this method on the requested resource";
    for request in ["POST /version", "PUT /api", "DELETE /apis/apps", "POST /apis"] {
        assert_eq!(world.call(request, &Value::Null, &[]).await.failure(), not_allowed, "{request}");
    }
    for request in ["POST /healthz", "HEAD /healthz", "PUT /metrics"] {
        assert_eq!(world.call(request, &Value::Null, &[]).await.code, 200, "{request}");
    }
    for (path, code) in [(format!("{tins}/a"), 200), ("/version".into(), 405)] {
        let head = world.call(&format!("HEAD {path}"), &Value::Null, &[]).await;
        assert!(head.code == code && head.bytes.is_empty(), "{path}");
    }
    // Options in a body are all that counts.
    let deleted =
        world.call(&format!("DELETE {tins}/a?dryRun=All"), &json!({ "gracePeriodSeconds": 0 }), &[]).await;
    assert_eq!(deleted.code, 200);
    assert_eq!(world.get(&format!("{tins}/a")).await.code, 404);
}
