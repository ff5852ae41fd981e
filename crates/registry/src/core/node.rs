//! What is special about Nodes.
//!
//! Answers to upstream's strategy and rules of them.

use crate::podspec;
use crate::rule::shown::{self, showing};
use crate::rule::{Errors, METADATA, NOT_POSITIVE, SPEC, STATUS, address, named_text, resource};
use crate::rule::{optional_name, required_because, unique};
use crate::rules::{GIVEN, RULES, Rules};
use crate::value::{entries, is_empty, items, remove, text};
use gifee_base::{FieldError, Path, name};
use serde_json::{Value, json};

const TAINTS: &str = "scheduler.alpha.kubernetes.io/taints";
const FEATURE_MAXIMUM: usize = 253;
const FEATURE_FORM: &str = "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes";
const AVOID: &str = "scheduler.alpha.kubernetes.io/preferAvoidPods";

/// Rules of Nodes.
pub(crate) const NODE: Rules = Rules {
    warnings: |warnings, node, _| {
        if !node["spec"]["configSource"].is_null() {
            warnings.push("spec.configSource: the feature is removed".into());
        }
        if !node["spec"]["externalID"].is_null() {
            warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
        }
        let at = SPEC.child("podCIDRs");
        for (index, one) in items(&node["spec"]["podCIDRs"]).iter().enumerate() {
            address::cidr_form(warnings, one, &at.index(index));
        }
    },
    default: default_node,
    status: GIVEN,
    create: |node, _| drop_disabled(node, &Value::Null),
    update: |node, old, _, _| drop_disabled(node, old),
    validate: |errors, node| {
        let spec = &node["spec"];
        annotations(errors, &node["metadata"]["annotations"]);
        taints(errors, &spec["taints"], &METADATA.child("taints"));
        resources(errors, &node["status"]);
        let swap = &node["status"]["nodeInfo"]["swap"]["capacity"];
        if swap.as_i64().is_some_and(|bytes| bytes <= 0) {
            // Upstream says it of the metadata.
            let at = METADATA.child("nodeSwapStatus");
            errors.push(FieldError::invalid(&at.child("capacity"), swap.clone(), NOT_POSITIVE));
        }
        declared_features(errors, &node["status"]);
        pod_cidrs(errors, &spec["podCIDRs"], &SPEC.child("podCIDRs"));
    },
    validate_update: node_update,
    validate_part: |errors, node, old, _| node_update(errors, node, old),
    ..RULES
};

/// Configuration out of ConfigMaps is no more, and who may preempt for a resize is not asked yet: what is there stays,
/// and nobody sets it anew.
fn drop_disabled(node: &mut Value, old: &Value) {
    for field in ["configSource", "podPreemptionPolicy"] {
        if old["spec"][field].is_null() && node["spec"].is_object() {
            remove(&mut node["spec"], field);
        }
    }
    if old["status"]["config"].is_null() && node["status"].is_object() {
        remove(&mut node["status"], "config");
    }
}

/// Annotations that mean something to Kubernetes: each holds JSON.
fn annotations(errors: &mut Errors, annotations: &Value) {
    let path = METADATA.child("annotations");
    if !is_empty(&annotations[TAINTS]) {
        match serde_json::from_str::<Vec<Value>>(text(&annotations[TAINTS])) {
            Ok(list) => taints(errors, &Value::Array(list), &path.child(TAINTS)),
            Err(error) => errors.push(FieldError::invalid(&path, TAINTS, &error.to_string())),
        }
    }
    if is_empty(&annotations[AVOID]) {
        return;
    }
    let avoid: Value = match serde_json::from_str(text(&annotations[AVOID])) {
        Ok(avoid) => avoid,
        Err(error) => {
            return errors.push(FieldError::invalid(&METADATA.child("AvoidPods"), AVOID, &error.to_string()));
        }
    };
    let at = path.child(AVOID);
    for (index, one) in items(&avoid["preferAvoidPods"]).iter().enumerate() {
        let at = at.index(index);
        let signature = at.child("PodSignature");
        let owner = &one["podSignature"]["podController"];
        if owner.is_null() {
            errors.push(FieldError::required(&signature, ""));
        } else if owner["controller"] != true {
            let why = "must point to a controller";
            let at = signature.child("PodController");
            errors.push(FieldError::invalid(&at.child("Controller"), owner["controller"] == true, why));
        }
    }
}

fn resources(errors: &mut Errors, status: &Value) {
    for list in ["capacity", "allocatable"] {
        let at = STATUS.child(list);
        for (one, value) in entries(&status[list]) {
            resource::amount(errors, one, value, &at.child(one));
        }
    }
}

