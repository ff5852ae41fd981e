//! Rules for the volumes of a pod and for their mounts.
//!
//! Answers to `ValidateVolumes`, `ValidateVolumeMounts` and `ValidateVolumeDevices` of upstream's core validation.

use super::source::{Owner, one_too_many, shared_source};
use super::{Scope, projected, storage};
use crate::rule::{Errors, descending_path};
use crate::rule::{one_of, required, required_name, required_one_of, resource};
use crate::value::{entries, is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

/// Kinds of sources in the order in which upstream looks at them: of several, the first one counts.
const SOURCES: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// The volumes of a pod; those that are right are given back for the rules of mounts.
pub(super) fn volumes<'a>(
    errors: &mut Errors,
    list: &'a Value,
    pod: &str,
    path: &Path<'_>,
) -> Vec<(&'a str, &'a Value)> {
    let mut right: Vec<(&str, &Value)> = Vec::new();
    for (index, volume) in items(list).iter().enumerate() {
        let at = path.index(index);
        let (before, one) = (errors.len(), text(&volume["name"]));
        source(errors, volume, one, pod, &at);
        required_name(errors, &volume["name"], &at.child("name"), name::dns_label);
        if right.iter().any(|(other, _)| *other == one) {
            errors.push(FieldError::duplicate(&at.child("name"), one));
        }
        if errors.len() == before {
            right.push((one, volume));
        }
        let claim = text(&volume["persistentVolumeClaim"]["claimName"]);
        let made = |other: &Value| {
            !other["ephemeral"].is_null() && claim == format!("{pod}-{}", text(&other["name"]))
        };
        if !claim.is_empty() && !pod.is_empty() && items(list).iter().any(made) {
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            let at = at.child("persistentVolumeClaim");
            errors.push(FieldError::invalid(&at.child("claimName"), claim, why));
        }
    }
    right
}

fn source(errors: &mut Errors, volume: &Value, one: &str, pod: &str, path: &Path<'_>) {
    let mut given = entries(volume).filter(|(kind, body)| *kind != "name" && !body.is_null());
    let Some((kind, body)) = given.next() else {
        return errors.push(FieldError::required(path, "must specify a volume type"));
    };
    if given.next().is_none() {
        return own_source(errors, kind, body, one, pod, path);
    }
    let several = SOURCES.iter().map(|kind| (*kind, &volume[*kind])).filter(|(_, body)| !body.is_null());
    for (index, (kind, body)) in several.enumerate() {
        if index == 0 {
            own_source(errors, kind, body, one, pod, path);
        } else {
            one_too_many(errors, kind, path);
        }
    }
}

fn own_source(errors: &mut Errors, kind: &str, body: &Value, one: &str, pod: &str, path: &Path<'_>) {
    let at = path.child(kind);
    match kind {
        "emptyDir" => empty_dir(errors, body, &at),
        "configMap" | "secret" => projected::key_files(errors, kind, body, &at),
        "downwardAPI" => projected::downward(errors, body, &at),
        "projected" => projected::projected(errors, body, &at),
        "ephemeral" => ephemeral(errors, body, one, pod, path),
        "image" => {
            // A template may leave it open.
            if !pod.is_empty() {
                required(errors, &body["reference"], &at.child("reference"));
            }
            let policies = ["Always", "IfNotPresent", "Never"];
            required_one_of(errors, &body["pullPolicy"], &at.child("pullPolicy"), &policies);
        }
        _ => shared_source(errors, kind, body, Owner { persistent: false, name: one, path }),
    }
}

fn empty_dir(errors: &mut Errors, body: &Value, path: &Path<'_>) {
    let limit = &body["sizeLimit"];
    if !limit.is_null() && resource::quantity(limit).sign() < 0 {
        let why = "SizeLimit field must be a valid resource quantity";
        errors.push(FieldError::forbidden(&path.child("sizeLimit"), why));
    }
}

fn ephemeral(errors: &mut Errors, body: &Value, one: &str, pod: &str, path: &Path<'_>) {
    let at = path.child("ephemeral");
    let at = at.child("volumeClaimTemplate");
    let template = &body["volumeClaimTemplate"];
    if template.is_null() {
        errors.push(FieldError::required(&at, ""));
    } else {
        storage::template_metadata(errors, &template["metadata"], &at.child("metadata"));
        storage::claim_spec(errors, &template["spec"], &at.child("spec"));
    }
    if !pod.is_empty() && !one.is_empty() {
        let claim = format!("{pod}-{one}");
        for wrong in name::dns_subdomain(&claim) {
            let why = format!("PVC name {claim:?}: {wrong}");
            errors.push(FieldError::invalid(&path.child("name"), one, &why));
        }
    }
}

