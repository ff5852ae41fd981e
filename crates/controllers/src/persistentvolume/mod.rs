//! Binds claims to volumes, hands those without a volume to whoever provisions them, and lets volumes go whose
//! claims are gone.
//!
//! Invariants: one worker decides, on caches that show all it wrote, so that no two claims get one volume; every
//! write is pinned to the state that it was decided on; a volume is released only after the API server itself has
//! shown that its claim is gone. Nothing is provisioned or deleted here: a provisioner, of this project or not, works
//! on the annotations that are set here. Answers to upstream's persistentvolume binder controller.

pub mod effect;
pub mod matching;
pub mod object;
pub mod plan;
pub mod recycle;
#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use effect::{Draft, Effect, Of};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, Gvr, Object, ObjectKey};
use gifee_client::{Cache, Change, DeleteOptions, Index, PatchKind, Queue, Scope};
use gifee_reconcile::{BY_CLAIM, Context, Error, Outcome, Reconcile, Reference, Result, patch, work};
use object::{BIND_COMPLETED, Claim, Volume};
use parking_lot::Mutex;
use plan::{ClaimView, VolumeView};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Upstream's name.
pub const NAME: &str = "persistentvolume-binder-controller";
/// Who its events are from.
const COMPONENT: &str = "persistentvolume-controller";
/// How long to wait for what was written to come back; a stale view does no harm, what it says meets a conflict.
const SHOWN: Duration = Duration::from_secs(5);

/// Volumes by `claim/NAMESPACE/NAME` of the claim that they are for, free ones by `class/CLASS`.
const VOLUMES: Index = Index {
    name: "binding",
    values: |object, add| {
        let volume = Volume { tree: object.to_value().unwrap_or_default() };
        match volume.claim() {
            Some((namespace, name, _)) => add(&format!("claim/{namespace}/{name}")),
            None => add(&format!("class/{}", volume.class())),
        }
    },
};

/// Claims by `volume/NAME` of the volume that they name, others by `class/CLASS`.
const CLAIMS: Index = Index {
    name: "binding",
    values: |object, add| {
        let claim = Claim { tree: object.to_value().unwrap_or_default() };
        match claim.volume() {
            "" if claim.annotation(BIND_COMPLETED).is_none() => add(&format!("class/{}", claim.class())),
            name => add(&format!("volume/{name}")),
        }
    },
};

fn claims() -> Gvr {
    Gvr::core("persistentvolumeclaims")
}

fn volumes() -> Gvr {
    Gvr::core("persistentvolumes")
}

fn pods() -> Gvr {
    Gvr::core("pods")
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
        let binder = Arc::new(Binder::new(context.recording(COMPONENT)));
        for cache in [&binder.claims, &binder.volumes, &binder.classes, &binder.pods] {
            cache.synced().await;
        }
        let queue = Arc::new(Queue::new());
        binder.clone().listen(&queue);
        work(&context, NAME, queue, binder, 1).await;
    }
    .boxed()
}

struct Binder {
    context: Context,
    claims: Arc<Cache>,
    volumes: Arc<Cache>,
    classes: Arc<Cache>,
    pods: Arc<Cache>,
    /// What was told last of each claim that waits, by UID: it is told once. At most one per claim without a volume.
    told: Mutex<HashMap<String, String>>,
}

impl Binder {
    fn new(context: Context) -> Self {
        let caches = &context.caches;
        let (claims, volumes) = (caches.scope(Scope::all(claims())), caches.scope(Scope::all(volumes())));
        claims.add_index(CLAIMS);
        volumes.add_index(VOLUMES);
        let pods = caches.pods();
        pods.add_index(BY_CLAIM);
        let classes = caches.scope(Scope::all(Gvr::new("storage.k8s.io", "v1", "storageclasses")));
        Self { claims, volumes, classes, pods, told: Mutex::default(), context }
    }

    fn listen(self: Arc<Self>, queue: &Arc<Queue<Key>>) {
        let (this, sink) = (self.clone(), queue.clone());
        self.volumes.subscribe(move |change| this.volume_changed(change, &sink));
        let (this, sink) = (self.clone(), queue.clone());
        self.claims.subscribe(move |change| this.claim_changed(change, &sink));
        let (this, sink) = (self.clone(), queue.clone());
        self.classes.subscribe(move |change| {
            // A class that comes to be the default one concerns those that name none.
            for value in ["class/", &format!("class/{}", change.object().name())] {
                for claim in this.claims.read().indexed(&CLAIMS, value) {
                    sink.add(Key::Claim(claim.key()));
                }
            }
        });
        let (this, sink) = (self.clone(), queue.clone());
        self.pods.subscribe(move |change| this.pod_changed(change, &sink));
    }

