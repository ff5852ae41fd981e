//! The rules of what stands in metadata, of objects and of resources within them.
//!
//! Answers to apimachinery's `api/validation/objectmeta.go`, but for names.

use gifee_base::field::{FieldError, Path};
use gifee_base::name;
use serde_json::Value;

/// Bytes of all annotations together.
const ANNOTATION_BYTES: usize = 256 << 10;

/// What is judged of every write, but for names and finalizers.
pub fn contents(metadata: &Value, root: &Path<'_>, errors: &mut Vec<FieldError>) {
    if let Some(generation) = metadata["generation"].as_i64().filter(|generation| *generation < 0) {
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&root.child("generation"), generation, why));
    }
    labels(&metadata["labels"], &root.child("labels"), errors);
    annotations(&metadata["annotations"], &root.child("annotations"), errors);
    owners(metadata, root, errors);
}

/// A map of labels.
pub fn labels(map: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for (key, value) in map.as_object().into_iter().flatten() {
        errors
            .extend(name::qualified(key).iter().map(|wrong| FieldError::invalid(path, key.as_str(), wrong)));
        let value = value.as_str().unwrap_or_default();
        errors.extend(name::label_value(value).iter().map(|wrong| FieldError::invalid(path, value, wrong)));
    }
}

/// A map of annotations, whose keys may have upper case.
pub fn annotations(map: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut total = 0;
    for (key, value) in map.as_object().into_iter().flatten() {
        let lower = key.to_ascii_lowercase();
        errors.extend(
            name::qualified(&lower).iter().map(|wrong| FieldError::invalid(path, key.as_str(), wrong)),
        );
        total += key.len() + value.as_str().map_or(0, str::len);
    }
    if total > ANNOTATION_BYTES {
        errors.push(FieldError::too_long(path, ANNOTATION_BYTES));
    }
}

fn owners(metadata: &Value, root: &Path<'_>, errors: &mut Vec<FieldError>) {
    let list = root.child("ownerReferences");
    let mut controller: Option<String> = None;
    for (index, owner) in metadata["ownerReferences"].as_array().into_iter().flatten().enumerate() {
        let path = list.index(index);
        let field = |name: &str| owner[name].as_str().unwrap_or_default();
        let api_version = field("apiVersion");
        if !api_version.is_empty() && (api_version.ends_with('/') || api_version.matches('/').count() > 1) {
            let why = "must be <group>/<version> or <version>";
            errors.push(FieldError::invalid(&path.child("apiVersion"), api_version, why));
        }
        for name in ["apiVersion", "kind", "name", "uid"] {
            if field(name).is_empty() {
                errors.push(FieldError::required(&path.child(name), "must not be empty"));
            }
        }
        if api_version == "v1" && field("kind") == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(&path, owner.clone(), why));
        }
        if owner["controller"] == true {
            let own = format!("{}/{}", field("kind"), field("name"));
            if let Some(first) = &controller {
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {own}"
                );
                errors.push(FieldError::invalid(&list, metadata["ownerReferences"].clone(), &why));
            }
            controller.get_or_insert(own);
        }
    }
}

/// Finalizers.
pub fn finalizers(metadata: &Value, root: &Path<'_>, errors: &mut Vec<FieldError>) {
    let path = root.child("finalizers");
    let all: Vec<&str> =
        metadata["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for one in &all {
        errors.extend(name::qualified(one).iter().map(|wrong| FieldError::invalid(&path, *one, wrong)));
    }
    if all.contains(&"orphan") && all.contains(&"foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(&path, metadata["finalizers"].clone(), why));
    }
}
