//! Forms: tables, metadata, discovery, and everything that is no resource.

use crate::world::World;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TABLE: (&str, &str) = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
const METADATA: (&str, &str) =
    ("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json");

fn config(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "a": "1" } })
}

#[tokio::test]
async fn tables_and_metadata() {
    let world = World::new().await;
    let made = world.post(MAPS, &config("one")).await.expect(201);
    let table = world.call(&format!("GET {MAPS}"), &Value::Null, &[TABLE]).await.expect(200);
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    let row = &table["rows"][0];
    assert_eq!(row["cells"][0], "one");
    assert_eq!(
        (&row["object"]["kind"], &row["object"]["metadata"]),
        (&json!("PartialObjectMetadata"), &made["metadata"])
    );
    let whole =
        world.call(&format!("GET {MAPS}/one?includeObject=Object"), &Value::Null, &[TABLE]).await.expect(200);
    assert_eq!(whole["rows"][0]["object"], made);
    let none =
        world.call(&format!("GET {MAPS}?includeObject=None"), &Value::Null, &[TABLE]).await.expect(200);
    assert!(none["rows"][0].get("object").is_none());
    let metadata = world.call(&format!("GET {MAPS}"), &Value::Null, &[METADATA]).await.expect(200);
    assert_eq!(metadata["kind"], "PartialObjectMetadataList");
    assert_eq!(
        metadata["items"][0],
        json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": made["metadata"] })
    );
    let pretty = world.call(&format!("GET {MAPS}/one?pretty=true"), &Value::Null, &[]).await;
    assert!(String::from_utf8_lossy(&pretty.bytes).starts_with("{\n  \"apiVersion\""));
}

#[tokio::test]
async fn discovery_lists_every_row() {
    let world = World::new().await;
    let groups = world.get("/apis").await.expect(200);
    assert_eq!(groups["groups"][0]["name"], "apiregistration.k8s.io");
    let autoscaling =
        groups["groups"].as_array().unwrap().iter().find(|group| group["name"] == "autoscaling").unwrap();
    assert_eq!(autoscaling["preferredVersion"]["groupVersion"], "autoscaling/v2");
    let core = world.get("/api/v1").await.expect(200);
    let pods = core["resources"].as_array().unwrap().iter().find(|one| one["name"] == "pods").unwrap();
    assert_eq!(pods["shortNames"], json!(["po"]));
    assert_eq!(pods["storageVersionHash"], "xPOwRZ+Yhw8=");
    assert!(
        core["resources"].as_array().unwrap().iter().any(|one| one["name"] == "pods/eviction"
            && one["group"] == "policy"
            && one["kind"] == "Eviction")
    );
    assert_eq!(world.get("/apis/apps").await.expect(200)["kind"], "APIGroup");
    assert_eq!(world.get("/apis/nothing").await.code, 404);
    assert_eq!(world.get("/apis/apps/v9").await.code, 404);
    let accept = (
        "accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
    );
    let answer = world.call("GET /apis", &Value::Null, &[accept]).await;
    assert_eq!(
        answer.headers["content-type"],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    let etag = answer.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(answer.expect(200)["items"][1]["metadata"]["name"], "apps");
    let again = world.call("GET /apis", &Value::Null, &[accept, ("if-none-match", &etag)]).await;
    assert_eq!((again.code, again.bytes.len()), (304, 0));
    let core = world.call("GET /api", &Value::Null, &[accept]).await.expect(200);
    assert_eq!(core["items"][0]["versions"][0]["version"], "v1");
    assert_eq!(world.get("/api").await.expect(200)["kind"], "APIVersions");
}

#[tokio::test]
async fn kinds_come_and_go_while_the_server_runs() {
    let world = World::new().await;
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    assert_eq!(world.get(widgets).await.code, 404);
    world.server.add_kind(gifee_registry::row::row("example.com/v1", "Widget", "widgets"), None, None);
    let widget = json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": "w" }, "anything": [1, { "goes": true }] });
    let made = world.post(widgets, &widget).await.expect(201);
    assert_eq!(made["anything"], widget["anything"]);
    assert_eq!(world.get(widgets).await.expect(200)["items"][0], made);
    let groups = world.get("/apis").await.expect(200);
    assert!(groups["groups"].as_array().unwrap().iter().any(|group| group["name"] == "example.com"));
    world.server.remove_kind("example.com", "v1", "widgets");
    assert_eq!(world.get(widgets).await.code, 404);
    world.server.add_kind(gifee_registry::row::row("example.com/v1", "Widget", "widgets"), None, None);
    assert_eq!(world.get(&format!("{widgets}/w")).await.expect(200), made, "the objects stayed");
}

/// What runs and how it was started is told as text, or as an object to those who name its kind.
#[tokio::test]
async fn pages_for_people() {
    let world = World::with(|config| {
        config.flags.insert("node-name".into(), "n".into());
        config.flags.insert("api-port".into(), "6443".into());
    })
    .await;
    let ask = async |page: &str, accept: &str| {
        let answer = world.call(&format!("GET /{page}"), &Value::Null, &[("accept", accept)]).await;
        (answer.code, answer.warnings(), String::from_utf8(answer.bytes).unwrap())
    };
    let (code, _, text) = ask("flagz", "text/html, */*").await;
    assert!(code == 200 && text.starts_with("\napiserver flagz\nWarning: "), "{text}");
    assert!(text.ends_with("\napi-port: 6443\nnode-name: n\n"), "{text}");
    let (_, _, text) = ask("statusz", "").await;
    for line in ["\nStarted: ", "\nUp: 0 hr 0", "\nBinary version: 1.37.", "\nEmulation version: 1.37\n"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.ends_with("\nPaths: /flagz /healthz /livez /metrics /readyz /version\n"), "{text}");
    let (code, warnings, text) = ask("flagz", "application/json;as=Flagz;v=v1beta1;g=config.k8s.io").await;
    let flags: Value = serde_json::from_str(&text).unwrap();
    let expect = json!({
        "kind": "Flagz", "apiVersion": "config.k8s.io/v1beta1", "metadata": { "name": "apiserver" },
        "flags": { "api-port": "6443", "node-name": "n" },
    });
    assert_eq!((code, warnings.len(), flags), (200, 0, expect));
    let (code, warnings, text) =
        ask("statusz", "application/yaml;as=Statusz;v=v1alpha1;g=config.k8s.io").await;
    assert!(code == 200 && warnings.len() == 1 && text.contains("kind: Statusz\n"), "{warnings:?} {text}");
    for accept in ["application/json", "application/json;as=Flagz;v=v1;g=config.k8s.io", "image/png"] {
        let (code, _, text) = ask("flagz", accept).await;
        let words =
            "only the following media types are accepted: application/json, application/yaml, text/plain";
        assert!(code == 406 && text.contains(words), "{accept}: {text}");
    }
}

#[tokio::test]
async fn paths_that_are_no_resources() {
    let world = World::with(|config| {
        config.checks.push(("poststarthook/bootstrap".into(), std::sync::Arc::new(|| Err("not yet".into()))));
        config.issuer = Some(gifee_apiserver::Issuer {
            url: "https://me".into(),
            jwks_url: "https://me/openid/v1/jwks".into(),
            jwks: "{\"keys\":[]}".into(),
        });
    })
    .await;
    let version = world.get("/version").await.expect(200);
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("37")));
    assert_eq!(world.get("/livez").await.bytes, b"ok");
    let ready = world.get("/readyz?verbose").await;
    assert_eq!(ready.code, 500);
    let text = String::from_utf8(ready.bytes).unwrap();
    assert!(
        text.contains("[+]etcd ok\n")
            && text.contains("[-]poststarthook/bootstrap failed: reason withheld\n"),
        "{text}"
    );
    assert_eq!(world.get("/readyz?exclude=poststarthook/bootstrap").await.bytes, b"ok");
    assert_eq!(world.get("/readyz/etcd").await.bytes, b"ok");
    assert_eq!(world.get("/readyz/nothing").await.code, 404);
    assert_eq!(world.get("/.well-known/openid-configuration").await.expect(200)["issuer"], "https://me");
    assert_eq!(world.get("/openid/v1/jwks").await.headers["content-type"], "application/jwk-set+json");
    assert!(world.get("/").await.expect(200)["paths"].as_array().unwrap().contains(&json!("/apis/apps/v1")));
    assert_eq!(world.post("/version", &json!({})).await.code, 405);
    let metrics = String::from_utf8(world.get("/metrics").await.bytes).unwrap();
    assert!(metrics.contains("apiserver_request_total{"), "{metrics}");
}

