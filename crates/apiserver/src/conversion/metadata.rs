//! What a conversion webhook may change of an object's metadata: labels and annotations, and nothing else.
//!
//! Answers to `validateConvertedObject` and `restoreObjectMeta` of apiextensions-apiserver.

use gifee_base::field::Path;
use gifee_base::gvk::split_api_version;
use gifee_base::{FieldError, name};
use gifee_schema::go_type;
use serde_json::{Map, Value};

/// Bytes of all annotations together; upstream's figure.
const ANNOTATION_BYTES: usize = 256 * 1024;

/// Checks a converted object against the one it was made of, and gives it that one's metadata.
///
/// # Errors
/// What follows `conversion webhook for … `, in upstream's words.
pub fn settle(old: &Value, new: &mut Value, api_version: &str) -> Result<(), String> {
    if !new.is_object() || !new["kind"].is_string() {
        return Err("returned invalid converted object at index 0: Object 'Kind' is missing".to_owned());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let got = text(&new["apiVersion"]);
    if got != api_version {
        let shown = |text: &str| {
            let (group, version) = split_api_version(text);
            if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
        };
        let (expected, received) = (shown(api_version), shown(&got));
        return Err(format!(
            "returned invalid object at index 0: invalid groupVersion (expected {expected}, received {received})"
        ));
    }
    let (expected, got) = (text(&old["kind"]), text(&new["kind"]));
    if expected != got {
        return Err(format!(
            "returned invalid object at index 0: invalid kind (expected {expected}, received {got})"
        ));
    }
    for (field, word) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (expected, got) = (text(&old["metadata"][field]), text(&new["metadata"][field]));
        if expected != got {
            return Err(format!("returned invalid object: must have the same {word}: {expected} != {got}"));
        }
    }
    restore(old, new).map_err(|why| format!("returned invalid metadata: {why}"))
}

fn restore(old: &Value, new: &mut Value) -> Result<(), String> {
    let given = match new.get_mut("metadata").map(Value::take) {
        None => return Err("missing metadata in converted object".to_owned()),
        Some(Value::Object(given)) => given,
        Some(other) => {
            return Err(format!("invalid metadata of type {} in converted object", go_type(&other)));
        }
    };
    let mut kept = old["metadata"].as_object().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        match given.get(field) {
            None | Some(Value::Null) => drop(kept.remove(field)),
            Some(Value::Object(map)) => {
                words(field, map, kept.get(field).and_then(Value::as_object))?;
                kept.insert(field.into(), Value::Object(map.clone()));
            }
            Some(other) => {
                return Err(format!(
                    "invalid metadata.{field} of type {} in converted object",
                    go_type(other)
                ));
            }
        }
    }
    new["metadata"] = Value::Object(kept);
    Ok(())
}

/// Checks labels or annotations that are not those that were there.
fn words(field: &str, map: &Map<String, Value>, old: Option<&Map<String, Value>>) -> Result<(), String> {
    for (key, value) in map {
        if !value.is_string() {
            let given = go_type(value);
            return Err(format!(
                "metadata.{field}[{key}] must be a string, but is {given} in converted object"
            ));
        }
    }
    if old == Some(map) {
        return Ok(());
    }
    let root = Path::root("metadata");
    let at = root.child(if field == "labels" { "labels" } else { "annotation" });
    let mut errors = Vec::new();
    let mut bytes = 0;
    for (key, value) in map {
        let value = value.as_str().unwrap_or_default();
        bytes += key.len() + value.len();
        let lower = key.to_lowercase();
        let checked = if field == "labels" { key } else { &lower };
        errors.extend(name::qualified(checked).iter().map(|why| FieldError::invalid(&at, &**key, why)));
        if field == "labels" {
            errors.extend(name::label_value(value).iter().map(|why| FieldError::invalid(&at, value, why)));
        }
    }
    if field != "labels" && bytes > ANNOTATION_BYTES {
        errors.push(FieldError::too_long(&at, ANNOTATION_BYTES));
    }
    let texts: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.field, error.body)).collect();
    match texts.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}
