//! Aggregation: another API server behind a Service, made up in this process.

use crate::backend::{Answers, Authority, Backend, Net, Shown};
use crate::world::World;
use gifee_apiserver::outbound::Identity;
use gifee_apiserver::{Aggregation, Body};
use http::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const FLUNDERS: &str = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders";

/// A server of one resource, which says who asked.
fn wardle() -> Answers {
    Arc::new(|request| {
        Box::pin(async move {
            let header = |name: &str| {
                let all = request.headers().get_all(name).iter().map(|value| value.to_str().unwrap());
                all.collect::<Vec<_>>().join(",")
            };
            let shown = request.extensions().get::<Shown>().unwrap().0.is_some();
            let value = match request.uri().path() {
                "/apis/wardle.example.com/v1alpha1" => json!({
                    "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.com/v1alpha1",
                    "resources": [
                        { "name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
                          "verbs": ["create", "get"], "shortNames": ["fl"] },
                        { "name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["get"] }],
                }),
                "/openapi/v3" => json!({ "paths": {
                    "apis/wardle.example.com/v1alpha1": { "serverRelativeURL": "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=ABC" },
                    "version": { "serverRelativeURL": "/openapi/v3/version?hash=DEF" } } }),
                "/openapi/v2" => json!({ "swagger": "2.0",
                    "paths": {
                        "/apis/wardle.example.com/v1alpha1/flunders": { "get": { "responses": { "200": { "schema": { "$ref": "#/definitions/wardle.Flunder" } } } } },
                        "/version/": { "get": { "responses": { "200": { "schema": { "$ref": "#/definitions/wardle.Version" } } } } } },
                    "definitions": {
                        "wardle.Flunder": { "type": "object", "properties": { "spec": { "$ref": "#/definitions/wardle.Spec" },
                            "metadata": { "$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" } } },
                        "wardle.Spec": { "type": "string" }, "wardle.Version": { "type": "string" },
                        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": { "type": "boolean" } } }),
                path if path.ends_with("/away") => {
                    let mut response = Response::new(Body::empty());
                    *response.status_mut() = http::StatusCode::FOUND;
                    response.headers_mut().insert("location", "https://elsewhere/".parse().unwrap());
                    return response;
                }
                path => json!({
                    "asked": format!("{} {path}?{}", request.method(), request.uri().query().unwrap_or_default()),
                    "user": header("x-remote-user"), "groups": header("x-remote-group"),
                    "secret": header("authorization"), "certificate": shown,
                }),
            };
            Response::new(Body::from(value.to_string()))
        })
    })
}

struct Aggregated {
    world: World,
    authority: Authority,
}

async fn aggregated() -> Aggregated {
    let authority = Authority::new();
    let backend = Backend::tls(&authority, &["wardle.default.svc"], wardle()).await;
    let (_, key, certificate) = authority.issue(&[], "front-proxy-client");
    let identity = Identity::from_pem(certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let net = Net(vec![("10.1.0.7:8443".into(), backend.address)]);
    let world = World::with(|config| {
        config.dialer = Arc::new(net);
        config.aggregation = Some(Aggregation { identity: Some(Arc::new(identity)) });
    })
    .await;
    Aggregated { world, authority }
}

fn service(authority: &Authority) -> Value {
    json!({ "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": { "name": "v1alpha1.wardle.example.com" },
        "spec": { "group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
            "caBundle": authority.bundle(), "service": { "namespace": "default", "name": "wardle", "port": 443 } } })
}

impl Aggregated {
    /// Waits until the condition of the APIService has a reason.
    async fn reason(&self, wanted: &str) -> String {
        let mut watch = self
            .world
            .watch(&format!("{SERVICES}?watch=1&fieldSelector=metadata.name%3Dv1alpha1.wardle.example.com"))
            .await;
        let found = async {
            loop {
                let event = watch.next().await.unwrap();
                let condition = &event["object"]["status"]["conditions"][0];
                if condition["reason"] == wanted {
                    return format!(
                        "{}: {}",
                        condition["status"].as_str().unwrap(),
                        condition["message"].as_str().unwrap()
                    );
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect(wanted)
    }
}

#[tokio::test]
async fn local_groups_have_their_services() {
    let aggregated = aggregated().await;
    let mut watch = aggregated.world.watch(&format!("{SERVICES}?watch=1")).await;
    let mut names = Vec::new();
    while !names.contains(&"v1.storage.k8s.io".to_owned()) {
        let event = watch.next().await.unwrap();
        names.push(event["object"]["metadata"]["name"].as_str().unwrap().to_owned());
    }
    let apps = aggregated.world.get(&format!("{SERVICES}/v1.apps")).await.expect(200);
    assert_eq!(apps["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    assert_eq!(
        apps["spec"],
        json!({ "group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15 })
    );
    assert_eq!(apps["status"]["conditions"][0]["reason"], "Local");
}

#[tokio::test]
async fn requests_reach_another_server_in_the_name_of_who_asks() {
    let aggregated = aggregated().await;
    let world = &aggregated.world;
    world.post(SERVICES, &service(&aggregated.authority)).await.expect(201);
    assert_eq!(
        aggregated.reason("ServiceNotFound").await,
        "False: service/wardle in \"default\" is not present"
    );
    let away = world.get(FLUNDERS).await;
    assert_eq!(
        (away.code, String::from_utf8(away.bytes).unwrap()),
        (503, "service unavailable\n".to_owned())
    );
    world.add_service("wardle", 443, &[("10.1.0.7", false)], 8443).await;
    assert_eq!(
        aggregated.reason("MissingEndpoints").await,
        "False: endpointslices for service/wardle in \"default\" have no addresses with port name \"\""
    );
    world.add_service("wardle", 443, &[("10.1.0.7", true)], 8443).await;
    assert_eq!(aggregated.reason("Passed").await, "True: all checks passed");
    let headers =
        [("authorization", "Bearer me"), ("x-remote-user", "root"), ("x-remote-group", "system:masters")];
    let answer = world
        .call(&format!("POST {FLUNDERS}?dryRun=All"), &json!({ "kind": "Flunder" }), &headers)
        .await
        .expect(200);
    assert_eq!(
        answer,
        json!({ "asked": format!("POST {FLUNDERS}?dryRun=All"), "user": "me", "groups": "system:authenticated",
            "secret": "", "certificate": true })
    );
    let redirected = world.get(&format!("{FLUNDERS}/away")).await;
    assert_eq!(redirected.code, 502);
    assert_eq!(redirected.bytes, b"the backend attempted to redirect this request, which is not permitted");
    let groups = world.get("/apis").await.expect(200);
    let version = json!({ "groupVersion": "wardle.example.com/v1alpha1", "version": "v1alpha1" });
    let group =
        groups["groups"].as_array().unwrap().iter().find(|one| one["name"] == "wardle.example.com").unwrap();
    assert_eq!((&group["versions"][0], &group["preferredVersion"]), (&version, &version));
    assert_eq!(world.get("/apis/wardle.example.com").await.expect(200)["versions"], json!([version]));
    let list = world.get("/apis/wardle.example.com/v1alpha1").await.expect(200);
    assert_eq!(list["resources"][0]["name"], "flunders");
    let accept = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let all = world.call("GET /apis", &Value::Null, &accept).await.expect(200);
    let item = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["metadata"]["name"] == "wardle.example.com")
        .unwrap();
    assert_eq!(item["versions"][0]["freshness"], "Current");
    let resource = &item["versions"][0]["resources"][0];
    assert_eq!(
        resource["responseKind"],
        json!({ "group": "wardle.example.com", "version": "v1alpha1", "kind": "Flunder" })
    );
    assert_eq!(
        (&resource["scope"], &resource["subresources"][0]["subresource"]),
        (&json!("Namespaced"), &json!("status"))
    );
    // What it publishes stands beside what is published here, and no more of it than its group and version.
    let index = world.get("/openapi/v3").await.expect(200);
    assert_eq!(
        index["paths"]["apis/wardle.example.com/v1alpha1"]["serverRelativeURL"],
        "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=ABC"
    );
    assert!(index["paths"]["apis/apps/v1"].is_object() && index["paths"]["version"].is_null());
    let document = world.get("/openapi/v2").await.expect(200);
    let (paths, definitions) = (&document["paths"], &document["definitions"]);
    assert!(paths["/apis/wardle.example.com/v1alpha1/flunders"].is_object());
    assert!(
        paths["/version/"]["get"]["responses"]["200"]["schema"]["$ref"] != "#/definitions/wardle.Version"
    );
    assert_eq!(definitions["wardle.Spec"], json!({ "type": "string" }));
    assert!(definitions["wardle.Version"].is_null());
    assert_eq!(definitions["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["type"], "object");
    world.delete(&format!("{SERVICES}/v1alpha1.wardle.example.com")).await.expect(200);
    assert_eq!(world.get(FLUNDERS).await.code, 404);
    assert!(!world.get("/apis").await.expect(200).to_string().contains("wardle"));
}