#[tokio::test]
async fn two_versions_show_one_object() {
    let world = World::new().await;
    let (v1, v2) = ("/apis/autoscaling/v1", "/apis/autoscaling/v2");
    let path = "namespaces/default/horizontalpodautoscalers";
    let mut watch = world.watch(&format!("{v1}/{path}?watch=1")).await;
    let scaler = json!({ "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "h" }, "spec": {
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "d" }, "maxReplicas": 5,
        "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 70 } } }] } });
    let made = world.post(&format!("{v2}/{path}"), &scaler).await.expect(201);
    let old = world.get(&format!("{v1}/{path}/h")).await.expect(200);
    assert_eq!(old["apiVersion"], "autoscaling/v1");
    assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 70);
    assert_eq!(old["metadata"]["uid"], made["metadata"]["uid"]);
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]), (&json!("ADDED"), &old));
    let list = world.get(&format!("{v1}/{path}")).await.expect(200);
    assert_eq!(list["items"][0], old);
    let patch = json!({ "spec": { "targetCPUUtilizationPercentage": 50 } });
    world.patch(&format!("{v1}/{path}/h"), "merge-patch", &patch).await.expect(200);
    let new = world.get(&format!("{v2}/{path}/h")).await.expect(200);
    assert_eq!(new["apiVersion"], "autoscaling/v2");
    assert_eq!(new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    let unchanged = world
        .put(&format!("{v1}/{path}/h"), &world.get(&format!("{v1}/{path}/h")).await.json())
        .await
        .expect(200);
    assert_eq!(unchanged["metadata"]["resourceVersion"], new["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_watched_table_says_its_columns_once() {
    let world = World::new().await;
    world.post(MAPS, &config("one")).await.expect(201);
    let request = http::Request::get(format!("{MAPS}?watch=1")).header(TABLE.0, TABLE.1);
    let response = world.server.handle(None, request.body(gifee_apiserver::Body::empty()).unwrap()).await;
    let mut watch = crate::world::Events::of(response);
    let first = watch.next().await.unwrap();
    assert_eq!(
        (&first["object"]["kind"], &first["object"]["rows"][0]["cells"][0]),
        (&json!("Table"), &json!("one"))
    );
    assert!(first["object"]["columnDefinitions"].is_array());
    world.post(MAPS, &config("two")).await.expect(201);
    let second = watch.next().await.unwrap();
    assert_eq!(second["object"]["rows"][0]["object"]["metadata"]["name"], "two");
    assert!(second["object"]["columnDefinitions"].is_null());
}
