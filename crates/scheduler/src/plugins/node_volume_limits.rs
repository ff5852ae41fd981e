//! A node has no more volumes of a driver than the driver can attach there.
//!
//! Answers to NodeVolumeLimits.

use super::{Event, Plugin, Verdict};
use crate::cluster::Cluster;
use gifee_base::ObjectKey;
use std::collections::BTreeSet;

/// NodeVolumeLimits
pub const PLUGIN: Plugin = Plugin {
    filter: |pod, view| {
        let own: BTreeSet<_> = volumes(view.cluster, &pod.claims()).collect();
        if own.is_empty() {
            return None;
        }
        Some(Box::new(move |index| {
            let node = view.node(index);
            let there: BTreeSet<_> = volumes(view.cluster, &view.load(index).claims).collect();
            let exceeds = own.iter().any(|(driver, _)| {
                let of_driver = own.union(&there).filter(|(one, _)| one == driver).count();
                let new = own.iter().any(|one| one.0 == *driver && !there.contains(one));
                let limit = view.cluster.storage.limit(&node.name, driver);
                new && limit.is_some_and(|limit| i64::try_from(of_driver).unwrap_or(i64::MAX) > limit)
            });
            match exceeds {
                true => Verdict::rejects("node(s) exceed max volume count", true),
                false => Verdict::Fits,
            }
        }))
    },
    hint: |_, event, _| match event {
        Event::Node(old, _) => old.is_none(),
        Event::Freed(freed, _) => !freed.claims.is_empty(),
        Event::Storage(_) => true,
        _ => false,
    },
    ..Plugin::named("NodeVolumeLimits")
};

/// Driver and handle of claims' volumes; a claim without a volume yet counts as one of its own.
fn volumes<'a>(
    cluster: &'a Cluster,
    claims: &[ObjectKey],
) -> impl Iterator<Item = (String, String)> + use<'a> {
    let storage = &cluster.storage;
    let found: Vec<_> = claims
        .iter()
        .filter_map(|key| {
            let claim = storage.claim(key)?;
            match storage.volume_of(claim) {
                Some(volume) => volume.csi().map(|(driver, handle)| (driver.into(), handle.into())),
                None => storage.driver_of(claim).map(|driver| (driver.into(), key.to_string())),
            }
        })
        .collect();
    found.into_iter()
}
