//! What is special about PersistentVolumes and PersistentVolumeClaims.
//!
//! Answers to upstream's strategies and rules of both.

use crate::kind::Order;
use crate::podspec;
use crate::podspec::source::{Owner, one_too_many, shared_source};
use crate::podspec::warning::{OLD_VOLUMES, claim_spec, selector_term};
use crate::rule::shown::{self, showing};
use crate::rule::{
    Errors, METADATA, SPEC, STATUS, immutable, named_text, optional_name, optional_one_of, required, resource,
};
use crate::rules::{RULES, Rules};
use crate::value::{entries, is_empty, items, remove, restore, same, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const CLASS: &str = "volumeAttributesClassName";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// Kinds of sources in the order in which upstream looks at them.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];
/// Fields of a volume's spec that are no source.
const VOLUME_FIELDS: [&str; 9] = [
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    CLASS,
];

/// Rules of PersistentVolumes.
pub(crate) const VOLUME: Rules = Rules {
    warnings: |warnings, volume, _| {
        let (spec, annotations) = (&volume["spec"], &volume["metadata"]["annotations"]);
        for (key, instead) in [
            ("volume.beta.kubernetes.io/storage-class", "since v1.8; use \"storageClassName\""),
            ("volume.beta.kubernetes.io/mount-options", "since v1.31; use \"mountOptions\""),
        ] {
            if !annotations[key].is_null() {
                warnings.push(format!("metadata.annotations[{key}]: deprecated {instead} attribute instead"));
            }
        }
        if spec["persistentVolumeReclaimPolicy"] == "Recycle" {
            warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".into());
        }
        let at = SPEC.child("nodeAffinity");
        let at = at.child("required");
        let at = at.child("nodeSelectorTerms");
        for (index, term) in items(&spec["nodeAffinity"]["required"]["nodeSelectorTerms"]).iter().enumerate()
        {
            selector_term(warnings, term, false, &at.index(index));
        }
        for (kind, since) in OLD_VOLUMES {
            if spec[kind].is_object() {
                warnings.push(format!("spec.{kind}: {since}"));
            }
        }
    },
    status: r#"{"phase":"Pending"}"#,
    create: |volume, context| volume["status"]["lastPhaseTransitionTime"] = context.now.into(),
    update: |volume, old, part, context| {
        if part == "status" && volume["status"]["phase"] != old["status"]["phase"] {
            let at = &volume["status"]["lastPhaseTransitionTime"];
            if at.is_null() || *at == old["status"]["lastPhaseTransitionTime"] {
                volume["status"]["lastPhaseTransitionTime"] = context.now.into();
            }
        }
    },
    order: Order::ObjectTwice,
    validate: volume,
    validate_update: volume_update,
    ..RULES
};

fn sources(spec: &Value) -> impl Iterator<Item = (&str, &Value)> {
    entries(spec).filter(|(field, value)| !VOLUME_FIELDS.contains(field) && !value.is_null())
}

fn volume(errors: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    let modes = SPEC.child("accessModes");
    required(errors, &spec["accessModes"], &modes);
    podspec::access_modes(errors, &spec["accessModes"], &modes);
    let at = SPEC.child("capacity");
    let capacity = &spec["capacity"];
    required(errors, capacity, &at);
    if capacity["storage"].is_null() || entries(capacity).count() > 1 {
        errors.push(FieldError::not_supported(&at, capacity.clone(), &["storage"]));
    }
    for (one, value) in entries(capacity) {
        resource::not_negative(errors, value, &at.key(one));
        resource::positive(errors, value, &at.key(one));
    }
    let policy = "persistentVolumeReclaimPolicy";
    optional_one_of(errors, &spec[policy], &SPEC.child(policy), &["Delete", "Recycle", "Retain"]);
    let affinity = &spec["nodeAffinity"];
    if !affinity.is_null() {
        let at = SPEC.child("nodeAffinity");
        if affinity["required"].is_null() {
            let why = "must specify required node constraints";
            errors.push(FieldError::required(&at.child("required"), why));
        } else {
            podspec::node_selector(errors, &affinity["required"], &at.child("required"));
        }
    }
    volume_source(errors, spec, text(&object["metadata"]["name"]));
    optional_name(errors, &spec["storageClassName"], &SPEC.child("storageClassName"), name::dns_subdomain);
    optional_one_of(errors, &spec["volumeMode"], &SPEC.child("volumeMode"), &["Block", "Filesystem"]);
    if !spec[CLASS].is_null() {
        let at = SPEC.child(CLASS);
        if is_empty(&spec[CLASS]) {
            errors.push(FieldError::required(&at, "an empty string is disallowed"));
        }
        optional_name(errors, &spec[CLASS], &at, name::dns_subdomain);
        if spec["csi"].is_null() {
            let why = "has to be specified when using volumeAttributesClassName";
            errors.push(FieldError::required(&SPEC.child("csi"), why));
        }
    }
}

fn volume_source(errors: &mut Errors, spec: &Value, own: &str) {
    let owner = Owner { persistent: true, name: own, path: &SPEC };
    let mut first = true;
    for kind in SOURCES.into_iter().filter(|kind| !spec[*kind].is_null()) {
        // The one source that upstream looks at beside another.
        if first || kind == "flexVolume" {
            shared_source(errors, kind, &spec[kind], owner);
            if kind == "local" && spec["nodeAffinity"].is_null() {
                let why = "Local volume requires node affinity";
                errors.push(FieldError::required(&SPEC.child("nodeAffinity"), why));
            }
        } else {
            one_too_many(errors, kind, &SPEC);
        }
        first = false;
    }
    if sources(spec).next().is_none() {
        errors.push(FieldError::required(&SPEC, "must specify a volume type"));
    }
    let whole = text(&spec["hostPath"]["path"]);
    let whole = !whole.is_empty() && whole.split('/').all(|part| matches!(part, "" | "."));
    if whole && spec["persistentVolumeReclaimPolicy"] == "Recycle" {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden(&SPEC.child("persistentVolumeReclaimPolicy"), why));
    }
}

