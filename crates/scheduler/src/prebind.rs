//! What is written before a pod is bound: which volumes its claims are to have, and which devices.
//!
//! Invariant: a device that was given to a claim is free again only if the write of it has failed, or the API says so.
//! Answers to the PreBind and Unreserve of VolumeBinding and DynamicResources.

use crate::devices::object::{Allocation, Claim};
use crate::devices::{self, FINALIZER, Reservation};
use crate::drive::Shared;
use crate::pod::Pod;
use crate::scheduler::{Binding, Scheduler};
use crate::storage::Bindings;
use gifee_base::{Gvr, Object, clock};
use gifee_client::{Error, PatchKind, Result};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// So often a claim is read again that somebody else has changed meanwhile.
const CONFLICTS_MAXIMUM: usize = 5;
/// How long a pod waits for conditions of its devices before it is tried again.
const CONDITIONS_TIMEOUT: Duration = Duration::from_secs(600);

fn claims() -> Gvr {
    Gvr::new("resource.k8s.io", "v1", "resourceclaims")
}

impl Binding {
    /// Whether something is to be written, and perhaps waited for, before the pod is bound.
    pub fn waits(&self) -> bool {
        let plain = self.volumes.is_empty() && self.devices.is_empty();
        !(self.prepared || plain)
    }
}

impl Scheduler {
    /// Pods with claims of devices are not tried before all about devices is known.
    pub fn await_devices(&mut self) {
        // Rules are none of what a server must have.
        self.cluster.devices.unknown = 0b0111;
    }
}

impl Shared {
    /// Does what is to be done before a pod is bound; otherwise whose work failed, and why.
    pub(crate) async fn prepare(
        &self,
        binding: &mut Binding,
    ) -> std::result::Result<(), (&'static str, String)> {
        if !binding.volumes.is_empty() {
            let outcome = self.bind_volumes(binding).await;
            if let Err(why) = outcome {
                self.tell(|scheduler, now| scheduler.forget_devices(&binding.devices, now));
                return Err(("VolumeBinding", why));
            }
            binding.volumes = Bindings::default();
        }
        if let Err(why) = self.bind_devices(binding).await {
            self.tell(|scheduler, now| scheduler.forget_devices(&binding.devices, now));
            self.unreserve(binding).await;
            return Err(("DynamicResources", why));
        }
        binding.prepared = true;
        Ok(())
    }

    async fn bind_devices(&self, binding: &Binding) -> std::result::Result<(), String> {
        for reservation in &binding.devices {
            let revision = self.reserve(&binding.pod, reservation).await?;
            self.scheduler.lock().cluster.devices.written(reservation, revision);
        }
        let deadline = Instant::now() + CONDITIONS_TIMEOUT;
        loop {
            let changed = self.stored.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let outcome = self.scheduler.lock().conditions(binding);
            if let Some(outcome) = outcome {
                return outcome;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err("device binding timeout".into());
            }
        }
    }

    /// Writes what a claim gets, and that the pod uses it; the claim's revision.
    async fn reserve(&self, pod: &Pod, reservation: &Reservation) -> std::result::Result<u64, String> {
        let key = &reservation.key;
        let mut claim = (*reservation.claim).clone();
        for _ in 0..=CONFLICTS_MAXIMUM {
            if claim.deleting {
                return Err(format!("claim {key} got deleted in the meantime"));
            }
            if reservation.allocation.is_some() && claim.allocation.is_some() {
                return Err(format!("claim {key} got allocated elsewhere in the meantime"));
            }
            match self.write(pod, reservation, &mut claim).await {
                Ok(object) => return Ok(object.revision()),
                Err((_, error)) if error.is_conflict() => {
                    let fresh = self.effects.client.get(&claims(), key).await;
                    let fresh =
                        fresh.map_err(|error| format!("get updated claim {key} after conflict: {error}"))?;
                    claim = Claim::decode(&fresh).map_err(|error| error.to_string())?;
                }
                Err((what, error)) => return Err(format!("{what} claim {key}: {error}")),
            }
        }
        Err(format!("claim {key} is changed by others again and again"))
    }

