//! Writes the objects of a resource again, so that all are stored in the version that is stored now.
//!
//! Invariant: an object is written as it was read, without a change of its own; one that somebody else writes
//! meanwhile is left to them, since that does as well. Answers to upstream's storage version migrator.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::{Config, calls};
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::discovery::Discovery;
use gifee_client::{Cache, Error as ClientError, ListOptions, PatchKind, Queue, Resource, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result, patch, work};
use plan::{FAILED, RUNNING, SUCCEEDED, ended, status};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Upstream's name.
pub const NAME: &str = "storage-version-migrator-controller";
const WORKERS: usize = 5;
/// How many objects are written at once.
const PAGE: u32 = 500;
/// A resource that is not served may be one of a definition that came just now.
const PATIENCE: Duration = Duration::from_secs(60);

fn migrations() -> Gvr {
    Gvr::new("storagemigration.k8s.io", "v1", "storageversionmigrations")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let cache = context.caches.scope(Scope::all(migrations()));
        cache.synced().await;
        let sink = queue.clone();
        cache.subscribe(move |change| {
            if change.new.is_some_and(|one| one.to_value().is_ok_and(|tree| !ended(&tree))) {
                sink.add(change.object().key());
            }
        });
        let controller = Arc::new(Migrator { context: context.clone(), cache });
        work(&context, NAME, queue, controller, WORKERS).await;
    }
    .boxed()
}

struct Migrator {
    context: Context,
    cache: Arc<Cache>,
}

impl Migrator {
    async fn find(&self, resource: &Value) -> Result<Option<Resource>> {
        let (group, name) = (
            resource["group"].as_str().unwrap_or_default(),
            resource["resource"].as_str().unwrap_or_default(),
        );
        let discovery = Discovery::load(&self.context.client).await?;
        Ok(discovery.resources.into_iter().find(|one| {
            one.preferred
                && &*one.gvr.group == group
                && &*one.gvr.resource == name
                && one.supports(&["list", "patch"])
        }))
    }

    /// Sets the status; the object as it is then.
    async fn say(&self, object: &Object, tree: &Value, condition: (&str, &str, &str)) -> Result<Object> {
        let wanted = status(&tree["status"], condition, self.context.clock.now());
        let Some(change) = patch::status(object, &tree["status"], &wanted) else { return Ok(object.clone()) };
        Ok(self.context.client.patch_status(&migrations(), &object.key(), PatchKind::Merge, change).await?)
    }

    async fn migrate(&self, resource: &Resource) -> Result<()> {
        let mut options = ListOptions { limit: PAGE, metadata_only: true, ..ListOptions::default() };
        loop {
            let page = self.context.client.list(&resource.gvr, "", &options).await?;
            calls::all(page.items.iter().map(|object| self.write(resource, object)).collect()).await?;
            match page.continuation {
                Some(token) if !token.is_empty() => options.continuation = Some(token),
                _ => return Ok(()),
            }
        }
    }

    async fn write(&self, resource: &Resource, object: &Object) -> Result<(), ClientError> {
        let change = json!({ "metadata": {
            "uid": object.uid(), "resourceVersion": object.revision().to_string(),
        } });
        match self.context.client.patch(&resource.gvr, &object.key(), PatchKind::Merge, change).await {
            // Written, deleted, or made anew meanwhile.
            Err(error) if !error.is_conflict() && !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Migrator {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(object) = self.cache.get(key) else { return Ok(Outcome::Done) };
        let tree = object.to_value().map_err(|error| Error::invalid(key, error))?;
        if ended(&tree) {
            return Ok(Outcome::Done);
        }
        let Some(resource) = self.find(&tree["spec"]["resource"]).await? else {
            let created =
                tree["metadata"]["creationTimestamp"].as_str().and_then(gifee_base::clock::parse_time);
            let age = created.map(|created| self.context.clock.now().duration_since(created));
            let left = age.and_then(|age| PATIENCE.checked_sub(age.unsigned_abs()));
            if let Some(left) = left.filter(|left| !left.is_zero()) {
                return Ok(Outcome::After(left.min(Duration::from_secs(2))));
            }
            self.say(&object, &tree, (FAILED, "StorageVersionMigrationFailed", "resource not found")).await?;
            return Ok(Outcome::Done);
        };
        let options = ListOptions { limit: 1, metadata_only: true, ..ListOptions::default() };
        let at = self.context.client.list(&resource.gvr, "", &options).await?.resource_version;
        let mut tree = tree;
        let running = (RUNNING, "StorageVersionMigrationInProgress", "");
        let mut started = tree.clone();
        if started["status"]["resourceVersion"].is_null() {
            started["status"]["resourceVersion"] = at.into();
        }
        let wanted = status(&started["status"], running, self.context.clock.now());
        let mut object = Object::clone(&object);
        if let Some(change) = patch::status(&object, &tree["status"], &wanted) {
            object = self.context.client.patch_status(&migrations(), key, PatchKind::Merge, change).await?;
            tree = object.to_value().map_err(|error| Error::invalid(key, error))?;
        }
        let outcome = match self.migrate(&resource).await {
            Ok(()) => (SUCCEEDED, "StorageVersionMigrationSucceeded", ""),
            Err(error) => {
                tracing::warn!(migration = %key, %error, "the migration failed");
                (FAILED, "StorageVersionMigrationFailed", "migration encountered unhandled error")
            }
        };
        let said = self.say(&object, &tree, outcome).await?;
        // Or it would be read as one that is still to do, and all objects written again.
        self.cache.reached(said.revision()).await;
        Ok(Outcome::Done)
    }
}
