//! Rows of storage.k8s.io/v1.

mod driver;
mod rules;

use crate::kind::Kind;
use crate::row::row;
use crate::table::cluster;

const V1: &str = "storage.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "CSIDriver", "csidrivers")
            .table(cluster::table_of_csi_drivers())
            .cluster()
            .versioned_update()
            .generation()
            .rules(driver::DRIVER),
        row(V1, "CSINode", "csinodes")
            .table(cluster::table_of_csi_nodes())
            .cluster()
            .versioned_update()
            .rules(driver::NODE),
        row(V1, "CSIStorageCapacity", "csistoragecapacities")
            .table(cluster::table_of_csi_storage_capacities())
            .versioned_update()
            .rules(driver::CAPACITY),
        row(V1, "StorageClass", "storageclasses")
            .defaults(include_str!("../defaults/storage.txt"))
            .table(cluster::table_of_storage_classes())
            .cluster()
            .short(&["sc"])
            .rules(rules::STORAGE_CLASS),
        row(V1, "VolumeAttachment", "volumeattachments")
            .table(cluster::table_of_volume_attachments())
            .cluster()
            .status()
            .versioned_update()
            .rules(rules::ATTACHMENT),
        row(V1, "VolumeAttributesClass", "volumeattributesclasses")
            .table(cluster::table_of_volume_attributes_classes())
            .cluster()
            .short(&["vac"])
            .rules(rules::ATTRIBUTES_CLASS),
    ]
}
