//! Rows of discovery.k8s.io/v1.

mod rules;

use crate::kind::Kind;
use crate::row::row;
use crate::table::network;

const V1: &str = "discovery.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "EndpointSlice", "endpointslices")
            .defaults(include_str!("../defaults/discovery.txt"))
            .table(network::table_of_endpoint_slices())
            .generation()
            .rules(rules::ENDPOINT_SLICE),
    ]
}
