//! Rows of storagemigration.k8s.io/v1.

mod rules;

use crate::kind::Kind;
use crate::row::row;
use crate::table::extension;

const V1: &str = "storagemigration.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "StorageVersionMigration", "storageversionmigrations")
            .table(extension::table_of_storage_version_migrations())
            .cluster()
            .status()
            .versioned_update()
            .rules(rules::MIGRATION),
    ]
}