/// Where a container mounts volumes.
pub(super) fn mounts(errors: &mut Errors, container: &Value, scope: &Scope<'_>, path: &Path<'_>) {
    let devices = items(&container["volumeDevices"]);
    let mut seen = Vec::new();
    for (index, mount) in items(&container["volumeMounts"]).iter().enumerate() {
        let at = path.index(index);
        let (one, target) = (text(&mount["name"]), text(&mount["mountPath"]));
        required(errors, &mount["name"], &at.child("name"));
        if !scope.volumes.iter().any(|(name, _)| *name == one) {
            errors.push(FieldError::not_found(&at.child("name"), one));
        }
        required(errors, &mount["mountPath"], &at.child("mountPath"));
        if seen.contains(&target) {
            errors.push(FieldError::invalid(&at.child("mountPath"), target, "must be unique"));
        }
        seen.push(target);
        if devices.iter().any(|device| device["name"] == *one) {
            let why = "must not already exist in volumeDevices";
            errors.push(FieldError::invalid(&at.child("name"), one, why));
        }
        if devices.iter().any(|device| device["devicePath"] == *target) {
            let why = "must not already exist as a path in volumeDevices";
            errors.push(FieldError::invalid(&at.child("mountPath"), target, why));
        }
        mount_options(errors, mount, container, path, &at);
    }
}

fn mount_options(errors: &mut Errors, mount: &Value, container: &Value, list: &Path<'_>, path: &Path<'_>) {
    let expression = text(&mount["subPathExpr"]);
    descending_path(errors, &mount["subPath"], &list.child("subPath"));
    if !expression.is_empty() {
        if !is_empty(&mount["subPath"]) {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(&path.child("subPathExpr"), expression, why));
        }
        descending_path(errors, &mount["subPathExpr"], &list.child("subPathExpr"));
    }
    let propagation = &mount["mountPropagation"];
    if !propagation.is_null() {
        let at = list.child("mountPropagation");
        one_of(errors, propagation, &at, &["Bidirectional", "HostToContainer", "None"]);
        if propagation == "Bidirectional" && container["securityContext"]["privileged"] != true {
            let why = "Bidirectional mount propagation is available only to privileged containers";
            errors.push(FieldError::forbidden(&at, why));
        }
    }
    let at = list.child("recursiveReadOnly");
    match mount["recursiveReadOnly"].as_str() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if mount["readOnly"] != true {
                errors.push(FieldError::forbidden(&at, "may only be specified when readOnly is true"));
            }
            if !propagation.is_null() && propagation != "None" {
                let why = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(&at, why));
            }
        }
        Some(other) => {
            let supported = ["Disabled", "Enabled", "IfPossible"];
            errors.push(FieldError::not_supported(&at, other, &supported));
        }
    }
}

/// Which volumes a container uses as devices.
pub(super) fn devices(errors: &mut Errors, container: &Value, scope: &Scope<'_>, path: &Path<'_>) {
    let mounts = items(&container["volumeMounts"]);
    let (mut names, mut paths) = (Vec::new(), Vec::new());
    for (index, device) in items(&container["volumeDevices"]).iter().enumerate() {
        let at = path.index(index);
        let (one, target) = (text(&device["name"]), text(&device["devicePath"]));
        let invalid = |field: &str, value: &str, why: &str| FieldError::invalid(&at.child(field), value, why);
        required(errors, &device["name"], &at.child("name"));
        if names.contains(&one) {
            errors.push(invalid("name", one, "must be unique"));
        }
        match scope.volumes.iter().find(|(name, _)| *name == one) {
            None => errors.push(FieldError::not_found(&at.child("name"), one)),
            Some((_, volume))
                if volume["persistentVolumeClaim"].is_null() && volume["ephemeral"].is_null() =>
            {
                let why =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(invalid("name", one, why));
            }
            Some(_) => {}
        }
        required(errors, &device["devicePath"], &at.child("devicePath"));
        if paths.contains(&target) {
            errors.push(invalid("devicePath", target, "must be unique"));
        }
        if target.split('/').any(|part| part == "..") {
            errors.push(invalid("devicePath", target, "can not contain backsteps ('..')"));
        } else {
            paths.push(target);
        }
        if mounts.iter().any(|mount| mount["name"] == *one) {
            errors.push(invalid("name", one, "must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|mount| mount["mountPath"] == *target) {
            errors.push(invalid("devicePath", target, "must not already exist as a path in volumeMounts"));
        }
        if !one.is_empty() {
            names.push(one);
        }
    }
}
