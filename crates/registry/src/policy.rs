//! Rows of policy/v1.

mod rules;

use crate::kind::Kind;
use crate::row::row;
use crate::table::pod;
use gifee_base::name;

const V1: &str = "policy/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "PodDisruptionBudget", "poddisruptionbudgets")
            .table(pod::table_of_pod_disruption_budgets())
            .short(&["pdb"])
            .status()
            .named(name::path_segment)
            .versioned_update()
            .generation()
            .rules(rules::BUDGET),
    ]
}
