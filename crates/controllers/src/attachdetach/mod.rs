//! Attaches the volumes that pods want to the nodes that the pods are on, and detaches them when the node is done.
//!
//! A driver's attacher does it, on VolumeAttachments that are made here. Invariants: a volume for one node is never
//! attached to a second while it is attached to a first; one that the node says is in use is not detached, unless the
//! node is lost; attachments that others made are left alone. Answers to upstream's attach-detach controller, for CSI.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, Gvr, Object, ObjectKey};
use gifee_client::{Cache, Change, DeleteOptions, Index, PatchKind, Queue, Scope};
use gifee_reconcile::{
    BY_CLAIM, BY_NODE, Context, Outcome, Reconcile, Reference, Result, patch, pod::claims, work,
};
use parking_lot::Mutex;
use plan::{Attachment, MANAGED, Plan, View, Volume, Wanted, plan};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Upstream's name.
pub const NAME: &str = "persistentvolume-attach-detach-controller";
/// Who its events are from.
const COMPONENT: &str = "attachdetach-controller";
const WORKERS: usize = 4;
/// How long to wait for what was written to come back.
const SHOWN: Duration = Duration::from_secs(5);

/// Attachments by `node/NAME` and by `volume/NAME`.
const ATTACHMENTS: Index = Index {
    name: "ends",
    values: |object, add| {
        let text = |path: &[&str]| object.text_at(path).unwrap_or_default();
        add(&format!("node/{}", text(&["spec", "nodeName"])));
        add(&format!("volume/{}", text(&["spec", "source", "persistentVolumeName"])));
    },
};

fn attachments() -> Gvr {
    Gvr::new("storage.k8s.io", "v1", "volumeattachments")
}

fn nodes() -> Gvr {
    Gvr::core("nodes")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let controller = Arc::new(Attacher::new(context.recording(COMPONENT)));
        let all = [&controller.pods, &controller.claims, &controller.volumes, &controller.nodes];
        for cache in all.into_iter().chain([&controller.drivers, &controller.attachments]) {
            cache.synced().await;
        }
        let queue = Arc::new(Queue::new());
        controller.clone().listen(&queue);
        work(&context, NAME, queue, controller, WORKERS).await;
    }
    .boxed()
}

struct Attacher {
    context: Context,
    pods: Arc<Cache>,
    claims: Arc<Cache>,
    volumes: Arc<Cache>,
    nodes: Arc<Cache>,
    drivers: Arc<Cache>,
    attachments: Arc<Cache>,
    /// Since when no pod has wanted an attachment, by its name. At most one per attachment.
    unwanted: Mutex<HashMap<String, Instant>>,
    /// What was last refused on a node, so that it is told once. At most one per node.
    refused: Mutex<HashMap<String, Vec<(String, String)>>>,
}

impl Attacher {
    fn new(context: Context) -> Self {
        let caches = &context.caches;
        let all = |gvr: Gvr| caches.scope(Scope::all(gvr));
        let (pods, attachments) = (caches.pods(), all(attachments()));
        pods.add_index(BY_CLAIM);
        attachments.add_index(ATTACHMENTS);
        Self {
            pods,
            claims: all(Gvr::core("persistentvolumeclaims")),
            volumes: all(Gvr::core("persistentvolumes")),
            nodes: all(nodes()),
            drivers: all(Gvr::new("storage.k8s.io", "v1", "csidrivers")),
            attachments,
            unwanted: Mutex::default(),
            refused: Mutex::default(),
            context,
        }
    }

    fn listen(self: Arc<Self>, queue: &Arc<Queue<ObjectKey>>) {
        let sink = queue.clone();
        self.pods.subscribe(move |change| {
            // Only what ends or begins on a node matters, and only with a claim, which few have.
            if claims(change.object()).is_empty()
                || change.old.zip(change.new).is_some_and(|(old, new)| state(old) == state(new))
            {
                return;
            }
            let node = change.object().text_at(&["spec", "nodeName"]).unwrap_or_default();
            if !node.is_empty() {
                sink.add(ObjectKey::cluster(&node));
            }
        });
        let (this, sink) = (self.clone(), queue.clone());
        self.claims.subscribe(move |change| this.claim_changed(&change.object().key(), &sink));
        let (this, sink) = (self.clone(), queue.clone());
        self.volumes.subscribe(move |change| this.volume_changed(change.object(), &sink));
        let sink = queue.clone();
        self.nodes.subscribe(move |change| {
            if node_changed(change) {
                sink.add(change.object().key());
            }
        });
        let (this, sink) = (self.clone(), queue.clone());
        self.attachments.subscribe(move |change| {
            let text = |path: &[&str]| change.object().text_at(path).unwrap_or_default();
            sink.add(ObjectKey::cluster(&text(&["spec", "nodeName"])));
            if change.new.is_none() {
                this.unwanted.lock().remove(change.object().name());
                // Another node may wait for the volume.
                let volumes = this.volumes.read();
                if let Some(volume) = volumes.get("", &text(&["spec", "source", "persistentVolumeName"])) {
                    this.volume_changed(volume, &sink);
                }
            }
        });
    }

