//! Rules for volumes, of Pods and PersistentVolumes, and for their mounts.

use super::security::{file_mode, small_number};
use super::{Scope, env, storage};
use crate::rule::{Errors, descending_path, label, no_backsteps, non_reserved_path};
use crate::rule::{one_of, optional_one_of, required, required_because, required_name, resource};
use crate::value::{entries, int, is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const MANY: &str = "may not specify more than 1 volume type";
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
/// Fields that must be there, of sources about which nothing else is checked.
const REQUIRED: &[(&str, &[&str])] = &[
    ("gitRepo", &["repository"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("nfs", &["server", "path"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("glusterfs", &["endpoints", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("rbd", &["monitors", "image"]),
    ("cinder", &["volumeID"]),
    ("cephfs", &["monitors"]),
    ("quobyte", &["registry", "volume"]),
    ("flexVolume", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("storageos", &["volumeName"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
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
    let mut count = 0;
    for (kind, body) in entries(volume) {
        if kind == "name" || body.is_null() {
            continue;
        }
        count += 1;
        let at = path.child(kind);
        if count > 1 {
            errors.push(FieldError::forbidden(&at, MANY));
            continue;
        }
        match kind {
            "emptyDir" => empty_dir(errors, body, &at),
            "configMap" | "secret" => key_files(errors, kind, body, &at),
            "downwardAPI" => {
                file_mode(errors, &body["defaultMode"], &at.child("defaultMode"));
                for file in items(&body["items"]) {
                    downward_file(errors, file, &at);
                }
            }
            "projected" => projected(errors, body, &at),
            "ephemeral" => ephemeral(errors, body, one, pod, path),
            "image" => {
                required(errors, &body["reference"], &at.child("reference"));
                let policies = ["Always", "IfNotPresent", "Never"];
                optional_one_of(errors, &body["pullPolicy"], &at.child("pullPolicy"), &policies);
            }
            _ => shared_source(errors, kind, body, false, &at),
        }
    }
    if count == 0 {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

/// Sources that Pods and PersistentVolumes have in common.
pub(crate) fn shared_source(
    errors: &mut Errors,
    kind: &str,
    body: &Value,
    persistent: bool,
    path: &Path<'_>,
) {
    if let Some((_, fields)) = REQUIRED.iter().find(|(name, _)| *name == kind) {
        for field in *fields {
            required(errors, &body[*field], &path.child(field));
        }
    }
    match kind {
        "hostPath" | "local" => {
            let missing = required(errors, &body["path"], &path.child("path"));
            if !missing {
                no_backsteps(errors, &body["path"], &path.child("path"));
            }
            if !missing && kind == "hostPath" {
                optional_one_of(errors, &body["type"], &path.child("type"), &HOST_PATH_TYPES);
            }
        }
        "nfs" if !text(&body["path"]).starts_with('/') => {
            let given = text(&body["path"]);
            errors.push(FieldError::invalid(&path.child("path"), given, "must be an absolute path"));
        }
        "gitRepo" => descending_path(errors, &body["directory"], &path.child("directory")),
        "iscsi" => iscsi(errors, body, path),
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            small_number(errors, &body["partition"], &path.child("partition"));
        }
        "fc" => fibre_channel(errors, body, path),
        "csi" => csi(errors, body, persistent, path),
        "azureDisk" => {
            let modes = ["None", "ReadOnly", "ReadWrite"];
            optional_one_of(errors, &body["cachingMode"], &path.child("cachingMode"), &modes);
            optional_one_of(errors, &body["kind"], &path.child("kind"), &["Dedicated", "Managed", "Shared"]);
        }
        _ => {}
    }
}

fn empty_dir(errors: &mut Errors, body: &Value, path: &Path<'_>) {
    let limit = &body["sizeLimit"];
    if !limit.is_null() && resource::quantity(limit).sign() < 0 {
        let why = "SizeLimit field must be a valid resource quantity";
        errors.push(FieldError::forbidden(&path.child("sizeLimit"), why));
    }
}

fn iscsi(errors: &mut Errors, body: &Value, path: &Path<'_>) {
    let iqn = text(&body["iqn"]);
    if !iqn.is_empty() && !["iqn", "eui", "naa"].iter().any(|prefix| iqn.starts_with(prefix)) {
        let why = "must be valid format starting with iqn, eui, or naa";
        errors.push(FieldError::invalid(&path.child("iqn"), iqn, why));
    }
    small_number(errors, &body["lun"], &path.child("lun"));
    let chap = body["chapAuthDiscovery"] == true || body["chapAuthSession"] == true;
    if chap && body["secretRef"].is_null() {
        errors.push(FieldError::required(&path.child("secretRef"), ""));
    }
}

fn fibre_channel(errors: &mut Errors, body: &Value, path: &Path<'_>) {
    let (targets, ids) = (&body["targetWWNs"], &body["wwids"]);
    let at = path.child("targetWWNs");
    if is_empty(targets) && is_empty(ids) {
        let why = "must specify either targetWWNs or wwids, but not both";
        errors.push(FieldError::required(&at, why));
    }
    if !is_empty(targets) && !is_empty(ids) {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(FieldError::invalid(&at, targets.clone(), why));
    }
    if !is_empty(targets) {
        if body["lun"].is_null() {
            let why = "lun is required if targetWWNs is specified";
            errors.push(FieldError::required(&path.child("lun"), why));
        }
        small_number(errors, &body["lun"], &path.child("lun"));
    }
}

/// The name of a CSI driver.
pub(crate) fn csi_driver_name(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    required(errors, value, path);
    if text(value).len() > 63 {
        errors.push(FieldError::too_long(path, 63));
    }
    for wrong in name::dns_subdomain(&text(value).to_lowercase()) {
        errors.push(FieldError::invalid(path, text(value), &wrong));
    }
}

fn csi(errors: &mut Errors, body: &Value, persistent: bool, path: &Path<'_>) {
    csi_driver_name(errors, &body["driver"], &path.child("driver"));
    if !persistent {
        let reference = &body["nodePublishSecretRef"];
        if !reference.is_null() {
            let at = path.child("nodePublishSecretRef");
            required_name(errors, &reference["name"], &at.child("name"), name::dns_subdomain);
        }
        return;
    }
    required(errors, &body["volumeHandle"], &path.child("volumeHandle"));
    let references = [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ];
    for field in references {
        if !body[field].is_null() {
            let at = path.child(field);
            required_name(errors, &body[field]["name"], &at.child("name"), name::dns_subdomain);
            required_name(errors, &body[field]["namespace"], &at.child("namespace"), name::dns_label);
        }
    }
}

fn key_files(errors: &mut Errors, kind: &str, body: &Value, path: &Path<'_>) {
    let field = if kind == "secret" { "secretName" } else { "name" };
    required(errors, &body[field], &path.child(field));
    file_mode(errors, &body["defaultMode"], &path.child("defaultMode"));
    let at = path.child("items");
    for (index, item) in items(&body["items"]).iter().enumerate() {
        key_to_path(errors, item, &at.index(index));
    }
}

fn key_to_path(errors: &mut Errors, item: &Value, path: &Path<'_>) {
    required(errors, &item["key"], &path.child("key"));
    required(errors, &item["path"], &path.child("path"));
    non_reserved_path(errors, &item["path"], &path.child("path"));
    file_mode(errors, &item["mode"], &path.child("mode"));
}

fn downward_file(errors: &mut Errors, file: &Value, path: &Path<'_>) {
    required(errors, &file["path"], &path.child("path"));
    non_reserved_path(errors, &file["path"], &path.child("path"));
    let (field, amount) = (&file["fieldRef"], &file["resourceFieldRef"]);
    if !field.is_null() {
        env::field_reference(errors, field, &env::FILE_FIELD_PATHS, &path.child("fieldRef"));
        if !amount.is_null() {
            let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(FieldError::invalid(path, "resource", why));
        }
    } else if !amount.is_null() {
        env::resource_reference(errors, amount, true, &path.child("resourceFieldRef"));
    } else {
        errors.push(FieldError::required(path, "one of fieldRef and resourceFieldRef is required"));
    }
    file_mode(errors, &file["mode"], &path.child("mode"));
}

fn taken<'a>(errors: &mut Errors, seen: &mut Vec<&'a str>, file: &'a Value, shown: &str, path: &Path<'_>) {
    let file = text(file);
    if file.is_empty() {
        return;
    }
    if seen.contains(&file) {
        errors.push(FieldError::invalid(path, shown, "conflicting duplicate paths"));
    } else {
        seen.push(file);
    }
}

fn projected(errors: &mut Errors, body: &Value, path: &Path<'_>) {
    file_mode(errors, &body["defaultMode"], &path.child("defaultMode"));
    let mut seen = Vec::new();
    let at = path.child("sources");
    for (index, source) in items(&body["sources"]).iter().enumerate() {
        let at = at.index(index);
        let mut count = 0;
        for (kind, body) in entries(source) {
            if body.is_null() {
                continue;
            }
            count += 1;
            projection(errors, kind, body, &mut seen, path, &at.child(kind));
        }
        if count > 1 {
            errors.push(FieldError::forbidden(&at, MANY));
        }
    }
}

fn projection<'a>(
    errors: &mut Errors,
    kind: &str,
    body: &'a Value,
    seen: &mut Vec<&'a str>,
    volume: &Path<'_>,
    path: &Path<'_>,
) {
    match kind {
        "secret" | "configMap" => {
            required(errors, &body["name"], &path.child("name"));
            let at = path.child("items");
            for (index, item) in items(&body["items"]).iter().enumerate() {
                key_to_path(errors, item, &at.index(index));
                taken(errors, seen, &item["path"], text(&body["name"]), volume);
            }
        }
        "downwardAPI" => {
            for file in items(&body["items"]) {
                downward_file(errors, file, path);
                taken(errors, seen, &file["path"], text(&file["path"]), volume);
            }
        }
        "serviceAccountToken" => {
            let seconds = int(&body["expirationSeconds"]);
            let why = if seconds < 600 {
                "may not specify a duration less than 10 minutes"
            } else if seconds > 1 << 32 {
                "may not specify a duration larger than 2^32 seconds"
            } else {
                ""
            };
            if !why.is_empty() {
                errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds, why));
            }
            if !required(errors, &body["path"], &volume.child("path")) {
                non_reserved_path(errors, &body["path"], &volume.child("path"));
            }
        }
        "clusterTrustBundle" => trust_bundle(errors, body, seen, volume, path),
        "podCertificate" => {
            required(errors, &body["signerName"], &path.child("signerName"));
            let types = ["ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"];
            one_of(errors, &body["keyType"], &path.child("keyType"), &types);
            for field in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
                non_reserved_path(errors, &body[field], &path.child(field));
                taken(errors, seen, &body[field], text(&body[field]), volume);
            }
        }
        _ => {}
    }
}

fn trust_bundle<'a>(
    errors: &mut Errors,
    body: &'a Value,
    seen: &mut Vec<&'a str>,
    volume: &Path<'_>,
    path: &Path<'_>,
) {
    match (body["name"].is_null(), body["signerName"].is_null()) {
        (false, false) => {
            let why = "only one of name and signerName may be used";
            errors.push(FieldError::invalid(path, body.clone(), why));
        }
        (false, true) => {
            required_because(errors, &body["name"], &path.child("name"), "must be a valid object name");
            if !body["labelSelector"].is_null() {
                let why = "labelSelector must be unset if name is specified";
                let given = body["labelSelector"].clone();
                errors.push(FieldError::invalid(&path.child("labelSelector"), given, why));
            }
        }
        (true, false) => {
            let at = path.child("signerName");
            required_because(errors, &body["signerName"], &at, "must be a valid signer name");
            label::selector(errors, &body["labelSelector"], &path.child("labelSelector"));
        }
        (true, true) => {
            errors.push(FieldError::required(path, "either name or signerName must be specified"));
        }
    }
    required(errors, &body["path"], &path.child("path"));
    non_reserved_path(errors, &body["path"], &path.child("path"));
    taken(errors, seen, &body["path"], text(&body["path"]), volume);
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
        names.push(one);
    }
}
