//! The rules of objects inside an object: they say what they are, and their metadata is well formed.
//!
//! Answers to apiextensions' `schema/objectmeta` validation.

use super::{Additional, Structural};
use crate::metadata::{contents, finalizers};
use gifee_base::field::Path;
use gifee_base::{FieldError, name};
use serde_json::{Map, Value};

impl Structural {
    /// What is wrong with the objects inside a value, and, if `root`, with the value itself.
    pub fn embedded_violations(&self, value: &Value, path: &Path<'_>, root: bool) -> Vec<FieldError> {
        let mut errors = Vec::new();
        self.embedded_at(value, path, root, &mut errors);
        errors
    }

    fn embedded_at(&self, value: &Value, path: &Path<'_>, itself: bool, errors: &mut Vec<FieldError>) {
        match value {
            Value::Object(map) => {
                if itself || self.embedded {
                    resource(map, path, errors);
                }
                for (key, value) in map {
                    if let Some(property) = self.properties.get(key.as_str()) {
                        property.embedded_at(value, &path.child(key), false, errors);
                    } else if let Some(Additional::Schema(one)) = &self.additional {
                        one.embedded_at(value, &path.key(key), false, errors);
                    }
                }
            }
            Value::Array(list) => {
                let Some(items) = &self.items else { return };
                for (index, value) in list.iter().enumerate() {
                    items.embedded_at(value, &path.index(index), false, errors);
                }
            }
            _ => {}
        }
    }
}

fn resource(map: &Map<String, Value>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let (version_path, kind_path) = (path.child("apiVersion"), path.child("kind"));
    match map.get("apiVersion") {
        None => errors.push(FieldError::required(&version_path, "")),
        Some(Value::String(text)) if text.is_empty() => {
            errors.push(FieldError::invalid(&version_path, "", "must not be empty"));
        }
        Some(Value::String(text)) if text.matches('/').count() > 1 => {
            let why = format!("unexpected GroupVersion string: {text}");
            errors.push(FieldError::invalid(&version_path, text.as_str(), &why));
        }
        Some(Value::String(_)) => {}
        Some(other) => errors.push(FieldError::invalid(&version_path, other.clone(), "must be a string")),
    }
    match map.get("kind") {
        None => errors.push(FieldError::required(&kind_path, "")),
        Some(Value::String(text)) if text.is_empty() => {
            errors.push(FieldError::invalid(&kind_path, "", "must not be empty"));
        }
        Some(Value::String(text)) => {
            let wrong = name::dns1035_label(&text.to_lowercase());
            if !wrong.is_empty() {
                let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
                errors.push(FieldError::invalid(&kind_path, text.as_str(), &why));
            }
        }
        Some(other) => errors.push(FieldError::invalid(&kind_path, other.clone(), "must be a string")),
    }
    if let Some(metadata) = map.get("metadata") {
        metadata_rules(metadata, &path.child("metadata"), errors);
    }
}

fn metadata_rules(metadata: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut held = |field: &str, rule: fn(&str) -> Vec<String>| {
        let text = metadata[field].as_str().unwrap_or_default();
        if !text.is_empty() {
            let path = path.child(field);
            errors.extend(rule(text).iter().map(|wrong| FieldError::invalid(&path, text, wrong)));
        }
    };
    held("generateName", name::path_segment);
    held("name", name::path_segment);
    held("namespace", name::dns_label);
    contents(metadata, path, errors);
    finalizers(metadata, path, errors);
}
