//! Rows of apps/v1.

mod daemon;
mod rules;
mod stateful;

use crate::kind::Kind;
use crate::row::row;
use crate::table::workload;
use gifee_base::name;

pub(crate) use rules::runs_forever;

const V1: &str = "apps/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "ControllerRevision", "controllerrevisions")
            .table(workload::table_of_controller_revisions())
            .rules(daemon::CONTROLLER_REVISION),
        row(V1, "DaemonSet", "daemonsets")
            .table(workload::table_of_daemon_sets())
            .short(&["ds"])
            .category("all")
            .status()
            .generation()
            .rules(daemon::DAEMON_SET),
        row(V1, "Deployment", "deployments")
            .defaults(include_str!("../defaults/apps.txt"))
            .table(workload::table_of_deployments())
            .short(&["deploy"])
            .category("all")
            .scale()
            .status()
            .generation()
            .rules(rules::DEPLOYMENT),
        row(V1, "ReplicaSet", "replicasets")
            .table(workload::table_of_replica_sets())
            .short(&["rs"])
            .category("all")
            .scale()
            .status()
            .fields(&["status.replicas=0"])
            .generation()
            .rules(rules::REPLICA_SET),
        row(V1, "StatefulSet", "statefulsets")
            .table(workload::table_of_stateful_sets())
            .short(&["sts"])
            .category("all")
            .scale()
            .status()
            .named(name::dns_label)
            .generation()
            .rules(stateful::STATEFUL_SET),
    ]
}
