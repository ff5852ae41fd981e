//! Rows of admissionregistration.k8s.io/v1.

mod client;
mod policies;
mod rules;

use crate::kind::Kind;
use crate::row::row;
use crate::table::extension;

pub(crate) use client::{client_config, review_versions};

const V1: &str = "admissionregistration.k8s.io/v1";

/// Rows of this group.
pub fn rows() -> Vec<Kind> {
    vec![
        row(V1, "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
            .table(extension::table_of_mutating_policies())
            .rules(policies::MUTATING_POLICY),
        row(V1, "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
            .table(extension::table_of_policy_bindings())
            .rules(policies::MUTATING_BINDING),
        row(V1, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
            .defaults(include_str!("../defaults/admissionregistration.txt"))
            .table(extension::table_of_webhooks())
            .rules(rules::MUTATING_WEBHOOKS),
        row(V1, "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
            .table(extension::table_of_validating_policies())
            .status()
            .rules(policies::VALIDATING_POLICY),
        row(V1, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
            .table(extension::table_of_policy_bindings())
            .rules(policies::VALIDATING_BINDING),
        row(V1, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
            .table(extension::table_of_webhooks())
            .rules(rules::VALIDATING_WEBHOOKS),
    ]
    .into_iter()
    .map(|row| row.cluster().category("api-extensions").versioned_update().generation())
    .collect()
}
