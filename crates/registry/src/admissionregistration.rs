//! Rows of admissionregistration.k8s.io/v1.

use crate::kind::Kind;
use crate::row::row;
use crate::table::extension;

const V1: &str = "admissionregistration.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
            .table(extension::table_of_mutating_policies()),
        row(V1, "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
            .table(extension::table_of_policy_bindings()),
        row(V1, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
            .table(extension::table_of_webhooks()),
        row(V1, "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
            .table(extension::table_of_validating_policies())
            .status(),
        row(V1, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
            .table(extension::table_of_policy_bindings()),
        row(V1, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
            .table(extension::table_of_webhooks()),
    ]
    .into_iter()
    .map(|row| row.cluster().category("api-extensions").versioned_update().generation())
    .collect()
}
