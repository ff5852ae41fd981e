//! What may change of a Pod once it is there, by subresource.
//!
//! Answers to `ValidatePodUpdate`, `ValidatePodResize` and `ValidatePodEphemeralContainersUpdate` of upstream's core
//! validation.

use super::qos;
use crate::podspec;
use crate::podspec::annotation::{APP_ARMOR, MIRROR};
use crate::rule::shown::{self, showing};
use crate::rule::{Errors, METADATA, ROOT, SPEC, range_text};
use crate::value::{entries, int, is_empty, items, remove, restore, same, text};
use gifee_base::{FieldError, Path};
use serde_json::Value;

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

/// What of a pod's annotations may not change.
pub(super) fn annotation_updates(errors: &mut Errors, pod: &Value, old: &Value) {
    let [new, before] = [pod, old].map(|one| &one["metadata"]["annotations"]);
    if same(new, before) {
        return;
    }
    let at = METADATA.child("annotations");
    let mut fixed = |key: &str, done: &str| {
        let what = match key {
            MIRROR => "mirror pod annotation",
            key if key.starts_with(APP_ARMOR) => "AppArmor annotations",
            _ => return,
        };
        errors.push(FieldError::forbidden(&at.key(key), &format!("may not {done} {what}")));
    };
    for (key, value) in entries(before) {
        if new.get(key) != Some(value) {
            fixed(key, "remove or update");
        }
    }
    for (key, _) in entries(new).filter(|(key, _)| before.get(*key).is_none()) {
        fixed(key, "add");
    }
    podspec::annotations(errors, new, &pod["spec"], &at);
}

