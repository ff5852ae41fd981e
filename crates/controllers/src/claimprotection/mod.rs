//! Lets a claim of a volume go when no pod uses it any more, and says of a bound one since when none does.
//!
//! Invariant: the finalizer is taken away only after the API server itself, not a cache, has shown that no pod uses
//! the claim. Answers to upstream's PVC protection controller.

#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvr, Object, ObjectKey, clock};
use gifee_client::{Cache, ListOptions, PatchKind, Queue, Scope};
use gifee_reconcile::{BY_CLAIM, Context, Error, Outcome, Reconcile, Result, patch, pod, work};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "persistentvolumeclaim-protection-controller";
const FINALIZER: &str = "kubernetes.io/pvc-protection";
/// The condition that says since when no pod uses a claim.
const UNUSED: &str = "Unused";

fn claims() -> Gvr {
    Gvr::core("persistentvolumeclaims")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let cache = context.caches.scope(Scope::all(claims()));
        let pods = context.caches.pods();
        pods.add_index(BY_CLAIM);
        cache.synced().await;
        pods.synced().await;
        let sink = queue.clone();
        cache.subscribe(move |change| {
            if change.new.is_some_and(|claim| unsettled(claim)) {
                sink.add(change.object().key());
            }
        });
        let sink = queue.clone();
        pods.subscribe(move |change| {
            let pod = change.object();
            if change.old.map(|pod| stage(pod)) != change.new.map(|pod| stage(pod)) {
                for claim in pod::claims(pod) {
                    sink.add(ObjectKey::new(pod.namespace(), &claim));
                }
            }
        });
        let controller = Arc::new(Claims { context: context.clone(), cache, pods });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

/// The finalizers of an object other than ours, and whether ours is there.
pub(crate) fn without(tree: &Value, ours: &str) -> (Vec<Value>, bool) {
    let all = tree["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let rest: Vec<Value> = all.iter().filter(|one| **one != ours).cloned().collect();
    let there = rest.len() < all.len();
    (rest, there)
}

/// Whether something is to be done for a claim even if its pods stay as they are.
fn unsettled(claim: &Object) -> bool {
    let tree = claim.to_value().unwrap_or_default();
    let there = without(&tree, FINALIZER).1;
    claim.deleting() == there || (judged(&tree) && unused(&tree).is_none())
}

/// Whether it is said of a claim since when it is not used: only once whoever binds it has done so.
fn judged(claim: &Value) -> bool {
    claim["status"]["phase"] == "Bound" && claim["metadata"]["deletionTimestamp"].is_null()
}

/// What a claim says about its use.
fn unused(claim: &Value) -> Option<&Value> {
    claim["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == UNUSED)
}

/// The conditions of a claim, if they are to say something else of its use.
fn conditions(claim: &Value, used: bool, now: Timestamp) -> Option<Vec<Value>> {
    let (status, reason, message) = match used {
        true => ("False", "PodUsingPVC", "A pod is currently referencing this PVC"),
        false => ("True", "NoPodsUsingPVC", "No pods are currently referencing this PVC"),
    };
    if unused(claim).is_some_and(|one| one["status"] == status) {
        return None;
    }
    let new = json!({ "type": UNUSED, "status": status, "lastTransitionTime": clock::format_time(now),
        "reason": reason, "message": message });
    let mut all = claim["status"]["conditions"].as_array().cloned().unwrap_or_default();
    match all.iter_mut().find(|one| one["type"] == UNUSED) {
        Some(old) => *old = new,
        None => all.push(new),
    }
    Some(all)
}

/// What of a pod its claims depend on: whether it has a node, has come to its end, and has been let go by its node.
fn stage(pod: &Object) -> (bool, bool, bool) {
    (placed(pod), ended(pod), let_go(pod))
}

fn placed(pod: &Object) -> bool {
    !pod.text_at(&["spec", "nodeName"]).unwrap_or_default().is_empty()
}

fn let_go(pod: &Object) -> bool {
    pod.deleting()
        && pod.value_at(&["metadata", "deletionGracePeriodSeconds"]).is_some_and(|left| left == b"0")
}

/// Whether no container of a pod runs or ever will.
fn ended(pod: &Object) -> bool {
    if pod::terminal(&pod.text_at(&["status", "phase"]).unwrap_or_default()) {
        return true;
    }
    let runs = |field: &str| {
        let all =
            pod.value_at(&["status", field]).and_then(|all| serde_json::from_slice::<Vec<Value>>(all).ok());
        let state = |one: &Value| one["state"]["terminated"].is_null() && one["state"]["waiting"].is_null();
        all.is_some_and(|all| all.iter().any(state))
    };
    pod.deleting()
        && !["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"].into_iter().any(runs)
}

/// Whether a claim may not go because of a pod: one that has a node, even if it has ended, as long as it is there. Its
/// own claims only stay until the node has let it go.
fn keeps(pod: &Object, claim: &str) -> bool {
    if !placed(pod) || !pod::claims(pod).iter().any(|one| one == claim) {
        return false;
    }
    let volumes =
        pod.value_at(&["spec", "volumes"]).and_then(|all| serde_json::from_slice::<Vec<Value>>(all).ok());
    let named = |one: &Value| one["persistentVolumeClaim"]["claimName"] == claim;
    !let_go(pod) || volumes.is_some_and(|all| all.iter().any(named))
}

struct Claims {
    context: Context,
    cache: Arc<Cache>,
    pods: Arc<Cache>,
}

impl Claims {
    async fn in_use(&self, key: &ObjectKey) -> Result<bool> {
        if self.pods.read().indexed(&BY_CLAIM, &key.to_string()).any(|pod| keeps(pod, &key.name)) {
            return Ok(true);
        }
        let live =
            self.context.client.list_all(&Gvr::core("pods"), &key.namespace, &ListOptions::default()).await?;
        Ok(live.items.iter().any(|pod| keeps(pod, &key.name)))
    }

    /// Says whether a claim is used.
    async fn say(&self, claim: &Object, tree: &Value) -> Result<()> {
        let key = claim.key();
        let used = self.pods.read().indexed(&BY_CLAIM, &key.to_string()).any(|pod| !ended(pod));
        if let Some(conditions) = conditions(tree, used, self.context.clock.now()) {
            let change = patch::pinned(claim, json!({ "status": { "conditions": conditions } }));
            self.context.client.patch_status(&claims(), &key, PatchKind::Merge, change).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Reconcile<ObjectKey> for Claims {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(claim) = self.cache.get(key) else { return Ok(Outcome::Done) };
        let tree = claim.to_value().map_err(|error| Error::invalid(key, error))?;
        let (mut finalizers, there) = without(&tree, FINALIZER);
        if claim.deleting() == there {
            if claim.deleting() && self.in_use(key).await? {
                return Ok(Outcome::Done);
            }
            if !claim.deleting() {
                finalizers.push(FINALIZER.into());
            }
            let change = patch::pinned(&claim, json!({ "metadata": { "finalizers": finalizers } }));
            return match self.context.client.patch(&claims(), key, PatchKind::Merge, change).await {
                Err(error) if error.is_not_found() => Ok(Outcome::Done),
                other => Ok(other.map(|_| Outcome::Done)?),
            };
        }
        if judged(&tree) {
            self.say(&claim, &tree).await?;
        }
        Ok(Outcome::Done)
    }
}
