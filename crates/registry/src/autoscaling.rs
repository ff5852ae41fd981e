//! Rows of autoscaling/v2 and autoscaling/v1; v2, which loses nothing, is stored.

use crate::kind::Kind;
use crate::row::row;

/// Rows of this group, the preferred version first.
pub fn rows() -> Vec<Kind> {
    ["autoscaling/v2", "autoscaling/v1"]
        .map(|version| {
            row(version, "HorizontalPodAutoscaler", "horizontalpodautoscalers")
                .short(&["hpa"])
                .category("all")
                .status()
        })
        .into()
}
