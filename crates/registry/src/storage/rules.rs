//! What is special about StorageClasses, VolumeAttributesClasses and VolumeAttachments.
//!
//! Answers to upstream's `pkg/apis/storage/validation`.

use crate::podspec::source::declared_driver_name;
use crate::podspec::warning::old_label;
use crate::rule::{
    Errors, SPEC, STATUS, changed, declared_required, in_range, named, named_text, optional_one_of,
};
use crate::rule::{required, required_one_of};
use crate::rules::{RULES, Rules};
use crate::value::{entries, is_empty, items, same, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const PARAMETERS_MAXIMUM: usize = 256 * 1024;
const PARAMETERS_COUNT_MAXIMUM: usize = 512;
const MESSAGE_MAXIMUM: usize = 1024;

/// `declares`: whether upstream declares that it must be there.
fn provisioner(errors: &mut Errors, value: &Value, declares: bool, path: &Path<'_>) {
    let missing =
        if declares { declared_required(errors, value, path) } else { required(errors, value, path) };
    if !missing {
        for wrong in name::qualified(&text(value).to_lowercase()) {
            errors.push(FieldError::invalid(path, text(value), &wrong));
        }
    }
}

fn parameters(errors: &mut Errors, map: &Value, empty: bool, path: &Path<'_>) {
    let mut total = 0;
    if entries(map).count() > PARAMETERS_COUNT_MAXIMUM {
        return errors.push(FieldError::too_long(path, PARAMETERS_COUNT_MAXIMUM));
    }
    for (key, value) in entries(map) {
        if key.is_empty() {
            errors.push(FieldError::invalid(path, key, "field can not be empty."));
        }
        total += key.len() + text(value).len();
    }
    if total > PARAMETERS_MAXIMUM {
        errors.push(FieldError::too_long(path, PARAMETERS_MAXIMUM));
    }
    if !empty && entries(map).next().is_none() {
        errors.push(FieldError::required(path, "must contain at least one key/value pair"));
    }
}

/// Rules of StorageClasses.
pub(crate) const STORAGE_CLASS: Rules = Rules {
    warnings: |warnings, class, _| {
        let at = Path::root("allowedTopologies");
        for (index, term) in items(&class["allowedTopologies"]).iter().enumerate() {
            let at = at.index(index);
            let at = at.child("matchLabelExpressions");
            for (index, one) in items(&term["matchLabelExpressions"]).iter().enumerate() {
                if let Some(since) = old_label(text(&one["key"])) {
                    let key = text(&one["key"]);
                    warnings.push(format!("{}: {key} is {since}", at.index(index).child("key")));
                }
            }
        }
    },
    validate_create: |errors, class| {
        provisioner(errors, &class["provisioner"], true, &Path::root("provisioner"));
        parameters(errors, &class["parameters"], true, &Path::root("parameters"));
        optional_one_of(errors, &class["reclaimPolicy"], &Path::root("reclaimPolicy"), &["Delete", "Retain"]);
        let mode = Path::root("volumeBindingMode");
        let modes = ["Immediate", "WaitForFirstConsumer"];
        required_one_of(errors, &class["volumeBindingMode"], &mode, &modes);
        topologies(errors, &class["allowedTopologies"]);
    },
    validate_update: |errors, class, old| {
        declared_required(errors, &class["provisioner"], &Path::root("provisioner"));
        for field in ["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"] {
            changed(errors, &class[field], &old[field], &Path::root(field));
        }
    },
    ..RULES
};

/// Terms of topology, none of which says what another one does.
fn topologies(errors: &mut Errors, terms: &Value) {
    let at = Path::root("allowedTopologies");
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for (index, term) in items(terms).iter().enumerate() {
        let at = at.index(index);
        let at = at.child("matchLabelExpressions");
        let mut known: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (index, one) in items(&term["matchLabelExpressions"]).iter().enumerate() {
            let at = at.index(index);
            let (key, values) = (text(&one["key"]), at.child("values"));
            required(errors, &one["values"], &values);
            let mut set = BTreeSet::new();
            for (index, value) in items(&one["values"]).iter().enumerate() {
                if !set.insert(text(value)) {
                    errors.push(FieldError::duplicate(&values.index(index), text(value)));
                }
            }
            named_text(errors, key, &at.child("key"), name::qualified);
            if known.insert(key, set).is_some() {
                errors.push(FieldError::duplicate(&at.child("key"), key));
            }
        }
        // One that requires nothing counts as said before.
        if known.is_empty() || seen.contains(&known) {
            errors.push(FieldError::duplicate(&at, ""));
        }
        seen.push(known);
    }
}

/// Rules of VolumeAttributesClasses.
pub(crate) const ATTRIBUTES_CLASS: Rules = Rules {
    validate_create: |errors, class| {
        provisioner(errors, &class["driverName"], false, &Path::root("driverName"));
        parameters(errors, &class["parameters"], false, &Path::root("parameters"));
    },
    validate_update: |errors, class, old| {
        for field in ["driverName", "parameters"] {
            if !same(&class[field], &old[field]) {
                let why = format!("updates to {field} are forbidden.");
                errors.push(FieldError::forbidden(&Path::root(field), &why));
            }
        }
    },
    ..RULES
};

/// Rules of VolumeAttachments.
pub(crate) const ATTACHMENT: Rules = Rules {
    status: r#"{"attached":false}"#,
    status_only: true,
    validate_create: |errors, attachment| attachment_spec(errors, &attachment["spec"]),
    validate_update: |errors, attachment, old| {
        if !same(&attachment["spec"], &old["spec"]) {
            attachment_spec(errors, &attachment["spec"]);
        }
        changed(errors, &attachment["spec"], &old["spec"], &SPEC);
    },
    validate_part: |errors, attachment, _, _| {
        let status = &attachment["status"];
        let size: usize =
            entries(&status["attachmentMetadata"]).map(|(key, value)| key.len() + text(value).len()).sum();
        if size > PARAMETERS_MAXIMUM {
            errors.push(FieldError::too_long(&STATUS.child("attachmentMetadata"), PARAMETERS_MAXIMUM));
        }
        for field in ["attachError", "detachError"] {
            let (error, at) = (&status[field], STATUS.child(field));
            if text(&error["message"]).len() > MESSAGE_MAXIMUM {
                // Upstream names this limit, not the one it holds to.
                errors.push(FieldError::too_long(&at.child("message"), PARAMETERS_MAXIMUM));
            }
            in_range(errors, &error["errorCode"], &at.child("errorCode"), 0, i64::from(i32::MAX));
        }
    },
    ..RULES
};

fn attachment_spec(errors: &mut Errors, spec: &Value) {
    let (source, at) = (&spec["source"], SPEC.child("source"));
    let (volume, inline) = (&source["persistentVolumeName"], &source["inlineVolumeSpec"]);
    let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (volume.is_null(), inline.is_null()) {
        (true, true) => errors.push(FieldError::required(&at, why)),
        (false, false) => errors.push(FieldError::forbidden(&at, why)),
        (false, true) if is_empty(volume) => {
            let why = "must specify non empty persistentVolumeName";
            errors.push(FieldError::required(&at.child("persistentVolumeName"), why));
        }
        _ => {}
    }
    named(errors, &spec["nodeName"], &SPEC.child("nodeName"), name::dns_subdomain);
    declared_driver_name(errors, &spec["attacher"], &SPEC.child("attacher"));
    if !is_empty(volume) {
        named(errors, volume, &at.child("persistentVolumeName"), name::dns_subdomain);
    }
}
