//! Rows of node.k8s.io/v1.

mod rules;

use crate::kind::Kind;
use crate::row::row;
use crate::table::cluster;

const V1: &str = "node.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "RuntimeClass", "runtimeclasses")
            .table(cluster::table_of_runtime_classes())
            .cluster()
            .versioned_update()
            .rules(rules::RUNTIME_CLASS),
    ]
}
