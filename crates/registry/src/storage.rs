//! Rows of storage.k8s.io/v1.

use crate::kind::Kind;
use crate::row::row;

const V1: &str = "storage.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "CSIDriver", "csidrivers").cluster().versioned_update().generation(),
        row(V1, "CSINode", "csinodes").cluster().versioned_update(),
        row(V1, "CSIStorageCapacity", "csistoragecapacities").versioned_update(),
        row(V1, "StorageClass", "storageclasses").cluster().short(&["sc"]),
        row(V1, "VolumeAttachment", "volumeattachments").cluster().status().versioned_update(),
        row(V1, "VolumeAttributesClass", "volumeattributesclasses").cluster().short(&["vac"]),
    ]
}