    fn claim_changed(&self, change: &Change<'_>, queue: &Queue<Key>) {
        let key = change.object().key();
        for side in change.sides() {
            if let Some(name) = side.text_at(&["spec", "volumeName"]) {
                queue.add(Key::Volume(ObjectKey::cluster(&name)));
            }
        }
        for volume in self.volumes.read().indexed(&VOLUMES, &format!("claim/{key}")) {
            queue.add(Key::Volume(volume.key()));
        }
        if change.new.is_none() {
            self.told.lock().remove(change.object().uid());
        }
        queue.add(Key::Claim(key));
    }

    fn volume_changed(&self, change: &Change<'_>, queue: &Queue<Key>) {
        let object = change.object();
        queue.add(Key::Volume(object.key()));
        let mut values = vec![format!("volume/{}", object.name())];
        for side in change.sides() {
            let volume = Volume { tree: side.to_value().unwrap_or_default() };
            match volume.claim() {
                Some((namespace, name, _)) => queue.add(Key::Claim(ObjectKey::new(namespace, name))),
                None => values.push(format!("class/{}", volume.class())),
            }
        }
        let claims = self.claims.read();
        for claim in values.iter().flat_map(|value| claims.indexed(&CLAIMS, value)) {
            queue.add(Key::Claim(claim.key()));
        }
    }

    fn pod_changed(&self, change: &Change<'_>, queue: &Queue<Key>) {
        let pod = change.object();
        if pod.namespace() == recycle::NAMESPACE
            && let Some(volume) = recycle::volume_of(pod.name())
        {
            queue.add(Key::Volume(ObjectKey::cluster(volume)));
        }
        let placed =
            |pod: &Arc<Object>| pod.text_at(&["spec", "nodeName"]).is_some_and(|node| !node.is_empty());
        if change.old.is_none() || change.new.is_none() || !change.old.is_some_and(placed) {
            for claim in gifee_reconcile::pod::claims(pod) {
                let key = ObjectKey::new(pod.namespace(), &claim);
                for volume in self.volumes.read().indexed(&VOLUMES, &format!("claim/{key}")) {
                    queue.add(Key::Volume(volume.key()));
                }
                queue.add(Key::Claim(key));
            }
        }
    }

    /// Pods that use a claim, by name, if they are so.
    fn users(&self, namespace: &str, claim: &str, so: impl Fn(&Object) -> bool) -> Vec<String> {
        let pods = self.pods.read();
        let users = pods.indexed(&BY_CLAIM, &format!("{namespace}/{claim}")).filter(|pod| so(pod));
        users.map(|pod| pod.name().to_owned()).collect()
    }

    fn observe_claim(&self, claim: Claim) -> ClaimView {
        let volumes = self.volumes.read();
        let read = |object: &Arc<Object>| Volume { tree: object.to_value().unwrap_or_default() };
        let mut view = ClaimView { named: volumes.get("", claim.volume()).map(read), ..ClaimView::default() };
        if claim.volume().is_empty() && claim.annotation(BIND_COMPLETED).is_none() {
            let values = [format!("claim/{}", claim.key()), format!("class/{}", claim.class())];
            view.candidates =
                values.iter().flat_map(|value| volumes.indexed(&VOLUMES, value)).map(read).collect();
            let classes = self.classes.read();
            view.class = classes.get("", claim.class()).and_then(|class| class.to_value().ok());
            view.default_class = gifee_policy::admission::default_storage_class(classes.all().cloned());
            let unplaced =
                |pod: &Object| pod.text_at(&["spec", "nodeName"]).is_none_or(|node| node.is_empty());
            view.waiting = self.users(claim.namespace(), claim.name(), unplaced);
        }
        view.claim = claim;
        view
    }

