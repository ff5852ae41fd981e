//! Emptying a volume that is to be used again: a pod does it, whose end says how it went. Pure.
//!
//! Only volumes that lie on a host or on NFS can be emptied. Answers to upstream's recycler.

use super::effect::{Draft, Effect, Of};
use super::plan::VolumeView;
use gifee_reconcile::events::Severity::Normal;
use serde_json::{Value, json};

/// Where the pods run that empty volumes.
pub const NAMESPACE: &str = "default";
const PREFIX: &str = "recycler-for-";
const IMAGE: &str = "registry.k8s.io/build-image/debian-base:bookworm-v1.0.6";
const SCRIPT: &str =
    "test -e /scrub && find /scrub -mindepth 1 -delete && test -z \"$(ls -A /scrub)\" || exit 1";
/// What can be emptied, and how many seconds that may take at least.
const RECYCLABLE: &[(&str, i64)] = &[("hostPath", 60), ("nfs", 300)];
const SECONDS_PER_GIBIBYTE: i64 = 30;

/// The volume that a pod empties, by the pod's name.
pub fn volume_of(pod: &str) -> Option<&str> {
    pod.strip_prefix(PREFIX)
}

/// The name of the pod that empties a volume.
pub fn pod_of(volume: &str) -> String {
    format!("{PREFIX}{volume}")
}

/// Plans the next step of emptying a volume.
pub(super) fn plan(draft: &mut Draft, view: &VolumeView) {
    let Some((source, seconds)) =
        RECYCLABLE.iter().find(|(source, _)| draft.volume.tree["spec"][*source].is_object())
    else {
        return draft.volume_fails("VolumeFailedRecycle", "No recycler plugin found for the volume!");
    };
    if !view.used_by.is_empty() {
        let message = format!("Volume is used by pods: {}", view.used_by.join(","));
        return draft.event(Of::Volume, Normal, "VolumeFailedRecycle", message);
    }
    let Some(pod) = &view.recycler else {
        let scrub = pod_for(draft, source, *seconds);
        return draft.effects.push(Effect::Scrub(scrub));
    };
    match pod["status"]["phase"].as_str() {
        Some("Succeeded") => {
            draft.effects.push(Effect::Swept);
            draft.event(Of::Volume, Normal, "VolumeRecycled", "Volume recycled");
            draft.unbind();
        }
        Some("Failed") => {
            let why = pod["status"]["message"].as_str().unwrap_or_default();
            let why = if why.is_empty() { "pod failed, pod.Status.Message unknown" } else { why };
            draft.effects.push(Effect::Swept);
            draft.volume_fails("VolumeFailedRecycle", &format!("Recycle failed: {why}"));
        }
        _ => {}
    }
}

fn pod_for(draft: &Draft, source: &str, seconds: i64) -> Value {
    let gibibytes = draft.volume.capacity().value() >> 30;
    let seconds = seconds.max(gibibytes.saturating_mul(SECONDS_PER_GIBIBYTE));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": pod_of(draft.volume.name()), "namespace": NAMESPACE },
        "spec": {
            "restartPolicy": "Never", "activeDeadlineSeconds": seconds,
            "volumes": [{ "name": "vol", source: draft.volume.tree["spec"][source] }],
            "containers": [{
                "name": "pv-recycler", "image": IMAGE, "command": ["/bin/sh"], "args": ["-c", SCRIPT],
                "volumeMounts": [{ "name": "vol", "mountPath": "/scrub" }],
            }],
        },
    })
}
