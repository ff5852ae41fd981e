//! Deletes pods whose devices bear a NoExecute taint that the pods do not tolerate, or not for so long.
//!
//! Invariant: only a pod that a claim is reserved for is touched, and only once. Answers to upstream's device taint
//! eviction controller; what a rule has done so far is not counted in the rule's status.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use crate::resourceclaim::plan::names_claims;
use crate::tainteviction::evict;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, Gvr, Object, ObjectKey};
use gifee_client::{Cache, Index, Queue, Scope};
use gifee_reconcile::{Context, Outcome, Reconcile, Reference, Result, work};
use parking_lot::Mutex;
use plan::{NO_EXECUTE, end, held};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Upstream's name.
pub const NAME: &str = "device-taint-eviction-controller";
const COMPONENT: &str = "device-taint-eviction";
const WORKERS: usize = 8;

/// Allocated claims by the UIDs of the pods that they are reserved for.
const BY_POD: Index = Index {
    name: "pod",
    values: |object, add| {
        let claim = object.to_value().unwrap_or_default();
        if held(&claim).next().is_some() {
            for entry in claim["status"]["reservedFor"].as_array().into_iter().flatten() {
                add(entry["uid"].as_str().unwrap_or_default());
            }
        }
    },
};

/// Slices by `DRIVER/POOL`: what a pool has of a device is in the newest of its slices, tainted or not.
const BY_POOL: Index = Index {
    name: "pool",
    values: |object, add| {
        let text = |path: &[&str]| object.text_at(path).unwrap_or_default();
        add(&format!("{}/{}", text(&["spec", "driver"]), text(&["spec", "pool", "name"])));
    },
};

fn resource(name: &str) -> Gvr {
    Gvr::new("resource.k8s.io", "v1", name)
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let controller = Arc::new(Devices::new(context.recording(COMPONENT)));
        for cache in [&controller.pods, &controller.claims, &controller.slices, &controller.rules] {
            cache.synced().await;
        }
        let queue = Arc::new(Queue::new());
        controller.clone().listen(&queue);
        work(&context, NAME, queue, controller, WORKERS).await;
    }
    .boxed()
}

struct Devices {
    context: Context,
    pods: Arc<Cache>,
    claims: Arc<Cache>,
    slices: Arc<Cache>,
    rules: Arc<Cache>,
    /// Pods that wait for their end, with their UIDs; bounded by the number of pods.
    waiting: Mutex<HashMap<ObjectKey, String>>,
}

impl Devices {
    fn new(context: Context) -> Self {
        let all = |name: &str| context.caches.scope(Scope::all(resource(name)));
        let claims = all("resourceclaims");
        claims.add_index(BY_POD);
        let slices = all("resourceslices");
        slices.add_index(BY_POOL);
        Self {
            pods: context.caches.pods(),
            claims,
            slices,
            rules: all("devicetaintrules"),
            waiting: Mutex::default(),
            context,
        }
    }

    fn listen(self: Arc<Self>, queue: &Arc<Queue<ObjectKey>>) {
        let sink = queue.clone();
        self.claims.subscribe(move |change| change.sides().for_each(|claim| users(claim, &sink)));
        for taints in [&self.slices, &self.rules] {
            let (this, sink) = (self.clone(), queue.clone());
            taints.subscribe(move |change| {
                let mut sides = change.sides();
                if sides.any(|one| memchr::memmem::find(one.raw(), NO_EXECUTE.as_bytes()).is_some()) {
                    this.claims.read().all().for_each(|claim| users(claim, &sink));
                }
            });
        }
        let (this, sink) = (self, queue.clone());
        this.clone().pods.subscribe(move |change| {
            let pod = change.object();
            let placed = change.old.is_none_or(|old| old.text_at(&["spec", "nodeName"]).is_none());
            if names_claims(pod)
                && (change.new.is_none() || placed || this.waiting.lock().contains_key(&pod.key()))
            {
                sink.add(pod.key());
            }
        });
    }

    fn end(&self, pod: &Object) -> Option<jiff::Timestamp> {
        let tree = |object: &Arc<Object>| object.to_value().ok();
        let claims: Vec<Value> = self.claims.read().indexed(&BY_POD, pod.uid()).filter_map(tree).collect();
        if claims.is_empty() {
            return None;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pool = |device: &Value| format!("{}/{}", text(&device["driver"]), text(&device["pool"]));
        let pools: BTreeSet<String> = claims.iter().flat_map(held).map(pool).collect();
        let known = self.slices.read();
        let slices: Vec<Value> =
            pools.iter().flat_map(|pool| known.indexed(&BY_POOL, pool)).filter_map(tree).collect();
        let rules: Vec<Value> = self.rules.read().all().filter_map(tree).collect();
        end(&claims, &slices, &rules)
    }

    fn release(&self, key: &ObjectKey) {
        let Some(uid) = self.waiting.lock().remove(key) else { return };
        let reference = Reference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            uid,
            ..Reference::default()
        };
        self.context.events.normal(reference, "DeviceTaintManagerEviction", "Cancelling deletion");
    }
}

/// Brings the pods that a claim is reserved for.
fn users(claim: &Arc<Object>, queue: &Queue<ObjectKey>) {
    let reserved: Vec<Value> = claim
        .value_at(&["status", "reservedFor"])
        .and_then(|reserved| serde_json::from_slice(reserved).ok())
        .unwrap_or_default();
    for entry in reserved.iter().filter(|entry| entry["resource"] == "pods") {
        queue.add(ObjectKey::new(claim.namespace(), entry["name"].as_str().unwrap_or_default()));
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Devices {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let pod = self.pods.get(key).filter(|pod| !pod.deleting());
        let Some(pod) = pod else {
            self.waiting.lock().remove(key);
            return Ok(Outcome::Done);
        };
        let now = self.context.clock.now();
        match self.end(&pod) {
            None => self.release(key),
            Some(at) if at > now => {
                self.waiting.lock().insert(key.clone(), pod.uid().to_owned());
                let left = at.duration_since(now).try_into().unwrap_or(Duration::ZERO);
                return Ok(Outcome::After(left));
            }
            Some(_) => {
                let reference = Reference::new(&pod, &Gvk::new("", "v1", "Pod"));
                self.context.events.normal(reference, "DeviceTaintManagerEviction", "Marking for deletion");
                let message = "Device Taint manager: deleting due to NoExecute taint";
                evict(&self.context, &pod, "DeletionByDeviceTaintManager", message).await?;
                self.waiting.lock().remove(key);
            }
        }
        Ok(Outcome::Done)
    }
}
