//! Calls: reviews, tokens, evictions, and streams to nodes.

use crate::world::World;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn reviews_answer() {
    let world = World::new().await;
    let ask = async |group: &str, resource: &str, kind: &str, spec: Value, user: &str| {
        let body = json!({ "apiVersion": format!("{group}/v1"), "kind": kind, "spec": spec });
        let request = format!("POST /apis/{group}/v1/{resource}");
        world.call(&request, &body, &[("authorization", &format!("Bearer {user}"))]).await
    };
    let me = ask("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview", json!({}), "me")
        .await
        .expect(201);
    assert_eq!(me["status"]["userInfo"]["username"], "me");
    let token = ask("authentication.k8s.io", "tokenreviews", "TokenReview", json!({ "token": "you" }), "me")
        .await
        .expect(201);
    assert_eq!(
        (&token["status"]["authenticated"], &token["status"]["user"]["username"]),
        (&json!(true), &json!("you"))
    );
    let attributes = json!({ "verb": "get", "resource": "pods", "namespace": "a" });
    for (user, allowed) in [("me", true), ("nobody", false)] {
        let spec = json!({ "resourceAttributes": attributes, "user": user });
        let review = ask("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview", spec, "me")
            .await
            .expect(201);
        assert_eq!(review["status"]["allowed"], allowed);
    }
    let own = ask(
        "authorization.k8s.io",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        json!({ "resourceAttributes": attributes }),
        "me",
    )
    .await
    .expect(201);
    assert_eq!(own["status"]["allowed"], true);
    let both =
        json!({ "resourceAttributes": attributes, "nonResourceAttributes": { "path": "/", "verb": "get" } });
    assert_eq!(
        ask("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview", both, "me")
            .await
            .code,
        422
    );
    let rules = ask(
        "authorization.k8s.io",
        "selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
        json!({ "namespace": "a" }),
        "me",
    )
    .await
    .expect(201);
    assert_eq!(rules["status"]["resourceRules"][0]["verbs"], json!(["*"]));
    assert_eq!(world.get("/apis/authorization.k8s.io/v1/subjectaccessreviews").await.code, 405);
}

#[tokio::test]
async fn service_accounts_get_tokens() {
    let world = World::new().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let body = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "sa" } });
    world.post(accounts, &body).await.expect(201);
    let ask = async |name: &str, spec: Value| {
        let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec });
        world.post(&format!("{accounts}/{name}/token"), &body).await
    };
    let token = ask("sa", json!({ "audiences": ["x"] })).await.expect(201);
    assert_eq!(
        (&token["status"]["token"], &token["spec"]["audiences"]),
        (&json!("token-of-sa"), &json!(["x"]))
    );
    assert_eq!(ask("none", json!({})).await.code, 404);
    assert!(
        ask("sa", json!({ "expirationSeconds": 5 }))
            .await
            .failure()
            .contains("may not specify a duration less than 10 minutes")
    );
    let bound = json!({ "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": "none" } });
    assert_eq!(ask("sa", bound).await.failure(), "404 NotFound: pods \"none\" not found");
}

#[tokio::test]
async fn evictions_spend_a_budget() {
    let world = World::new().await;
    let pod = |name: &str| {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": "a" } },
        "spec": { "containers": [{ "name": "c", "image": "i" }] } })
    };
    for name in ["one", "two", "three"] {
        world.post(PODS, &pod(name)).await.expect(201);
        let ready = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
        world.patch(&format!("{PODS}/{name}/status"), "merge-patch", &ready).await.expect(200);
    }
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "b" },
        "spec": { "minAvailable": 2, "selector": { "matchLabels": { "app": "a" } } } });
    world.post(budgets, &budget).await.expect(201);
    let evict = async |name: &str| {
        let body = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } });
        world.post(&format!("{PODS}/{name}/eviction"), &body).await
    };
    let refused = evict("one").await;
    assert!(refused.failure().starts_with(
        "429 TooManyRequests: Cannot evict pod as it would violate the pod's disruption budget."
    ));
    assert!(
        refused.json()["details"]["causes"][0]["message"].as_str().unwrap().contains("still being processed")
    );
    let status = json!({ "status": { "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3 } });
    world.patch(&format!("{budgets}/b/status"), "merge-patch", &status).await.expect(200);
    assert_eq!(evict("one").await.expect(201)["status"], "Success");
    assert_eq!(world.get(&format!("{PODS}/one")).await.code, 404);
    let spent = world.get(&format!("{budgets}/b")).await.expect(200);
    assert!(
        spent["status"]["disruptedPods"]["one"].is_string() && spent["status"]["disruptionsAllowed"] == 0,
        "{spent}"
    );
    let refused = evict("two").await.json();
    assert_eq!(
        refused["details"]["causes"][0]["message"],
        "The disruption budget b needs 2 healthy pods and has 3 currently"
    );
    assert_eq!(evict("none").await.code, 404);
}
