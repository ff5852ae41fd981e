//! Conditions as `metav1.Condition` has them.
//!
//! Answers to apimachinery's `metav1/validation`.

use super::{Errors, named, required, required_because, required_one_of};
use crate::value::{items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

const REASON_MAXIMUM: usize = 1024;
const MESSAGE_MAXIMUM: usize = 32_768;

/// A list of conditions.
pub(crate) fn conditions(errors: &mut Errors, list: &Value, path: &Path<'_>) {
    let list = items(list);
    for (index, one) in list.iter().enumerate() {
        let kind = text(&one["type"]);
        if list[..index].iter().any(|before| text(&before["type"]) == kind) {
            errors.push(FieldError::duplicate(&path.index(index), kind));
        }
        condition(errors, one, &path.index(index));
    }
}

fn condition(errors: &mut Errors, one: &Value, path: &Path<'_>) {
    if !required_because(errors, &one["type"], &path.child("type"), "is required") {
        named(errors, &one["type"], &path.child("type"), name::qualified);
    }
    let states = ["False", "True", "Unknown"];
    required_one_of(errors, &one["status"], &path.child("status"), &states);
    if one["observedGeneration"].as_i64().is_some_and(|generation| generation < 0) {
        let (given, why) = (one["observedGeneration"].clone(), "must be greater than or equal to zero");
        errors.push(FieldError::invalid(&path.child("observedGeneration"), given, why));
    }
    if one["lastTransitionTime"].is_null() {
        errors.push(FieldError::required(&path.child("lastTransitionTime"), ""));
    }
    let at = path.child("reason");
    if !required(errors, &one["reason"], &at) {
        let reason = text(&one["reason"]);
        if !is_reason(reason) {
            let why = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
            errors.push(FieldError::invalid(&at, reason, why));
        }
        if reason.len() > REASON_MAXIMUM {
            errors.push(FieldError::too_long(&at, REASON_MAXIMUM));
        }
    }
    if text(&one["message"]).len() > MESSAGE_MAXIMUM {
        errors.push(FieldError::too_long(&path.child("message"), MESSAGE_MAXIMUM));
    }
}

fn is_reason(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"_,:".contains(byte);
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(inner)
        && bytes.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}
