//! What may change of a Pod once it is there, by subresource.
//!
//! Answers to `ValidatePodUpdate`, `ValidatePodStatusUpdate`, `ValidatePodResize` and
//! `ValidatePodEphemeralContainersUpdate` of upstream's core validation.

use super::qos;
use crate::rule::{Errors, METADATA, ROOT, SPEC, STATUS, address, named, range_text};
use crate::value::{entries, int, is_empty, items, remove, restore, same, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const MIRROR: &str = "kubernetes.io/config.mirror";
const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Reports token projections of a pod that has no service account.
pub(super) fn tokens_without_account(errors: &mut Errors, spec: &Value) {
    let path = SPEC.child("volumes");
    for (index, volume) in items(&spec["volumes"]).iter().enumerate() {
        let at = path.index(index);
        let at = at.child("projected");
        let at = at.child("sources");
        for (index, source) in items(&volume["projected"]["sources"]).iter().enumerate() {
            if !source["serviceAccountToken"].is_null() {
                let why = "must not be specified when serviceAccountName is not set";
                errors.push(FieldError::forbidden(&at.index(index).child("serviceAccountToken"), why));
            }
        }
    }
}

fn mirror(errors: &mut Errors, pod: &Value, old: &Value) {
    let [new, before] = [pod, old].map(|one| &one["metadata"]["annotations"][MIRROR]);
    if new != before {
        let at = METADATA.child("annotations");
        let what = if before.is_null() { "add" } else { "remove or update" };
        let why = format!("may not {what} mirror pod annotation");
        errors.push(FieldError::forbidden(&at.key(MIRROR), &why));
    }
}

/// A change of the Pod itself.
pub(super) fn pod(errors: &mut Errors, pod: &Value, old: &Value) {
    mirror(errors, pod, old);
    let (spec, before) = (&pod["spec"], &old["spec"]);
    for list in ["containers", "initContainers"] {
        if items(&spec[list]).len() != items(&before[list]).len() {
            let why = "pod updates may not add or remove containers";
            return errors.push(FieldError::forbidden(&SPEC.child(list), why));
        }
    }
    if !deadline(errors, spec, before) {
        return;
    }
    only_added_tolerations(errors, &spec["tolerations"], &before["tolerations"]);
    only_removed_gates(errors, &spec["schedulingGates"], &before["schedulingGates"]);
    if same(spec, before) {
        return;
    }
    if qos::class(spec) != qos_of(old) {
        let class = text(&pod["status"]["qosClass"]);
        errors.push(FieldError::invalid(&METADATA, class, "Pod QoS is immutable"));
    }
    let mut munged = spec.clone();
    for list in ["containers", "initContainers"] {
        for (container, old) in munged[list].as_array_mut().into_iter().flatten().zip(items(&before[list])) {
            restore(container, old, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        restore(&mut munged, before, field);
    }
    let grace = "terminationGracePeriodSeconds";
    if int(&before[grace]) < 0 && munged[grace] == 1 {
        restore(&mut munged, before, grace);
    }
    if !is_empty(&before["schedulingGates"]) {
        gated(errors, &mut munged, before);
    }
    if !same(&munged, before) {
        let why = format!(
            "pod updates may not change fields other than {UPDATABLE}\n{}",
            differences(&munged, before)
        );
        errors.push(FieldError::forbidden(&SPEC, &why));
    }
}

fn qos_of(pod: &Value) -> &str {
    match text(&pod["status"]["qosClass"]) {
        "" => qos::class(&pod["spec"]),
        class => class,
    }
}

/// The fields of two specs that differ, one per line with both values.
fn differences(new: &Value, old: &Value) -> String {
    let mut lines = Vec::new();
    let added = entries(new).filter(|(field, _)| old.get(*field).is_none());
    for (field, value) in entries(old) {
        let now = &new[field];
        if !same(now, value) {
            lines.push(format!("-  {field}: {value}\n+  {field}: {now}"));
        }
    }
    lines.extend(
        added.filter(|(_, value)| !is_empty(value)).map(|(field, value)| format!("+  {field}: {value}")),
    );
    lines.join("\n")
}

fn deadline(errors: &mut Errors, spec: &Value, before: &Value) -> bool {
    let at = SPEC.child("activeDeadlineSeconds");
    match (spec["activeDeadlineSeconds"].as_i64(), before["activeDeadlineSeconds"].as_i64()) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            errors.push(FieldError::invalid(&at, new, &range_text(0, i64::from(i32::MAX))));
            return false;
        }
        (Some(new), Some(old)) if old < new => {
            errors.push(FieldError::invalid(&at, new, "must be less than or equal to previous value"));
            return false;
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(&at, Value::Null, why));
        }
        _ => {}
    }
    true
}