/// Names such as `Feature/part`.
fn is_feature(name: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    name.starts_with(|first: char| first.is_ascii_uppercase()) && name.split('/').all(part)
}

/// What the node says that it can do: sorted, each once.
fn declared_features(errors: &mut Errors, status: &Value) {
    let (list, path) = (items(&status["declaredFeatures"]), STATUS.child("declaredFeatures"));
    for (index, one) in list.iter().enumerate() {
        let own = text(one);
        let why = if own.len() > FEATURE_MAXIMUM {
            format!("must be no more than {FEATURE_MAXIMUM} characters")
        } else {
            FEATURE_FORM.to_owned()
        };
        if own.len() > FEATURE_MAXIMUM || !is_feature(own) {
            let why = format!("invalid feature name {own:?}: {why}");
            errors.push(FieldError::invalid(&path.index(index), own, &why));
        }
        let Some(next) = list.get(index + 1).map(text) else { continue };
        let at = path.index(index + 1);
        if own == next {
            errors.push(FieldError::duplicate(&at, next));
        } else if own > next {
            errors.push(FieldError::invalid(&at, next, "list must be sorted alphabetically"));
        }
    }
}

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
            let mut error = showing(FieldError::duplicate(&at, ""), taint, shown::TAINT);
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
    let mut seen = Vec::new();
    for (index, one) in items(list).iter().enumerate() {
        unique(errors, &mut seen, text(one), &path.index(index));
    }
}

fn node_update(errors: &mut Errors, node: &Value, old: &Value) {
    annotations(errors, &node["metadata"]["annotations"]);
    resources(errors, &node["status"]);
    declared_features(errors, &node["status"]);
    let mut seen: Vec<&Value> = Vec::new();
    let at = STATUS.child("addresses");
    for (index, one) in items(&node["status"]["addresses"]).iter().enumerate() {
        if seen.contains(&one) {
            errors.push(showing(FieldError::duplicate(&at.index(index), ""), one, shown::NODE_ADDRESS));
        }
        seen.push(one);
    }
    let (spec, before) = (&node["spec"], &old["spec"]);
    pod_cidrs_kept(errors, items(&spec["podCIDRs"]), items(&before["podCIDRs"]));
    if !is_empty(&before["providerID"]) && spec["providerID"] != before["providerID"] {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden(&SPEC.child("providerID"), why));
    }
    if !spec["configSource"].is_null() {
        configuration(errors, &spec["configSource"], false, &SPEC.child("configSource"));
    }
    let at = STATUS.child("config");
    for which in ["assigned", "active", "lastKnownGood"] {
        let source = &node["status"]["config"][which];
        if !source.is_null() {
            configuration(errors, source, true, &at.child(which));
        }
    }
    taints(errors, &spec["taints"], &METADATA.child("taints"));
    if spec["externalID"] != before["externalID"] {
        errors.push(FieldError::forbidden(&SPEC.child("externalID"), "may not be updated"));
    }
}

/// Each range that is another than before is said, or that there are more or fewer.
fn pod_cidrs_kept(errors: &mut Errors, now: &[Value], before: &[Value]) {
    let changed = match (before.len(), now.len()) {
        (0, _) => 0,
        (old, new) if old != new => 1,
        _ => now.iter().zip(before).filter(|(now, before)| now != before).count(),
    };
    for _ in 0..changed {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(FieldError::forbidden(&SPEC.child("podCIDRs"), why));
    }
}

/// Where a node agent of old had its configuration from; `resolved`: as a status says it.
fn configuration(errors: &mut Errors, source: &Value, resolved: bool, path: &Path<'_>) {
    let (map, at) = (&source["configMap"], path.child("configMap"));
    if map.is_null() {
        let why = "exactly one reference subfield must be non-nil";
        return errors.push(FieldError::invalid(path, source.clone(), why));
    }
    for field in ["uid", "resourceVersion"] {
        if resolved {
            required_because(
                errors,
                &map[field],
                &at.child(field),
                &format!("{field} must be set in status"),
            );
        } else if !is_empty(&map[field]) {
            let why = format!("{field} must not be set in spec");
            errors.push(FieldError::forbidden(&at.child(field), &why));
        }
    }
    let mut named = |field: &str, rule: fn(&str) -> Vec<String>| {
        required_because(errors, &map[field], &at.child(field), &format!("{field} must be set"));
        optional_name(errors, &map[field], &at.child(field), rule);
    };
    named("namespace", name::dns_label);
    named("name", name::dns_subdomain);
    named("kubeletConfigKey", name::config_map_key);
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
