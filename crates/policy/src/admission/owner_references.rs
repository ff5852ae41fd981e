//! Who makes an object depend on another may change that, too. Off by default.
//!
//! Answers to upstream's `OwnerReferencesPermissionEnforcement`.

use super::{Operation, Request, Rule};
use crate::{Attributes, Lookup};
use gifee_base::{Gvk, Status};
use serde_json::Value;

/// The rule.
pub struct OwnerReferencesPermissionEnforcement;

impl Rule for OwnerReferencesPermissionEnforcement {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn validate(&self, request: &Request<'_>, object: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if !request.writes() || request.subresource == "status" {
            return Ok(());
        }
        let none = Value::Null;
        let old = request.old.map_or(&none, |old| &old["metadata"]["ownerReferences"]);
        let new = &object["metadata"]["ownerReferences"];
        if new == old || (new.is_null() && old.is_null()) {
            return Ok(());
        }
        if request.operation == Operation::Update {
            self.may_delete(request, lookup)?;
        }
        let blocks = |list: &Value| -> Vec<Value> {
            let all = list.as_array().into_iter().flatten();
            all.filter(|owner| owner["blockOwnerDeletion"] == true).cloned().collect()
        };
        let before: Vec<Value> = blocks(old).iter().map(|owner| owner["uid"].clone()).collect();
        for owner in blocks(new) {
            if !before.contains(&owner["uid"]) {
                self.may_block(request, &owner, lookup)?;
            }
        }
        Ok(())
    }

    fn on(&self) -> bool {
        false
    }
}

impl OwnerReferencesPermissionEnforcement {
    fn may_delete(&self, request: &Request<'_>, lookup: &dyn Lookup) -> Result<(), Status> {
        let ask = Attributes {
            verb: "delete".into(),
            group: request.gvk.group.to_string(),
            version: request.gvk.version.to_string(),
            resource: request.resource.into(),
            namespace: request.namespace.into(),
            name: request.name.into(),
            ..Attributes::default()
        };
        let why = |reason| format!("cannot set an ownerRef on a resource you can't delete: {reason}, <nil>");
        request.permitted(ask, lookup).map_err(|reason| request.forbidden(&why(reason)))
    }

    fn may_block(&self, request: &Request<'_>, owner: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let gvk = Gvk::from_api_version(text("apiVersion"), text("kind"));
        let Some((resource, namespaced)) = lookup.resource_of(&gvk) else {
            return Err(request.forbidden(&format!(
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {} Kind {}",
                text("apiVersion"),
                text("kind")
            )));
        };
        let ask = Attributes {
            verb: "update".into(),
            group: gvk.group.to_string(),
            version: gvk.version.to_string(),
            resource,
            subresource: "finalizers".into(),
            namespace: if namespaced { request.namespace.into() } else { String::new() },
            name: text("name").into(),
            ..Attributes::default()
        };
        let why = |reason| {
            format!(
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {reason}, <nil>"
            )
        };
        request.permitted(ask, lookup).map_err(|reason| request.forbidden(&why(reason)))
    }
}
