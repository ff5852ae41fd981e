//! What is special about CSIDrivers, CSINodes and CSIStorageCapacities.
//!
//! Answers to upstream's `pkg/apis/storage/validation`.

use crate::podspec::source::csi_driver_name;
use crate::podspec::warning::old_label;
use crate::rule::{Errors, SPEC, immutable, label, named, named_text, non_negative, one_of, optional_one_of};
use crate::rule::{required, resource, unique};
use crate::rules::{RULES, Rules};
use crate::value::{entries, items, remove, same, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const TOKEN_SECONDS: (i64, i64) = (600, 1 << 32);
const UPDATE_SECONDS_MINIMUM: i64 = 10;
/// Characters of the name that a driver knows a node by.
const NODE_ID_MAXIMUM: usize = 256;

/// Rules of CSIDrivers.
pub(crate) const DRIVER: Rules = Rules {
    validate: |errors, driver| {
        let spec = &driver["spec"];
        for (field, shown) in [
            ("attachRequired", "attachedRequired"),
            ("podInfoOnMount", "podInfoOnMount"),
            ("storageCapacity", "storageCapacity"),
        ] {
            if spec[field].is_null() {
                errors.push(FieldError::required(&SPEC.child(shown), ""));
            }
        }
        let policies = ["File", "None", "ReadWriteOnceWithFSType"];
        optional_one_of(errors, &spec["fsGroupPolicy"], &SPEC.child("fsGroupPolicy"), &policies);
        tokens(errors, &spec["tokenRequests"]);
        let at = SPEC.child("volumeLifecycleModes");
        for one in items(&spec["volumeLifecycleModes"]) {
            one_of(errors, one, &at, &["Persistent", "Ephemeral"]);
        }
        if spec["seLinuxMount"].is_null() {
            errors.push(FieldError::required(&SPEC.child("seLinuxMount"), ""));
        }
        let period = "nodeAllocatableUpdatePeriodSeconds";
        if spec[period].as_i64().is_some_and(|seconds| seconds < UPDATE_SECONDS_MINIMUM) {
            let why = "must be greater than or equal to 10 seconds";
            errors.push(FieldError::invalid(&SPEC.child(period), spec[period].clone(), why));
        }
    },
    validate_update: |errors, driver, old| {
        let (spec, before) = (&driver["spec"], &old["spec"]);
        for (field, shown) in
            [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
        {
            immutable(errors, &spec[field], &before[field], &SPEC.child(shown));
        }
    },
    ..RULES
};

fn tokens(errors: &mut Errors, list: &Value) {
    let at = SPEC.child("tokenRequests");
    let mut seen = Vec::new();
    for (index, one) in items(list).iter().enumerate() {
        let at = at.index(index);
        let before = errors.len();
        unique(errors, &mut seen, text(&one["audience"]), &at.child("audience"));
        let Some(seconds) = one["expirationSeconds"].as_i64().filter(|_| errors.len() == before) else {
            continue;
        };
        let why = if seconds < TOKEN_SECONDS.0 {
            "may not specify a duration less than 10 minutes"
        } else if seconds > TOKEN_SECONDS.1 {
            "may not specify a duration larger than 2^32 seconds"
        } else {
            continue;
        };
        errors.push(FieldError::invalid(&at.child("expirationSeconds"), seconds, why));
    }
}

/// Rules of CSINodes.
pub(crate) const NODE: Rules = Rules {
    validate: |errors, node| {
        let at = SPEC.child("drivers");
        let mut seen = Vec::new();
        for (index, one) in items(&node["spec"]["drivers"]).iter().enumerate() {
            node_driver(errors, one, &mut seen, &at.index(index));
        }
    },
    validate_update: |errors, node, old| {
        let fixed = |driver: &Value| {
            let mut driver = driver.clone();
            remove(&mut driver, "allocatable");
            driver
        };
        for before in items(&old["spec"]["drivers"]) {
            let now = items(&node["spec"]["drivers"]).iter().find(|now| now["name"] == before["name"]);
            if let Some(now) = now.filter(|now| !same(&fixed(now), &fixed(before))) {
                let shown = format!(
                    "{{\"Name\":{},\"NodeID\":{},\"TopologyKeys\":{},\"Allocatable\":null}}",
                    now["name"], now["nodeID"], now["topologyKeys"]
                );
                let error = FieldError::invalid(&SPEC.child("drivers"), "", crate::rule::IMMUTABLE);
                errors.push(error.showing(&shown));
            }
        }
    },
    ..RULES
};

fn node_driver<'a>(errors: &mut Errors, one: &'a Value, seen: &mut Vec<&'a str>, path: &Path<'_>) {
    csi_driver_name(errors, &one["name"], &path.child("name"));
    let at = path.child("nodeID");
    required(errors, &one["nodeID"], &at);
    if text(&one["nodeID"]).len() > NODE_ID_MAXIMUM {
        let why = format!("must be {NODE_ID_MAXIMUM} characters or less");
        errors.push(FieldError::invalid(&at, text(&one["nodeID"]), &why));
    }
    let at = path.child("allocatable");
    non_negative(errors, &one["allocatable"]["count"], &at.child("count"));
    unique(errors, seen, text(&one["name"]), &path.child("name"));
    let mut keys = Vec::new();
    for key in items(&one["topologyKeys"]) {
        required(errors, key, path);
        unique(errors, &mut keys, text(key), path);
        named_text(errors, text(key), path, name::qualified);
    }
}

/// Rules of CSIStorageCapacities.
pub(crate) const CAPACITY: Rules = Rules {
    warnings: |warnings, capacity, _| {
        let (topology, at) = (&capacity["nodeTopology"], Path::root("nodeTopology"));
        let expressions = at.child("matchExpressions");
        for (index, one) in items(&topology["matchExpressions"]).iter().enumerate() {
            let (key, at) = (text(&one["key"]), expressions.index(index));
            if let Some(since) = old_label(key) {
                warnings.push(format!("{}: {key} is {since}", at.child("key")));
            }
        }
        let labels = at.child("matchLabels");
        for (key, _) in entries(&topology["matchLabels"]) {
            if let Some(since) = old_label(key) {
                warnings.push(format!("{}: {since}", labels.child(key)));
            }
        }
    },
    validate: |errors, capacity| {
        label::selector(errors, &capacity["nodeTopology"], &Path::root("nodeTopology"));
        let class = "storageClassName";
        named(errors, &capacity[class], &Path::root(class), name::dns_subdomain);
        if !capacity["capacity"].is_null() {
            resource::amount(errors, "capacity", &capacity["capacity"], &Path::root("capacity"));
        }
    },
    validate_update: |errors, capacity, old| {
        for field in ["nodeTopology", "storageClassName"] {
            immutable(errors, &capacity[field], &old[field], &Path::root(field));
        }
    },
    ..RULES
};
