//! Rows of scheduling.k8s.io: priorities, and groups of pods that start together.

mod group;
mod rules;

use crate::kind::Kind;
use crate::row::row;
use crate::table::cluster;

const V1: &str = "scheduling.k8s.io/v1";
/// Upstream has no later version of what is here.
const V1BETA1: &str = "scheduling.k8s.io/v1beta1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "PriorityClass", "priorityclasses")
            .defaults(include_str!("../defaults/scheduling.txt"))
            .table(cluster::table_of_priority_classes())
            .cluster()
            .short(&["pc"])
            .rules(rules::PRIORITY_CLASS),
        row(V1BETA1, "PodGroup", "podgroups")
            .defaults(include_str!("../defaults/scheduling.txt"))
            .status()
            .generation()
            .rules(group::POD_GROUP),
    ]
}
