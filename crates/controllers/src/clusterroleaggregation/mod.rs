//! Fills ClusterRoles that are made of others.
//!
//! Answers to upstream's `clusterroleaggregation` controller.

#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, LabelSelector, Object, ObjectKey};
use gifee_client::{Cache, PatchKind, Queue, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result, work};
use serde_json::{Value, json};
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "clusterrole-aggregation-controller";
/// Roles are aggregated when any role changes: all such changes are one key.
const ALL: &str = "*";

fn roles() -> Gvr {
    Gvr::new("rbac.authorization.k8s.io", "v1", "clusterroles")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let cache = context.caches.scope(Scope::all(roles()));
        cache.synced().await;
        let sink = queue.clone();
        cache.subscribe(move |_| sink.add(ObjectKey::cluster(ALL)));
        let controller = Arc::new(Aggregation { context: context.clone(), cache });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

struct Aggregation {
    context: Context,
    cache: Arc<Cache>,
}

/// The rules that an aggregated role is to have: those of all that its selectors find, in order of name, each once;
/// None if it has them or is no aggregated role.
fn plan(role: &Object, all: &[Arc<Object>]) -> Option<Value> {
    // Most roles are not made of others: look before decoding.
    memchr::memmem::find(role.raw(), b"aggregationRule")?;
    let value = role.to_value().ok()?;
    let selectors = value["aggregationRule"]["clusterRoleSelectors"].as_array()?;
    let mut rules: Vec<Value> = Vec::new();
    for selector in selectors {
        let Ok(selector) = LabelSelector::from_value(selector) else { continue };
        for other in all.iter().filter(|other| other.name() != role.name() && other.selected(&selector)) {
            let Ok(other) = other.to_value() else { continue };
            for rule in other["rules"].as_array().into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    let have = value["rules"].as_array().map_or(&[][..], Vec::as_slice);
    (have != rules).then(|| rules.into())
}

#[async_trait]
impl Reconcile<ObjectKey> for Aggregation {
    async fn reconcile(&self, _: &ObjectKey) -> Result<Outcome> {
        let mut all: Vec<Arc<Object>> = self.cache.read().all().cloned().collect();
        all.sort_by(|one, other| one.name().cmp(other.name()));
        for role in &all {
            let Some(rules) = plan(role, &all) else { continue };
            let version = role.revision().to_string();
            let change =
                json!({ "metadata": { "resourceVersion": version, "uid": role.uid() }, "rules": rules });
            match self.context.client.patch(&roles(), &role.key(), PatchKind::Merge, change).await {
                // Gone, or somebody was faster: the change comes here, too.
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                other => drop(other.map_err(Error::from)?),
            }
        }
        Ok(Outcome::Done)
    }
}
