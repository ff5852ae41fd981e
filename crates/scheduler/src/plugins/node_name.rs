//! A pod that names its node runs nowhere else.

use super::{Plugin, Verdict, accepts_now};

/// NodeName
pub const PLUGIN: Plugin = Plugin {
    filter: |pod, view| {
        let name = pod.node.as_deref()?;
        Some(Box::new(move |index| {
            Verdict::unless(*view.node(index).name != *name, "node(s) didn't match the requested node name")
        }))
    },
    hint: |_, event, cluster| accepts_now(event, cluster, |_| true),
    ..Plugin::named("NodeName")
};
