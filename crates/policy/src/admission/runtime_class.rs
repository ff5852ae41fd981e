//! A pod gets the overhead and the scheduling of its RuntimeClass, which must be there.
//!
//! Answers to upstream's `RuntimeClass`.

use super::{Operation, Request, Rule, decoded};
use crate::Lookup;
use crate::resources::amounts;
use gifee_base::{ObjectKey, Status};
use serde_json::{Value, json};

/// The rule.
pub struct RuntimeClass;

const OTHER_OVERHEAD: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
const NO_OVERHEAD: &str =
    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";

impl Rule for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn half(&self) -> super::Half {
        super::Half::Both
    }

    fn mutate(&self, request: &Request<'_>, pod: &mut Value, lookup: &dyn Lookup) -> Result<(), Status> {
        let Some(class) = class_of(request, pod, lookup)? else { return Ok(()) };
        let overhead = &class["overhead"]["podFixed"];
        if class["overhead"].is_object() {
            let own = amounts(&pod["spec"]["overhead"]);
            if !own.is_empty() && own != amounts(overhead) {
                return Err(request.forbidden(OTHER_OVERHEAD));
            }
            if overhead.is_object() {
                pod["spec"]["overhead"] = overhead.clone();
            }
        }
        schedule(&class["scheduling"], &mut pod["spec"]).map_err(|why| request.forbidden(&why))
    }

    fn validate(&self, request: &Request<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<(), Status> {
        if !request.is("", "pods") || request.operation != Operation::Create {
            return Ok(());
        }
        // Most pods have neither.
        let own = &pod["spec"]["overhead"];
        if own.is_null() && pod["spec"]["runtimeClassName"].is_null() {
            return Ok(());
        }
        let class = class_of(request, pod, lookup)?.unwrap_or_default();
        if class["overhead"].is_object() {
            if amounts(own) != amounts(&class["overhead"]["podFixed"]) {
                return Err(request.forbidden(OTHER_OVERHEAD));
            }
        } else if own.is_object() {
            return Err(request.forbidden(NO_OVERHEAD));
        }
        Ok(())
    }
}

fn class_of(request: &Request<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<Option<Value>, Status> {
    if !request.is("", "pods") || request.operation != Operation::Create {
        return Ok(None);
    }
    let Some(name) = pod["spec"]["runtimeClassName"].as_str() else { return Ok(None) };
    let class = decoded(lookup.get("node.k8s.io", "runtimeclasses", &ObjectKey::cluster(name)));
    match class {
        Some(class) => Ok(Some(class)),
        None => Err(request.forbidden(&format!("pod rejected: RuntimeClass {name:?} not found"))),
    }
}

fn schedule(scheduling: &Value, spec: &mut Value) -> Result<(), String> {
    for (key, wanted) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        if !spec["nodeSelector"].is_object() {
            spec["nodeSelector"] = json!({});
        }
        let own = &mut spec["nodeSelector"][key];
        if own.is_string() && own != wanted {
            let (wanted, own) = (wanted.as_str().unwrap_or_default(), own.as_str().unwrap_or_default());
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {own}"
            ));
        }
        *own = wanted.clone();
    }
    let more = scheduling["tolerations"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    if more.is_empty() {
        return Ok(());
    }
    if !spec["tolerations"].is_array() {
        spec["tolerations"] = json!([]);
    }
    let Some(tolerations) = spec["tolerations"].as_array_mut() else { return Ok(()) };
    tolerations.extend(more.iter().cloned());
    merge(tolerations);
    Ok(())
}

/// Drops each toleration that another one covers.
fn merge(tolerations: &mut Vec<Value>) {
    let all = std::mem::take(tolerations);
    for (index, one) in all.iter().enumerate() {
        let before = tolerations.iter().any(|other| covers(other, one));
        let after = all[index + 1..].iter().any(|other| covers(other, one) && other != one);
        if !before && !after {
            tolerations.push(one.clone());
        }
    }
}

/// Whether everything that `one` tolerates `other` tolerates too.
fn covers(other: &Value, one: &Value) -> bool {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    if other == one {
        return true;
    }
    let effect = text(other, "effect");
    if text(other, "key") != text(one, "key") || (!effect.is_empty() && effect != text(one, "effect")) {
        let everything = text(other, "key").is_empty() && text(other, "operator") == "Exists";
        if !everything || (!effect.is_empty() && effect != text(one, "effect")) {
            return false;
        }
    }
    let longer = match (other["tolerationSeconds"].as_i64(), one["tolerationSeconds"].as_i64()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(other), Some(one)) => other >= one,
    };
    let value = match text(other, "operator").as_str() {
        "Exists" => true,
        "" | "Equal" => {
            matches!(text(one, "operator").as_str(), "" | "Equal")
                && text(other, "value") == text(one, "value")
        }
        _ => false,
    };
    longer && value
}
