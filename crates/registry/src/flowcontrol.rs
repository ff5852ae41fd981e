//! Rows of flowcontrol.apiserver.k8s.io/v1.

mod level;
mod matching;
mod rules;

use crate::kind::Kind;
use crate::row::row;
use crate::table::extension;

const V1: &str = "flowcontrol.apiserver.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "FlowSchema", "flowschemas")
            .defaults(include_str!("../defaults/flowcontrol.txt"))
            .table(extension::table_of_flow_schemas())
            .cluster()
            .status()
            .generation()
            .rules(rules::FLOW_SCHEMA),
        row(V1, "PriorityLevelConfiguration", "prioritylevelconfigurations")
            .table(extension::table_of_priority_levels())
            .cluster()
            .status()
            .generation()
            .rules(level::PRIORITY_LEVEL),
    ]
}
