//! Rules about devices that claims, classes, slices and taints share: names, selectors, tolerations, parameters.

use super::expression::{Wrong, selector_error};
use crate::podspec::source::{csi_driver_name, declared_driver_name};
use crate::rule::list::each;
use crate::rule::{Errors, named, named_text, one_of, required, required_name};
use crate::value::{is_empty, same, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

pub(super) const SELECTORS_MAXIMUM: usize = 32;
pub(super) const CONFIGS_MAXIMUM: usize = 32;
const EXPRESSION_MAXIMUM: usize = 10 * 1024;
const PARAMETERS_MAXIMUM: usize = 10 * 1024;
const POOL_NAME_MAXIMUM: usize = 253;
const IDENTIFIER_MAXIMUM: usize = 32;
const CONDITIONS_MAXIMUM: usize = 4;
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// Selectors of devices; those that were there before were judged then.
pub(super) fn selectors(errors: &mut Errors, list: &Value, old: &Value, path: &Path<'_>) {
    let new = !same(list, old);
    each(errors, list, SELECTORS_MAXIMUM, path, |errors, one, path| {
        let at = path.child("cel");
        if one["cel"].is_null() {
            return errors.push(FieldError::required(&at, ""));
        }
        let (given, at) = (text(&one["cel"]["expression"]), at.child("expression"));
        if given.len() > EXPRESSION_MAXIMUM {
            errors.push(FieldError::too_long(&at, EXPRESSION_MAXIMUM));
        } else if let Some(why) = Some(given).filter(|_| new).and_then(selector_error) {
            errors.push(match why {
                Wrong::Invalid(why) => FieldError::invalid(&at, given, &why),
                Wrong::TooDear => FieldError::forbidden(&at, "too complex, exceeds cost limit"),
            });
        }
    });
}

/// The name of a pool: subdomains with slashes between them.
pub(super) fn pool_name(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    if required(errors, value, path) {
        return;
    }
    if text(value).len() > POOL_NAME_MAXIMUM {
        errors.push(FieldError::too_long(path, POOL_NAME_MAXIMUM));
    }
    for part in text(value).split('/') {
        named_text(errors, part, path, name::dns_subdomain);
    }
}

fn identifier(errors: &mut Errors, one: &str, path: &Path<'_>) {
    if one.len() > IDENTIFIER_MAXIMUM {
        errors.push(FieldError::too_long(path, IDENTIFIER_MAXIMUM));
    }
    let first = one.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !first || !one.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        let why = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
        errors.push(FieldError::invalid(path, one, why));
    }
}

/// The name of an attribute or capacity: an identifier, perhaps in a domain.
pub(super) fn qualified_name(errors: &mut Errors, one: &str, path: &Path<'_>) {
    let Some((domain, own)) = one.split_once('/') else { return identifier(errors, one, path) };
    if own.contains('/') {
        return;
    }
    if domain.is_empty() {
        errors.push(FieldError::invalid(path, "", "the domain must not be empty"));
    } else {
        csi_driver_name(errors, &domain.into(), path);
    }
    if own.is_empty() {
        errors.push(FieldError::invalid(path, "", "the name must not be empty"));
    } else {
        identifier(errors, own, path);
    }
}

/// The name of an attribute in a domain.
pub(super) fn full_name(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    qualified_name(errors, text(value), path);
    if !text(value).contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid(path, text(value), why));
    }
}

/// Parameters for a driver.
pub(super) fn configuration(errors: &mut Errors, config: &Value, path: &Path<'_>) {
    let (opaque, at) = (&config["opaque"], path.child("opaque"));
    if opaque.is_null() {
        return errors.push(FieldError::required(&at, ""));
    }
    declared_driver_name(errors, &opaque["driver"], &at.child("driver"));
    document(errors, &opaque["parameters"], PARAMETERS_MAXIMUM, &at.child("parameters"));
}

/// Any JSON object of limited length.
pub(super) fn document(errors: &mut Errors, value: &Value, maximum: usize, path: &Path<'_>) {
    if value.is_null() {
        errors.push(FieldError::required(path, ""));
    } else if value.to_string().len() > maximum {
        errors.push(FieldError::too_long(path, maximum));
    } else if !value.is_object() {
        errors.push(FieldError::invalid(path, "<value omitted>", "must be a valid JSON object"));
    }
}

/// A taint; an effect that was there before stays allowed.
pub(super) fn taint(errors: &mut Errors, taint: &Value, old: Option<&Value>, path: &Path<'_>) {
    named(errors, &taint["key"], &path.child("key"), name::qualified);
    if !is_empty(&taint["value"]) {
        named(errors, &taint["value"], &path.child("value"), name::label_value);
    }
    let effect = &taint["effect"];
    if old.is_none_or(|old| old["effect"] != *effect) && !required(errors, effect, &path.child("effect")) {
        one_of(errors, effect, &path.child("effect"), &EFFECTS);
    }
}

/// A toleration of taints of devices.
pub(super) fn toleration(errors: &mut Errors, toleration: &Value, path: &Path<'_>) {
    if !is_empty(&toleration["key"]) {
        named(errors, &toleration["key"], &path.child("key"), name::qualified);
    }
    let (operator, value) = (&toleration["operator"], &toleration["value"]);
    match text(operator) {
        "Exists" => {
            if !is_empty(value) {
                let why = "must be empty for operator `Exists`";
                errors.push(FieldError::invalid(&path.child("value"), value.clone(), why));
            }
        }
        "Equal" => named(errors, value, &path.child("value"), name::label_value),
        "" => errors.push(FieldError::required(&path.child("operator"), "")),
        other => {
            errors.push(FieldError::not_supported(&path.child("operator"), other, &["Equal", "Exists"]));
        }
    }
    if !is_empty(&toleration["effect"]) {
        one_of(errors, &toleration["effect"], &path.child("effect"), &EFFECTS);
    }
}

/// What must be and what must not be true before a pod is bound.
pub(super) fn binding_conditions(errors: &mut Errors, device: &Value, path: &Path<'_>) {
    for field in ["bindingConditions", "bindingFailureConditions"] {
        each(errors, &device[field], CONDITIONS_MAXIMUM, &path.child(field), |errors, one, path| {
            named(errors, one, path, name::qualified);
        });
    }
}

/// The name of a device and where it is.
pub(super) fn identity(errors: &mut Errors, device: &Value, path: &Path<'_>) {
    csi_driver_name(errors, &device["driver"], &path.child("driver"));
    pool_name(errors, &device["pool"], &path.child("pool"));
    required_name(errors, &device["device"], &path.child("device"), name::dns_label);
}

/// A UUID in its usual form.
pub(super) fn uid(errors: &mut Errors, value: &Value, path: &Path<'_>) {
    let given = text(value);
    let shape = given.len() == 36
        && given.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        });
    if !shape {
        let why = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        errors.push(FieldError::invalid(path, given, why));
    }
}
