//! Rows of batch/v1.

use crate::kind::Kind;
use crate::row::row;

const V1: &str = "batch/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "CronJob", "cronjobs").short(&["cj"]).category("all").status().generation(),
        row(V1, "Job", "jobs")
            .category("all")
            .status()
            .fields(&["status.successful<status.succeeded=0"])
            .generation(),
    ]
}
