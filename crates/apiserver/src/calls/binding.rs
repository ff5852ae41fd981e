//! Binding: a Pod gets its node, once.
//!
//! Answers to upstream's `BindingREST`.

use super::succeeded;
use crate::body::Body;
use crate::kinds::Resource;
use crate::request::Request;
use crate::seam::Operation;
use crate::write::{Write, decode_call, update_object};
use gifee_base::field::{FieldError, Path};
use gifee_base::{Gvk, Status};
use http::Response;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Answers `pods/x/binding` and `bindings`.
pub async fn bind(
    request: &Request<'_>,
    resource: &Arc<Resource>,
    body: Body,
) -> Result<Response<Body>, Status> {
    let mut binding = decode_call(request, body, &Gvk::new("", "v1", "Binding")).await?;
    let own = binding["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let name = if request.info.name.is_empty() { own.as_str() } else { &*request.info.name };
    if !own.is_empty() && own != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let name = name.to_owned();
    let node = target(&binding, &name)?;
    let kinds = request.server.kinds.load_full();
    let pods = kinds.preferred("", "pods").ok_or_else(Status::no_such_path)?;
    let admission = Write::new(request, resource, "binding")?;
    admission.mutate(Operation::Create, &mut binding, None).await?;
    admission.admit_validated(Operation::Create, &mut binding, None).await?;
    let mut write = Write::new(request, pods, "binding")?;
    write.trusted = true;
    let now = write.now.clone();
    let mut edit = |old: &Value| assign(old, &binding, &name, &node, &now);
    update_object(&write, &request.info.namespace, &name, &mut edit, false).await?;
    succeeded(request)
}

fn target(binding: &Value, name: &str) -> Result<String, Status> {
    let root = Path::root("target");
    let mut errors = Vec::new();
    let kind = binding["target"]["kind"].as_str().unwrap_or_default();
    if !matches!(kind, "" | "Node") {
        errors.push(FieldError::not_supported(&root.child("kind"), kind, &["Node", "<empty>"]));
    }
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    if node.is_empty() {
        errors.push(FieldError::required(&root.child("name"), ""));
    }
    if errors.is_empty() { Ok(node.to_owned()) } else { Err(Status::invalid("", "Binding", name, &errors)) }
}

fn assign(old: &Value, binding: &Value, name: &str, node: &str, now: &str) -> Result<Value, Status> {
    let refuse = |why: String| Err(Status::conflict("", "pods/binding", name, &why));
    if old["metadata"]["deletionTimestamp"].is_string() {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if let Some(assigned) = old["spec"]["nodeName"].as_str().filter(|assigned| !assigned.is_empty()) {
        return refuse(format!("pod {name} is already assigned to node {assigned:?}"));
    }
    if old["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut new = old.clone();
    let source = &binding["metadata"];
    for field in ["uid", "resourceVersion"] {
        match source[field].as_str().filter(|text| !text.is_empty()) {
            Some(text) => new["metadata"][field] = text.into(),
            None => drop(new["metadata"].as_object_mut().map(|metadata| metadata.remove(field))),
        }
    }
    for field in ["annotations", "labels"] {
        for (key, value) in source[field].as_object().into_iter().flatten() {
            if !new["metadata"][field].is_object() {
                new["metadata"][field] = Value::Object(Map::new());
            }
            new["metadata"][field][key] = value.clone();
        }
    }
    new["spec"]["nodeName"] = node.into();
    // Where it was meant to go counts no longer.
    if let Some(status) = new["status"].as_object_mut() {
        status.remove("nominatedNodeName");
    }
    set_condition(&mut new, json!({ "type": "PodScheduled", "status": "True" }), now);
    Ok(new)
}

/// Sets a condition of a Pod; its transition time changes only with its status.
pub fn set_condition(pod: &mut Value, mut condition: Value, now: &str) {
    if !pod["status"].is_object() {
        pod["status"] = Value::Object(Map::new());
    }
    let conditions = &mut pod["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = Value::Array(Vec::new());
    }
    let Some(all) = conditions.as_array_mut() else { return };
    let old = all.iter_mut().find(|one| one["type"] == condition["type"]);
    let since = match &old {
        Some(old) if old["status"] == condition["status"] && old["lastTransitionTime"].is_string() => {
            old["lastTransitionTime"].clone()
        }
        _ => now.into(),
    };
    condition["lastTransitionTime"] = since;
    match old {
        Some(old) => *old = condition,
        None => all.push(condition),
    }
}
