//! Rules for labels, annotations and label selectors.

use super::{Errors, named_text};
use crate::value::{entries, is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use gifee_schema::metadata;
use serde_json::Value;

/// A map of labels.
pub(crate) fn labels(errors: &mut Errors, map: &Value, path: &Path<'_>) {
    metadata::labels(map, path, errors);
}

/// A map of annotations.
pub(crate) fn annotations(errors: &mut Errors, map: &Value, path: &Path<'_>) {
    metadata::annotations(map, path, errors);
}

fn expression(errors: &mut Errors, requirement: &Value, path: &Path<'_>) {
    let values = &requirement["values"];
    match text(&requirement["operator"]) {
        "In" | "NotIn" if is_empty(values) => errors.push(FieldError::required(
            &path.child("values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" => {
            if !is_empty(values) {
                errors.push(FieldError::forbidden(
                    &path.child("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ));
            }
        }
        other => {
            errors.push(FieldError::invalid(&path.child("operator"), other, "not a valid selector operator"));
        }
    }
    named_text(errors, text(&requirement["key"]), &path.child("key"), name::qualified);
    let path = path.child("values");
    for (index, value) in items(values).iter().enumerate() {
        named_text(errors, text(value), &path.index(index), name::label_value);
    }
}

/// A `LabelSelector`; an absent one is fine.
pub(crate) fn selector(errors: &mut Errors, selector: &Value, path: &Path<'_>) {
    labels(errors, &selector["matchLabels"], &path.child("matchLabels"));
    let path = path.child("matchExpressions");
    for (index, requirement) in items(&selector["matchExpressions"]).iter().enumerate() {
        expression(errors, requirement, &path.index(index));
    }
}

/// Whether a `LabelSelector` has no requirement.
pub(crate) fn selects_everything(selector: &Value) -> bool {
    is_empty(&selector["matchLabels"]) && is_empty(&selector["matchExpressions"])
}

/// Whether a `LabelSelector` selects a map of labels.
pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    let plain = entries(&selector["matchLabels"]).all(|(key, value)| labels.get(key) == Some(value));
    plain
        && items(&selector["matchExpressions"]).iter().all(|one| {
            let label = labels.get(text(&one["key"]));
            let among = label.is_some_and(|label| items(&one["values"]).contains(label));
            match text(&one["operator"]) {
                "In" => among,
                "NotIn" => !among,
                "Exists" => label.is_some(),
                "DoesNotExist" => label.is_none(),
                _ => false,
            }
        })
}