fn class_kept(errors: &mut Errors, spec: &Value, before: &Value) {
    if !before[CLASS].is_null() && spec[CLASS].is_null() {
        let why = "update from non-nil value to nil is forbidden";
        errors.push(FieldError::forbidden(&SPEC.child(CLASS), why));
    }
}

/// Old labels of nodes, and those that took their place.
const RENAMED: [[&str; 2]; 5] = [
    ["failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"],
    ["failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"],
    ["beta.kubernetes.io/os", "kubernetes.io/os"],
    ["beta.kubernetes.io/arch", "kubernetes.io/arch"],
    ["beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"],
];

/// The old affinity with those of its labels renamed that the new one names anew: the one change that is allowed.
fn renamed_keys(old: &Value, new: &Value) -> Value {
    let mut old = old.clone();
    let new = items(&new["required"]["nodeSelectorTerms"]);
    let terms = old.pointer_mut("/required/nodeSelectorTerms").and_then(Value::as_array_mut);
    for (term, new) in terms.into_iter().flatten().zip(new) {
        for list in ["matchExpressions", "matchFields"] {
            let own = term.get_mut(list).and_then(Value::as_array_mut);
            for (own, new) in own.into_iter().flatten().zip(items(&new[list])) {
                if RENAMED.contains(&[text(&own["key"]), text(&new["key"])]) {
                    own["key"] = new["key"].clone();
                }
            }
        }
    }
    old
}

fn volume_update(errors: &mut Errors, object: &Value, old: &Value) {
    let (spec, before) = (&object["spec"], &old["spec"]);
    let source = |spec: &Value| -> Value {
        sources(spec).map(|(kind, body)| (kind.to_owned(), body.clone())).collect()
    };
    let (mut now, was) = (source(spec), source(before));
    let expand = "controllerExpandSecretRef";
    if was["csi"].is_object() && was["csi"][expand].is_null() && now["csi"].is_object() {
        remove(&mut now["csi"], expand);
    }
    if !same(&now, &was) {
        let what = super::pod_change::differences(&now, &was);
        let why = format!("spec.persistentvolumesource is immutable after creation\n{what}");
        errors.push(FieldError::forbidden(&SPEC.child("persistentvolumesource"), &why));
    }
    immutable(errors, &spec["volumeMode"], &before["volumeMode"], &Path::root("volumeMode"));
    let renamed = renamed_keys(&before["nodeAffinity"], &spec["nodeAffinity"]);
    if !before["nodeAffinity"].is_null() && !same(&spec["nodeAffinity"], &renamed) {
        let why = "field is immutable, except for updating from beta label to GA";
        let error = FieldError::invalid(&Path::root("nodeAffinity"), "", why);
        errors.push(showing(error, &spec["nodeAffinity"], shown::VOLUME_AFFINITY));
    }
    class_kept(errors, spec, before);
}

/// Rules of PersistentVolumeClaims.
pub(crate) const CLAIM: Rules = Rules {
    warnings: |warnings, claim, _| {
        let key = "volume.beta.kubernetes.io/storage-class";
        if !claim["metadata"]["annotations"][key].is_null() {
            warnings.push(format!(
                "metadata.annotations[{key}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
            ));
        }
        claim_spec(warnings, &claim["spec"], &SPEC);
    },
    status: r#"{"phase":"Pending"}"#,
    create: |claim, _| normalize_sources(&mut claim["spec"]),
    update: |claim, old, part, _| {
        if part.is_empty() {
            normalize_sources(&mut claim["spec"]);
        }
        // How a volume is is not told yet, but a claim that has it keeps it.
        if part == "status" && old["status"]["healthStatus"].is_null() && claim["status"].is_object() {
            remove(&mut claim["status"], "healthStatus");
        }
    },
    order: Order::ObjectTwice,
    validate: |errors, claim| podspec::claim_spec(errors, &claim["spec"], &SPEC),
    validate_update: claim_update,
    validate_part: |errors, claim, _, _| claim_status(errors, &claim["status"]),
    ..RULES
};

