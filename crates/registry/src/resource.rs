//! Rows of resource.k8s.io/v1: dynamic resource allocation.

mod capacity;
mod claim;
mod device;
mod expression;
mod rules;
mod slice;

use crate::kind::Kind;
use crate::row::row;
use crate::table::{extension, name_and_age};

const V1: &str = "resource.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "DeviceClass", "deviceclasses")
            .table(name_and_age())
            .cluster()
            .generation()
            .rules(rules::DEVICE_CLASS),
        row(V1, "DeviceTaintRule", "devicetaintrules")
            .table(name_and_age())
            .cluster()
            .status()
            .generation()
            .rules(rules::TAINT_RULE),
        row(V1, "ResourceClaim", "resourceclaims")
            .defaults(include_str!("../defaults/resource.txt"))
            .table(extension::table_of_resource_claims())
            .status()
            .rules(rules::CLAIM),
        row(V1, "ResourceClaimTemplate", "resourceclaimtemplates")
            .table(name_and_age())
            .rules(rules::CLAIM_TEMPLATE),
        row(V1, "ResourceSlice", "resourceslices")
            .table(extension::table_of_resource_slices())
            .cluster()
            .indexed("spec.nodeName")
            .fields(&["spec.driver"])
            .generation()
            .rules(rules::SLICE),
    ]
}
