//! Rules for annotations of pods that mean something to Kubernetes, and for fields that mean the same.
//!
//! Answers to `ValidatePodSpecificAnnotations` of upstream's core validation.

use super::{each_container, scheduling};
use crate::rule::{Errors, descending_path};
use crate::value::{entries, is_empty, text};
use gifee_base::{FieldError, Path};
use serde_json::Value;

pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
pub(crate) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(super) const LOCALHOST: &str = "localhost/";
const RUNTIME_DEFAULT: [&str; 2] = ["runtime/default", "docker/default"];
pub(super) const UNCONFINED: &str = "unconfined";

/// The annotations of a Pod or template.
pub(crate) fn annotations(errors: &mut Errors, annotations: &Value, spec: &Value, path: &Path<'_>) {
    if is_empty(annotations) {
        return;
    }
    if !annotations[MIRROR].is_null() && is_empty(&spec["nodeName"]) {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(&path.key(MIRROR), text(&annotations[MIRROR]), why));
    }
    if !is_empty(&annotations[TOLERATIONS]) {
        let parsed: Result<Vec<serde_json::Map<String, Value>>, _> =
            serde_json::from_str(text(&annotations[TOLERATIONS]));
        match parsed {
            Ok(list) => {
                let list = Value::Array(list.into_iter().map(Value::Object).collect());
                scheduling::tolerations(errors, &list, &path.child(TOLERATIONS));
            }
            Err(error) => errors.push(FieldError::invalid(path, TOLERATIONS, &error.to_string())),
        }
    }
    if let Some(cost) = annotations[DELETION_COST].as_str()
        && !is_cost(cost)
    {
        errors.push(FieldError::invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer"));
    }
    for (key, value) in entries(annotations) {
        if key == SECCOMP || key.starts_with(SECCOMP_OF_CONTAINER) {
            seccomp(errors, text(value), &path.child(key));
        } else if let Some(container) = key.strip_prefix(APP_ARMOR) {
            app_armor(errors, container, text(value), spec, &path.key(key));
        }
    }
}

/// A number without a plus sign or needless zeros.
fn is_cost(text: &str) -> bool {
    let zeros = text.len() > 1 && text.starts_with('0');
    text.parse::<i32>().is_ok() && !text.starts_with('+') && !zeros
}

fn seccomp(errors: &mut Errors, profile: &str, path: &Path<'_>) {
    if let Some(file) = profile.strip_prefix(LOCALHOST) {
        descending_path(errors, &file.into(), path);
    } else if !RUNTIME_DEFAULT.contains(&profile) && profile != UNCONFINED {
        errors.push(FieldError::invalid(path, profile, "must be a valid seccomp profile"));
    }
}

fn app_armor(errors: &mut Errors, container: &str, profile: &str, spec: &Value, path: &Path<'_>) {
    let mut found = false;
    each_container(spec, path, |one, _| found |= one["name"] == *container);
    if !found {
        errors.push(FieldError::invalid(path, container, "container not found"));
    }
    if !matches!(profile, "" | "runtime/default" | UNCONFINED) && !profile.starts_with(LOCALHOST) {
        let why = format!("invalid AppArmor profile name: {profile:?}");
        errors.push(FieldError::invalid(path, profile, &why));
    }
}

/// Whether annotations say the same as the fields that came after them; `path` is the spec's.
pub(crate) fn match_fields(errors: &mut Errors, annotations: &Value, spec: &Value, path: &Path<'_>) {
    if is_empty(annotations) {
        return;
    }
    let own = &spec["securityContext"];
    let at = path.child("securityContext");
    let one = annotations.get(SECCOMP).map(text);
    agree(errors, one, &own["seccompProfile"], "seccomp", &at.child("seccompProfile"));
    each_container(spec, path, |container, path| {
        let key = format!("{SECCOMP_OF_CONTAINER}{}", text(&container["name"]));
        let at = path.child("securityContext");
        let profile = &container["securityContext"]["seccompProfile"];
        agree(errors, annotations.get(&key).map(text), profile, "seccomp", &at.child("seccompProfile"));
    });
    if spec["os"]["name"] == "windows" {
        return;
    }
    each_container(spec, path, |container, path| {
        let key = format!("{APP_ARMOR}{}", text(&container["name"]));
        let at = path.child("securityContext");
        let profile = match &container["securityContext"]["appArmorProfile"] {
            Value::Null => &own["appArmorProfile"],
            profile => profile,
        };
        agree(errors, annotations.get(&key).map(text), profile, "apparmor", &at.child("appArmorProfile"));
    });
}

fn agree(errors: &mut Errors, annotation: Option<&str>, field: &Value, module: &str, path: &Path<'_>) {
    let (Some(annotation), false) = (annotation, field.is_null()) else { return };
    let (kind, file) = (text(&field["type"]), annotation.strip_prefix(LOCALHOST));
    // AppArmor never was docker's own.
    let count = if module == "seccomp" { 2 } else { 1 };
    let same = match kind {
        "Unconfined" => annotation == UNCONFINED,
        "RuntimeDefault" => RUNTIME_DEFAULT[..count].contains(&annotation),
        "Localhost" => file.is_some(),
        _ => true,
    };
    if !same {
        let why = format!("{module} type in annotation and field must match");
        errors.push(FieldError::forbidden(&path.child("type"), &why));
    } else if kind == "Localhost" && field["localhostProfile"].as_str() != file {
        let why = format!("{module} profile in annotation and field must match");
        errors.push(FieldError::forbidden(&path.child("localhostProfile"), &why));
    }
}
