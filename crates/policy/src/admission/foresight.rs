//! A request that cannot be satisfied as the cluster stands says so when it is made, as a warning with the reason.
//!
//! Invariant: it never refuses and never changes anything, and what a controller makes is not looked at: its owner's
//! request was. Beyond upstream, where such objects wait without a word until somebody reads their events.

mod claims;
mod placement;
mod services;

use super::{Operation, Request, Rule};
use crate::Lookup;
use gifee_base::Status;
use serde_json::Value;

/// The rule.
pub struct Foresight;

impl Rule for Foresight {
    fn name(&self) -> &'static str {
        "Foresight"
    }

    fn validate(&self, request: &Request<'_>, object: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if !request.writes() || !request.subresource.is_empty() || controlled(object) {
            return Ok(());
        }
        let told = match (&*request.gvk.group, request.resource) {
            ("", "pods") if request.operation == Operation::Create => placement::pod(object, lookup),
            ("", "persistentvolumeclaims") if request.operation == Operation::Create => {
                claims::unprovided(object, "spec", lookup).into_iter().collect()
            }
            ("", "services") => services::unmatched(request, object, lookup).into_iter().collect(),
            (group, resource) => match template_path(group, resource) {
                Some(path) => template(request, object, path, lookup),
                None => return Ok(()),
            },
        };
        request.notes.warnings.borrow_mut().extend(told);
        Ok(())
    }
}

fn controlled(object: &Value) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners.is_some_and(|owners| owners.iter().any(|owner| owner["controller"] == true))
}

/// Where kinds that make pods have their template.
const TEMPLATES: &[(&str, &str, &str)] = &[
    ("apps", "deployments", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("batch", "jobs", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
    ("", "replicationcontrollers", "/spec/template"),
];

fn template_path(group: &str, resource: &str) -> Option<&'static str> {
    let mut rows = TEMPLATES.iter();
    rows.find(|row| row.0 == group && row.1 == resource).map(|row| row.2)
}

/// What is said of an object with a template, if its `spec` is new.
fn template(request: &Request<'_>, object: &Value, path: &str, lookup: &dyn Lookup) -> Vec<String> {
    if request.old.is_some_and(|old| old["spec"] == object["spec"]) {
        return Vec::new();
    }
    let Some(template) = object.pointer(path) else { return Vec::new() };
    let field = path[1..].replace('/', ".") + ".spec";
    let mut told = placement::template(template, &field, lookup);
    if request.resource == "deployments" || request.resource == "replicasets" {
        told.extend(claims::shared(object, request.namespace, lookup));
    }
    let own = object["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten().enumerate();
    told.extend(own.filter_map(|(index, claim)| {
        claims::unprovided(claim, &format!("spec.volumeClaimTemplates[{index}].spec"), lookup)
    }));
    told
}
