//! Prefers nodes that have a pod's images, the more so the larger they are and the more nodes have them,
//! so that not all pods of an image run where it happened to be first.

use super::{Plugin, SCORE_MAXIMUM, Scale, Scoring};

const SIZE_MINIMUM: i64 = 23 << 20;
const SIZE_MAXIMUM_PER_IMAGE: i64 = 1000 << 20;

/// ImageLocality
pub const PLUGIN: Plugin = Plugin {
    score: Some(Scoring {
        weight: 1,
        scale: Scale::Absolute,
        prepare: |pod, view, _| {
            let cluster = view.cluster;
            let images = &pod.template.images;
            let nodes = i64::try_from(cluster.known().len()).unwrap_or(i64::MAX).max(1);
            // Images that no node has change nothing.
            let present: Vec<(&str, i64)> = images
                .iter()
                .map(|image| (image.as_str(), i64::try_from(cluster.nodes_with_image(image)).unwrap_or(0)))
                .filter(|(_, spread)| *spread > 0)
                .collect();
            if present.is_empty() {
                return None;
            }
            let maximum = SIZE_MAXIMUM_PER_IMAGE * i64::try_from(images.len()).unwrap_or(1);
            Some(Box::new(move |index| {
                let node = cluster.node(index);
                let local = present.iter().filter_map(|(image, spread)| {
                    node.image(image).map(|size| size.saturating_mul(*spread) / nodes)
                });
                let sum = local.sum::<i64>().clamp(SIZE_MINIMUM, maximum);
                SCORE_MAXIMUM * (sum - SIZE_MINIMUM) / (maximum - SIZE_MINIMUM)
            }))
        },
    }),
    fingerprint: |template, cluster| {
        let nodes = template.images.iter().map(|image| cluster.nodes_with_image(image) as u64);
        let sum = nodes.fold(0_u64, |sum, nodes| sum.wrapping_mul(1_000_003).wrapping_add(nodes));
        if sum == 0 { 0 } else { sum.wrapping_mul(1_000_003).wrapping_add(cluster.known().len() as u64) }
    },
    ..Plugin::named("ImageLocality")
};
