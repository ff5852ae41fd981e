//! Makes the claims of devices that pods ask for by a template, and gives back what no pod uses any more.
//!
//! Invariant: a reservation is taken away only of a pod that has ended or that the API server itself shows to be
//! gone, since the scheduler may just have placed it. Answers to upstream's resource claim controller.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, Gvr, Object, ObjectKey};
use gifee_client::{Cache, Change, DeleteOptions, Index, PatchKind, Queue, Scope};
use gifee_reconcile::{BY_CONTROLLER, Context, Error, Outcome, Reconcile, Reference, Result, patch, work};
use plan::{Consumer, Lookup, claims, names_claims};
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Upstream's name.
pub const NAME: &str = "resourceclaim-controller";
/// Who its events are from.
const COMPONENT: &str = "resource_claim";
const WORKERS: usize = 10;
/// How long to wait for what was written to come back.
const SHOWN: Duration = Duration::from_secs(5);

/// Pods by the names of the claims that they mean, and by `template/NAME` of the templates that they name.
const BY_DEVICES: Index = Index {
    name: "devices",
    values: |object, add| {
        if !names_claims(object) {
            return;
        }
        let pod = object.to_value().unwrap_or_default();
        let namespace = object.namespace();
        claims(&pod).iter().for_each(|name| add(&format!("{namespace}/{name}")));
        for entry in pod["spec"]["resourceClaims"].as_array().into_iter().flatten() {
            if let Some(template) = entry["resourceClaimTemplateName"].as_str() {
                add(&format!("{namespace}/template/{template}"));
            }
        }
    },
};

fn resource(name: &str) -> Gvr {
    Gvr::new("resource.k8s.io", "v1", name)
}

fn resource_claims() -> Gvr {
    resource("resourceclaims")
}

fn pods() -> Gvr {
    Gvr::core("pods")
}

/// What a reconcile is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A pod.
    Pod(ObjectKey),
    /// A claim.
    Claim(ObjectKey),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => write!(f, "pod {key}"),
            Self::Claim(key) => write!(f, "claim {key}"),
        }
    }
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let controller = Arc::new(Claims::new(context.recording(COMPONENT)));
        for cache in [&controller.pods, &controller.claims, &controller.templates] {
            cache.synced().await;
        }
        let queue = Arc::new(Queue::new());
        controller.clone().listen(&queue);
        work(&context, NAME, queue, controller, WORKERS).await;
    }
    .boxed()
}

struct Claims {
    context: Context,
    pods: Arc<Cache>,
    claims: Arc<Cache>,
    templates: Arc<Cache>,
}

/// What concerns one pod.
struct Around<'a> {
    controller: &'a Claims,
    namespace: &'a str,
    uid: &'a str,
}

impl Lookup for Around<'_> {
    fn claim(&self, name: &str) -> Option<Value> {
        self.controller.claims.read().get(self.namespace, name).and_then(|claim| claim.to_value().ok())
    }

    fn own(&self) -> Vec<Value> {
        let claims = self.controller.claims.read();
        claims.indexed(&BY_CONTROLLER, self.uid).filter_map(|claim| claim.to_value().ok()).collect()
    }

    fn template(&self, name: &str) -> Option<Value> {
        self.controller
            .templates
            .read()
            .get(self.namespace, name)
            .and_then(|template| template.to_value().ok())
    }
}

impl Claims {
    fn new(context: Context) -> Self {
        let caches = &context.caches;
        let pods = caches.pods();
        pods.add_index(BY_DEVICES);
        let claims = caches.scope(Scope::all(resource_claims()));
        claims.add_index(BY_CONTROLLER);
        Self {
            pods,
            claims,
            templates: caches.scope(Scope::all(resource("resourceclaimtemplates"))),
            context,
        }
    }

    fn listen(self: Arc<Self>, queue: &Arc<Queue<Key>>) {
        let (this, sink) = (self.clone(), queue.clone());
        self.claims.subscribe(move |change| {
            let key = change.object().key();
            for pod in this.pods.read().indexed(&BY_DEVICES, &key.to_string()) {
                sink.add(Key::Pod(pod.key()));
            }
            if let Some(owner) = change.object().controller().filter(|owner| owner.kind == "Pod") {
                sink.add(Key::Pod(ObjectKey::new(&key.namespace, owner.name)));
            }
            sink.add(Key::Claim(key));
        });
        let (this, sink) = (self.clone(), queue.clone());
        self.templates.subscribe(move |change| {
            let Some(template) = change.new else { return };
            let value = format!("{}/template/{}", template.namespace(), template.name());
            for pod in this.pods.read().indexed(&BY_DEVICES, &value) {
                sink.add(Key::Pod(pod.key()));
            }
        });
        let (this, sink) = (self.clone(), queue.clone());
        self.pods.subscribe(move |change| this.pod_changed(change, &sink));
    }

    fn pod_changed(&self, change: &Change<'_>, queue: &Queue<Key>) {
        let pod = change.object();
        if !names_claims(pod) {
            return;
        }
        queue.add(Key::Pod(pod.key()));
        if change.new.is_none_or(|pod| done(pod)) {
            let tree = pod.to_value().unwrap_or_default();
            let own = self.claims.read();
            let own = own.indexed(&BY_CONTROLLER, pod.uid()).map(|claim| claim.key());
            let meant = claims(&tree).into_iter().map(|name| ObjectKey::new(pod.namespace(), name));
            own.chain(meant).for_each(|key| queue.add(Key::Claim(key)));
        }
    }