    async fn write(
        &self,
        pod: &Pod,
        reservation: &Reservation,
        claim: &mut Claim,
    ) -> std::result::Result<Object, (&'static str, Error)> {
        let (client, key) = (&self.effects.client, &reservation.key);
        if reservation.allocation.is_some() && claim.finalizers.iter().all(|one| one != FINALIZER) {
            claim.finalizers.push(FINALIZER.into());
            let patch = json!({ "metadata": {
                "uid": &*claim.uid, "resourceVersion": claim.revision.to_string(), "finalizers": claim.finalizers,
            } });
            let object = client.patch(&claims(), key, PatchKind::Merge, patch).await;
            claim.revision = object.map_err(|error| ("add finalizer to", error))?.revision();
        }
        let mut reserved = claim.reserved.clone();
        if !claim.is_reserved_for(&pod.uid) {
            reserved.push(json!({ "resource": "pods", "name": &*pod.key.name, "uid": &*pod.uid }));
        }
        let mut status = json!({ "reservedFor": reserved });
        let mut what = "add reservation to";
        if let Some(allocation) = &reservation.allocation {
            status["allocation"] = self.stamped(allocation);
            what = "add allocation and reservation to";
        }
        let patch = pinned(claim, status);
        client.patch_status(&claims(), key, PatchKind::Merge, patch).await.map_err(|error| (what, error))
    }

    fn stamped(&self, allocation: &Allocation) -> Value {
        let mut tree = allocation.tree.clone();
        tree["allocationTimestamp"] = clock::format_time(self.effects.clock.now()).into();
        tree
    }

    /// A pod does not use its claims after all.
    pub(crate) async fn unreserve(&self, binding: &Binding) {
        let pod = &*binding.pod.uid;
        for one in &binding.devices {
            let patch = json!({ "metadata": { "uid": &*one.claim.uid },
                "status": { "reservedFor": [{ "$patch": "delete", "uid": pod }] } });
            let client = &self.effects.client;
            if let Err(error) = client.patch_status(&claims(), &one.key, PatchKind::Strategic, patch).await {
                tracing::debug!(claim = %one.key, %error, "cannot unreserve");
            }
        }
    }

    /// Takes its devices from a claim that nobody uses.
    pub(crate) async fn deallocate(&self, reservation: &Reservation) {
        let status = json!({ "allocation": null, "reservedFor": null });
        let patch = pinned(&reservation.claim, status);
        let outcome: Result<Object> =
            self.effects.client.patch_status(&claims(), &reservation.key, PatchKind::Merge, patch).await;
        if let Err(error) = outcome {
            tracing::debug!(claim = %reservation.key, %error, "cannot deallocate");
        }
    }
}

impl Scheduler {
    /// Whether the devices of a pod that is being bound are ready for it; none while they may yet get so.
    fn conditions(&self, binding: &Binding) -> Option<std::result::Result<(), String>> {
        if !self.is_binding(&binding.pod) {
            return Some(Err("pod does not exist any more".into()));
        }
        let conditional = |one: &&Reservation| {
            let allocation = one.allocation.as_ref().or(one.claim.allocation.as_ref());
            allocation.is_some_and(|one| one.is_conditional())
        };
        for one in binding.devices.iter().filter(conditional) {
            let claim = self.cluster.devices.claim(&one.key)?;
            match devices::outcome(claim)? {
                Ok(()) => {}
                failed => return Some(failed),
            }
        }
        Some(Ok(()))
    }
}

/// A change of a status that applies only to the claim as it was.
fn pinned(claim: &Claim, status: Value) -> Value {
    let metadata = json!({ "uid": &*claim.uid, "resourceVersion": claim.revision.to_string() });
    json!({ "metadata": metadata, "status": status })
}
