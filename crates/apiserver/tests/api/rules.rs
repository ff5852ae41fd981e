//! Built-in admission rules in the pipeline: above all, that concurrent writes never exceed a quota.

use crate::world::{Anything, World};
use async_trait::async_trait;
use futures_util::future::join_all;
use gifee_apiserver::seam::{Admission, Operation, Review};
use gifee_base::{ObjectKey, Status};
use gifee_policy::admission::{self, Chain, Charge, Notes, Permits, Request};
use gifee_policy::{Attributes, Lookup};
use serde_json::{Value, json};
use std::sync::Arc;

/// The rules, with every further right.
struct Rules(Chain);

impl Permits for Anything {
    fn permits(&self, _: &Attributes, _: &dyn Lookup) -> Result<(), String> {
        Ok(())
    }
}

impl Rules {
    fn ask<T>(
        &self,
        review: &mut Review<'_>,
        ask: impl FnOnce(&Request<'_>, &mut Value) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let attributes = review.attributes;
        let notes = Notes::default();
        let request = Request {
            operation: match review.operation {
                Operation::Create => admission::Operation::Create,
                Operation::Update => admission::Operation::Update,
                Operation::Delete => admission::Operation::Delete,
                Operation::Connect => admission::Operation::Connect,
            },
            gvk: review.gvk,
            resource: &attributes.resource,
            subresource: &attributes.subresource,
            namespace: &attributes.namespace,
            name: &attributes.name,
            user: &attributes.user,
            old: review.old,
            dry_run: review.dry_run,
            options: review.options,
            permits: &Anything,
            notes: &notes,
        };
        let outcome = ask(&request, review.object);
        review.warnings.extend(notes.warnings.into_inner());
        outcome
    }
}

#[async_trait]
impl Admission for Rules {
    async fn mutate(&self, review: &mut Review<'_>, lookup: &dyn Lookup) -> Result<(), Status> {
        self.ask(review, |request, object| self.0.mutate(request, object, lookup))
    }

    async fn validate(&self, review: &mut Review<'_>, lookup: &dyn Lookup) -> Result<(), Status> {
        self.ask(review, |request, object| self.0.validate(request, object, lookup))
    }

    fn charge(
        &self,
        review: &mut Review<'_>,
        lookup: &dyn Lookup,
        only: &[ObjectKey],
    ) -> Result<Vec<Charge>, Status> {
        self.ask(review, |request, object| self.0.charge(request, object, lookup, only))
    }
}

async fn ruled() -> World {
    let world = World::with(|config| config.admission = Arc::new(Rules(Chain::default()))).await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "a" } });
    world.post("/api/v1/namespaces", &namespace).await.expect(201);
    world
}

const QUOTAS: &str = "/api/v1/namespaces/a/resourcequotas";
const MAPS: &str = "/api/v1/namespaces/a/configmaps";

async fn quota(world: &World, name: &str, hard: Value, used: Value) {
    let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": name },
        "spec": { "hard": hard } });
    world.post(QUOTAS, &quota).await.expect(201);
    let status = json!({ "status": { "hard": hard, "used": used } });
    world.patch(&format!("{QUOTAS}/{name}/status"), "merge-patch", &status).await.expect(200);
}

fn map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_creates_never_exceed_a_quota() {
    let world = ruled().await;
    quota(&world, "one", json!({ "count/configmaps": "10" }), json!({ "count/configmaps": "0" })).await;
    quota(&world, "two", json!({ "configmaps": "7" }), json!({ "configmaps": "0" })).await;
    let names: Vec<String> = (0..40).map(|index| format!("m{index}")).collect();
    let maps: Vec<Value> = names.iter().map(|name| map(name)).collect();
    let answers = join_all(maps.iter().map(|map| world.post(MAPS, map))).await;
    let made = answers.iter().filter(|answer| answer.code == 201).count();
    assert_eq!(made, 7);
    let refused = answers.iter().find(|answer| answer.code != 201).unwrap().failure();
    assert!(refused.starts_with("403 Forbidden: configmaps \"m"), "{refused}");
    assert!(
        refused.ends_with(
            "exceeded quota: two, requested: configmaps=1, used: configmaps=7, limited: configmaps=7"
        ),
        "{refused}"
    );
    let list = world.get(MAPS).await.expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(7));
    for (name, used) in [("one", json!({ "count/configmaps": "7" })), ("two", json!({ "configmaps": "7" }))] {
        let quota = world.get(&format!("{QUOTAS}/{name}")).await.expect(200);
        assert_eq!(quota["status"]["used"], used, "{name}");
        assert!(quota["spec"]["hard"].is_object());
    }
}

#[tokio::test]
async fn what_does_not_happen_is_not_charged() {
    let world = ruled().await;
    quota(&world, "q", json!({ "configmaps": "2" }), json!({ "configmaps": "0" })).await;
    world.post(&format!("{MAPS}?dryRun=All"), &map("x")).await.expect(201);
    world.post(MAPS, &map("x")).await.expect(201);
    assert_eq!(world.post(MAPS, &map("x")).await.code, 409);
    let used = world.get(&format!("{QUOTAS}/q")).await.expect(200)["status"]["used"].clone();
    assert_eq!(used, json!({ "configmaps": "1" }));
    world.post(MAPS, &map("y")).await.expect(201);
    assert_eq!(world.post(&format!("{MAPS}?dryRun=All"), &map("z")).await.code, 403);
}

#[tokio::test]
async fn warnings_of_rules_reach_the_client() {
    let world = ruled().await;
    let labels = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/warn": "restricted" } } });
    world.patch("/api/v1/namespaces/a", "merge-patch", &labels).await.expect(200);
    let template = json!({ "metadata": { "labels": { "a": "b" } },
        "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" },
        "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": template } });
    let answer = world.post("/apis/apps/v1/namespaces/a/deployments", &deployment).await;
    assert_eq!(answer.code, 201);
    let warnings = answer.warnings().join(" ");
    assert!(warnings.contains("would violate PodSecurity \\\"restricted:latest\\\""), "{warnings}");
}
