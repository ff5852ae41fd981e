//! The hooks of every custom resource: what its definition says of its objects.
//!
//! Invariant: one set of hooks for all custom resources; they differ in data alone. Answers to apiextensions'
//! `registry/customresource` strategies and validator.

use crate::kind::{Context, Hooks, Scale};
use crate::value::{items, remove, restore, text};
use gifee_base::field::{ErrorType, Path};
use gifee_base::{FieldError, name};
use gifee_schema::go_type;
use gifee_schema::structural::{Old, Rules, unsettled};
use gifee_schema::{Schema, structural::Structural};
use serde_json::Value;
use std::sync::Arc;

/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["foregroundDeletion", "kubernetes", "orphan"];

/// The objects of one version of a definition.
pub(crate) struct Instances {
    /// Their schema.
    pub schema: Schema,
    /// Whether the status is a subresource.
    pub status: bool,
    /// How they scale.
    pub scale: Option<Scale>,
    /// Rules of the schema, compiled.
    pub rules: Option<Rules>,
}

impl Instances {
    fn structural(&self) -> Option<&Structural> {
        self.schema.structural()
    }

    fn scaled(&self, object: &Value, status_only: bool, errors: &mut Vec<FieldError>) {
        let Some(scale) = &self.scale else { return };
        if !status_only {
            replicas(object, &scale.spec_replicas, errors);
        }
        replicas(object, &scale.status_replicas, errors);
        let Some(path) = &scale.selector else { return };
        if let Err(why) = reach(object, path, "string", Value::is_string) {
            errors.push(FieldError::invalid(&Path::root(&dotted(path)), "", &why));
        }
    }

    fn rules(&self, object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
        let Some((structural, rules)) = self.structural().zip(self.rules.as_ref()) else { return };
        if unsettled(errors) {
            let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            let body = format!("Invalid value: null: {why}");
            errors.push(FieldError::with_body(ErrorType::Invalid, "<nil>".to_owned(), body));
            return;
        }
        errors.extend(rules.violations(structural, object, old));
    }
}

fn dotted(path: &[Arc<str>]) -> String {
    path.iter().fold(String::new(), |text, part| text + "." + part)
}

/// The value at a path, absent or of a type; else what upstream says of the first that is of another type.
fn reach<'a>(
    object: &'a Value,
    path: &[Arc<str>],
    expected: &str,
    fits: fn(&Value) -> bool,
) -> Result<Option<&'a Value>, String> {
    let mut value = object;
    for (at, part) in path.iter().enumerate() {
        let Value::Object(map) = value else {
            let (text, given, path) = (value, go_type(value), dotted(&path[..at]));
            return Err(format!(
                "{path} accessor error: {text} is of the type {given}, expected map[string]interface{{}}"
            ));
        };
        match map.get(&**part) {
            Some(found) => value = found,
            None => return Ok(None),
        }
    }
    if fits(value) {
        return Ok(Some(value));
    }
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (given, path) = (go_type(value), dotted(path));
    Err(format!("{path} accessor error: {shown} is of the type {given}, expected {expected}"))
}

fn replicas(object: &Value, path: &[Arc<str>], errors: &mut Vec<FieldError>) {
    let text = dotted(path);
    let at = Path::root(&text);
    match reach(object, path, "int64", |value| value.is_i64()) {
        Err(why) => errors.push(FieldError::invalid(&at, 0, &why)),
        Ok(found) => {
            let count = found.and_then(Value::as_i64).unwrap_or_default();
            if count < 0 {
                errors.push(FieldError::invalid(&at, count, "should be a non-negative integer"));
            } else if count > i64::from(i32::MAX) {
                let why = format!("should be less than or equal to {}", i32::MAX);
                errors.push(FieldError::invalid(&at, count, &why));
            }
        }
    }
}

#[async_trait::async_trait]
impl Hooks for Instances {
    fn default(&self, object: &mut Value) {
        if let Some(structural) = self.structural() {
            structural.fill(object);
        }
    }

    fn prepare_create(&self, object: &mut Value, _: &Context<'_>) {
        if self.status {
            remove(object, "status");
        }
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, subresource: &str, _: &Context<'_>) {
        if subresource == "status" {
            let status = remove(object, "status");
            let fields = object["metadata"]["managedFields"].take();
            old.clone_into(object);
            if !fields.is_null() {
                object["metadata"]["managedFields"] = fields;
            }
            match status {
                Some(status) => object["status"] = status,
                None => drop(remove(object, "status")),
            }
        } else if self.status {
            restore(object, old, "status");
        } else if object["status"] != old["status"] {
            // Without a status of its own, what is called so is part of what is wanted.
            let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
            object["metadata"]["generation"] = (generation + 1).into();
        }
    }

    fn validate_create(&self, object: &Value, _: &Context<'_>) -> Vec<FieldError> {
        let Some(structural) = self.structural() else { return Vec::new() };
        let mut errors = structural.violations(object, None, "");
        self.scaled(object, false, &mut errors);
        errors.extend(structural.embedded_violations(object, &Path::root(""), false));
        errors.extend(structural.duplicates(object));
        self.rules(object, None, &mut errors);
        errors
    }

    fn validate_update(
        &self,
        object: &Value,
        old: &Value,
        subresource: &str,
        _: &Context<'_>,
    ) -> Vec<FieldError> {
        let Some(structural) = self.structural() else { return Vec::new() };
        let before = Old::new(old, structural);
        let status_only = subresource == "status";
        let mut errors = if status_only {
            let status = object.get("status").zip(structural.properties.get("status"));
            status.map(|(status, schema)| schema.violations(status, before.field("status"), "status"))
        } else {
            Some(structural.violations(object, Some(before), ""))
        }
        .unwrap_or_default();
        self.scaled(object, status_only, &mut errors);
        if !status_only {
            errors.extend(structural.embedded_violations(object, &Path::root(""), false));
        }
        let twice = structural.duplicates(object);
        if !twice.is_empty() && structural.duplicates(old).is_empty() {
            errors.extend(twice);
        }
        self.rules(object, Some(old), &mut errors);
        errors
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let before = old.map_or(&[][..], |old| items(&old["metadata"]["finalizers"]));
        let mut added: Vec<&str> = items(&object["metadata"]["finalizers"])
            .iter()
            .filter(|one| !before.contains(one))
            .map(text)
            .collect();
        added.sort_unstable();
        added.into_iter().flat_map(finalizer_warnings).collect()
    }
}

fn finalizer_warnings(finalizer: &str) -> Vec<String> {
    let path = "metadata.finalizers";
    let mut warnings: Vec<String> = name::qualified(finalizer)
        .into_iter()
        .map(|wrong| format!("{path}: {finalizer:?}: {wrong}"))
        .collect();
    if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
        let with = if finalizer.contains('.') { " including a path (/)" } else { "" };
        warnings.push(format!(
            "{path}: {finalizer:?}: prefer a domain-qualified finalizer name{with} to avoid accidental conflicts with other finalizer writers"
        ));
    }
    warnings
}
