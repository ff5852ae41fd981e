//! A claim grows only if it is bound and its class says that volumes can grow.
//!
//! Answers to upstream's `PersistentVolumeClaimResize`.

use super::{Operation, Request, Rule, decoded};
use crate::Lookup;
use crate::resources::quantity;
use gifee_base::{ObjectKey, Status};
use serde_json::Value;

/// The rule.
pub struct PersistentVolumeClaimResize;

impl Rule for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn validate(&self, request: &Request<'_>, claim: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if !request.is("", "persistentvolumeclaims") || request.operation != Operation::Update {
            return Ok(());
        }
        let Some(old) = request.old else { return Ok(()) };
        let asked =
            |claim: &Value| quantity(&claim["spec"]["resources"]["requests"]["storage"]).unwrap_or_default();
        if asked(claim) <= asked(old) {
            return Ok(());
        }
        if old["status"]["phase"] != "Bound" {
            return Err(request.forbidden("Only bound persistent volume claims can be expanded"));
        }
        let class = class(claim).filter(|name| class_of(old) == *name);
        let class = class.and_then(|name| {
            decoded(lookup.get("storage.k8s.io", "storageclasses", &ObjectKey::cluster(name)))
        });
        if class.is_some_and(|class| class["allowVolumeExpansion"] == true) {
            return Ok(());
        }
        Err(request.forbidden(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        ))
    }
}

fn class_of(claim: &Value) -> &str {
    let old = &claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    old.as_str().or(claim["spec"]["storageClassName"].as_str()).unwrap_or_default()
}

fn class(claim: &Value) -> Option<&str> {
    Some(class_of(claim)).filter(|name| !name.is_empty())
}