    async fn for_pod(&self, key: &ObjectKey) -> Result<()> {
        // A claim made for a pod that has ended would be deleted at once, and made again, without end.
        let needs = |pod: &Arc<Object>| names_claims(pod) && !pod.deleting() && !done(pod);
        let Some(object) = self.pods.get(key).filter(needs) else { return Ok(()) };
        let pod = object.to_value().map_err(|error| Error::invalid(key, error))?;
        let around = Around { controller: self, namespace: &key.namespace, uid: object.uid() };
        let plan = plan::pod(&pod, &around);
        let client = &self.context.client;
        let mut new = plan.found;
        let mut failure = plan.failure;
        for (name, claim) in plan.create {
            match client.create(&resource_claims(), &key.namespace, claim).await {
                Ok(claim) => {
                    let _ = tokio::time::timeout(SHOWN, self.claims.reached(claim.revision())).await;
                    new.push((name, claim.name().to_owned()));
                }
                Err(error) => {
                    failure = Some(format!("PodResourceClaim {name}: create ResourceClaim : {error}"));
                    break;
                }
            }
        }
        if !new.is_empty() {
            let status = json!({ "status": { "resourceClaimStatuses": plan::statuses(&pod, &new) } });
            let change = patch::pinned(&object, status);
            let written = client.patch_status(&pods(), key, PatchKind::Merge, change).await?;
            let _ = tokio::time::timeout(SHOWN, self.pods.reached(written.revision())).await;
        }
        for claim in plan.reserve {
            let name = ObjectKey::new(&key.namespace, claim["metadata"]["name"].as_str().unwrap_or_default());
            let mut change = json!({ "status": plan::reserved(&claim, &pod) });
            change["metadata"]["resourceVersion"] = claim["metadata"]["resourceVersion"].clone();
            client.patch_status(&resource_claims(), &name, PatchKind::Merge, change).await?;
        }
        if let Some(why) = failure {
            let reference = Reference::new(&object, &Gvk::new("", "v1", "Pod"));
            self.context.events.warning(reference, "FailedResourceClaimCreation", why.as_str());
            return Err(Error::invalid(format!("pod {key}"), why));
        }
        Ok(())
    }

    /// How a pod of a name and UID is.
    fn consumer(&self, namespace: &str, name: &str, uid: &str) -> Consumer {
        match self.pods.read().get(namespace, name) {
            None => Consumer::Unseen,
            Some(pod) if pod.uid() != uid || done(pod) => Consumer::Done,
            Some(_) => Consumer::Lives,
        }
    }

    async fn for_claim(&self, key: &ObjectKey) -> Result<()> {
        let Some(object) = self.claims.get(key) else { return Ok(()) };
        let claim = object.to_value().map_err(|error| Error::invalid(key, error))?;
        let mut consumers = Vec::new();
        for entry in claim["status"]["reservedFor"].as_array().into_iter().flatten() {
            let text = |field: &str| entry[field].as_str().unwrap_or_default();
            if text("resource") != "pods" || !text("apiGroup").is_empty() {
                return Err(Error::invalid(key, format!("unsupported ReservedFor entry: {entry}")));
            }
            let mut consumer = self.consumer(&key.namespace, text("name"), text("uid"));
            if consumer == Consumer::Unseen {
                let pod = ObjectKey::new(&key.namespace, text("name"));
                consumer = match self.context.client.get(&pods(), &pod).await {
                    Ok(pod) if pod.uid() == text("uid") => Consumer::Lives,
                    Ok(_) => Consumer::Done,
                    Err(error) if error.is_not_found() => Consumer::Done,
                    Err(error) => return Err(error.into()),
                };
            }
            consumers.push(consumer);
        }
        let owner = object.controller().filter(|owner| owner.kind == "Pod" && owner.api_version == "v1");
        let owner = owner.map(|owner| self.consumer(&key.namespace, owner.name, owner.uid));
        let plan = plan::claim(&claim, &consumers, owner);
        self.apply(&object, plan).await
    }

    async fn apply(&self, object: &Object, plan: plan::ClaimPlan) -> Result<()> {
        let (client, key, gvr) = (&self.context.client, object.key(), resource_claims());
        let mut current = object.clone();
        if let Some(status) = plan.status {
            let change = patch::pinned(&current, json!({ "status": status }));
            current = client.patch_status(&gvr, &key, PatchKind::Merge, change).await?;
        }
        if let Some(finalizers) = plan.finalizers {
            let change = patch::pinned(&current, json!({ "metadata": { "finalizers": finalizers } }));
            current = client.patch(&gvr, &key, PatchKind::Merge, change).await?;
        }
        if plan.delete {
            match client.delete(&gvr, &key, &DeleteOptions::of_uid(current.uid())).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether none of a pod's containers runs or ever will.
fn done(pod: &Object) -> bool {
    let text = |path: &[&str]| pod.text_at(path).unwrap_or_default();
    let ended = matches!(&*text(&["status", "phase"]), "Succeeded" | "Failed");
    ended || (pod.deleting() && text(&["spec", "nodeName"]).is_empty())
}

#[async_trait]
impl Reconcile<Key> for Claims {
    async fn reconcile(&self, key: &Key) -> Result<Outcome> {
        match key {
            Key::Pod(key) => self.for_pod(key).await?,
            Key::Claim(key) => self.for_claim(key).await?,
        }
        Ok(Outcome::Done)
    }
}