/// How far the resizing of a claim has come.
const RESIZING: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

fn claim_status(errors: &mut Errors, status: &Value) {
    let at = STATUS.child("capacity");
    for (one, value) in entries(&status["capacity"]) {
        resource::not_negative(errors, value, &at.key(one));
    }
    let at = STATUS.child("allocatedResourceStatus");
    for (one, state) in entries(&status["allocatedResourceStatuses"]) {
        claim_resource(errors, one, &at);
        if !RESIZING.contains(&text(state)) {
            let mut known = RESIZING;
            known.sort_unstable();
            errors.push(FieldError::not_supported(&at, one, &known));
        }
    }
    let at = STATUS.child("allocatedResources");
    for (one, value) in entries(&status["allocatedResources"]) {
        if claim_resource(errors, one, &at) {
            resource::not_negative(errors, value, &at.key(one));
        }
    }
}

/// Of Kubernetes' own resources a claim has storage only; whether the name is right.
fn claim_resource(errors: &mut Errors, one: &str, path: &Path<'_>) -> bool {
    let before = errors.len();
    named_text(errors, one, path, name::qualified);
    if errors.len() == before && resource::is_native(one) && one != "storage" {
        errors.push(FieldError::not_supported(path, one, &["storage"]));
    }
    errors.len() == before
}

/// The two fields for a source of data say the same, unless the newer one reaches into another namespace.
fn normalize_sources(spec: &mut Value) {
    let (source, reference) = (spec["dataSource"].clone(), spec["dataSourceRef"].clone());
    if !source.is_null() && reference.is_null() {
        spec["dataSourceRef"] = source;
    } else if source.is_null() && !reference.is_null() && is_empty(&reference["namespace"]) {
        spec["dataSource"] = reference;
    }
}

fn claim_update(errors: &mut Errors, claim: &Value, old: &Value) {
    let (spec, before) = (&claim["spec"], &old["spec"]);
    let mut munged = spec.clone();
    if is_empty(&before["volumeName"]) {
        restore(&mut munged, before, "volumeName");
        if munged["volumeName"].is_null() && !is_empty(&spec["volumeName"]) {
            munged["volumeName"] = Value::Null;
        }
    }
    let annotations = |one: &Value| one["metadata"]["annotations"][BETA_CLASS].clone();
    let (beta, beta_before) = (annotations(claim), annotations(old));
    let named = before["storageClassName"].is_null() && !spec["storageClassName"].is_null();
    let from_annotation =
        named && beta_before == spec["storageClassName"] && (beta.is_null() || beta == beta_before);
    if !from_annotation && !same(&beta, &beta_before) {
        let at = METADATA.child("annotations");
        errors.push(FieldError::invalid(&at.child(BETA_CLASS), text(&beta), "field is immutable"));
    }
    if named && (beta_before.is_null() || beta_before == spec["storageClassName"]) {
        restore(&mut munged, before, "storageClassName");
    }
    let bound = claim["status"]["phase"] == "Bound";
    let sizes = [spec, before, &old["status"]].map(|part| {
        let part =
            if part["resources"].is_null() { &part["capacity"] } else { &part["resources"]["requests"] };
        resource::quantity(part.get("storage").unwrap_or(&Value::from(0)))
    });
    if bound && munged["resources"]["requests"].is_object() {
        restore(&mut munged["resources"]["requests"], &before["resources"]["requests"], "storage");
    }
    if bound && !munged[CLASS].is_null() {
        restore(&mut munged, before, CLASS);
    }
    if !same(&munged, before) {
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        let why = format!("{why}\n{}", super::pod_change::differences(&munged, before));
        errors.push(FieldError::forbidden(&SPEC, &why));
    }
    if sizes[0] < sizes[1] && sizes[0] <= sizes[2] {
        let at = SPEC.child("resources");
        let at = at.child("requests");
        let why = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden(&at.child("storage"), why));
    }
    immutable(errors, &spec["volumeMode"], &before["volumeMode"], &Path::root("volumeMode"));
    class_kept(errors, spec, before);
    if !is_empty(&before[CLASS]) && spec[CLASS] == "" {
        let why = "update from non-nil value to an empty string is forbidden";
        errors.push(FieldError::forbidden(&SPEC.child(CLASS), why));
    }
}