/// A change of the Pod itself.
pub(super) fn pod(errors: &mut Errors, pod: &Value, old: &Value) {
    annotation_updates(errors, pod, old);
    let (spec, before) = (&pod["spec"], &old["spec"]);
    for list in ["containers", "initContainers"] {
        if items(&spec[list]).len() != items(&before[list]).len() {
            let why = "pod updates may not add or remove containers";
            return errors.push(FieldError::forbidden(&SPEC.child(list), why));
        }
        // Upstream looks at images here once more.
        podspec::images(errors, &spec[list], &SPEC.child(list));
    }
    if !deadline(errors, spec, before) {
        return;
    }
    only_added_tolerations(errors, &spec["tolerations"], &before["tolerations"]);
    only_removed_gates(errors, &spec["schedulingGates"], &before["schedulingGates"]);
    if same(spec, before) {
        return;
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
pub(super) fn differences(new: &Value, old: &Value) -> String {
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
        return errors.push(FieldError::forbidden(&SPEC.child("tolerations"), why));
    }
    // Upstream judges them here once more.
    podspec::tolerations(errors, new, &SPEC.child("tolerations"));
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
        errors.push(showing(FieldError::invalid(&path, "", why), &new.into(), shown::NODE_TERMS));
    } else {
        for (index, (new, old)) in new.iter().zip(&old).enumerate() {
            let grown = ["matchExpressions", "matchFields"].iter().all(|field| {
                let (new, old) = (items(&new[*field]), items(&old[*field]));
                new.len() >= old.len() && new[..old.len()] == *old
            });
            let empty = is_empty(&old["matchExpressions"]) && is_empty(&old["matchFields"]);
            if !grown || empty && !same(new, old) {
                let why = "only additions are allowed (no mutations or deletions)";
                errors.push(showing(FieldError::invalid(&path.index(index), "", why), new, shown::NODE_TERM));
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

/// Takes processors and memory of the old resources, so that what else has changed is left.
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

fn removed(errors: &mut Errors, new: &Value, old: &Value, whose: &str, path: &Path<'_>) {
    for (side, what) in [("requests", "resource requests"), ("limits", "resource limits")] {
        if entries(&old[side]).any(|(name, _)| new[side].get(name).is_none()) {
            let why = format!("{whose}{what} cannot be removed");
            errors.push(FieldError::forbidden(&path.child(side), &why));
        }
    }
}

/// Whether the containers of two specs are the same by name and order.
pub(super) fn are_aligned(spec: &Value, before: &Value) -> bool {
    let names = |spec: &Value, list: &str| -> Vec<String> {
        items(&spec[list]).iter().map(|one| text(&one["name"]).to_owned()).collect()
    };
    ["containers", "initContainers"].into_iter().all(|list| names(spec, list) == names(before, list))
}

fn ordering(errors: &mut Errors, spec: &Value, before: &Value) {
    for list in ["containers", "initContainers"] {
        let path = SPEC.child(list);
        let (new, old) = (items(&spec[list]), items(&before[list]));
        if new.len() != old.len() {
            let why = format!("{list} may not be added or removed on resize");
            errors.push(FieldError::forbidden(&path, &why));
            continue;
        }
        for (index, _) in new.iter().zip(old).enumerate().filter(|(_, (new, old))| new["name"] != old["name"])
        {
            let why = format!("{list} may not be renamed or reordered on resize");
            errors.push(FieldError::forbidden(&path.index(index).child("name"), &why));
        }
    }
}

fn resize_whole(errors: &mut Errors, munged: &mut Value, before: &Value) {
    let (new, old) = (&munged["resources"], &before["resources"]);
    let at = SPEC.child("resources");
    if !old.is_null() && new.is_null() {
        return errors.push(FieldError::forbidden(&at, "pod-level resources cannot be removed"));
    }
    removed(errors, new, old, "pod-level ", &at);
    munge_resources(&mut munged["resources"], old);
    if !same(&munged["resources"], old)
        && !["limits", "requests", "claims"].iter().all(|field| is_empty(&munged["resources"][*field]))
    {
        let why = "only cpu and memory resources are mutable at pod-level";
        errors.push(FieldError::forbidden(&SPEC, why));
    }
    restore(munged, before, "resources");
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
        errors.push(FieldError::invalid(&SPEC, text(&pod["status"]["qosClass"]), why));
    }
    let mut running = items(&old["status"]["containerStatuses"]).iter();
    if running.find(|one| !one["state"]["running"].is_null()).is_some_and(|one| one["resources"].is_null()) {
        errors.push(FieldError::forbidden(&SPEC, "Pod running on node without support for resize"));
    }
    let mut munged = spec.clone();
    let whole = |spec: &Value| ["limits", "requests"].iter().any(|side| !is_empty(&spec["resources"][*side]));
    if whole(spec) || whole(before) {
        resize_whole(errors, &mut munged, before);
    }
    let counted = errors.len();
    ordering(errors, spec, before);
    if errors.len() > counted {
        return;
    }
    for list in ["initContainers", "containers"] {
        let path = SPEC.child(list);
        for (index, (new, old)) in items(&spec[list]).iter().zip(items(&before[list])).enumerate() {
            let at = path.index(index);
            removed(errors, &new["resources"], &old["resources"], "", &at.child("resources"));
        }
    }
    resized_containers(errors, &mut munged, spec, before);
    if errors.is_empty() && !same(&munged, before) {
        errors.push(FieldError::forbidden(&SPEC, "only cpu and memory resources are mutable"));
    }
}

fn resized_containers(errors: &mut Errors, munged: &mut Value, spec: &Value, before: &Value) {
    for list in ["containers", "initContainers"] {
        let path = SPEC.child(list);
        let containers = munged[list].as_array_mut().into_iter().flatten();
        for (index, (container, old)) in containers.zip(items(&before[list])).enumerate() {
            munge_resources(&mut container["resources"], &old["resources"]);
            let (at, kept) = (path.index(index), same(container, old));
            if list == "containers" {
                if !kept {
                    let why = "only cpu and memory resources are mutable";
                    errors.push(FieldError::forbidden(&SPEC, why));
                }
                continue;
            }
            if !kept {
                let why = "only cpu and memory resources for init or sidecar containers are mutable";
                errors.push(FieldError::forbidden(&at, why));
            }
            let asks = |policy: &Value| policy["restartPolicy"] == "RestartContainer";
            let again =
                container["restartPolicy"] != "Always" && items(&container["resizePolicy"]).iter().any(asks);
            if again && !same(&spec[list][index], old) {
                let why =
                    "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                errors.push(FieldError::forbidden(&at, why));
            }
        }
    }
}
