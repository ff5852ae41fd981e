//! A pod's claims must have their volumes, or be able to get them, where it runs.
//!
//! Answers to VolumeBinding.

use super::{Event, Plugin, Text, Verdict};
use crate::placement::View;
use crate::pod::Pod;
use crate::storage::Conflict;
use smallvec::SmallVec;

/// VolumeBinding
pub const PLUGIN: Plugin = Plugin {
    refuse,
    filter: |pod, view| {
        if pod.template.claims.is_empty() {
            return None;
        }
        let claims = pod.claims();
        Some(Box::new(move |index| match view.cluster.storage.find(&claims, view.node(index)) {
            Ok(_) => Verdict::Fits,
            Err(conflicts) => {
                let reasons: SmallVec<[Text; 1]> = conflicts.into_iter().map(reason).collect();
                Verdict::Rejects { reasons, resolvable: false }
            }
        }))
    },
    hint: |pod, event, cluster| match event {
        Event::Node(old, index) => old.as_ref().is_none_or(|old| old.labels != cluster.node(*index).labels),
        Event::Storage(claim) => claim.as_ref().is_none_or(|claim| claim.namespace == pod.namespace),
        _ => false,
    },
    ..Plugin::named("VolumeBinding")
};

fn reason(conflict: Conflict) -> Text {
    match conflict {
        Conflict::NoVolume => "node(s) didn't find available persistent volumes to bind",
        Conflict::Affinity => "node(s) had volume node affinity conflict",
        Conflict::Space => "node(s) did not have enough free storage",
        Conflict::Missing => "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
    }
    .into()
}

/// What keeps a pod from every node.
fn refuse(pod: &Pod, view: &View<'_>) -> Option<Text> {
    let storage = &view.cluster.storage;
    let mut immediate = false;
    for (key, (_, ephemeral)) in pod.claims().iter().zip(&pod.template.claims) {
        let name = &key.name;
        let Some(claim) = storage.claim(key) else {
            return Some(
                match ephemeral {
                    true => format!(
                        "waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"
                    ),
                    false => format!("persistentvolumeclaim {name:?} not found"),
                }
                .into(),
            );
        };
        if claim.lost {
            let volume = &claim.volume;
            let why =
                format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}");
            return Some(why.into());
        }
        if claim.deleting {
            return Some(format!("persistentvolumeclaim {name:?} is being deleted").into());
        }
        if *ephemeral && claim.owner.as_deref() != Some(&*pod.uid) {
            let why = format!("PVC {key} was not created for pod {} (pod is not owner)", pod.key);
            return Some(why.into());
        }
        immediate |= !claim.bound && (!claim.volume.is_empty() || !storage.delays(claim));
    }
    immediate.then_some("pod has unbound immediate PersistentVolumeClaims".into())
}
