//! Rows of apiregistration.k8s.io/v1.

mod rules;

use crate::kind::Kind;
use crate::row::row;
use crate::table::extension;
use gifee_base::name;

const V1: &str = "apiregistration.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "APIService", "apiservices")
            .defaults(include_str!("../defaults/apiregistration.txt"))
            .table(extension::table_of_api_services())
            .cluster()
            .category("api-extensions")
            .status()
            .named(name::path_segment)
            .versioned_update()
            .rules(rules::API_SERVICE),
    ]
}
