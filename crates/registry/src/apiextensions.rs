//! Rows of apiextensions.k8s.io/v1.

mod columns;
mod costs;
mod definition;
mod instances;
mod jsonpath;
mod path;
mod rules;
mod structure;

pub use definition::{Version, compare, versions};
pub use rules::{Approval, approval};

use crate::kind::Kind;
use crate::row::row;

const V1: &str = "apiextensions.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "CustomResourceDefinition", "customresourcedefinitions")
            .defaults(include_str!("../defaults/apiextensions.txt"))
            .cluster()
            .short(&["crd", "crds"])
            .category("api-extensions")
            .status()
            .versioned_update()
            .generation()
            .rules(rules::DEFINITION),
    ]
}
