//! Nothing is created in a namespace that is not there or is going; the system's namespaces are not deleted.
//!
//! Answers to upstream's `NamespaceLifecycle`.

use super::{Half, Operation, Request, Rule};
use crate::Lookup;
use gifee_base::status::{Cause, Reason};
use gifee_base::{ObjectKey, Status};
use serde_json::Value;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// The rule.
pub struct NamespaceLifecycle;

impl Rule for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn half(&self) -> Half {
        Half::Both
    }

    fn validate(&self, request: &Request<'_>, _object: &Value, _: &dyn Lookup) -> Result<(), Status> {
        let deleted = request.operation == Operation::Delete && request.is("", "namespaces");
        if deleted && IMMORTAL.contains(&request.name) {
            return Err(request.forbidden("this namespace may not be deleted"));
        }
        Ok(())
    }

    /// Says so before anything else is asked of the object: the other rules look for what is in the namespace.
    fn mutate(&self, request: &Request<'_>, _: &mut Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if request.is("", "namespaces") {
            return Ok(());
        }
        // Reviews ask about a namespace, they are not in it.
        let review = request.gvk.kind.ends_with("AccessReview");
        if request.namespace.is_empty() || request.operation != Operation::Create || review {
            return Ok(());
        }
        let Some(namespace) = lookup.get("", "namespaces", &ObjectKey::cluster(request.namespace)) else {
            return Err(Status::not_found("", "namespaces", request.namespace));
        };
        if !namespace.deleting() {
            return Ok(());
        }
        let why = format!(
            "unable to create new content in namespace {} because it is being terminated",
            request.namespace
        );
        let mut status = request.forbidden(&why);
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                reason: "NamespaceTerminating".into(),
                message: format!("namespace {} is being terminated", request.namespace),
                field: "metadata.namespace".into(),
            });
        }
        debug_assert_eq!(status.reason, Reason::Forbidden);
        Err(status)
    }
}
