//! What is special about StorageClasses, VolumeAttachments and the kinds of CSI drivers.
//!
//! Answers to upstream's `pkg/apis/storage/validation`.

use crate::podspec::volume::csi_driver_name;
use crate::podspec::warning::old_label;
use crate::rule::{Errors, METADATA, SPEC, immutable, named_text, optional_one_of, required, required_name};
use crate::rule::{required_one_of, resource};
use crate::rules::{RULES, Rules};
use crate::value::{entries, is_empty, items, same, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const PARAMETERS_MAXIMUM: usize = 256 * 1024;
const PARAMETERS_COUNT_MAXIMUM: usize = 512;

fn provisioner(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    if !required(errors, value, path) {
        for wrong in name::qualified(&text(value).to_lowercase()) {
            errors.push(FieldError::invalid(path, text(value), &wrong));
        }
    }
}

fn parameters(errors: &mut Errors, map: &Value, empty: bool, path: &Path<'_>) {
    let mut total = 0;
    if entries(map).count() > PARAMETERS_COUNT_MAXIMUM {
        errors.push(FieldError::too_long(path, PARAMETERS_COUNT_MAXIMUM));
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
    validate: |errors, class| {
        provisioner(errors, &class["provisioner"], &Path::root("provisioner"));
        parameters(errors, &class["parameters"], true, &Path::root("parameters"));
        optional_one_of(errors, &class["reclaimPolicy"], &Path::root("reclaimPolicy"), &["Delete", "Retain"]);
        let mode = Path::root("volumeBindingMode");
        let modes = ["Immediate", "WaitForFirstConsumer"];
        required_one_of(errors, &class["volumeBindingMode"], &mode, &modes);
        let at = Path::root("allowedTopologies");
        for (index, term) in items(&class["allowedTopologies"]).iter().enumerate() {
            let at = at.index(index);
            let at = at.child("matchLabelExpressions");
            for (index, one) in items(&term["matchLabelExpressions"]).iter().enumerate() {
                let at = at.index(index);
                required(errors, &one["values"], &at.child("values"));
                named_text(errors, text(&one["key"]), &at.child("key"), name::qualified);
            }
        }
    },
    validate_update: |errors, class, old| {
        for field in ["parameters", "provisioner", "reclaimPolicy"] {
            if !same(&class[field], &old[field]) {
                let why = format!("updates to {field} are forbidden.");
                errors.push(FieldError::forbidden(&Path::root(field), &why));
            }
        }
        let mode = "volumeBindingMode";
        immutable(errors, &class[mode], &old[mode], &Path::root(mode));
    },
    ..RULES
};

/// Rules of VolumeAttributesClasses.
pub(crate) const ATTRIBUTES_CLASS: Rules = Rules {
    validate: |errors, class| {
        provisioner(errors, &class["driverName"], &Path::root("driverName"));
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
    validate: |errors, attachment| {
        let spec = &attachment["spec"];
        csi_driver_name(errors, &spec["attacher"], &SPEC.child("attacher"));
        let (source, at) = (&spec["source"], SPEC.child("source"));
        match (source["persistentVolumeName"].is_null(), source["inlineVolumeSpec"].is_null()) {
            (true, true) => errors.push(FieldError::required(
                &at,
                "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            )),
            (false, false) => errors.push(FieldError::forbidden(
                &at,
                "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            )),
            (false, true) if is_empty(&source["persistentVolumeName"]) => {
                let why = "must specify non empty persistentVolumeName";
                errors.push(FieldError::required(&at.child("persistentVolumeName"), why));
            }
            _ => {}
        }
        required_name(errors, &spec["nodeName"], &SPEC.child("nodeName"), name::dns_subdomain);
    },
    validate_update: |errors, attachment, old| {
        if !same(&attachment["spec"], &old["spec"]) {
            let given = attachment["spec"].clone();
            errors.push(FieldError::invalid(&SPEC, given, "field is immutable"));
        }
    },
    ..RULES
};

/// Rules of CSIDrivers.
pub(crate) const DRIVER: Rules = Rules {
    validate: |errors, driver| {
        let spec = &driver["spec"];
        csi_driver_name(errors, &driver["metadata"]["name"], &METADATA.child("name"));
        for field in ["attachRequired", "podInfoOnMount", "storageCapacity"] {
            if spec[field].is_null() {
                errors.push(FieldError::required(&SPEC.child(field), ""));
            }
        }
        let policies = ["File", "None", "ReadWriteOnceWithFSType"];
        optional_one_of(errors, &spec["fsGroupPolicy"], &SPEC.child("fsGroupPolicy"), &policies);
        let at = SPEC.child("tokenRequests");
        let mut seen = Vec::new();
        for (index, one) in items(&spec["tokenRequests"]).iter().enumerate() {
            let at = at.index(index);
            crate::rule::unique(errors, &mut seen, text(&one["audience"]), &at.child("audience"));
            if one["expirationSeconds"].as_i64().is_some_and(|seconds| seconds < 600) {
                let given = one["expirationSeconds"].clone();
                let why = "may not specify a duration less than 10 minutes";
                errors.push(FieldError::invalid(&at.child("expirationSeconds"), given, why));
            }
        }
        let at = SPEC.child("volumeLifecycleModes");
        for one in items(&spec["volumeLifecycleModes"]) {
            crate::rule::one_of(errors, one, &at, &["Ephemeral", "Persistent"]);
        }
    },
    validate_update: |errors, driver, old| {
        for field in ["attachRequired", "fsGroupPolicy", "volumeLifecycleModes"] {
            immutable(errors, &driver["spec"][field], &old["spec"][field], &SPEC.child(field));
        }
    },
    ..RULES
};

/// Rules of CSINodes.
pub(crate) const NODE: Rules = Rules {
    validate: |errors, node| {
        let at = SPEC.child("drivers");
        let mut seen = Vec::new();
        for (index, one) in items(&node["spec"]["drivers"]).iter().enumerate() {
            let at = at.index(index);
            csi_driver_name(errors, &one["name"], &at.child("name"));
            required(errors, &one["nodeID"], &at.child("nodeID"));
            crate::rule::unique(errors, &mut seen, text(&one["name"]), &at.child("name"));
            let count = &one["allocatable"]["count"];
            if count.as_i64().is_some_and(|count| count < 0) {
                let at = at.child("allocatable");
                errors.push(FieldError::invalid(&at.child("count"), count.clone(), crate::rule::NEGATIVE));
            }
            let keys = at.child("topologyKeys");
            for (index, key) in items(&one["topologyKeys"]).iter().enumerate() {
                named_text(errors, text(key), &keys.index(index), name::qualified);
            }
        }
    },
    ..RULES
};

/// Rules of CSIStorageCapacities.
pub(crate) const CAPACITY: Rules = Rules {
    validate: |errors, capacity| {
        let class = Path::root("storageClassName");
        required_name(errors, &capacity["storageClassName"], &class, name::dns_subdomain);
        for field in ["capacity", "maximumVolumeSize"] {
            if !capacity[field].is_null() {
                resource::amount(errors, field, &capacity[field], &Path::root(field));
            }
        }
    },
    validate_update: |errors, capacity, old| {
        for field in ["storageClassName", "nodeTopology"] {
            immutable(errors, &capacity[field], &old[field], &Path::root(field));
        }
    },
    ..RULES
};
