//! Rows of apps/v1.

use crate::kind::Kind;
use crate::row::row;
use gifee_base::name;

const V1: &str = "apps/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "ControllerRevision", "controllerrevisions"),
        row(V1, "DaemonSet", "daemonsets").short(&["ds"]).category("all").status().generation(),
        row(V1, "Deployment", "deployments").short(&["deploy"]).category("all").scale().status().generation(),
        row(V1, "ReplicaSet", "replicasets")
            .short(&["rs"])
            .category("all")
            .scale()
            .status()
            .fields(&["status.replicas=0"])
            .generation(),
        row(V1, "StatefulSet", "statefulsets")
            .short(&["sts"])
            .category("all")
            .scale()
            .status()
            .named(name::dns_label)
            .generation(),
    ]
}
