//! Who owns an object, and who should: owner references, adoption, release.
//!
//! Answers to upstream's `ControllerRefManager`. Invariant: a patch made here carries UID and resource
//! version, so that it cannot hit another object or undo another writer.

use crate::error::{Error, Result};
use gifee_base::{Gvk, LabelSelector, Object};
use serde_json::{Value, json};
use std::sync::Arc;

/// The reference with which an owner controls its dependents.
pub fn controller_reference(owner: &Object, gvk: &Gvk) -> Value {
    json!({
        "apiVersion": gvk.api_version(), "kind": &*gvk.kind, "name": owner.name(), "uid": owner.uid(),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Whether an owner of this UID controls an object.
pub fn controls(uid: &str, object: &Object) -> bool {
    object.controller().is_some_and(|owner| owner.uid == uid)
}

/// What an owner should do about the objects that could be its own.
#[derive(Debug, Default)]
pub struct Claims {
    /// Controlled and selected.
    pub owned: Vec<Arc<Object>>,
    /// Selected and controlled by nobody: to be adopted.
    pub adopt: Vec<Arc<Object>>,
    /// Controlled but no longer selected: to be released.
    pub release: Vec<Arc<Object>>,
}

/// Sorts candidates into claims of the owner with this UID.
pub fn claim<'a>(
    candidates: impl Iterator<Item = &'a Arc<Object>>,
    uid: &str,
    owner_deleting: bool,
    selector: &LabelSelector,
) -> Claims {
    claim_if(candidates, uid, owner_deleting, |object| object.selected(selector))
}

/// Sorts candidates into claims of the owner with this UID, which wants those that pass a test.
pub fn claim_if<'a>(
    candidates: impl Iterator<Item = &'a Arc<Object>>,
    uid: &str,
    owner_deleting: bool,
    wanted: impl Fn(&Object) -> bool,
) -> Claims {
    let mut claims = Claims::default();
    for object in candidates {
        let selected = wanted(object);
        match object.controller() {
            Some(owner) if owner.uid != uid => {}
            Some(_) if selected => claims.owned.push(object.clone()),
            Some(_) if !owner_deleting => claims.release.push(object.clone()),
            None if selected && !owner_deleting && !object.deleting() => claims.adopt.push(object.clone()),
            _ => {}
        }
    }
    claims
}

/// The merge patch that makes a controller reference part of an object.
///
/// # Errors
/// If the object's owner references cannot be read.
pub fn adopt_patch(object: &Object, reference: Value) -> Result<Value> {
    let mut references = references(object)?;
    references.push(reference);
    Ok(patch(object, references))
}

/// The merge patch that takes the references to a UID out of an object.
///
/// # Errors
/// If the object's owner references cannot be read.
pub fn release_patch(object: &Object, uid: &str) -> Result<Value> {
    let mut references = references(object)?;
    references.retain(|reference| reference["uid"] != uid);
    Ok(patch(object, references))
}

/// The merge patch that takes the references to some UIDs out of an object, and puts one in.
///
/// # Errors
/// If the object's owner references cannot be read.
pub fn replace_patch(object: &Object, uids: &[&str], add: Option<Value>) -> Result<Value> {
    let mut references = references(object)?;
    references.retain(|reference| !uids.iter().any(|uid| reference["uid"] == *uid));
    references.extend(add);
    Ok(patch(object, references))
}

fn references(object: &Object) -> Result<Vec<Value>> {
    #[derive(serde::Deserialize)]
    struct Whole {
        metadata: Metadata,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        owner_references: Option<Vec<Value>>,
    }
    let whole: Whole = serde_json::from_slice(object.raw())
        .map_err(|error| Error::invalid(object.key(), format!("owner references: {error}")))?;
    Ok(whole.metadata.owner_references.unwrap_or_default())
}

fn patch(object: &Object, references: Vec<Value>) -> Value {
    let references = if references.is_empty() { Value::Null } else { references.into() };
    json!({ "metadata": {
        "uid": object.uid(), "resourceVersion": object.revision().to_string(), "ownerReferences": references,
    } })
}
