//! A volume that names its zone is used by nodes of that zone.
//!
//! Answers to VolumeZone.

use super::{Event, Plugin, Verdict};

/// VolumeZone
pub const PLUGIN: Plugin = Plugin {
    filter: |pod, view| {
        let storage = &view.cluster.storage;
        let claims = pod.claims();
        let volumes: Vec<_> = claims
            .iter()
            .filter_map(|key| storage.claim(key))
            .filter_map(|claim| storage.volume_of(claim))
            .collect();
        if volumes.is_empty() {
            return None;
        }
        Some(Box::new(move |index| {
            let node = view.node(index);
            let rejected = volumes.iter().any(|volume| !volume.is_in_zone_of(node));
            Verdict::unless(rejected, "node(s) had no available volume zone")
        }))
    },
    hint: |_, event, cluster| match event {
        Event::Node(old, index) => old.as_ref().is_none_or(|old| old.labels != cluster.node(*index).labels),
        Event::Storage(_) => true,
        _ => false,
    },
    ..Plugin::named("VolumeZone")
};
