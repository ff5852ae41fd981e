//! Rows of resource.k8s.io/v1: dynamic resource allocation.

use crate::kind::Kind;
use crate::row::row;

const V1: &str = "resource.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "DeviceClass", "deviceclasses").cluster().generation(),
        row(V1, "DeviceTaintRule", "devicetaintrules").cluster().status().generation(),
        row(V1, "ResourceClaim", "resourceclaims").status(),
        row(V1, "ResourceClaimTemplate", "resourceclaimtemplates"),
        row(V1, "ResourceSlice", "resourceslices")
            .cluster()
            .fields(&["spec.nodeName", "spec.driver"])
            .generation(),
    ]
}