fn only_added_tolerations(errors: &mut Errors, new: &Value, old: &Value) {
    let without_time = |one: &Value| {
        let mut one = one.clone();
        remove(&mut one, "tolerationSeconds");
        one
    };
    let kept = items(old)
        .iter()
        .map(without_time)
        .all(|old| items(new).iter().any(|new| same(&without_time(new), &old)));
    if !kept {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(&SPEC.child("tolerations"), why));
    }
}

fn only_removed_gates(errors: &mut Errors, new: &Value, old: &Value) {
    let at = SPEC.child("schedulingGates");
    for (index, gate) in items(new).iter().enumerate() {
        if !items(old).iter().any(|one| one["name"] == gate["name"]) {
            let gate = text(&gate["name"]);
            let why = format!("only deletion is allowed, but found new scheduling gate '{gate}'");
            errors.push(FieldError::forbidden(&at.index(index).child("name"), &why));
        }
    }
}

/// A pod that waits at a gate may still be told more narrowly where to run.
fn gated(errors: &mut Errors, munged: &mut Value, before: &Value) {
    if entries(&before["nodeSelector"]).any(|(key, value)| munged["nodeSelector"].get(key) != Some(value)) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        let given = munged["nodeSelector"].clone();
        errors.push(FieldError::invalid(&SPEC.child("nodeSelector"), given, why));
    }
    restore(munged, before, "nodeSelector");
    let required = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let terms = |spec: &Value| spec.pointer(required).map_or(&[][..], items).to_vec();
    let (new, old) = (terms(munged), terms(before));
    let path = SPEC.child("affinity");
    let path = path.child("nodeAffinity");
    let path = path.child("requiredDuringSchedulingIgnoredDuringExecution");
    let path = path.child("nodeSelectorTerms");
    if !old.is_empty() && old.len() != new.len() {
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(FieldError::invalid(&path, new, why));
    } else {
        for (index, (new, old)) in new.iter().zip(&old).enumerate() {
            let grown = ["matchExpressions", "matchFields"].iter().all(|field| {
                let (new, old) = (items(&new[*field]), items(&old[*field]));
                new.len() >= old.len() && new[..old.len()] == *old
            });
            let empty = is_empty(&old["matchExpressions"]) && is_empty(&old["matchFields"]);
            if !grown || empty && !same(new, old) {
                let why = "only additions are allowed (no mutations or deletions)";
                errors.push(FieldError::invalid(&path.index(index), new.clone(), why));
            }
        }
    }
    let old_affinity = &before["affinity"]["nodeAffinity"];
    if !same(&munged["affinity"]["nodeAffinity"], old_affinity) {
        munged["affinity"]["nodeAffinity"] = old_affinity.clone();
        if munged["affinity"].as_object().is_some_and(|map| map.values().all(Value::is_null)) {
            restore(munged, before, "affinity");
        }
    }
}

/// Debugging containers may be added, and nothing else.
pub(super) fn ephemeral_containers(errors: &mut Errors, pod: &Value, old: &Value) {
    if !old["metadata"]["annotations"][MIRROR].is_null() {
        let why = "static pods do not support ephemeral containers";
        return errors.push(FieldError::forbidden(&ROOT, why));
    }
    let at = SPEC.child("ephemeralContainers");
    for before in items(&old["spec"]["ephemeralContainers"]) {
        let one = text(&before["name"]);
        let now = items(&pod["spec"]["ephemeralContainers"]).iter().find(|now| now["name"] == *one);
        let why = match now {
            None => format!("existing ephemeral containers {one:?} may not be removed\n"),
            Some(now) if !same(now, before) => {
                let what = differences(now, before);
                format!("existing ephemeral containers {one:?} may not be changed\n{what}")
            }
            Some(_) => continue,
        };
        errors.push(FieldError::forbidden(&at, &why));
    }
}

fn munge_resources(resources: &mut Value, old: &Value) {
    for side in ["limits", "requests"] {
        for name in ["cpu", "memory"] {
            match (old[side].get(name), resources[side].get(name)) {
                (Some(value), _) => resources[side][name] = value.clone(),
                (None, Some(_)) => {
                    remove(&mut resources[side], name);
                }
                (None, None) => {}
            }
        }
    }
}

fn removed(errors: &mut Errors, new: &Value, old: &Value, path: &Path<'_>) {
    for (side, what) in [("requests", "resource requests"), ("limits", "resource limits")] {
        let gone = entries(&old[side])
            .any(|(name, _)| matches!(name, "cpu" | "memory") && new[side].get(name).is_none());
        if gone {
            errors.push(FieldError::forbidden(&path.child(side), &format!("{what} cannot be removed")));
        }
    }
}