    async fn observe_volume(&self, volume: Volume) -> Result<VolumeView> {
        let mut view = VolumeView::default();
        if let Some((namespace, name, uid)) = volume.claim().filter(|(_, _, uid)| !uid.is_empty()) {
            let key = ObjectKey::new(namespace, name);
            let mut claim =
                self.claims.get(&key).map(|claim| Claim { tree: claim.to_value().unwrap_or_default() });
            // What is released is not taken back: the cache may not have seen a new claim yet.
            let settled = matches!(volume.phase(), "Released" | "Failed");
            if claim.as_ref().is_none_or(|claim| claim.uid() != uid) && !settled {
                claim = match self.context.client.get(&claims(), &key).await {
                    Ok(claim) => Some(Claim { tree: claim.to_value().unwrap_or_default() }),
                    Err(error) if error.is_not_found() => None,
                    Err(error) => return Err(error.into()),
                };
            }
            view.claim = claim;
            if volume.reclaim_policy() == "Recycle" {
                let unended = |pod: &Object| {
                    let phase = pod.text_at(&["status", "phase"]).unwrap_or_default();
                    !matches!(&*phase, "Succeeded" | "Failed")
                };
                let users = self.users(namespace, name, unended);
                view.used_by = users.iter().map(|pod| format!("{namespace}/{pod}")).collect();
                let recycler = ObjectKey::new(recycle::NAMESPACE, &recycle::pod_of(volume.name()));
                view.recycler = self.pods.get(&recycler).and_then(|pod| pod.to_value().ok());
            }
        }
        view.volume = volume;
        Ok(view)
    }

    /// Takes the steps of a plan in order.
    async fn apply(&self, key: &ObjectKey, draft: Draft) -> Result<()> {
        let (mut claim, mut volume) = (read(&draft.claim.tree), read(&draft.volume.tree));
        for effect in draft.effects {
            match effect {
                Effect::Patch { of, status, change } => {
                    let (gvr, cache, object) = match of {
                        Of::Claim => (claims(), &self.claims, &mut claim),
                        Of::Volume => (volumes(), &self.volumes, &mut volume),
                    };
                    let Some(current) = object else { continue };
                    let (key, change) = (current.key(), patch::pinned(current, change));
                    let client = &self.context.client;
                    let written = match status {
                        true => client.patch_status(&gvr, &key, PatchKind::Merge, change).await?,
                        false => client.patch(&gvr, &key, PatchKind::Merge, change).await?,
                    };
                    let _ = tokio::time::timeout(SHOWN, cache.reached(written.revision())).await;
                    *object = Some(written);
                }
                Effect::Event { of, severity, reason, message, lasting } => {
                    let (kind, object) = match of {
                        Of::Claim => ("PersistentVolumeClaim", &claim),
                        Of::Volume => ("PersistentVolume", &volume),
                    };
                    let Some(object) = object else { continue };
                    if lasting && !self.news(object.uid(), &message) {
                        continue;
                    }
                    let reference = Reference::new(object, &Gvk::new("", "v1", kind));
                    self.context.events.record(reference, None, severity, reason, "", message);
                }
                Effect::Scrub(pod) => self.scrub(pod).await?,
                Effect::Swept => {
                    let Some(volume) = &volume else { continue };
                    let key = ObjectKey::new(recycle::NAMESPACE, &recycle::pod_of(volume.name()));
                    match self.context.client.delete(&pods(), &key, &DeleteOptions::default()).await {
                        Err(error) if !error.is_not_found() => return Err(error.into()),
                        _ => {}
                    }
                }
            }
        }
        draft.failure.map_or(Ok(()), |why| Err(Error::invalid(key, why)))
    }

    /// Whether a message is another than the last one about a claim.
    fn news(&self, uid: &str, message: &str) -> bool {
        let mut told = self.told.lock();
        told.insert(uid.to_owned(), message.to_owned()).is_none_or(|last| last != message)
    }

    async fn scrub(&self, pod: Value) -> Result<()> {
        match self.context.client.create(&pods(), recycle::NAMESPACE, pod).await {
            Ok(pod) => {
                let _ = tokio::time::timeout(SHOWN, self.pods.reached(pod.revision())).await;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn read(tree: &Value) -> Option<Object> {
    Object::received(tree.to_string().into()).ok()
}

#[async_trait]
impl Reconcile<Key> for Binder {
    async fn reconcile(&self, key: &Key) -> Result<Outcome> {
        match key {
            Key::Claim(key) => {
                let Some(object) = self.claims.get(key) else { return Ok(Outcome::Done) };
                let claim = Claim { tree: object.to_value().map_err(|error| Error::invalid(key, error))? };
                self.apply(key, plan::claim(self.observe_claim(claim))).await?;
            }
            Key::Volume(key) => {
                let Some(object) = self.volumes.get(key) else { return Ok(Outcome::Done) };
                let volume = Volume { tree: object.to_value().map_err(|error| Error::invalid(key, error))? };
                self.apply(key, plan::volume(self.observe_volume(volume).await?)).await?;
            }
        }
        Ok(Outcome::Done)
    }
}
