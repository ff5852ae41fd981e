//! What is special about Namespaces.
//!
//! Answers to upstream's strategies and rules of them.

use crate::rule::{Errors, SPEC, STATUS, named};
use crate::rules::{RULES, Rules};
use crate::value::{is_empty, items, restore, text};
use gifee_base::{FieldError, name};
use serde_json::{Value, json};

const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const FINALIZER: &str = "kubernetes";
/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = [FINALIZER, "orphan", "foregroundDeletion"];

/// Rules of Namespaces.
pub(crate) const NAMESPACE: Rules = Rules {
    default: label_name,
    status: r#"{"phase":"Active"}"#,
    create: |namespace, _| {
        label_name(namespace);
        let own = items(&namespace["spec"]["finalizers"]).iter().any(|one| one == FINALIZER);
        if !own {
            match &mut namespace["spec"]["finalizers"] {
                Value::Array(list) => list.push(FINALIZER.into()),
                other => *other = json!([FINALIZER]),
            }
        }
    },
    update: |namespace, old, part, _| {
        if part.is_empty() {
            restore(&mut namespace["spec"], &old["spec"], "finalizers");
        }
    },
    validate_create: |errors, namespace| finalizers(errors, namespace),
    validate_update: |errors, namespace, _| finalizers(errors, namespace),
    validate_part: |errors, namespace, _, part| {
        let at = SPEC.child("finalizers");
        for (index, one) in items(&namespace["spec"]["finalizers"]).iter().enumerate() {
            if part == "finalize" {
                named(errors, one, &at.index(index), finalizer_name);
            }
        }
        let phase = text(&namespace["status"]["phase"]);
        let why = match (is_empty(&namespace["metadata"]["deletionTimestamp"]), phase) {
            _ if part != "status" => return,
            (true, "Active") | (false, "Terminating") => return,
            (true, _) => "may only be 'Active' if `deletionTimestamp` is empty",
            (false, _) => "may only be 'Terminating' if `deletionTimestamp` is not empty",
        };
        errors.push(FieldError::invalid(&STATUS.child("Phase"), phase, why));
    },
    mark_deleting: |namespace| namespace["status"]["phase"] = "Terminating".into(),
    held: |namespace| !is_empty(&namespace["spec"]["finalizers"]),
    ..RULES
};

fn finalizers(errors: &mut Errors, namespace: &Value) {
    let at = SPEC.child("finalizers");
    for one in items(&namespace["spec"]["finalizers"]) {
        named(errors, one, &at, finalizer_name);
    }
}

/// The label by which network policies and webhooks select a namespace.
fn label_name(namespace: &mut Value) {
    let one = text(&namespace["metadata"]["name"]).to_owned();
    if !one.is_empty() {
        namespace["metadata"]["labels"][NAME_LABEL] = one.into();
    }
}

/// The name of a finalizer, with a domain if it is not one of Kubernetes' own.
pub(crate) fn finalizer_name(text: &str) -> Vec<String> {
    let mut wrong = name::qualified(text);
    if !text.contains('/') && !STANDARD_FINALIZERS.contains(&text) {
        wrong.push("name is neither a standard finalizer name nor is it fully qualified".to_owned());
    }
    wrong
}
