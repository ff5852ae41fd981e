//! Rows of batch/v1.

mod cron;
mod indexes;
mod job;
mod policy;
mod schedule;
mod status;

use crate::kind::Kind;
use crate::row::row;
use crate::table::workload;

const V1: &str = "batch/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "CronJob", "cronjobs")
            .table(workload::table_of_cron_jobs())
            .short(&["cj"])
            .category("all")
            .status()
            .generation()
            .rules(cron::CRON_JOB),
        row(V1, "Job", "jobs")
            .defaults(include_str!("../defaults/batch.txt"))
            .table(workload::table_of_jobs())
            .category("all")
            .status()
            .fields(&["status.successful<status.succeeded=0"])
            .generation()
            .rules(job::JOB),
    ]
}
