//! Rules for the sources that volumes of Pods and PersistentVolumes have in common.
//!
//! Answers to the rules of volume sources in upstream's core validation, with the paths that it reports under, some of
//! which are not the fields' own.

use super::security::small_number;
use crate::rule::{
    Errors, declared, declared_required, descending_path, named, no_backsteps, optional_one_of, required,
    required_name,
};
use crate::value::{entries, is_empty, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
/// Fields that must be there.
const REQUIRED: &[(&str, &[&str])] = &[
    ("gitRepo", &["repository"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("nfs", &["server", "path"]),
    ("glusterfs", &["endpoints", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("rbd", &["monitors", "image"]),
    ("cinder", &["volumeID"]),
    ("cephfs", &["monitors"]),
    ("flexVolume", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
];
const MANY: &str = "may not specify more than 1 volume type";
const HOST_PORT: &str = "must be a host:port pair or multiple pairs separated by commas";
const ISCSI_FORMAT: &str = "must be valid format starting with iqn, eui, or naa";
const ISCSI_LENGTH: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
const MANAGED_DISK: &str =
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
const BLOB_DISK: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";

/// Whose source it is.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'a> {
    /// A PersistentVolume, else a volume of a pod.
    pub persistent: bool,
    /// Its name.
    pub name: &'a str,
    /// Its path.
    pub path: &'a Path<'a>,
}

/// Reports a source beside another one.
pub(crate) fn one_too_many(errors: &mut Errors, kind: &str, path: &Path<'_>) {
    let shown = match kind {
        "cephfs" => "cephFS",
        "downwardAPI" => "downwarAPI",
        kind => kind,
    };
    errors.push(FieldError::forbidden(&path.child(shown), MANY));
}

/// A source that both have.
pub(crate) fn shared_source(errors: &mut Errors, kind: &str, body: &Value, owner: Owner<'_>) {
    let path = &owner.path.child(if kind == "gcePersistentDisk" { "persistentDisk" } else { kind });
    if let Some((_, fields)) = REQUIRED.iter().find(|(name, _)| *name == kind) {
        for field in *fields {
            required(errors, &body[*field], &path.child(field));
        }
    }
    match kind {
        "hostPath" | "local" if !required(errors, &body["path"], &path.child("path")) => {
            no_backsteps(errors, &body["path"], &path.child("path"));
            if kind == "hostPath" {
                optional_one_of(errors, &body["type"], &path.child("type"), &HOST_PATH_TYPES);
            }
        }
        "nfs" if !text(&body["path"]).starts_with('/') => {
            let given = text(&body["path"]);
            errors.push(FieldError::invalid(&path.child("path"), given, "must be an absolute path"));
        }
        "gitRepo" => descending_path(errors, &body["directory"], &path.child("directory")),
        "iscsi" => iscsi(errors, body, owner, path),
        "gcePersistentDisk" | "awsElasticBlockStore" => partition(errors, body, path),
        "fc" => fibre_channel(errors, body, path),
        "csi" => csi(errors, body, owner.persistent, path),
        "azureDisk" => azure_disk(errors, body, path),
        "azureFile" if owner.persistent && body["secretNamespace"] == "" => {
            errors.push(FieldError::required(&path.child("secretNamespace"), ""));
        }
        "glusterfs" if owner.persistent => glusterfs_namespace(errors, body, path),
        "flocker" => flocker(errors, body, path),
        "quobyte" => quobyte(errors, body, path),
        "cinder" => secret_reference(errors, body, owner.persistent, path),
        "storageos" => {
            required_name(errors, &body["volumeName"], &path.child("volumeName"), name::dns_label);
            if !is_empty(&body["volumeNamespace"]) {
                named(errors, &body["volumeNamespace"], &path.child("volumeNamespace"), name::dns_label);
            }
            secret_reference(errors, body, owner.persistent, path);
        }
        "flexVolume" => flex_options(errors, body, path),
        _ => {}
    }
}

fn partition(errors: &mut Errors, body: &Value, path: &Path<'_>) {
    if body["partition"].as_i64().is_some_and(|number| !(0..=255).contains(&number)) {
        let why = crate::rule::range_text(1, 255);
        errors.push(FieldError::invalid(&path.child("partition"), body["partition"].clone(), &why));
    }
}

/// A reference to a Secret by name, of a PersistentVolume by namespace too.
fn secret_reference(errors: &mut Errors, body: &Value, namespaced: bool, path: &Path<'_>) {
    let reference = &body["secretRef"];
    if reference.is_null() {
        return;
    }
    let at = path.child("secretRef");
    required(errors, &reference["name"], &at.child("name"));
    if namespaced {
        required(errors, &reference["namespace"], &at.child("namespace"));
    }
}

/// `iqn.2001-04.com.example:disk`, `eui.` and 16, or `naa.` and 32 letters or digits.
fn is_iscsi_name(text: &str) -> bool {
    let letters = |text: &str, count: usize| {
        let mut characters = text.chars();
        characters.next().is_some()
            && characters.as_str().len() == count
            && characters.all(|one| one.is_ascii_alphanumeric())
    };
    if let Some(rest) = text.strip_prefix("eui") {
        return letters(rest, 16);
    }
    if let Some(rest) = text.strip_prefix("naa") {
        return letters(rest, 32);
    }
    let Some((date, rest)) = text.strip_prefix("iqn.").and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    let Some((authority, own)) = rest.split_once(':') else { return false };
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    date.split_once('-').is_some_and(|(year, month)| digits(year, 4) && digits(month, 2))
        && !authority.is_empty()
        && authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        && !own.is_empty()
        && !own.chars().any(|one| ",;*&$|".contains(one) || one.is_whitespace())
}

fn iscsi(errors: &mut Errors, body: &Value, owner: Owner<'_>, path: &Path<'_>) {
    let format = |errors: &mut Errors, given: &str, field: &str| {
        let known = ["iqn", "eui", "naa"].iter().any(|prefix| given.starts_with(prefix));
        if !known && !owner.persistent {
            errors.push(FieldError::invalid(&path.child(field), given, ISCSI_FORMAT));
        } else if !known || !is_iscsi_name(given) {
            errors.push(FieldError::invalid(&path.child(field), given, "must be valid format"));
        }
    };
    let portal = text(&body["targetPortal"]);
    required(errors, &body["targetPortal"], &path.child("targetPortal"));
    let long = !body["initiatorName"].is_null() && owner.name.len() + 1 + portal.len() > 64;
    if long && owner.persistent {
        errors.push(FieldError::invalid(&path.child("targetportal"), portal, ISCSI_LENGTH));
    }
    if !required(errors, &body["iqn"], &path.child("iqn")) {
        format(errors, text(&body["iqn"]), "iqn");
    }
    small_number(errors, &body["lun"], &path.child("lun"));
    let chap = body["chapAuthDiscovery"] == true || body["chapAuthSession"] == true;
    if chap && body["secretRef"].is_null() {
        errors.push(FieldError::required(&path.child("secretRef"), ""));
    }
    if owner.persistent {
        secret_reference(errors, body, false, path);
    }
    if let Some(initiator) = body["initiatorName"].as_str() {
        format(errors, initiator, "initiatorname");
    }
    if long && !owner.persistent {
        errors.push(FieldError::invalid(&owner.path.child("name"), owner.name, ISCSI_LENGTH));
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

fn glusterfs_namespace(errors: &mut Errors, body: &Value, path: &Path<'_>) {
    let at = path.child("endpointsNamespace");
    match body["endpointsNamespace"].as_str() {
        None => {}
        Some("") => {
            let why = "if the endpointnamespace is set, it must be a valid namespace name";
            errors.push(FieldError::invalid(&at, "", why));
        }
        Some(_) => named(errors, &body["endpointsNamespace"], &at, name::dns_label),
    }
}

fn flocker(errors: &mut Errors, body: &Value, path: &Path<'_>) {
    let (own, uuid) = (text(&body["datasetName"]), text(&body["datasetUUID"]));
    if own.is_empty() && uuid.is_empty() {
        errors.push(FieldError::required(path, "one of datasetName and datasetUUID is required"));
    }
    if !own.is_empty() && !uuid.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(FieldError::invalid(path, "resource", why));
    }
    if own.contains('/') {
        errors.push(FieldError::invalid(&path.child("datasetName"), own, "must not contain '/'"));
    }
}

fn quobyte(errors: &mut Errors, body: &Value, path: &Path<'_>) {
    let registry = text(&body["registry"]);
    if registry.is_empty() {
        errors.push(FieldError::required(&path.child("registry"), HOST_PORT));
    } else if text(&body["tenant"]).len() >= 65 {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(&path.child("tenant"), why));
    } else {
        let pair = |pair: &str| {
            pair.rsplit_once(':').is_some_and(|(host, _)| {
                let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
                bare.is_some_and(|host| !host.contains(['[', ']'])) || !host.contains([':', '[', ']'])
            })
        };
        for _ in registry.split(',').filter(|one| !pair(one)) {
            errors.push(FieldError::invalid(&path.child("registry"), registry, HOST_PORT));
        }
    }
    required(errors, &body["volume"], &path.child("volume"));
}

fn flex_options(errors: &mut Errors, body: &Value, path: &Path<'_>) {
    let at = path.child("options");
    for (key, _) in entries(&body["options"]) {
        let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
        let namespace = format!(".{}", namespace.to_lowercase());
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(FieldError::invalid(&at.key(key), key, why));
        }
    }
}

fn azure_disk(errors: &mut Errors, body: &Value, path: &Path<'_>) {
    let modes = ["None", "ReadOnly", "ReadWrite"];
    optional_one_of(errors, &body["cachingMode"], &path.child("cachingMode"), &modes);
    optional_one_of(errors, &body["kind"], &path.child("kind"), &["Dedicated", "Managed", "Shared"]);
    let (uri, at) = (text(&body["diskURI"]), path.child("diskURI"));
    match body["kind"].as_str() {
        Some("Managed") if !uri.starts_with("/subscriptions/") => {
            errors.push(FieldError::not_supported(&at, uri, &[MANAGED_DISK]));
        }
        Some(kind) if kind != "Managed" && !uri.starts_with("https://") => {
            errors.push(FieldError::not_supported(&at, uri, &[BLOB_DISK]));
        }
        _ => {}
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

const CASELESS: &str = "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'Example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// The name of a driver where upstream declares what it is: its texts differ.
pub(crate) fn declared_driver_name(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    let given = text(value);
    if given.is_empty() {
        // The declared rule stops here; the other one goes on.
        named(errors, value, path, name::dns_subdomain);
        declared_required(errors, value, path);
        return;
    }
    declared(errors, |errors| {
        if !name::dns_subdomain(&given.to_lowercase()).is_empty() {
            errors.push(FieldError::invalid(path, given, CASELESS));
        }
        if given.chars().count() > 63 {
            errors.push(FieldError::too_long_characters(path, 63));
        }
    });
}

fn csi(errors: &mut Errors, body: &Value, persistent: bool, path: &Path<'_>) {
    csi_driver_name(errors, &body["driver"], &path.child("driver"));
    if !persistent {
        let reference = &body["nodePublishSecretRef"];
        let at = path.child("nodePublishSecretRef");
        if !reference.is_null() && !required(errors, &reference["name"], &at.child("name")) {
            named(errors, &reference["name"], &path.child("name"), name::dns_subdomain);
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
