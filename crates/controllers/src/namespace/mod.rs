//! Empties a namespace that is being deleted, then lets it go.
//!
//! What there can be in a namespace is what the server discovers, so custom resources and aggregated APIs
//! are emptied too. Invariants: pods go first, and nothing else is touched while one is left, so that they
//! end with what they depend on still there; a namespace goes only when every resource is known and was
//! seen to be empty. Answers to upstream's namespace controller.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream;
use gifee_base::{Gvr, Object, ObjectKey};
use gifee_client::discovery::Discovery;
use gifee_client::{Cache, DeleteOptions, Error as ClientError, ListOptions, PatchKind, Propagation, Queue};
use gifee_client::{Resource, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Result, patch, work};
use parking_lot::Mutex;
use plan::{FINALIZER, Plan, Remains, View};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "namespace-controller";
const WORKERS: usize = 5;
/// How many resources of a namespace are emptied at once.
const CONCURRENT_MAXIMUM: usize = 8;

fn namespaces() -> Gvr {
    Gvr::core("namespaces")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let cache = context.caches.scope(Scope::all(namespaces()));
        let pods = context.caches.pods();
        cache.synced().await;
        pods.synced().await;
        let sink = queue.clone();
        cache.subscribe(move |change| {
            if change.new.is_some_and(|namespace| namespace.deleting()) {
                sink.add(change.object().key());
            }
        });
        // The end of a pod is the only thing worth waiting for that lasts; all else is looked at again.
        let (sink, known) = (queue.clone(), cache.clone());
        pods.subscribe(move |change| {
            let key = ObjectKey::cluster(change.object().namespace());
            if change.new.is_none() && known.get(&key).is_some_and(|namespace| namespace.deleting()) {
                sink.add(key);
            }
        });
        let controller = Arc::new(Namespaces { context: context.clone(), cache, tries: Mutex::default() });
        work(&context, NAME, queue, controller, WORKERS).await;
    }
    .boxed()
}

struct Namespaces {
    context: Context,
    cache: Arc<Cache>,
    /// How often each namespace that is being deleted was looked at in vain.
    tries: Mutex<HashMap<ObjectKey, u32>>,
}

impl Namespaces {
    /// Asks everything in a namespace to go, and sees what is left.
    async fn observe(&self, namespace: Arc<Object>, tree: Value) -> View {
        let key = namespace.key();
        let mut view = View {
            tries: self.tries.lock().get(&key).copied().unwrap_or_default(),
            namespace,
            tree,
            remains: BTreeMap::new(),
            discovery_failure: None,
            content_failure: None,
        };
        let discovery = match Discovery::load(&self.context.client).await {
            Ok(discovery) => discovery,
            Err(error) => {
                view.discovery_failure = Some(format!("Discovery failed for some groups: {error}"));
                return view;
            }
        };
        if !discovery.missing.is_empty() {
            let missing = discovery.missing.join(", ");
            view.discovery_failure = Some(format!("Discovery failed for some groups: {missing}"));
        }
        let resources: Vec<Resource> = discovery
            .resources
            .into_iter()
            .filter(|one| one.preferred && one.namespaced && one.supports(&["list", "delete"]))
            .collect();
        let (pods, others): (Vec<Resource>, Vec<Resource>) =
            resources.into_iter().partition(|resource| resource.gvr == Gvr::core("pods"));
        self.empty_all(&key.name, pods, &mut view).await;
        if view.remains.is_empty() && view.content_failure.is_none() {
            self.empty_all(&key.name, others, &mut view).await;
        }
        view
    }

    async fn empty_all(&self, namespace: &str, resources: Vec<Resource>, view: &mut View) {
        let emptied = stream::iter(resources)
            .map(|resource| async move { (resource.gvr.clone(), self.empty(namespace, &resource).await) })
            .buffer_unordered(CONCURRENT_MAXIMUM);
        let mut failures = Vec::new();
        for (gvr, outcome) in emptied.collect::<Vec<_>>().await {
            match outcome {
                Ok(remains) if remains.objects > 0 => {
                    view.remains.insert(gvr, remains);
                }
                Ok(_) => {}
                Err(error) => failures.push(format!("{gvr}: {error}")),
            }
        }
        failures.sort();
        if !failures.is_empty() {
            let text = format!(
                "Failed to delete all resource types, {} remaining: {}",
                failures.len(),
                failures.join(", ")
            );
            view.content_failure = Some(text);
        }
    }

