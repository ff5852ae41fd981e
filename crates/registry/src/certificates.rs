//! Rows of certificates.k8s.io/v1.

use crate::kind::Kind;
use crate::row::row;
use gifee_base::name;

const V1: &str = "certificates.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "CertificateSigningRequest", "certificatesigningrequests")
            .cluster()
            .short(&["csr"])
            .named(name::path_segment)
            .part("approval")
            .status()
            .fields(&["spec.signerName"]),
        row(V1, "ClusterTrustBundle", "clustertrustbundles")
            .cluster()
            .named(name::path_segment)
            .versioned_update()
            .fields(&["spec.signerName"]),
        row(V1, "PodCertificateRequest", "podcertificaterequests").status().versioned_update().fields(&[
            "spec.signerName",
            "spec.podName",
            "spec.nodeName",
        ]),
    ]
}
