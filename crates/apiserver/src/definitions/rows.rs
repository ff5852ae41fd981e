//! From a definition to resources that the engine serves: rows, schemas and caches.
//!
//! Invariant: whatever form an object was stored in, a version's cache holds it as that version shows it, with
//! defaults, and without what the present schema does not know.

use crate::cache::{Cache, Caches, Present, Storage, fields::Fields};
use crate::conversion::Converter;
use crate::kinds::{Forms, Resource};
use bytes::Bytes;
use gifee_base::Object;
use gifee_registry::apiextensions::{Version, versions};
use serde_json::Value;
use std::sync::Arc;

/// The resources of one definition.
#[derive(Clone)]
pub struct Made {
    /// What of the definition its caches were made from.
    pub essence: String,
    /// Whether it is on its way out.
    pub terminating: bool,
    /// The cache of the stored version; the others' are its views.
    pub cache: Arc<Cache>,
    /// What is served, the newest version first.
    pub served: Vec<Arc<Resource>>,
    /// The stored version, served or not.
    pub stored: Arc<Resource>,
}

/// How one version shows what is stored.
#[derive(Debug)]
struct Shown {
    api_version: String,
    forms: Arc<Forms>,
    /// Whether other versions stay as they are, since only a webhook knows what they are in this one.
    as_stored: bool,
}

impl Present for Shown {
    fn present(&self, stored: &Bytes) -> Option<Bytes> {
        let mut value: Value = serde_json::from_slice(stored).ok()?;
        if self.as_stored && value["apiVersion"] != *self.api_version {
            return None;
        }
        // What is stored has the defaults of its own version, and of those what this version knows.
        let own = value["apiVersion"].as_str().and_then(|own| self.forms.get(own));
        let shown = self.forms.get(&self.api_version)?;
        own.unwrap_or(shown).mend(&mut value);
        if value["apiVersion"] != *self.api_version {
            value["apiVersion"] = self.api_version.as_str().into();
            shown.prune(&mut value);
        }
        if value["metadata"]["generation"].is_null() {
            value["metadata"]["generation"] = 1.into();
        }
        let shown = Object::encode(&mut value);
        (shown != *stored).then_some(shown)
    }
}

/// What of a definition decides how its objects are kept and shown.
pub fn essence(definition: &Value) -> String {
    let parts = [&definition["metadata"]["uid"], &definition["spec"], &definition["status"]["acceptedNames"]];
    parts.map(Value::to_string).concat()
}

/// The storage of a definition's objects.
pub fn storage(definition: &Value) -> Storage {
    let text = |value: &Value| Arc::from(value.as_str().unwrap_or_default());
    (text(&definition["spec"]["group"]), text(&definition["status"]["acceptedNames"]["plural"]))
}

/// Makes the resources of an accepted definition. Caches of `before` go on if nothing changed that they depend on.
///
/// # Errors
/// If a schema cannot be held.
pub fn make(
    caches: &Caches,
    definition: &Value,
    before: Option<&Made>,
) -> Result<Option<Made>, gifee_schema::Error> {
    let essence = essence(definition);
    let versions = versions(definition)?;
    let Some(stored) = versions.iter().position(|version| version.stored) else { return Ok(None) };
    let kept = before.filter(|before| before.essence == essence);
    let form = |version: &Version| (version.kind.gvk.api_version(), version.schema.clone());
    let forms: Arc<Forms> = Arc::new(versions.iter().map(form).collect());
    let cache = match kept {
        Some(before) => before.cache.clone(),
        None => fresh(caches, definition, &versions, &forms, stored),
    };
    let converter = match kept {
        Some(before) => before.stored.converter.clone(),
        None => Converter::new(definition, forms.clone()),
    };
    let mut views = cache.views.iter();
    let mut made = versions.into_iter().enumerate().map(|(at, version)| {
        let cache = if at == stored { Some(&cache) } else { views.next() };
        let mut resource = Resource::new(version.kind, Some(version.schema), None, cache.cloned());
        resource.converter.clone_from(&converter);
        resource.forms = Some(forms.clone());
        resource.ruled = essence.contains("x-kubernetes-validations");
        (version.served, Arc::new(resource))
    });
    let made: Vec<_> = made.by_ref().collect();
    Ok(Some(Made {
        essence,
        terminating: definition["metadata"]["deletionTimestamp"].is_string(),
        cache,
        stored: made[stored].1.clone(),
        served: made.into_iter().filter(|(served, _)| *served).map(|(_, resource)| resource).collect(),
    }))
}

/// The cache of the stored version, with a view per other version in their order.
fn fresh(
    caches: &Caches,
    definition: &Value,
    versions: &[Version],
    forms: &Arc<Forms>,
    stored: usize,
) -> Arc<Cache> {
    let storage = storage(definition);
    let as_stored = definition["spec"]["conversion"]["strategy"] == "Webhook";
    let apart = |version: &Version, views| {
        let api_version = version.kind.gvk.api_version();
        let shown = Shown { api_version, forms: forms.clone(), as_stored };
        caches.apart(storage.clone(), Fields::new(&version.kind.fields), Arc::new(shown), views)
    };
    let others = versions.iter().enumerate().filter(|(at, _)| *at != stored);
    let views = others.map(|(_, version)| apart(version, Vec::new())).collect();
    apart(&versions[stored], views)
}