    /// Deletes all objects of a resource; what is left.
    async fn empty(&self, namespace: &str, resource: &Resource) -> Result<Remains, ClientError> {
        let first = self.remains(namespace, resource).await?;
        if first.iter().all(Object::deleting) {
            // Asking again would change nothing.
            return Ok(count(&first));
        }
        let (client, gvr) = (&self.context.client, &resource.gvr);
        let options =
            DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        if resource.supports(&["deletecollection"]) {
            client.delete_collection(gvr, namespace, &ListOptions::default(), &options).await?;
        } else {
            for object in &first {
                match client.delete(gvr, &object.key(), &options).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(count(&self.remains(namespace, resource).await?))
    }

    async fn remains(&self, namespace: &str, resource: &Resource) -> Result<Vec<Object>, ClientError> {
        let options = ListOptions { metadata_only: true, ..ListOptions::default() };
        match self.context.client.list_all(&resource.gvr, namespace, &options).await {
            Ok(page) => Ok(page.items),
            // The resource was removed meanwhile, or does not really support this.
            Err(error) if error.is_not_found() || error.is(gifee_base::Reason::MethodNotAllowed) => {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    async fn apply(&self, view: &View, plan: &Plan) -> Result<()> {
        let (client, key) = (&self.context.client, view.namespace.key());
        if let Some(status) = patch::difference(&view.tree["status"], &plan.status) {
            let body = json!({ "status": status });
            match client.patch_status(&namespaces(), &key, PatchKind::Merge, body).await {
                Err(error) if error.is_not_found() => return Ok(()),
                other => other.map(|_| ())?,
            }
        }
        if plan.finalize {
            self.finalize(&key, view).await?;
        }
        Ok(())
    }

    async fn finalize(&self, key: &ObjectKey, view: &View) -> Result<()> {
        let client = &self.context.client;
        let live = match client.get(&namespaces(), key).await {
            Ok(live) if live.uid() == view.namespace.uid() => live,
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut tree = live.to_value().map_err(|error| Error::invalid(key, error))?;
        let finalizers = tree["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
        let rest: Vec<Value> = finalizers.iter().filter(|one| **one != FINALIZER).cloned().collect();
        if rest.len() == finalizers.len() {
            return Ok(());
        }
        tree["spec"]["finalizers"] = rest.into();
        match client.update_subresource(&namespaces(), key, "finalize", tree).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn count(objects: &[Object]) -> Remains {
    let mut remains = Remains { objects: objects.len(), ..Remains::default() };
    for object in objects.iter().filter(|object| object.finalizers() > 0) {
        let tree = object.to_value().unwrap_or_default();
        for name in tree["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str)
        {
            *remains.finalizers.entry(name.to_owned()).or_default() += 1;
        }
    }
    remains
}

#[async_trait]
impl Reconcile<ObjectKey> for Namespaces {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let namespace = self.cache.get(key).filter(|namespace| namespace.deleting());
        let Some(namespace) = namespace else {
            self.tries.lock().remove(key);
            return Ok(Outcome::Done);
        };
        let tree = namespace.to_value().map_err(|error| Error::invalid(key, error))?;
        let finalizers = tree["spec"]["finalizers"].as_array();
        if !finalizers.into_iter().flatten().any(|one| one == FINALIZER) {
            // Emptied already; it waits for finalizers of others.
            return Ok(Outcome::Done);
        }
        let view = self.observe(namespace, tree).await;
        let plan = plan::plan(&view, self.context.clock.now());
        self.apply(&view, &plan).await?;
        let mut tries = self.tries.lock();
        match plan.again {
            Some(again) => {
                *tries.entry(key.clone()).or_default() += 1;
                Ok(Outcome::After(again))
            }
            None => {
                tries.remove(key);
                Ok(Outcome::Done)
            }
        }
    }
}
