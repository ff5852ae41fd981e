//! Rules for the specs of claims, alone, in templates of StatefulSets and in ephemeral volumes.

use crate::rule::{
    Errors, label, named, optional_name, optional_one_of, required, required_because, resource,
};
use crate::value::{is_empty, items, text};
use gifee_base::{FieldError, Path, name};
use serde_json::Value;

/// Modes of access, sorted.
pub(crate) const ACCESS_MODES: [&str; 4] =
    ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Modes of access of a claim or volume.
pub(crate) fn access_modes(errors: &mut Errors, modes: &Value, path: &Path<'_>) {
    for mode in items(modes) {
        if !ACCESS_MODES.contains(&text(mode)) {
            errors.push(FieldError::not_supported(path, text(mode), &ACCESS_MODES));
        }
    }
    let alone = |mode: &Value| mode == "ReadWriteOncePod";
    let known = |mode: &Value| ACCESS_MODES.contains(&text(mode));
    if items(modes).iter().any(alone) && items(modes).iter().any(|mode| !alone(mode) && known(mode)) {
        errors.push(FieldError::forbidden(path, "may not use ReadWriteOncePod with other access modes"));
    }
}

fn data_source(errors: &mut Errors, source: &Value, path: &Path<'_>) {
    if source.is_null() {
        return;
    }
    required(errors, &source["name"], &path.child("name"));
    required(errors, &source["kind"], &path.child("kind"));
    if is_empty(&source["apiGroup"]) && source["kind"] != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(FieldError::invalid(path, text(&source["kind"]), why));
    }
    optional_name(errors, &source["apiGroup"], &path.child("apiGroup"), name::dns_subdomain);
    optional_name(errors, &source["namespace"], &path.child("namespace"), name::dns_label);
}

/// The spec of a claim.
pub(crate) fn claim_spec(errors: &mut Errors, spec: &Value, path: &Path<'_>) {
    let modes = path.child("accessModes");
    required_because(errors, &spec["accessModes"], &modes, "at least 1 access mode is required");
    label::selector(errors, &spec["selector"], &path.child("selector"));
    access_modes(errors, &spec["accessModes"], &modes);
    let at = path.child("resources");
    let at = at.key("storage");
    let storage = &spec["resources"]["requests"]["storage"];
    if storage.is_null() {
        errors.push(FieldError::required(&at, ""));
    } else {
        resource::positive(errors, storage, &at);
    }
    optional_name(errors, &spec["storageClassName"], &path.child("storageClassName"), name::dns_subdomain);
    optional_one_of(errors, &spec["volumeMode"], &path.child("volumeMode"), &["Block", "Filesystem"]);
    let (source, reference) = (&spec["dataSource"], &spec["dataSourceRef"]);
    data_source(errors, source, &path.child("dataSource"));
    data_source(errors, reference, &path.child("dataSourceRef"));
    let why = if source.is_null() || reference.is_null() {
        ""
    } else if !is_empty(&reference["namespace"]) {
        "may not be specified when dataSourceRef.namespace is specified"
    } else if ["apiGroup", "kind", "name"].iter().any(|field| source[*field] != reference[*field]) {
        "must match dataSourceRef"
    } else {
        ""
    };
    if !why.is_empty() {
        errors.push(FieldError::invalid(path, path.child("dataSource").to_string(), why));
    }
    let class = "volumeAttributesClassName";
    if !is_empty(&spec[class]) {
        named(errors, &spec[class], &path.child(class), name::dns_subdomain);
    }
}

/// Labels and annotations of a claim that is made from a template, and nothing else.
pub(super) fn template_metadata(errors: &mut Errors, metadata: &Value, path: &Path<'_>) {
    label::annotations(errors, &metadata["annotations"], &path.child("annotations"));
    label::labels(errors, &metadata["labels"], &path.child("labels"));
    for (field, value) in crate::value::entries(metadata) {
        if !matches!(field, "annotations" | "labels") && !is_empty(value) {
            // Upstream makes the name of its own field's, in lower case but for what follows the first letter.
            let shown = if field == "uid" { "uID" } else { field };
            errors.push(FieldError::forbidden(&path.child(shown), "cannot be set"));
        }
    }
}
