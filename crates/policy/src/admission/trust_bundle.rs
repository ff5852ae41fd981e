//! Who publishes the trust bundle of a signer may attest for that signer.
//!
//! Answers to upstream's `ClusterTrustBundleAttest`.

use super::certificates::may;
use super::{Operation, Request, Rule};
use crate::Lookup;
use gifee_base::Status;
use serde_json::Value;

/// The rule.
pub struct ClusterTrustBundleAttest;

impl Rule for ClusterTrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    fn validate(&self, request: &Request<'_>, object: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if !request.is("certificates.k8s.io", "clustertrustbundles") || !request.writes() {
            return Ok(());
        }
        let unchanged = request.operation == Operation::Update
            && request.old.is_some_and(|old| old["spec"] == object["spec"]);
        let signer = object["spec"]["signerName"].as_str().unwrap_or_default();
        if unchanged || signer.is_empty() || may(request, lookup, "attest", signer) {
            return Ok(());
        }
        Err(request.forbidden(&format!("user not permitted to attest for signerName {signer:?}")))
    }
}
