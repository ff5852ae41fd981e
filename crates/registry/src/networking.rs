//! Rows of networking.k8s.io/v1.

mod address;
mod policy;
mod rules;

use crate::kind::Kind;
use crate::row::row;
use crate::table::network;

const V1: &str = "networking.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "IngressClass", "ingressclasses")
            .table(network::table_of_ingress_classes())
            .cluster()
            .generation()
            .rules(rules::INGRESS_CLASS),
        row(V1, "Ingress", "ingresses")
            .table(network::table_of_ingresses())
            .short(&["ing"])
            .status()
            .generation()
            .rules(rules::INGRESS),
        row(V1, "IPAddress", "ipaddresses")
            .named(crate::rule::address::canonical_ip)
            .table(network::table_of_ip_addresses())
            .cluster()
            .short(&["ip"])
            .fields(&[
                "spec.parentRef.namespace",
                "spec.parentRef.name",
                "spec.parentRef.resource",
                "spec.parentRef.group",
            ])
            .rules(address::IP_ADDRESS),
        row(V1, "NetworkPolicy", "networkpolicies")
            .defaults(include_str!("../defaults/networking.txt"))
            .table(network::table_of_network_policies())
            .short(&["netpol"])
            .generation()
            .rules(policy::NETWORK_POLICY),
        row(V1, "ServiceCIDR", "servicecidrs")
            .table(network::table_of_service_cidrs())
            .cluster()
            .status()
            .rules(address::SERVICE_CIDR),
    ]
}
