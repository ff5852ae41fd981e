//! Rows of flowcontrol.apiserver.k8s.io/v1.

use crate::kind::Kind;
use crate::row::row;

const V1: &str = "flowcontrol.apiserver.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "FlowSchema", "flowschemas").cluster().status().generation(),
        row(V1, "PriorityLevelConfiguration", "prioritylevelconfigurations").cluster().status().generation(),
    ]
}