    fn claim_changed(&self, claim: &ObjectKey, queue: &Queue<ObjectKey>) {
        for pod in self.pods.read().indexed(&BY_CLAIM, &claim.to_string()) {
            let node = pod.text_at(&["spec", "nodeName"]).unwrap_or_default();
            if !node.is_empty() {
                queue.add(ObjectKey::cluster(&node));
            }
        }
    }

    fn volume_changed(&self, volume: &Object, queue: &Queue<ObjectKey>) {
        let text = |field: &str| volume.text_at(&["spec", "claimRef", field]).unwrap_or_default();
        if !text("name").is_empty() {
            self.claim_changed(&ObjectKey::new(&text("namespace"), &text("name")), queue);
        }
    }

    /// The volume that a claim is bound to, if a driver has to attach it.
    fn attachable(&self, namespace: &str, claim: &str) -> Option<Volume> {
        let claim = self.claims.read().get(namespace, claim).cloned()?;
        if claim.text_at(&["status", "phase"])? != "Bound" {
            return None;
        }
        let volume = self.volumes.read().get("", &claim.text_at(&["spec", "volumeName"])?).cloned()?;
        if volume.text_at(&["spec", "claimRef", "uid"])? != claim.uid() {
            return None;
        }
        let volume = Volume::read(&volume.to_value().ok()?)?;
        let drivers = self.drivers.read();
        let driver = drivers.get("", &volume.driver);
        let needless =
            driver.is_some_and(|driver| driver.value_at(&["spec", "attachRequired"]) == Some(b"false"));
        (!needless).then_some(volume)
    }

    fn wanted(&self, node: &str) -> Vec<Wanted> {
        let pods: Vec<Arc<Object>> =
            self.pods.read().indexed(&BY_NODE, node).filter(|pod| wants(pod)).cloned().collect();
        let mut found = BTreeMap::new();
        for pod in pods {
            for claim in claims(&pod) {
                if let Some(volume) = self.attachable(pod.namespace(), &claim) {
                    let elsewhere = self.elsewhere(&volume, node, pod.namespace(), &claim);
                    found.entry(volume.name.clone()).or_insert(Wanted { volume, elsewhere });
                }
            }
        }
        found.into_values().collect()
    }

    /// Why a volume cannot come to a node: it is for one node, and on another.
    fn elsewhere(&self, volume: &Volume, node: &str, namespace: &str, claim: &str) -> Option<String> {
        if !volume.exclusive {
            return None;
        }
        let attachments = self.attachments.read();
        let name = |one: &Object| one.text_at(&["spec", "nodeName"]).unwrap_or_default().into_owned();
        let mut others = attachments
            .indexed(&ATTACHMENTS, &format!("volume/{}", volume.name))
            .map(|one| name(one))
            .filter(|other| other != node);
        let other = others.next()?;
        let pods = self.pods.read();
        let users: Vec<&str> = pods
            .indexed(&BY_CLAIM, &format!("{namespace}/{claim}"))
            .filter(|pod| wants(pod) && pod.text_at(&["spec", "nodeName"]).is_some_and(|one| one == other))
            .map(|pod| pod.name())
            .collect();
        let why = match users.is_empty() {
            true => "Volume is already exclusively attached to one node and can't be attached to another"
                .to_owned(),
            false => format!("Volume is already used by pod(s) {}", users.join(", ")),
        };
        Some(format!("Multi-Attach error for volume {:?} {why}", volume.name))
    }

    fn observe(&self, name: &str) -> View {
        let node =
            self.nodes.read().get("", name).and_then(|node| node.to_value().ok()).unwrap_or(Value::Null);
        let managed = !node["metadata"]["annotations"][MANAGED].is_null();
        let wanted = if managed { self.wanted(name) } else { Vec::new() };
        let mut unwanted = self.unwanted.lock();
        let read = |object: &Arc<Object>| {
            let volume = object.text_at(&["spec", "source", "persistentVolumeName"]).unwrap_or_default();
            let volume = self.volumes.read().get("", &volume).and_then(|one| one.to_value().ok());
            let volume = volume.and_then(|tree| Volume::read(&tree));
            let attached = object.value_at(&["status", "attached"]) == Some(b"true");
            (object.name().to_owned(), volume, attached, object.deleting())
        };
        let all = self.attachments.read();
        let mut found = Vec::new();
        for (attachment, volume, attached, deleting) in
            all.indexed(&ATTACHMENTS, &format!("node/{name}")).map(read)
        {
            // What others made has another name.
            if volume.as_ref().is_none_or(|volume| volume.attachment(name) != attachment) {
                continue;
            }
            let wanted = wanted.iter().any(|one| Some(&one.volume) == volume.as_ref());
            let since = match wanted {
                true => {
                    unwanted.remove(&attachment);
                    Duration::ZERO
                }
                false => unwanted.entry(attachment.clone()).or_insert_with(Instant::now).elapsed(),
            };
            found.push(Attachment { name: attachment, volume, attached, deleting, unwanted: since });
        }
        View { name: name.to_owned(), node, wanted, attachments: found }
    }

