//! A pod that names its node runs nowhere else.

use super::{Plugin, Verdict, accepts_now};

/// NodeName
pub const PLUGIN: Plugin = Plugin {
    filter: |pod, cluster| {
        let name = pod.node.as_deref()?;
        Some(Box::new(move |index| {
            Verdict::unless(
                *cluster.node(index).name != *name,
                "node(s) didn't match the requested node name",
            )
        }))
    },
    hint: |pod, event, cluster| accepts_now(event, cluster, |node| pod.node.as_ref() == Some(&node.name)),
    ..Plugin::named("NodeName")
};
