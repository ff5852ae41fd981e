//! Rows of coordination.k8s.io/v1.

mod rules;

use crate::kind::Kind;
use crate::row::row;
use crate::table::cluster;

const V1: &str = "coordination.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "Lease", "leases")
            .table(cluster::table_of_leases())
            .create_on_update()
            .versioned_update()
            .rules(rules::LEASE),
    ]
}
