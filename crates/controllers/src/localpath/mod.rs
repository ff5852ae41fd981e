//! Gives claims folders of the nodes that their pods run on.
//!
//! The provisioner of the default class: it asks the node's agent for a folder, through the API server, and writes the
//! volume down; when the volume is released, it has the agent remove the folder. Invariant: a folder is asked for before
//! its volume exists and removed before its volume goes, both under the name of the claim's UID, so that doing it again
//! does no harm and nothing is left behind. Answers to what rancher's local-path-provisioner does with pods of its own.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use crate::persistentvolume::object::SELECTED_NODE;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, Gvr, Object, ObjectKey};
use gifee_client::{Cache, DeleteOptions, PatchKind, Queue, Request, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Reference, Result, patch, work};
use http::Method;
pub use plan::PROVISIONER;
use plan::{Fate, Wish};
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;

/// Its name.
pub const NAME: &str = "local-path-provisioner-controller";
/// Who its events are from.
const COMPONENT: &str = "gifee.io/local-path";
/// Folders that are asked for at the same time.
const WORKERS: usize = 2;

fn claims() -> Gvr {
    Gvr::core("persistentvolumeclaims")
}

fn volumes() -> Gvr {
    Gvr::core("persistentvolumes")
}

fn nodes() -> Gvr {
    Gvr::core("nodes")
}

/// What a reconcile is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A claim.
    Claim(ObjectKey),
    /// A volume.
    Volume(ObjectKey),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(key) => write!(f, "claim {key}"),
            Self::Volume(key) => write!(f, "volume {key}"),
        }
    }
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let caches = &context.caches;
        let all = |gvr| caches.scope(Scope::all(gvr));
        let classes = all(Gvr::new("storage.k8s.io", "v1", "storageclasses"));
        let this = Arc::new(Provisioner {
            claims: all(claims()),
            volumes: all(volumes()),
            nodes: all(nodes()),
            classes,
            context: context.recording(COMPONENT),
        });
        for cache in [&this.claims, &this.volumes, &this.nodes, &this.classes] {
            cache.synced().await;
        }
        let queue = Arc::new(Queue::new());
        this.listen(&queue);
        work(&context, NAME, queue, this, WORKERS).await;
    }
    .boxed()
}

struct Provisioner {
    context: Context,
    claims: Arc<Cache>,
    volumes: Arc<Cache>,
    nodes: Arc<Cache>,
    classes: Arc<Cache>,
}

impl Provisioner {
    fn listen(&self, queue: &Arc<Queue<Key>>) {
        let sink = queue.clone();
        self.claims.subscribe(move |change| {
            if change.new.is_some() {
                sink.add(Key::Claim(change.object().key()));
            }
        });
        let sink = queue.clone();
        self.volumes.subscribe(move |change| {
            if change.new.is_some() {
                sink.add(Key::Volume(change.object().key()));
            }
        });
        // A class that comes later than its claims, and a node that is gone for good: both are rare.
        let (sink, claims) = (queue.clone(), self.claims.clone());
        self.classes.subscribe(move |_| {
            claims.read().all().for_each(|claim| sink.add(Key::Claim(claim.key())));
        });
        let (sink, volumes) = (queue.clone(), self.volumes.clone());
        self.nodes.subscribe(move |change| {
            if change.new.is_none() {
                volumes.read().all().for_each(|volume| sink.add(Key::Volume(volume.key())));
            }
        });
    }

    fn all_nodes(&self) -> Vec<Arc<Object>> {
        self.nodes.read().all().cloned().collect()
    }

    /// Has a node's agent make or remove a folder; what it says.
    async fn folder(&self, method: Method, node: &str, name: &str) -> Result<Value> {
        let request = Request::object(method, &nodes(), &ObjectKey::cluster(node));
        let request = request.segment("proxy").segment("localVolumes").segment(name);
        Ok(self.context.client.value(&request).await?)
    }

    async fn provision(&self, key: &ObjectKey, object: &Object) -> Result<()> {
        let tree = object.to_value().map_err(|error| Error::invalid(key, error))?;
        let class = tree["spec"]["storageClassName"].as_str().unwrap_or_default();
        let class = self.classes.get(&ObjectKey::cluster(class)).and_then(|class| class.to_value().ok());
        let about = Reference::new(object, &Gvk::new("", "v1", "PersistentVolumeClaim"));
        let (client, events) = (&self.context.client, &self.context.events);
        let failed = |why: &str| {
            let class = tree["spec"]["storageClassName"].as_str().unwrap_or_default();
            format!("failed to provision volume with StorageClass {class:?}: {why}")
        };
        match plan::claim(&tree, class.as_ref(), &self.all_nodes()) {
            Wish::Nothing => {}
            Wish::Refuse(why) => events.warning(about, "ProvisioningFailed", failed(&why)),
            Wish::Elsewhere => {
                let none = json!({ "metadata": { "annotations": { SELECTED_NODE: null } } });
                client.patch(&claims(), key, PatchKind::Merge, patch::pinned(object, none)).await?;
                events.warning(
                    about,
                    "ProvisioningFailed",
                    failed("the node that was selected is not there"),
                );
            }
            Wish::Make { node, name, mut volume } => {
                if self.volumes.get(&ObjectKey::cluster(&name)).is_some() {
                    return Ok(());
                }
                let message = format!("External provisioner is provisioning volume for claim \"{key}\"");
                events.normal(about.clone(), "Provisioning", message);
                let made = match self.folder(Method::PUT, &node, &name).await {
                    Ok(made) => made,
                    Err(error) => {
                        events.warning(about, "ProvisioningFailed", failed(&error.to_string()));
                        return Err(error);
                    }
                };
                volume["spec"]["local"] = json!({ "path": made["path"] });
                match client.create(&volumes(), "", *volume).await {
                    Err(error) if !error.is_already_exists() => return Err(error.into()),
                    _ => {}
                }
                let message = format!("Successfully provisioned volume {name}");
                events.normal(about, "ProvisioningSucceeded", message);
            }
        }
        Ok(())
    }

    async fn settle(&self, key: &ObjectKey, object: &Object) -> Result<()> {
        let tree = object.to_value().map_err(|error| Error::invalid(key, error))?;
        match plan::volume(&tree, &self.all_nodes()) {
            Fate::Stays => return Ok(()),
            Fate::Deleted(Some(node)) => {
                if let Err(error) = self.folder(Method::DELETE, &node, key.name.as_ref()).await {
                    let about = Reference::new(object, &Gvk::new("", "v1", "PersistentVolume"));
                    self.context.events.warning(about, "VolumeFailedDelete", error.to_string());
                    return Err(error);
                }
            }
            Fate::Deleted(None) | Fate::Forgotten => {}
        }
        let client = &self.context.client;
        if !object.deleting() {
            match client.delete(&volumes(), key, &DeleteOptions::default()).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        // The folder is gone, or is kept: the volume may go.
        let finalizers = tree["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let rest: Vec<Value> = finalizers.into_iter().filter(|one| one != PROVISIONER).collect();
        let change = json!({ "metadata": { "uid": object.uid(), "finalizers": rest } });
        match client.patch(&volumes(), key, PatchKind::Merge, change).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Reconcile<Key> for Provisioner {
    async fn reconcile(&self, key: &Key) -> Result<Outcome> {
        match key {
            Key::Claim(key) => {
                if let Some(claim) = self.claims.get(key) {
                    self.provision(key, &claim).await?;
                }
            }
            Key::Volume(key) => {
                if let Some(volume) = self.volumes.get(key) {
                    self.settle(key, &volume).await?;
                }
            }
        }
        Ok(Outcome::Done)
    }
}
