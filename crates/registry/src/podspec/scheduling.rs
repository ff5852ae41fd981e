//! Rules for where pods may run: tolerations, affinity, spreading, gates.

use crate::rule::{Errors, NOT_POSITIVE, label, named, named_text, one_of, optional_one_of, unique};
use crate::value::{int, is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const OPERATOR: &str = "not a valid selector operator";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// An effect of a taint.
pub(crate) fn taint_effect(errors: &mut Errors, effect: &Value, path: &Path<'_>) {
    one_of(errors, effect, path, &EFFECTS);
}

/// Tolerations.
pub(crate) fn tolerations(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    for (index, toleration) in items(list).iter().enumerate() {
        let at = path.index(index);
        let (key, operator) = (text(&toleration["key"]), text(&toleration["operator"]));
        let (value, effect) = (text(&toleration["value"]), text(&toleration["effect"]));
        if !key.is_empty() {
            named_text(errors, key, &at.child("key"), name::qualified);
        } else if operator != "Exists" {
            let why =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(&at.child("operator"), operator, why));
        }
        if !toleration["tolerationSeconds"].is_null() && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(FieldError::invalid(&at.child("effect"), effect, why));
        }
        match operator {
            "Equal" | "" => {
                let wrong = name::label_value(value);
                if !wrong.is_empty() {
                    errors.push(FieldError::invalid(&at.child("operator"), value, &wrong.join(";")));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let why = "value must be empty when `operator` is 'Exists'";
                    errors.push(FieldError::invalid(&at.child("operator"), value, why));
                }
            }
            other => {
                // Comparing numbers is known, but not served.
                let supported = ["Equal", "Exists", "Lt", "Gt"];
                let count = if matches!(other, "Lt" | "Gt") { 4 } else { 2 };
                errors.push(FieldError::not_supported(&at.child("operator"), other, &supported[..count]));
            }
        }
        if !effect.is_empty() {
            taint_effect(errors, &toleration["effect"], &at.child("effect"));
        }
    }
}

fn node_requirement(errors: &mut Errors, requirement: &Value, required: bool, path: &Path<'_>) {
    let values = items(&requirement["values"]);
    let at = path.child("values");
    match text(&requirement["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&at, why));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&at, why));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(&at, why));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.push(FieldError::invalid(&path.child("operator"), other, OPERATOR)),
    }
    named(errors, &requirement["key"], &path.child("key"), name::qualified);
    for (index, value) in values.iter().enumerate().filter(|_| required) {
        named(errors, value, &at.index(index), name::label_value);
    }
}

fn field_requirement(errors: &mut Errors, requirement: &Value, path: &Path<'_>) {
    let values = items(&requirement["values"]);
    match text(&requirement["operator"]) {
        "In" | "NotIn" => {
            if values.len() != 1 {
                let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.push(FieldError::required(&path.child("values"), why));
            }
        }
        other => errors.push(FieldError::invalid(&path.child("operator"), other, OPERATOR)),
    }
    if requirement["key"] != "metadata.name" {
        let key = text(&requirement["key"]);
        errors.push(FieldError::invalid(&path.child("key"), key, "not a valid field selector key"));
        return;
    }
    let at = path.child("values");
    for (index, value) in values.iter().enumerate() {
        named(errors, value, &at.index(index), name::dns_subdomain);
    }
}

/// One term of a node selector; what is only preferred may name values that no label has.
fn node_selector_term(errors: &mut Errors, term: &Value, required: bool, path: &Path<'_>) {
    let at = path.child("matchExpressions");
    for (index, requirement) in items(&term["matchExpressions"]).iter().enumerate() {
        node_requirement(errors, requirement, required, &at.index(index));
    }
    let at = path.child("matchFields");
    for (index, requirement) in items(&term["matchFields"]).iter().enumerate() {
        field_requirement(errors, requirement, &at.index(index));
    }
}

/// A node selector, of which one term must hold.
pub(crate) fn node_selector(errors: &mut Errors, selector: &Value, path: &Path<'_>) {
    let (terms, at) = (items(&selector["nodeSelectorTerms"]), path.child("nodeSelectorTerms"));
    if terms.is_empty() {
        errors.push(FieldError::required(&at, "must have at least one node selector term"));
    }
    for (index, term) in terms.iter().enumerate() {
        node_selector_term(errors, term, true, &at.index(index));
    }
}

fn weight(errors: &mut Errors, term: &Value, path: &Path<'_>) {
    if !(1..=100).contains(&int(&term["weight"])) {
        let given = int(&term["weight"]);
        errors.push(FieldError::invalid(&path.child("weight"), given, "must be in the range 1-100"));
    }
}

fn label_keys(errors: &mut Errors, keys: &Value, selector: &Value, path: &Path<'_>) {
    if is_empty(keys) {
        return;
    }
    if selector.is_null() {
        let why = "must not be specified when labelSelector is not set";
        errors.push(FieldError::forbidden(path, why));
        return;
    }
    for (index, key) in items(keys).iter().enumerate() {
        named(errors, key, &path.index(index), name::qualified);
    }
}

/// Keys by which a term selects pods that are like its own, or unlike it.
fn matched_keys(errors: &mut Errors, same: &Value, different: &Value, selector: &Value, path: &Path<'_>) {
    label_keys(errors, same, selector, &path.child("matchLabelKeys"));
    label_keys(errors, different, selector, &path.child("mismatchLabelKeys"));
    if is_empty(same) {
        return;
    }
    // What the keys stand for is in the selector already, so a key of the client's own comes twice.
    let mut seen: Vec<&str> = crate::value::entries(&selector["matchLabels"]).map(|(key, _)| key).collect();
    for one in items(&selector["matchExpressions"]) {
        let key = text(&one["key"]);
        let index = items(same).iter().rposition(|same| same == key);
        if let (Some(index), true) = (index, seen.contains(&key)) {
            let why = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(&path.index(index), key, why));
        }
        seen.push(key);
    }
    let at = path.child("matchLabelKeys");
    for (index, key) in items(same).iter().enumerate() {
        if items(different).contains(key) {
            let why = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.push(FieldError::invalid(&at.index(index), key.clone(), why));
        }
    }
}