/// Processors and memory of running containers may change.
pub(super) fn resize(errors: &mut Errors, pod: &Value, old: &Value) {
    if !old["metadata"]["annotations"][MIRROR].is_null() {
        return errors.push(FieldError::forbidden(&ROOT, "static pods cannot be resized"));
    }
    if old["spec"]["os"]["name"] == "windows" {
        return errors.push(FieldError::forbidden(&ROOT, "windows pods cannot be resized"));
    }
    let (spec, before) = (&pod["spec"], &old["spec"]);
    if qos::class(spec) != qos_of(old) {
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(&SPEC, qos_of(old), why));
    }
    let mut munged = spec.clone();
    for list in ["containers", "initContainers"] {
        let path = SPEC.child(list);
        for (index, container) in munged[list].as_array_mut().into_iter().flatten().enumerate() {
            let Some(old) = items(&before[list]).iter().find(|one| one["name"] == container["name"]) else {
                continue;
            };
            let at = path.index(index);
            removed(errors, &container["resources"], &old["resources"], &at.child("resources"));
            if list == "containers" || container["restartPolicy"] == "Always" {
                munge_resources(&mut container["resources"], &old["resources"]);
            }
        }
    }
    if !same(&munged, before) {
        errors.push(FieldError::forbidden(&SPEC, "only cpu and memory resources are mutable"));
    }
}

fn stays_ended(errors: &mut Errors, pod: &Value, old: &Value, list: &str, policy: &str) {
    if policy == "Always" {
        return;
    }
    let path = STATUS.child(list);
    for (index, before) in items(&old["status"][list]).iter().enumerate() {
        let ended = &before["state"]["terminated"];
        if ended.is_null() || (int(&ended["exitCode"]) != 0 && policy == "OnFailure") {
            continue;
        }
        let restarts = |one: &Value| {
            one["name"] == before["name"]
                && (matches!(text(&one["restartPolicy"]), "Always" | "OnFailure")
                    || !is_empty(&one["restartPolicyRules"]))
        };
        let declared = ["containers", "initContainers"].iter().flat_map(|list| items(&old["spec"][*list]));
        if declared.into_iter().any(restarts) {
            continue;
        }
        let now = items(&pod["status"][list]).iter().find(|now| now["name"] == before["name"]);
        if now.is_some_and(|now| now["state"]["terminated"].is_null()) {
            let why = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(&path.index(index).child("state"), why));
        }
    }
}

fn addresses(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    for (index, one) in items(list).iter().enumerate() {
        address::ip(errors, &one["ip"], &path.index(index));
    }
    let count = items(list).len();
    let (four, six) = address::families(items(list).iter().map(|one| text(&one["ip"])));
    if count > 1 && (four != 1 || six != 1) {
        let why = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(path, list.clone(), why));
    }
}

/// A change of the status.
pub(super) fn status(errors: &mut Errors, pod: &Value, old: &Value) {
    mirror(errors, pod, old);
    let now = &pod["status"];
    for (index, one) in items(&now["conditions"]).iter().enumerate() {
        if !matches!(text(&one["type"]), "PodScheduled" | "Ready" | "Initialized") {
            let at = METADATA.child("conditions");
            named(errors, &one["type"], &at.index(index).child("Type"), name::qualified);
        }
    }
    let nominated = &now["nominatedNodeName"];
    if !is_empty(nominated) && *nominated != old["status"]["nominatedNodeName"] {
        named(errors, nominated, &STATUS.child("nominatedNodeName"), name::dns_subdomain);
    }
    let policy = text(&old["spec"]["restartPolicy"]);
    stays_ended(errors, pod, old, "containerStatuses", policy);
    stays_ended(errors, pod, old, "initContainerStatuses", policy);
    stays_ended(errors, pod, old, "ephemeralContainerStatuses", "Never");
    for (index, claim) in items(&now["resourceClaimStatuses"]).iter().enumerate() {
        let known = items(&pod["spec"]["resourceClaims"]).iter().any(|one| one["name"] == claim["name"]);
        if !known {
            let at = STATUS.child("resourceClaimStatuses");
            let why = "must match the name of an entry in `spec.resourceClaims`";
            let given = text(&claim["name"]);
            errors.push(FieldError::invalid(&at.index(index).child("name"), given, why));
        }
    }
    addresses(errors, &now["podIPs"], &STATUS.child("podIPs"));
    addresses(errors, &now["hostIPs"], &STATUS.child("hostIPs"));
    let first = &now["hostIPs"][0]["ip"];
    if !first.is_null() && now["hostIP"] != *first {
        let at = STATUS.child("hostIPs");
        errors.push(FieldError::invalid(
            &at.index(0).child("ip"),
            first.clone(),
            "must be equal to `hostIP`",
        ));
    }
}
