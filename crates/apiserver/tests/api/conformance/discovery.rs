//! Discovery documents in both forms, the version, and what has no table.

use crate::custom::definition;
use crate::world::World;
use serde_json::{Value, json};

const AGGREGATED: (&str, &str) =
    ("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
/// What client-go asks for: the newest form it knows, an older one, and none.
const BY_CLIENTS: (&str, &str) = (
    "accept",
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
);

const EXPECTED: [&str; 18] = [
    "admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "apiextensions.k8s.io/v1/customresourcedefinitions",
    "apiregistration.k8s.io/v1/apiservices",
    "apps/v1/deployments",
    "authentication.k8s.io/v1/tokenreviews",
    "authorization.k8s.io/v1/selfsubjectaccessreviews",
    "autoscaling/v1/horizontalpodautoscalers",
    "autoscaling/v2/horizontalpodautoscalers",
    "batch/v1/jobs",
    "certificates.k8s.io/v1/certificatesigningrequests",
    "coordination.k8s.io/v1/leases",
    "discovery.k8s.io/v1/endpointslices",
    "events.k8s.io/v1/events",
    "networking.k8s.io/v1/ingresses",
    "node.k8s.io/v1/runtimeclasses",
    "policy/v1/poddisruptionbudgets",
    "scheduling.k8s.io/v1/priorityclasses",
    "storage.k8s.io/v1/csinodes",
];

/// `group/version/resource` of everything in an aggregated document.
fn found(document: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for group in document["items"].as_array().unwrap() {
        let name = group["metadata"]["name"].as_str().map(|name| format!("{name}/")).unwrap_or_default();
        for version in group["versions"].as_array().unwrap() {
            for resource in version["resources"].as_array().unwrap() {
                let (version, resource) = (&version["version"], &resource["resource"]);
                all.push(format!("{name}{}/{}", version.as_str().unwrap(), resource.as_str().unwrap()));
            }
        }
    }
    all
}

#[tokio::test]
async fn aggregated_documents_have_all_that_is_built_in() {
    let world = World::new().await;
    for accept in [AGGREGATED, BY_CLIENTS] {
        let groups = found(&world.call("GET /apis", &Value::Null, &[accept]).await.expect(200));
        for expected in EXPECTED {
            assert!(groups.iter().any(|one| one == expected), "{expected} of {groups:?}");
        }
        let core = found(&world.call("GET /api", &Value::Null, &[accept]).await.expect(200));
        assert!(core.iter().any(|one| one == "v1/namespaces"), "{core:?}");
    }
}

#[tokio::test]
async fn aggregated_documents_have_custom_resources_at_once() {
    let world = World::new().await;
    let mut crd = definition(json!([{ "name": "v1", "served": true, "storage": true,
        "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }]));
    crd["metadata"]["name"] = "testcrds.groupx1.example.com".into();
    crd["spec"]["group"] = "groupx1.example.com".into();
    crd["spec"]["names"] =
        json!({ "plural": "testcrds", "singular": "testcrd", "kind": "testcrd", "listKind": "testcrdList" });
    world.define(&crd).await;
    for accept in [AGGREGATED, BY_CLIENTS] {
        let document = world.call("GET /apis", &Value::Null, &[accept]).await.expect(200);
        assert!(found(&document).contains(&"groupx1.example.com/v1/testcrds".to_owned()), "{document}");
    }
    let group = world.get("/apis/groupx1.example.com").await.expect(200);
    assert_eq!(group["preferredVersion"]["groupVersion"], "groupx1.example.com/v1");
}

/// Every group prefers a version that it has.
#[tokio::test]
async fn groups_prefer_one_of_their_versions() {
    let world = World::new().await;
    let groups = world.get("/apis").await.expect(200);
    for group in groups["groups"].as_array().unwrap() {
        let name = group["name"].as_str().unwrap();
        let own = world.get(&format!("/apis/{name}")).await.expect(200);
        assert_eq!(own["name"], group["name"]);
        let preferred = &own["preferredVersion"];
        assert_eq!(preferred["groupVersion"], format!("{name}/{}", preferred["version"].as_str().unwrap()));
        assert!(own["versions"].as_array().unwrap().contains(preferred), "{own}");
    }
}

#[tokio::test]
async fn groups_have_their_versions_and_resources() {
    let world = World::new().await;
    let groups = world.get("/apis").await.expect(200);
    for expected in EXPECTED {
        let (place, resource) = expected.rsplit_once('/').unwrap();
        let (name, _) = place.split_once('/').unwrap();
        let group = groups["groups"].as_array().unwrap().iter().find(|group| group["name"] == name).unwrap();
        let versions = group["versions"].as_array().unwrap();
        assert!(versions.iter().any(|version| version["groupVersion"] == place), "{group}");
        let own = world.get(&format!("/apis/{name}")).await.expect(200);
        assert_eq!(own["versions"], group["versions"]);
        let resources = world.get(&format!("/apis/{place}")).await.expect(200);
        assert_eq!(resources["groupVersion"], place);
        assert!(resources["resources"].as_array().unwrap().iter().any(|one| one["name"] == resource));
    }
}

#[tokio::test]
async fn the_version_says_which_and_whence() {
    let version = World::new().await.get("/version").await.expect(200);
    let numbers = |text: &Value| text.as_str().unwrap().trim_end_matches('+').parse::<u32>().unwrap();
    assert_eq!((numbers(&version["major"]), numbers(&version["minor"])), (1, 37));
    assert!(version["gitVersion"].as_str().unwrap().starts_with("v1.37."), "{version}");
    for field in ["gitVersion", "buildDate", "goVersion", "compiler", "platform"] {
        assert!(!version[field].as_str().unwrap().is_empty(), "{field}");
    }
}

/// A review has no metadata, so it cannot be shown as a table.
#[tokio::test]
async fn what_has_no_metadata_has_no_table() {
    let world = World::new().await;
    let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": { "nonResourceAttributes": { "path": "/", "verb": "get" } } });
    let table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let path = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let refused = world.call(path, &review, &[table]).await;
    assert!(refused.failure().starts_with("406 NotAcceptable: "), "{}", refused.failure());
    world.call(path, &review, &[("accept", "application/json")]).await.expect(201);
}
