//! Rules about lists that are bounded, and whose items may come once.

use super::Errors;
use crate::value::items;
use gifee_base::{FieldError, Path};
use serde_json::Value;

/// Checks each item of a list, unless there are too many: then that alone is said.
pub(crate) fn each(
    errors: &mut Errors,
    list: &Value,
    maximum: usize,
    path: &Path<'_>,
    mut check: impl FnMut(&mut Errors, &Value, &Path<'_>),
) {
    let list = items(list);
    if list.len() > maximum {
        return errors.push(FieldError::too_many(path, list.len(), maximum));
    }
    for (index, one) in list.iter().enumerate() {
        check(errors, one, &path.index(index));
    }
}

/// The same, and reports items whose key was seen before.
pub(crate) fn each_once(
    errors: &mut Errors,
    list: &Value,
    maximum: usize,
    path: &Path<'_>,
    key: impl Fn(&Value) -> String,
    check: impl FnMut(&mut Errors, &Value, &Path<'_>),
) {
    each(errors, list, maximum, path, check);
    if items(list).len() > maximum {
        return;
    }
    let mut seen = Vec::new();
    for (index, one) in items(list).iter().enumerate() {
        let key = key(one);
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(&path.index(index), key));
        } else {
            seen.push(key);
        }
    }
}