fn pod_term(errors: &mut Errors, term: &Value, path: &Path<'_>) {
    label::selector(errors, &term["labelSelector"], &path.child("labelSelector"));
    label::selector(errors, &term["namespaceSelector"], &path.child("namespaceSelector"));
    for namespace in items(&term["namespaces"]) {
        named(errors, namespace, &path.child("namespace"), name::dns_label);
    }
    let (same, different) = (&term["matchLabelKeys"], &term["mismatchLabelKeys"]);
    matched_keys(errors, same, different, &term["labelSelector"], path);
    if is_empty(&term["topologyKey"]) {
        errors.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
    }
    named(errors, &term["topologyKey"], &path.child("topologyKey"), name::qualified);
}

/// Affinity to nodes and other pods.
pub(super) fn affinity(errors: &mut Errors, affinity: &Value, path: &Path<'_>) {
    if affinity.is_null() {
        return;
    }
    let (node, at) = (&affinity["nodeAffinity"], path.child("nodeAffinity"));
    if !node[REQUIRED].is_null() {
        node_selector(errors, &node[REQUIRED], &at.child(REQUIRED));
    }
    let at = at.child(PREFERRED);
    for (index, term) in items(&node[PREFERRED]).iter().enumerate() {
        let at = at.index(index);
        weight(errors, term, &at);
        node_selector_term(errors, &term["preference"], false, &at.child("preference"));
    }
    for side in ["podAffinity", "podAntiAffinity"] {
        let (terms, path) = (&affinity[side], path.child(side));
        let at = path.child(REQUIRED);
        for (index, term) in items(&terms[REQUIRED]).iter().enumerate() {
            pod_term(errors, term, &at.index(index));
        }
        let at = path.child(PREFERRED);
        for (index, term) in items(&terms[PREFERRED]).iter().enumerate() {
            let at = at.index(index);
            weight(errors, term, &at);
            pod_term(errors, &term["podAffinityTerm"], &at.child("podAffinityTerm"));
        }
    }
}

/// Readiness gates and scheduling gates.
pub(super) fn gates(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let at = path.child("readinessGates");
    for (index, gate) in items(&spec["readinessGates"]).iter().enumerate() {
        named(errors, &gate["conditionType"], &at.index(index).child("conditionType"), name::qualified);
    }
    let at = path.child("schedulingGates");
    let mut seen = Vec::new();
    for (index, gate) in items(&spec["schedulingGates"]).iter().enumerate() {
        named(errors, &gate["name"], &at.index(index), name::qualified);
        unique(errors, &mut seen, text(&gate["name"]), &at.index(index));
    }
}

fn spread_one(errors: &mut Errors, constraint: &Value, later: &[Value], path: &Path<'_>) {
    if int(&constraint["maxSkew"]) <= 0 {
        let skew = int(&constraint["maxSkew"]);
        errors.push(FieldError::invalid(&path.child("maxSkew"), skew, NOT_POSITIVE));
    }
    let key = &constraint["topologyKey"];
    if is_empty(key) {
        errors.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
    }
    let when = &constraint["whenUnsatisfiable"];
    one_of(errors, when, &path.child("whenUnsatisfiable"), &["DoNotSchedule", "ScheduleAnyway"]);
    if later.iter().any(|one| one["topologyKey"] == *key && one["whenUnsatisfiable"] == *when) {
        let pair = format!("{{{}, {}}}", text(key), text(when));
        errors.push(FieldError::duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), pair));
    }
    let domains = &constraint["minDomains"];
    if let Some(number) = domains.as_i64() {
        let at = path.child("minDomains");
        if number <= 0 {
            errors.push(FieldError::invalid(&at, number, NOT_POSITIVE));
        }
        if when != "DoNotSchedule" {
            let why =
                format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", text(when));
            errors.push(FieldError::invalid(&at, number, &why));
        }
    }
    for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        optional_one_of(errors, &constraint[field], &path.child(field), &["Honor", "Ignore"]);
    }
    let (keys, selector) = (&constraint["matchLabelKeys"], &constraint["labelSelector"]);
    matched_keys(errors, keys, &Value::Null, selector, path);
    label::selector(errors, selector, &path.child("labelSelector"));
}

/// Constraints on how pods spread.
pub(super) fn spread(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    let list = items(list);
    for (index, constraint) in list.iter().enumerate() {
        spread_one(errors, constraint, &list[index + 1..], &path.index(index));
    }
}
