//! Which images go when the disk fills.
//!
//! Invariant: what a pod of this node names or a container was made of stays, and so does what was not pulled, since it
//! could not be had again. Answers to `pkg/kubelet/images/image_gc_manager.go`, with its thresholds.

use std::collections::{BTreeSet, HashMap};

use gifee_oci::Image;
use jiff::Timestamp;

use crate::agent::Agent;
use crate::config::ImageCollection;
use crate::pod::members;
use crate::usage::Room;

/// When each image was first seen, and last seen in use; as many as there are images.
#[derive(Default)]
pub(super) struct Known(HashMap<String, (Timestamp, Timestamp)>);

/// Bytes to be freed of a disk; none below the threshold. As df counts: what is set aside for others is not there.
pub(super) fn needed(room: Room, collection: &ImageCollection) -> u64 {
    let usable = room.used.saturating_add(room.available);
    let percent = |share: u64| usable / 100 * share;
    let full = usable > 0 && room.used >= percent(collection.high_percent);
    if full { room.used.saturating_sub(percent(collection.low_percent)) } else { 0 }
}

impl Known {
    /// Takes note of what is there and in use, and chooses what goes, the longest unused first.
    pub(super) fn choose(
        &mut self,
        images: &[Image],
        used: &BTreeSet<String>,
        need: u64,
        collection: &ImageCollection,
        now: Timestamp,
    ) -> Vec<String> {
        self.0.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in images {
            let (_, last) = self.0.entry(image.id.clone()).or_insert((now, now));
            if used.contains(&image.id) {
                *last = now;
            }
        }
        let first = |image: &Image| self.0.get(&image.id).copied().unwrap_or((now, now));
        let old = |image: &&Image| now.duration_since(first(image).0) >= collection.minimum_age;
        let mut free: Vec<&Image> = images
            .iter()
            .filter(|image| !used.contains(&image.id) && !image.digests.is_empty())
            .filter(old)
            .collect();
        free.sort_by_key(|image| (first(image).1, first(image).0, image.id.clone()));
        let mut freed = 0;
        let enough = |image: &&Image| {
            let more = freed < need;
            freed += image.size;
            more
        };
        free.into_iter().take_while(enough).map(|image| image.id.clone()).collect()
    }
}

/// The images that are in use.
pub(super) async fn used(agent: &Agent) -> gifee_oci::Result<BTreeSet<String>> {
    let mut used: BTreeSet<String> =
        agent.runtime.containers().await?.into_iter().map(|one| one.image_id).collect();
    let mailboxes: Vec<_> = agent.pods.lock().values().cloned().collect();
    let pods = mailboxes.iter().filter_map(|mailbox| mailbox.shown());
    let mut names = BTreeSet::new();
    for shown in pods {
        names.extend(members::members(&shown.pod).into_iter().filter_map(|member| member.container.image));
        let volumes = members::spec(&shown.pod).volumes.iter().flatten();
        names.extend(volumes.filter_map(|volume| volume.image.as_ref()?.reference.clone()));
    }
    for name in names {
        // A name that means nothing is used by nobody.
        if let Ok(Some(image)) = agent.images.service().inspect(&name).await {
            used.insert(image.id);
        }
    }
    Ok(used)
}
