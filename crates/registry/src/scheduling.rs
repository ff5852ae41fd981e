//! Rows of scheduling.k8s.io/v1.

mod rules;

use crate::kind::Kind;
use crate::row::row;
use crate::table::cluster;

const V1: &str = "scheduling.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "PriorityClass", "priorityclasses")
            .defaults(include_str!("../defaults/scheduling.txt"))
            .table(cluster::table_of_priority_classes())
            .cluster()
            .short(&["pc"])
            .generation()
            .rules(rules::PRIORITY_CLASS),
    ]
}
