//! Rows of networking.k8s.io/v1.

use crate::kind::Kind;
use crate::row::row;

const V1: &str = "networking.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "IngressClass", "ingressclasses").cluster().generation(),
        row(V1, "Ingress", "ingresses").short(&["ing"]).status().generation(),
        row(V1, "IPAddress", "ipaddresses").cluster().short(&["ip"]).fields(&[
            "spec.parentRef.namespace",
            "spec.parentRef.name",
            "spec.parentRef.resource",
            "spec.parentRef.group",
        ]),
        row(V1, "NetworkPolicy", "networkpolicies").short(&["netpol"]).generation(),
        row(V1, "ServiceCIDR", "servicecidrs").cluster().status(),
    ]
}
