//! A pod that cannot run as it says without a feature of its node's agent goes where the agent declares it.
//!
//! What needs which feature is the table [`FEATURES`]. Answers to NodeDeclaredFeatures and to component-helpers'
//! `nodedeclaredfeatures`.

use super::{Event, Plugin, Verdict};
use crate::pod::Needs;

/// A feature of agents.
pub struct Feature {
    /// Its name, as agents declare it.
    pub name: &'static str,
    /// Whether a pod needs it.
    pub infers: fn(&Needs) -> bool,
}

/// All features that placement depends on.
pub const FEATURES: &[Feature] = &[
    Feature { name: "RestartAllContainersOnContainerExits", infers: |pod| pod.restarts_all },
    Feature { name: "UserNamespacesHostNetworkSupport", infers: |pod| pod.host_network && pod.own_users },
];

/// NodeDeclaredFeatures
pub const PLUGIN: Plugin = Plugin {
    filter: |pod, view| {
        let features = &pod.template.features;
        if features.is_empty() {
            return None;
        }
        Some(Box::new(move |index| {
            let declared = &view.node(index).features;
            let lacks = !features.iter().all(|one| declared.iter().any(|own| **own == **one));
            Verdict::unless(lacks, "node(s) didn't match Pod's required features")
        }))
    },
    hint: |_, event, cluster| match event {
        Event::Node(old, index) => {
            old.as_ref().is_none_or(|old| old.features != cluster.node(*index).features)
        }
        _ => false,
    },
    ..Plugin::named("NodeDeclaredFeatures")
};
