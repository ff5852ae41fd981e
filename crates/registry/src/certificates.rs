//! Rows of certificates.k8s.io/v1.

mod issued;
mod pod;
mod rules;

use crate::kind::Kind;
use crate::row::row;
use crate::table::extension;
use gifee_base::name;

pub(crate) use rules::signer_name;

const V1: &str = "certificates.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "CertificateSigningRequest", "certificatesigningrequests")
            .table(extension::table_of_signing_requests())
            .cluster()
            .short(&["csr"])
            .named(name::path_segment)
            .part("approval")
            .status()
            .fields(&["spec.signerName"])
            .rules(rules::REQUEST),
        row(V1, "ClusterTrustBundle", "clustertrustbundles")
            .table(extension::table_of_trust_bundles())
            .cluster()
            .named(name::path_segment)
            .versioned_update()
            .fields(&["spec.signerName"])
            .rules(rules::TRUST_BUNDLE),
        row(V1, "PodCertificateRequest", "podcertificaterequests")
            .table(extension::table_of_pod_certificate_requests())
            .status()
            .versioned_update()
            .fields(&["spec.signerName", "spec.podName", "spec.nodeName"])
            .rules(pod::POD_REQUEST),
    ]
}