    async fn apply(&self, view: &View, plan: Plan) -> Result<()> {
        let client = &self.context.client;
        for attachment in plan.attach {
            match client.create(&attachments(), "", attachment).await {
                Err(error) if error.is(gifee_base::Reason::AlreadyExists) => {}
                other => self.shown(&self.attachments, &other?).await,
            }
        }
        let key = ObjectKey::cluster(&view.name);
        if let Some(attached) = plan.attached
            && let Some(node) = self.nodes.get(&key)
        {
            let attached = if attached.is_empty() { Value::Null } else { attached.into() };
            let change = patch::pinned(&node, json!({ "status": { "volumesAttached": attached } }));
            let written = client.patch_status(&nodes(), &key, PatchKind::Merge, change).await?;
            self.shown(&self.nodes, &written).await;
        }
        for volume in plan.news {
            let message = format!("AttachVolume.Attach succeeded for volume {volume:?} ");
            self.tell(&view.name, &volume, &message, true);
        }
        let last = self.refused.lock().insert(view.name.clone(), plan.refused.clone()).unwrap_or_default();
        for (volume, why) in plan.refused.iter().filter(|one| !last.contains(one)) {
            self.tell(&view.name, volume, why, false);
        }
        for attachment in plan.detach {
            let key = ObjectKey::cluster(&attachment);
            match client.delete(&attachments(), &key, &DeleteOptions::default()).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    async fn shown(&self, cache: &Cache, written: &Object) {
        let _ = tokio::time::timeout(SHOWN, cache.reached(written.revision())).await;
    }

    /// Tells the pods of a node that want a volume.
    fn tell(&self, node: &str, volume: &str, message: &str, good: bool) {
        let pods = self.pods.read();
        for pod in pods.indexed(&BY_NODE, node).filter(|pod| wants(pod)) {
            let mut own =
                claims(pod).into_iter().filter_map(|claim| self.attachable(pod.namespace(), &claim));
            if own.any(|one| one.name == volume) {
                let reference = Reference::new(pod, &Gvk::new("", "v1", "Pod"));
                match good {
                    true => self.context.events.normal(reference, "SuccessfulAttachVolume", message),
                    false => self.context.events.warning(reference, "FailedAttachVolume", message),
                }
            }
        }
    }
}

/// Whether a pod still needs its volumes: it has not ended, and if it is going, something of it may still run.
fn wants(pod: &Object) -> bool {
    if matches!(&*pod.text_at(&["status", "phase"]).unwrap_or_default(), "Succeeded" | "Failed") {
        return false;
    }
    if !pod.deleting() {
        return true;
    }
    let statuses: Vec<Value> = pod
        .value_at(&["status", "containerStatuses"])
        .and_then(|statuses| serde_json::from_slice(statuses).ok())
        .unwrap_or_default();
    let over =
        |status: &Value| status["state"]["terminated"].is_object() || status["state"]["waiting"].is_object();
    !statuses.iter().all(over)
}

/// What of a pod decides whether it wants its volumes, and where.
fn state(pod: &Object) -> (String, bool) {
    (pod.text_at(&["spec", "nodeName"]).unwrap_or_default().into_owned(), wants(pod))
}

/// Whether a node changed in what concerns its volumes.
fn node_changed(change: &Change<'_>) -> bool {
    let Some((old, new)) = change.old.zip(change.new) else { return true };
    let places: [&[&str]; 4] = [
        &["status", "volumesInUse"],
        &["status", "volumesAttached"],
        &["spec", "taints"],
        &["metadata", "annotations", MANAGED],
    ];
    places.iter().any(|path| old.value_at(path) != new.value_at(path))
}

#[async_trait]
impl Reconcile<ObjectKey> for Attacher {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let view = self.observe(&key.name);
        let plan = plan(&view);
        let again = plan.again;
        self.apply(&view, plan).await?;
        if view.node.is_null() {
            self.refused.lock().remove(&*key.name);
        }
        Ok(again.map_or(Outcome::Done, Outcome::After))
    }
}
