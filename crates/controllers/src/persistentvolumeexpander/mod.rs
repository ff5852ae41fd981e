//! Grows volumes whose claims ask for more.
//!
//! What a driver holds, its own resizer grows: it is only said that it is waited for. A volume that lies on a host has
//! no limit of its own, so that its new size is only written down, first on the volume, then on the claim. Answers to
//! upstream's volume expansion controller.

pub mod plan;
#[cfg(test)]
mod tests;

use crate::Config;
use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gifee_base::{Gvk, Gvr, ObjectKey};
use gifee_client::{Cache, PatchKind, Queue, Scope};
use gifee_reconcile::{Context, Error, Outcome, Reconcile, Reference, Result, patch, work};
use plan::{Plan, plan, wants_more};
use serde_json::json;
use std::sync::Arc;

/// Upstream's name.
pub const NAME: &str = "persistentvolume-expander-controller";
/// Who its events are from.
const COMPONENT: &str = "volume_expand";

fn claims() -> Gvr {
    Gvr::core("persistentvolumeclaims")
}

fn volumes() -> Gvr {
    Gvr::core("persistentvolumes")
}

/// Runs until the context's shutdown.
pub fn run(context: Context, _: Arc<Config>) -> BoxFuture<'static, ()> {
    async move {
        let queue = Arc::new(Queue::new());
        let caches = &context.caches;
        let (claims, volumes) = (caches.scope(Scope::all(claims())), caches.scope(Scope::all(volumes())));
        claims.synced().await;
        volumes.synced().await;
        let sink = queue.clone();
        claims.subscribe(move |change| {
            let asked = |claim: &gifee_base::Object| {
                claim.value_at(&["spec", "resources", "requests", "storage"]).map(<[u8]>::to_vec)
            };
            // One who waits for a driver is told so once for each size.
            if let Some(new) = change.new
                && change.old.is_none_or(|old| asked(old) != asked(new))
                && new.to_value().is_ok_and(|claim| wants_more(&claim))
            {
                sink.add(new.key());
            }
        });
        let controller = Arc::new(Expander { context: context.recording(COMPONENT), claims, volumes });
        work(&context, NAME, queue, controller, 1).await;
    }
    .boxed()
}

struct Expander {
    context: Context,
    claims: Arc<Cache>,
    volumes: Arc<Cache>,
}

#[async_trait]
impl Reconcile<ObjectKey> for Expander {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(object) = self.claims.get(key) else { return Ok(Outcome::Done) };
        let claim = object.to_value().map_err(|error| Error::invalid(key, error))?;
        let name = claim["spec"]["volumeName"].as_str().unwrap_or_default();
        let Some(volume) = self.volumes.get(&ObjectKey::cluster(name)) else { return Ok(Outcome::Done) };
        let tree = volume.to_value().map_err(|error| Error::invalid(name, error))?;
        let client = &self.context.client;
        let about = Reference::new(&object, &Gvk::new("", "v1", "PersistentVolumeClaim"));
        match plan(&claim, &tree) {
            Plan::Nothing => {}
            Plan::Unbound => {
                let why = format!("persistent Volume is not bound to PVC being updated : {key}");
                return Err(Error::invalid(key, why));
            }
            Plan::Elsewhere => {
                let message = "waiting for an external controller to expand this PVC";
                self.context.events.normal(about, "ExternalExpanding", message);
            }
            Plan::Write { capacity, volume: grow, conditions } => {
                if grow {
                    let change = json!({ "spec": { "capacity": { "storage": capacity } } });
                    let change = patch::pinned(&volume, change);
                    client.patch(&volumes(), &volume.key(), PatchKind::Merge, change).await?;
                }
                let status = json!({ "capacity": { "storage": capacity }, "conditions": conditions });
                let change = patch::pinned(&object, json!({ "status": status }));
                client.patch_status(&claims(), key, PatchKind::Merge, change).await?;
                let message = format!("ExpandVolume succeeded for volume {key}");
                self.context.events.normal(about, "VolumeResizeSuccessful", message);
            }
        }
        Ok(Outcome::Done)
    }
}
