//! Rows of admissionregistration.k8s.io/v1.

use crate::kind::Kind;
use crate::row::row;

const V1: &str = "admissionregistration.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
        row(V1, "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
        row(V1, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        row(V1, "ValidatingAdmissionPolicy", "validatingadmissionpolicies").status(),
        row(V1, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
        row(V1, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
    ]
    .into_iter()
    .map(|row| row.cluster().category("api-extensions").versioned_update().generation())
    .collect()
}
