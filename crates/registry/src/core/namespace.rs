//! What is special about Namespaces and Nodes.
//!
//! Answers to upstream's strategies and rules of both.

use crate::podspec;
use crate::rule::{Errors, METADATA, SPEC, STATUS, address, named, named_text, resource};
use crate::rules::{GIVEN, RULES, Rules};
use crate::value::{entries, is_empty, items, restore, text};
use gifee_base::{FieldError, Path, name};
use serde_json::{Value, json};

const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const FINALIZER: &str = "kubernetes";
/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = [FINALIZER, "orphan", "foregroundDeletion"];

/// Rules of Namespaces.
pub(crate) const NAMESPACE: Rules = Rules {
    default: label_name,
    status: r#"{"phase":"Active"}"#,
    create: |namespace, _| {
        label_name(namespace);
        let own = items(&namespace["spec"]["finalizers"]).iter().any(|one| one == FINALIZER);
        if !own {
            match &mut namespace["spec"]["finalizers"] {
                Value::Array(list) => list.push(FINALIZER.into()),
                other => *other = json!([FINALIZER]),
            }
        }
    },
    update: |namespace, old, part, _| {
        if part.is_empty() {
            restore(&mut namespace["spec"], &old["spec"], "finalizers");
        }
    },
    validate: |errors, namespace| {
        let at = SPEC.child("finalizers");
        for one in items(&namespace["spec"]["finalizers"]) {
            named(errors, one, &at, finalizer_name);
        }
    },
    validate_part: |errors, namespace, _, part| {
        let phase = text(&namespace["status"]["phase"]);
        let why = match (is_empty(&namespace["metadata"]["deletionTimestamp"]), phase) {
            _ if part != "status" => return,
            (true, "Active") | (false, "Terminating") => return,
            (true, _) => "may only be 'Active' if `deletionTimestamp` is empty",
            (false, _) => "may only be 'Terminating' if `deletionTimestamp` is not empty",
        };
        errors.push(FieldError::invalid(&STATUS.child("Phase"), phase, why));
    },
    mark_deleting: |namespace| namespace["status"]["phase"] = "Terminating".into(),
    held: |namespace| !is_empty(&namespace["spec"]["finalizers"]),
    ..RULES
};

/// The label by which network policies and webhooks select a namespace.
fn label_name(namespace: &mut Value) {
    let one = text(&namespace["metadata"]["name"]).to_owned();
    if !one.is_empty() {
        namespace["metadata"]["labels"][NAME_LABEL] = one.into();
    }
}

/// The name of a finalizer, with a domain if it is not one of Kubernetes' own.
pub(crate) fn finalizer_name(text: &str) -> Vec<String> {
    let mut wrong = name::qualified(text);
    if wrong.is_empty() && !text.contains('/') && !STANDARD_FINALIZERS.contains(&text) {
        wrong.push("name is neither a standard finalizer name nor is it fully qualified".to_owned());
    }
    wrong
}

/// Rules of Nodes.
pub(crate) const NODE: Rules = Rules {
    warnings: |warnings, node, _| {
        if !node["spec"]["configSource"].is_null() {
            warnings.push("spec.configSource: the feature is removed".into());
        }
        if !node["spec"]["externalID"].is_null() {
            warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
        }
    },
    default: default_node,
    status: GIVEN,
    validate: |errors, node| {
        let spec = &node["spec"];
        taints(errors, &spec["taints"], &METADATA.child("taints"));
        for list in ["capacity", "allocatable"] {
            let at = STATUS.child(list);
            for (one, value) in entries(&node["status"][list]) {
                resource::amount(errors, one, value, &at.child(one));
            }
        }
        pod_cidrs(errors, &spec["podCIDRs"], &SPEC.child("podCIDRs"));
    },
    validate_update: node_update,
    validate_part: |errors, node, old, _| node_update(errors, node, old),
    ..RULES
};

fn taints(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    let mut seen = Vec::new();
    for (index, taint) in items(list).iter().enumerate() {
        let at = path.index(index);
        let (key, value, effect) = (text(&taint["key"]), text(&taint["value"]), &taint["effect"]);
        named_text(errors, key, &at.child("key"), name::qualified);
        let wrong = name::label_value(value);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(&at.child("value"), value, &wrong.join(";")));
        }
        if is_empty(effect) {
            errors.push(FieldError::required(&at.child("effect"), ""));
        } else {
            podspec::taint_effect(errors, effect, &at.child("effect"));
        }
        let pair = (key, text(effect));
        if seen.contains(&pair) {
            let mut error = FieldError::duplicate(&at, taint.clone());
            error.body.push_str(": taints must be unique by key and effect pair");
            errors.push(error);
        } else {
            seen.push(pair);
        }
    }
}

fn pod_cidrs(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    for (index, one) in items(list).iter().enumerate() {
        address::cidr(errors, one, &path.index(index));
    }
    let (four, six) = address::families(items(list).iter().map(text));
    if items(list).len() > 1 && (four, six) != (1, 1) {
        let why = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid(path, list.clone(), why));
    }
}

fn node_update(errors: &mut Errors, node: &Value, old: &Value) {
    let mut seen: Vec<&Value> = Vec::new();
    let at = STATUS.child("addresses");
    for (index, one) in items(&node["status"]["addresses"]).iter().enumerate() {
        if seen.contains(&one) {
            errors.push(FieldError::duplicate(&at.index(index), one.clone()));
        }
        seen.push(one);
    }
    let (spec, before) = (&node["spec"], &old["spec"]);
    if !is_empty(&before["podCIDRs"]) && spec["podCIDRs"] != before["podCIDRs"] {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden(&SPEC.child("podCIDRs"), why));
    }
    if !is_empty(&before["providerID"]) && spec["providerID"] != before["providerID"] {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden(&SPEC.child("providerID"), why));
    }
    if spec["externalID"] != before["externalID"] {
        errors.push(FieldError::forbidden(&SPEC.child("externalID"), "may not be updated"));
    }
}

/// The one pod range of the old field and the first of the new list are the same.
fn default_node(node: &mut Value) {
    let (one, list) = (node["spec"]["podCIDR"].clone(), node["spec"]["podCIDRs"].clone());
    match (is_empty(&one), is_empty(&list)) {
        (false, true) => node["spec"]["podCIDRs"] = json!([one]),
        (true, false) => node["spec"]["podCIDR"] = list[0].clone(),
        _ => {}
    }
}
